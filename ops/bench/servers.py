"""The processes of the whole loop, each on its own so that its CPU seconds are its own."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol
from urllib.parse import urlencode

import brokers
import psutil
from processes import SPAWN, spawn

from streamer.adapters.kafka import KafkaSink
from streamer.datasets import Message
from streamer.demo.feed import MAX_AHEAD
from streamer.demo.worker import Worker, flags
from streamer.servers import EmbeddedRedis
from streamer.servers.process import HOST

START_TIMEOUT_S = 300.0  # the very first start compiles the kernels
STALL_TIMEOUT_S = 60.0
FLUSH_TIMEOUT_S = 30.0
SENDS_A_LOOK = 64
PAUSE_S = 0.002
ASK_EVERY_S = 0.1
READ, _BACKLOG = "streamer_events_total", "streamer_text_backlog"  # what is asked for again and again
SHOWN_EVERY_S = 2.0  # more than the worker lets its counters of figures stand still


class Log(Protocol):
    """Messages in log order, any number of times; picklable. A `Dataset`, or a synthetic `Stream`."""

    @property
    def n_interactions(self) -> int:
        """How many of the messages are interactions."""

    def messages(self) -> Iterator[Message]:
        """All of them."""


class Metrics:
    """One exposition of a worker, as the text it is: full parsing would take CPU from what is measured.

    Args:
        port: Where the worker shows it.
        names: Of the samples that are wanted; default all, which cost the worker ten times as much.
    """

    def __init__(self, port: int, *names: str) -> None:
        connection = HTTPConnection(HOST, port, timeout=10)
        connection.request("GET", "/metrics?" + urlencode([("name[]", name) for name in names]))
        self._text = connection.getresponse().read().decode()
        connection.close()

    def total(self, name: str, *labels: str) -> float:
        """Sum of a metric's samples that carry all of these labels, each as `name="value"`."""
        return sum(value for found, value in self._samples(name) if all(label in found for label in labels))

    def n_read(self, topic: str) -> int:
        """Messages of a topic that are done with."""
        return int(self.total(READ, f'topic="{topic}"'))

    def buckets(self, name: str, label: str) -> dict[float, float]:
        """Upper bound -> observations at or below it."""
        bounds = (
            (re.search(r'le="([^"]+)"', found), value)
            for found, value in self._samples(name + "_bucket")
            if label in found
        )
        return {float(bound[1]): value for bound, value in bounds if bound}

    def _samples(self, name: str) -> Iterator[tuple[str, float]]:
        for found in re.finditer(rf"^{name}(?:\{{(.*)\}})? (\S+)", self._text, re.MULTILINE):
            yield found[1] or "", float(found[2])


def measured_percent(before: Metrics, stage: "Stage") -> float:
    """How many of a hundred events that a list could have foreseen were ranked before they were learned, since `before`."""
    time.sleep(SHOWN_EVERY_S)  # until what is shown is the end
    after = stage.metrics()
    measured, counted = (
        after.total(name) - before.total(name)
        for name in ("streamer_measured_total", "streamer_counted_total")
    )
    return 100.0 * measured / counted if counted else float("nan")


@dataclass
class Progress:
    """What producer and bench tell each other, in shared memory.

    Args:
        n_read: Interactions the worker has read, as last heard: the producer stays near.
        n_sent: Interactions handed to Kafka.
        began_s: `time.time` of the first of them.
    """

    n_read: "Synchronized[int]"
    n_sent: "Synchronized[int]"
    began_s: "Synchronized[float]"
    sent_s: Any  # monotonic time of every interaction's send


def _producer_process(
    pipe: Connection, bootstrap: str, log: Log, rate: float | None, progress: Progress
) -> None:
    """Send catalog and profiles, then, when told, the interactions: all made before the clock starts."""
    messages = list(log.messages())
    sink = KafkaSink(bootstrap)
    for message in messages:
        if message.kind != "interactions":
            sink.send(message.kind, message.key, message.value)
    sink.flush(FLUSH_TIMEOUT_S)
    pairs = [(message.key, message.value) for message in messages if message.kind == "interactions"]
    pipe.send({topic: sum(message.kind == topic for message in messages) for topic in brokers.TOPICS})
    pipe.recv()
    progress.began_s.value = time.time()
    began_s = time.monotonic()
    for n_sent, (key, value) in enumerate(pairs):
        if rate is not None:
            time.sleep(max(0.0, began_s + n_sent / rate - time.monotonic()))
        elif n_sent % SENDS_A_LOOK == 0:
            while n_sent - progress.n_read.value > MAX_AHEAD:
                time.sleep(PAUSE_S)
        progress.sent_s[n_sent] = time.monotonic()
        sink.send("interactions", key, value)
        progress.n_sent.value = n_sent + 1
    sink.flush(FLUSH_TIMEOUT_S)
    pipe.send("sent")
    pipe.recv()  # stay until the CPU seconds have been read
    sink.close()


