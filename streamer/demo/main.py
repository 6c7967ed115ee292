"""The demo from start to end."""

import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redis import Redis
from rich.console import Console

from streamer.adapters.kafka import KafkaSink
from streamer.client import RecommendationList, Recommendations
from streamer.datasets import Dataset, load
from streamer.demo import ending
from streamer.demo.feed import Feed
from streamer.demo.interruption import Interruption, interruptible
from streamer.demo.view import Progress, Speed, View, WatchedUser
from streamer.demo.worker import USUAL_PORT, Worker, flags
from streamer.drawing.report import show
from streamer.errors import EXIT_INTERRUPTED, DataError, Unavailable
from streamer.events import Kind
from streamer.servers import READER_SETTINGS, EmbeddedKafka, EmbeddedRedis
from streamer.servers.process import HOST

DEFAULT_DATA = Path("ops/data/online-retail")
TOPICS: dict[Kind, str] = {"catalog": "catalog", "profiles": "profiles", "interactions": "interactions"}
# One partition each: then the log has one order, and the figures equal `streamer replay --catalog-first`.
PARTITIONS = dict.fromkeys((*TOPICS.values(), "texts", "recommendations", "dead-letters"), 1)
PUBLISHING = "publishing the catalog, the profiles, then the events"
START_TIMEOUT_S = (
    1800.0  # a first start compiles the kernels, for minutes; a worker that ends is noticed at once
)
ASK_EVERY_S = 0.2
WATCH_EVERY_S = 0.5
LIST_SHOWN = 10


@dataclass(frozen=True)
class DemoOptions:
    """What can be chosen.

    Args:
        data: Directory of a data set (see `datasets`); None: the one that comes with the repo.
        max_events: Interactions to publish; None: all; 0: no catalog and no profiles either.
        rate: Interactions a second; None: as fast as the worker follows.
        keep: Leave everything running afterwards, until Ctrl-C.
        report: Where the report goes.
        repeats: Items the user already took may be listed again.
    """

    data: Path | None = None
    max_events: int | None = None
    rate: float | None = None
    keep: bool = False
    report: Path = Path("report.json")
    repeats: bool = False


def run(options: DemoOptions, console: Console | None = None) -> int:
    """Run the demo and return the exit code: 0, or 130 when it was stopped by Ctrl-C or SIGTERM.

    Raises:
        DataError: The data set or the report's directory cannot be used.
        ConfigError: There is no Redis to embed.
        Unavailable: A server or the worker did not start, or ended.
    """
    console = console or Console()
    started_s = time.monotonic()
    if not options.report.absolute().parent.is_dir():
        raise DataError(f"{options.report}: expected a path in a directory that exists")
    dataset = load(options.data or _default_data(), catalog_first=True, max_events=options.max_events)
    if options.max_events == 0:
        # whoever brings his own events has items of his own
        dataset = replace(dataset, name="empty", catalog={}, profiles={})
    try:
        with interruptible() as interruption:
            _Demo(options, dataset, console, interruption, started_s).run()
    except KeyboardInterrupt:
        console.print("stopped")
        return EXIT_INTERRUPTED
    return 0


