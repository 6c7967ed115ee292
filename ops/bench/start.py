"""Benches of a start: how fast a long log is read, and how soon there is a first list."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import brokers
import msgspec
import psutil
from figures import Row
from options import MODELS, Options
from redis import Redis
from servers import FLUSH_TIMEOUT_S, READ, Log, Metrics
from synthetic import BEGIN_MS, Stream

from streamer.adapters.kafka import KafkaSink
from streamer.demo.worker import Worker, flags
from streamer.errors import StreamerError
from streamer.servers import EmbeddedRedis

KEPT = "streamer_checkpoint_timestamp_seconds"  # of the newest one
N_CATCH_UP = 1_000_000  # interactions
MEASURED = (0, 1)  # shares of the users
EVENTS_A_USER = 1.25  # in the state of `start`
N_ITEMS = 10_000
N_FIT_EMBEDDED = 1_300_000  # interactions that the embedded Kafka holds without a word of loss
LOOK_EVERY_S = 0.01
ASK_EVERY_S = 0.1
PACE_EVERY_S = 0.25
TIMEOUT_S = 1800.0
PROBE = "u0"  # a user of every stream
# Titles of synthetic items are embedded by the fast model: how long the slow one takes is a figure of its own.
FAST_TEXTS = {"text_model": "wordllama"}


class Started(NamedTuple):
    """One start of a worker.

    Args:
        first_list_s: From the start of the process to the first list, that of a user whose event came last.
        events_a_s: While interactions were read; nan where that was over before it could be timed.
        cpu_s: Of the worker, until the first list.
    """

    first_list_s: float
    events_a_s: float
    cpu_s: float


def catch_up(options: Options) -> list[Row]:
    """Events a second of a worker that reads a long log: each user is ranked once, behind it.

    With `measure_share` 0 nothing is measured; with 1, the default, a part of the log, and all of its end.
    """
    rows = []
    n = options.max_events or N_CATCH_UP
    for model, share in product(MODELS, MEASURED):
        row = Row("catch-up", f"{model}, measure_share={share}, {n:,} events", "events/s")
        stream = Stream(N_ITEMS, max(1, n // 5), n)
        wanted = {**FAST_TEXTS, **MODELS[model], **options.settings, "measure_share": str(share)}
        for _ in range(options.n_runs):
            with filled(stream, options.kafka) as place:
                started = place.start(wanted)
                row.add(started.events_a_s, started.first_list_s, {"worker": started.cpu_s})
                row.note = f"{place.kind} Kafka; wall and CPU from process start to first list"
        rows.append(row)
    return rows


def start(options: Options) -> list[Row]:
    """Seconds from the start of the process to the first list, with an empty log and with a state of many users.

    The state is read from the log, once; `started again` is every later start on the same log and Redis, from the checkpoint of
    the one before.
    """
    rows = [*_commands(options.n_runs), _cold(options)]
    for model, settings in MODELS.items():
        n_events = int(EVENTS_A_USER * options.n_users)
        stream = Stream(N_ITEMS, options.n_users, n_events, session_events=EVENTS_A_USER)
        wanted = {**FAST_TEXTS, **settings, "measure_share": "0", **options.settings}
        case = f"{model}, {options.n_users:,} users"
        first = Row("start", f"{case}: log to first list", "s")
        again = Row("start", f"{case}: started again", "s")
        rows += [first, again]
        if brokers.kind_of(options.kafka) == brokers.EMBEDDED and stream.n_interactions > N_FIT_EMBEDDED:
            first.note = again.note = "skipped: the embedded Kafka does not hold so long a log; see --users"
            continue
        with filled(stream, options.kafka) as place:
            for row in (first, *[again] * options.n_runs):
                started = place.start(wanted, until_kept=row is first)
                row.add(started.first_list_s, started.first_list_s, {"worker": started.cpu_s})
                row.note = f"{place.kind} Kafka, {stream.n_interactions:,} events"
    return rows


def _commands(n_runs: int) -> list[Row]:
    commands = {
        "python -c pass": ["-c", "pass"],
        "import streamer": ["-c", "import streamer"],
        "import streamer.client": ["-c", "import streamer.client"],
        "streamer --help": ["-m", "streamer", "--help"],
    }
    rows = []
    for case, arguments in commands.items():
        row = Row("start", case, "s")
        for _ in range(n_runs + 1):
            began_s = time.monotonic()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            row.add(time.monotonic() - began_s)
        row.values.pop(0)  # it may have read from a cold disk
        rows.append(row)
    return rows


def _cold(options: Options) -> Row:
    row = Row("start", "cold: an empty log to the first list", "s")
    for _ in range(options.n_runs):
        with filled(Stream(100, 1, 1, with_catalog=False), options.kafka) as place:
            started = place.start(options.settings)
            row.add(started.first_list_s, started.first_list_s, {"worker": started.cpu_s})
    return row


class Place:
    """A log, a Redis, and workers that start there, one after the other."""

    def __init__(
        self, directory: Path, broker: brokers.Broker, redis: EmbeddedRedis, n_interactions: int
    ) -> None:
        self.kind, self.bootstrap, self._own = broker.kind, broker.bootstrap, broker.settings
        self._directory = directory
        self._redis = redis
        self._n = n_interactions

    def start(self, settings: Mapping[str, str], *, until_kept: bool = False) -> Started:
        """Start a worker and one more event at once; stop the worker when that event's user has a list.

        Args:
            settings: Of the worker.
            until_kept: Let it live until there is a checkpoint, too. It is kept in a directory, which has no size limit.
        """
        kept = {"checkpoint_url": str(self._directory / "checkpoints")}
        settings = {**self._own, **kept, **settings}
        began_s, began_ms = time.monotonic(), time.time() * 1000.0
        worker = Worker(self._directory, self.bootstrap, self._redis.url, flags(settings))
        try:
            self._send_probe()
            events_a_s = self._watch(worker, began_s, began_ms)
            first_list_s, process = time.monotonic() - began_s, psutil.Process(worker.pid)
            used = process.cpu_times()
            while until_kept and not Metrics(worker.port, KEPT).total(KEPT):
                worker.is_ready()  # raises when the worker has ended, and says why
                time.sleep(ASK_EVERY_S)
            worker.stop()
        finally:
            worker.end()
        self._n += 1
        return Started(first_list_s, events_a_s, used.user + used.system)

    def _send_probe(self) -> None:
        event = {
            "user_id": PROBE,
            "item_id": f"i{self._n % 100}",
            "type": "view",
            "timestamp": BEGIN_MS + 10**10,
        }
        sink = KafkaSink(self.bootstrap)
        sink.send("interactions", PROBE.encode(), msgspec.json.encode(event))
        sink.close()

    def _watch(self, worker: Worker, began_s: float, began_ms: float) -> float:
        """Wait for a list of the probe that is newer than the start; events a second meanwhile."""
        decoder, key = msgspec.json.Decoder(_Generated), f"streamer:list:{PROBE}"
        pace = _Pace(worker)
        with Redis.from_url(self._redis.url) as client:
            while True:
                value = client.get(key)
                if value is not None and decoder.decode(value).generated_at >= began_ms:
                    return pace.events_a_s()
                if time.monotonic() - began_s > TIMEOUT_S:
                    raise TimeoutError(f"no list within {TIMEOUT_S:g} s of the start")
                pace.look()
                time.sleep(LOOK_EVERY_S)


class _Generated(msgspec.Struct):
    generated_at: int


class _Pace:
    """How fast interactions are read, by the worker's own counter, looked at now and then: each answer takes its time."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._due_s = 0.0
        self._seen: list[tuple[float, int]] = []

    def look(self) -> None:
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + PACE_EVERY_S
        self._worker.is_ready()  # raises when the worker has ended, and says why
        try:
            n_read = Metrics(self._worker.port, READ).n_read("interactions")
        except (OSError, StreamerError):
            return  # it does not answer yet
        if n_read and (not self._seen or n_read > self._seen[-1][1]):
            self._seen.append((now_s, n_read))

    def events_a_s(self) -> float:
        if len(self._seen) < 2:
            return float("nan")
        (first_s, n_first), (last_s, n_last) = self._seen[0], self._seen[-1]
        return (n_last - n_first) / (last_s - first_s)


@contextmanager
def filled(log: Log, kafka: str | None) -> Iterator[Place]:
    """A broker that holds this log, and an empty Redis."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="streamer-bench-")))
        broker = brokers.start(stack, kafka, holds_all=True)
        sink = KafkaSink(broker.bootstrap)
        for message in log.messages():
            sink.send(message.kind, message.key, message.value)
        sink.flush(10 * FLUSH_TIMEOUT_S)
        yield Place(directory, broker, stack.enter_context(EmbeddedRedis()), log.n_interactions)