class Stage:
    """Kafka, Redis, a worker that is ready and has the catalog with its texts, and a producer that waits for the word.

    Args:
        stack: Ends everything.
        log: What to publish.
        rate: Interactions a second; None: as fast as the worker follows.
        kafka: As in `Options`.
        settings: Of the worker.
    """

    def __init__(
        self, stack: ExitStack, log: Log, rate: float | None, kafka: str | None, settings: Mapping[str, str]
    ) -> None:
        self.directory = Path(stack.enter_context(TemporaryDirectory(prefix="streamer-bench-")))
        self.progress = Progress(
            SPAWN.Value("q", 0),
            SPAWN.Value("q", 0),
            SPAWN.Value("d", 0.0),
            SPAWN.RawArray("d", log.n_interactions),
        )
        self.broker = brokers.start(stack, kafka)
        self.redis = stack.enter_context(EmbeddedRedis())
        self.worker = Worker(
            self.directory, self.broker.bootstrap, self.redis.url, flags({**self.broker.settings, **settings})
        )
        stack.callback(self.worker.end)
        self._until("ready", self.worker.is_ready, START_TIMEOUT_S)
        self._pipe, producer = spawn(
            stack, _producer_process, self.broker.bootstrap, log, rate, self.progress
        )
        self.n_of: Mapping[str, int] = self._pipe.recv()
        self._until(
            "reading the catalog", lambda: self._n_to_read("catalog") + self._n_to_read("profiles") == 0
        )
        self._until("embedding", lambda: self.metrics(_BACKLOG).total(_BACKLOG) == 0.0, START_TIMEOUT_S)
        pids = {
            "worker": self.worker.pid,
            "kafka": self.broker.pid,
            "redis": self.redis.pid,
            "producer": producer.pid,
        }
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}

    def metrics(self, *names: str) -> Metrics:
        """What the worker says now, of all or of these."""
        return Metrics(self.worker.port, *names)

    def cpu_s(self) -> dict[str, float]:
        """Process -> CPU seconds it and its children have used in their lives."""
        return {name: _cpu_s(process) for name, process in self._processes.items()}

    def go(self) -> None:
        """Let the producer begin."""
        self._pipe.send("go")

    def is_sending(self) -> bool:
        """Whether the producer has more to send."""
        return not self._pipe.poll()

    def wall_s(self, metrics: Metrics) -> float:
        """From the first interaction sent to the last batch written, by the worker's own clock: not when we asked."""
        return metrics.total("streamer_last_batch_timestamp_seconds") - self.progress.began_s.value

    def wait_until_read(self) -> None:
        """Return when every interaction has been read and its list written."""
        self._until("reading", lambda: self._n_to_read("interactions") == 0)

    def _n_to_read(self, kind: str) -> int:
        n_read = self.metrics(READ).n_read(kind)
        if kind == "interactions":
            self.progress.n_read.value = n_read
        return self.n_of[kind] - n_read

    def _until(self, what: str, is_so: Any, timeout_s: float = STALL_TIMEOUT_S) -> None:
        began_s, n_read = time.monotonic(), -1
        while not is_so():
            if n_read != self.progress.n_read.value:
                n_read, began_s = self.progress.n_read.value, time.monotonic()
            if time.monotonic() - began_s > timeout_s:
                raise TimeoutError(f"the worker got no further: {what}")
            self.worker.is_ready()  # raises when the worker has ended, and says why
            time.sleep(ASK_EVERY_S)


def _cpu_s(process: psutil.Process) -> float:
    used = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(times.user + times.system for times in used)


@contextmanager
def staged(log: Log, rate: float | None, kafka: str | None, settings: Mapping[str, str]) -> Iterator[Stage]:
    """A `Stage`, ended in reverse order of its start."""
    with ExitStack() as stack:
        yield Stage(stack, log, rate, kafka, settings)