class _Demo:
    """One run, all on the calling thread; what was started is always stopped, in reverse order."""

    def __init__(
        self,
        options: DemoOptions,
        dataset: Dataset,
        console: Console,
        interruption: Interruption,
        started_s: float,
    ) -> None:
        self._options = options
        self._dataset = dataset
        self._console = console
        self._interruption = interruption
        self._started_s = started_s
        self._progress = Progress(title=dataset.name, n_events=dataset.n_interactions)
        self._speed = Speed()
        self._n_texts_most = 0  # that waited at once: none is embedded before the model is loaded
        self._ask_due_s = 0.0
        self._watch_due_s = 0.0

    def run(self) -> None:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamer-demo-")))
            self._view = View(self._progress, self._console)
            with self._view:
                self._stage("starting Kafka and Redis")
                kafka = stack.enter_context(EmbeddedKafka(PARTITIONS))
                server = stack.enter_context(EmbeddedRedis())
                client: Redis = stack.enter_context(Redis.from_url(server.url))
                self._recommendations = Recommendations(client)
                servers = kafka.bootstrap, server.url
                self._worker = Worker(directory, *servers, self._worker_flags(), USUAL_PORT)
                stack.callback(self._worker.end)
                self._start_worker()
                self._publish(kafka.bootstrap)
            report = self._finish()
            if self._options.max_events != 0:
                self._show(report)
            ending.commands(
                self._console,
                kafka=kafka.bootstrap,
                redis_port=server.port,
                redis_url=server.url,
                metrics=f"http://{HOST}:{self._worker.port}",
                log=self._worker.log_path,
                user_id=report["users"][0]["user_id"] if report["users"] else "USER",
                keep=self._options.keep,
            )
            if self._options.keep:
                self._stay()

    def _show(self, report: dict[str, Any]) -> None:
        show(self._console, report)
        ending.users(self._console, report)
        ending.timing(self._console, report, self._options.rate)
        self._options.report.write_text(
            json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        self._console.print(f"\nreport: {self._options.report.absolute()}", markup=False, soft_wrap=True)

    def _worker_flags(self) -> list[str]:
        # it waits for late training, so that the figures equal those of a replay on any machine
        settings = flags({**READER_SETTINGS, "training_waits": "true"})
        return [*settings, "--repeats"] if self._options.repeats else settings

    def _stage(self, text: str) -> None:
        self._progress.stage = text
        self._view.draw()

    def _start_worker(self) -> None:
        self._stage("starting the worker (the first time it compiles its kernels)")
        give_up_at_s = time.monotonic() + START_TIMEOUT_S
        while not self._worker.is_ready():
            if time.monotonic() > give_up_at_s:
                raise Unavailable(f"the worker was not ready within {START_TIMEOUT_S:g} s")
            self._interruption.check()
            self._view.draw()
            time.sleep(0.05)

    def _publish(self, bootstrap: str) -> None:
        self._stage(PUBLISHING)
        sink = KafkaSink(bootstrap)
        self._feed = Feed(
            self._dataset,
            sink,
            TOPICS,
            lambda: self._progress.snapshot.n_read,
            self._tick,
            rate=self._options.rate,
            n_texts=lambda: self._progress.snapshot.n_texts,
        )
        self._feed.run()
        sink.close()
        self._ask()
        self._watch()
        self._stage("done")

    def _tick(self) -> None:
        self._interruption.check()
        now_s = time.monotonic()
        if now_s >= self._ask_due_s:
            self._ask()
        if now_s >= self._watch_due_s:
            self._watch()
        self._view.draw()

    def _ask(self) -> None:
        """Ask the worker how far it is."""
        snapshot = self._worker.snapshot()
        now_s = time.monotonic()
        self._ask_due_s = now_s + ASK_EVERY_S
        if snapshot is not None:
            self._progress.snapshot = snapshot
            n_texts = snapshot.n_texts
            self._n_texts_most = max(self._n_texts_most, n_texts)
            doing = "embedding the catalog" if n_texts < self._n_texts_most else "loading the text model"
            self._progress.stage = f"{doing}, {n_texts:,} texts to go" if n_texts else PUBLISHING
            n_done = snapshot.n_read.get(TOPICS["interactions"], 0)
            self._progress.n_done = n_done
            self._progress.lag = sum(map(self._feed.n_ahead, TOPICS))
            if n_done:
                self._progress.events_a_second = self._speed.update(now_s, n_done)

    def _watch(self) -> None:
        """Read the watched user's list, as an app does."""
        self._watch_due_s = time.monotonic() + WATCH_EVERY_S
        user_id = self._feed.active_user
        if user_id is None:
            return
        titles = self._dataset.titles
        found = self._read(user_id, LIST_SHOWN)
        self._progress.user = WatchedUser(
            user_id=user_id,
            n_events=self._feed.n_events_of[user_id],
            last_items=[
                titles.get(item_id, item_id) for item_id in reversed(self._feed.last_items_of[user_id])
            ],
            listed=[(titles.get(item.id, item.id), item.path) for item in found.items],
        )

    def _read(self, user_id: str, k: int = ending.N_LISTED) -> RecommendationList:
        return self._recommendations.get(user_id, k)

    def _finish(self) -> dict[str, Any]:
        """Get the worker's report, and add what only the demo knows."""
        if self._options.keep:
            report = self._worker.report_now()
        else:
            self._worker.stop()
            report = self._worker.final_report()
        report["data"] = self._dataset.name
        report["users"] = ending.three_users(
            self._feed.n_events_of, self._feed.last_items_of, self._dataset.titles, self._read
        )
        timing = report.setdefault("timing", {})
        timing["demo_s"] = round(time.monotonic() - self._started_s, 3)
        timing["event_to_list_p50_ms"] = _or_none(self._progress.snapshot.p50_ms)
        timing["event_to_list_p99_ms"] = _or_none(self._progress.snapshot.p99_ms)
        return report

    def _stay(self) -> None:
        """Until Ctrl-C, or the worker's end."""
        while True:
            self._interruption.check()
            self._worker.is_ready()
            time.sleep(0.5)


def _or_none(value: float) -> float | None:
    return None if value != value else round(value, 3)  # noqa: PLR0124  NaN differs from itself; JSON has none


def _default_data() -> Path:
    """The set that comes with the repo: below the working directory, or beside the package's sources."""
    beside = Path(__file__).resolve().parents[2] / DEFAULT_DATA
    for directory in (DEFAULT_DATA, beside):
        if directory.is_dir():
            return directory
    raise DataError(
        f"expected {DEFAULT_DATA} here or in the repo, found neither; name a data set with --data DIR"
    )
