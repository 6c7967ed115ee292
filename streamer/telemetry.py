"""Every metric declared once, with its unit and meaning, and the HTTP port that shows them.

`describe` lists them all: the table in the README is made from it.
"""

import itertools
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from streamer.errors import ConfigError
from streamer.ports import Clock

# 0.5 ms to 60 s, in steps of a quarter to a half: a quantile read off them is a fraction of a step wrong.
LATENCY_BUCKETS_S = (
    *(
        0.0005,
        0.001,
        0.0015,
        0.002,
        0.003,
        0.004,
        0.005,
        0.0075,
        0.01,
        0.0125,
        0.015,
        0.02,
        0.025,
        0.03,
        0.04,
    ),
    *(0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0),
)
WORK_BUCKETS_S = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
)
WAIT_BUCKETS_S = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
    *(60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0, 7 * 24 * 3600.0),
)
TRAINING_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
SIZE_BUCKETS = tuple(float(1 << n) for n in range(15))
_REQUEST_TIMEOUT_S = 5.0


class Described(NamedTuple):
    """One metric as the README shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class BatchHistogram(Collector):
    """A histogram that takes many observations of one value at once: one lock a batch, not one an event.

    Args:
        name: Full name, unit included.
        meaning: What one observation is.
        label: Name of the only label, or None.
        bounds: Upper bounds of the buckets, ascending; one without a bound is added.
    """

    def __init__(self, name: str, meaning: str, label: str | None, bounds: Sequence[float]) -> None:
        self.name, self.meaning, self.label = name, meaning, label
        self._bounds = (*bounds, math.inf)
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, value: float, n: int = 1, label: str = "") -> None:
        """Add `n` observations of `value`."""
        index = next(i for i, bound in enumerate(self._bounds) if value <= bound)
        with self._lock:
            counts = self._counts.setdefault(label, [0] * len(self._bounds))
            counts[index] += n
            self._sums[label] = self._sums.get(label, 0.0) + n * value

    def quantile(self, q: float, label: str = "") -> float | None:
        """The q-quantile, linear within a bucket; None before the first observation."""
        with self._lock:
            counts = list(self._counts.get(label, ()))
        rank, n_below, low = q * sum(counts), 0, 0.0
        if not any(counts):
            return None
        for bound, n in zip(self._bounds, counts, strict=True):
            if n and n_below + n >= rank:
                return low if math.isinf(bound) else low + (bound - low) * (rank - n_below) / n
            n_below, low = n_below + n, bound if not math.isinf(bound) else low
        return low

    def describe(self) -> list[Metric]:
        """What the registry asks for at registration."""
        return [HistogramMetricFamily(self.name, self.meaning, labels=[self.label] if self.label else [])]

    def collect(self) -> Iterator[Metric]:
        """The family as it stands."""
        family = HistogramMetricFamily(self.name, self.meaning, labels=[self.label] if self.label else [])
        with self._lock:
            series = [(label, list(counts), self._sums[label]) for label, counts in self._counts.items()]
        for label, counts, total in series:
            names = ("+Inf" if math.isinf(bound) else repr(bound) for bound in self._bounds)
            buckets = list(zip(names, itertools.accumulate(counts), strict=True))
            family.add_metric([label] if self.label else [], buckets, total)
        yield family


class Health:
    """Whether we are alive and ready, and why not. Written by the main loop, read by the HTTP threads."""

    def __init__(self, clock: Clock, live_timeout_s: float) -> None:
        self._clock = clock
        self._live_timeout_s = live_timeout_s
        self._turned_s: float | None = None  # before the first turn kernels are compiled: not a hang
        self._away: dict[str, str] = {}
        self.catching_up = True

    def turn(self) -> None:
        """The main loop came round."""
        self._turned_s = self._clock.monotonic_s()

    def away(self, dependency: str, reason: str) -> None:
        """A dependency does not answer."""
        self._away[dependency] = reason

    def back(self, dependency: str) -> None:
        """It answers again."""
        self._away.pop(dependency, None)

    def why_not_ready(self) -> list[str]:
        """Reasons; empty when ready. They name dependencies, never addresses: the port may be public."""
        reasons = ["catching up with the log"] if self.catching_up else []
        return reasons + [f"{dependency} is away" for dependency in sorted(dict(self._away))]

    def is_live(self) -> bool:
        """False when the main loop has not turned for too long."""
        turned_s = self._turned_s
        return turned_s is None or self._clock.monotonic_s() - turned_s <= self._live_timeout_s


class Telemetry:
    """The metrics of one worker, in a registry of their own.

    Args:
        clock: For /live.
        live_timeout_s: After how long without a turn of the main loop /live turns red.
    """

    def __init__(self, clock: Clock, live_timeout_s: float = 60.0) -> None:
        self.registry = CollectorRegistry()
        self.described: list[Described] = []
        self.health = Health(clock, live_timeout_s)
        c, g, h = self._counter, self._gauge, self._histogram

        self.events = c(
            "events_total",
            "Records read, by what became of them: learned, invalid, duplicate (learned before), or erased "
            "(of a user who was erased after it)",
            "topic",
            "outcome",
        )
        self.dead_letters = c(
            "dead_letters_total", "Records sent to the dead-letter topic, by reason", "reason"
        )
        self.log_gaps = c(
            "log_gaps_total", "Times records were missing from the log before we read them", "topic"
        )
        self.log_gap_records = c("log_gap_records_total", "Records missing from the log", "topic")
        self.counted = c("counted_total", "Interactions that hit ratios are measured on")
        self.late = c(
            "late_total", "Interactions learned that happened before one of the same user learned earlier"
        )
        self.refused = c("refused_total", "Interactions and items not learned, since a table was full")
        self.ranks_skipped = c(
            "ranks_skipped_total",
            "Interactions without a ranking of their own: another of their user was in the batch, or a log was still read",
        )
        self.evicted = c(
            "evicted_total",
            "Rows of a full table that made way for newcomers, retired items first, then the coldest",
            "table",
        )
        self.lists_written = c("lists_written_total", "Lists written to Redis and acknowledged")
        self.texts_embedded = c(
            "texts_embedded_total", "Texts of items that got their vector, by where it came from", "origin"
        )
        self.text_failures = c("text_failures_total", "Tries to embed texts that failed, and were made again")
        self.unavailable = c(
            "unavailable_total", "Calls that failed because a dependency was away", "dependency"
        )

        self.event_to_list = h(
            "event_to_list_seconds",
            "From an event being received (origin received), or having happened where events are live "
            "(origin event_time), to its user's list being acknowledged by Redis, seconds",
            LATENCY_BUCKETS_S,
            "origin",
        )
        self.step = h("step_seconds", "Measuring and learning one batch, seconds", WORK_BUCKETS_S)
        self.rank = h("rank_seconds", "Ranking and encoding the lists of one batch, seconds", WORK_BUCKETS_S)
        self.write = h("write_seconds", "Writing the lists of one batch to Redis, seconds", WORK_BUCKETS_S)
        self.batch_size = h("batch_size", "Records of one batch", SIZE_BUCKETS)

        self.text_backlog = g("text_backlog", "Texts of items whose vector is not on the log yet")
        self.lag = g("lag_messages", "Records on the log that were not read yet", "topic")
        self.hit_ratio = g(
            "hit_ratio",
            "Share of counted events whose item was among the first 10 of a list: served (what Redis held), "
            "streamer (ranked right before the event), mixture (the same without the learned ranker), trending, "
            "popularity; over the last 1,000 or 10,000, or in total",
            *("list", "window", "slice"),
        )
        same_events = "of the events and lists of streamer_hit_ratio"
        self.ndcg = g("ndcg", f"NDCG@10 {same_events}", "list", "window", "slice")
        self.mrr_at_k = g(
            "mrr_at_k",
            f"MRR@10 {same_events}; one item is relevant, so it is MAP@10, too",
            *("list", "window", "slice"),
        )
        self.beyond = {  # name in the report -> gauge
            "n": g("sampled_lists", "Lists that were sampled for the three metrics below"),
            "coverage": g("catalog_coverage", "Share of known items that were on a sampled list"),
            "novelty": g(
                "novelty_bits", "Mean -log2 of the share of all events that a listed item had, bits"
            ),
            "intra_list_similarity": g(
                "intra_list_similarity", "Mean cosine of the features of two items on one list"
            ),
        }
        self.path_weight = g("path_weight", "Weight of a path in the mixture, over all contexts", "path")
        self.table_bytes = g("table_bytes", "Memory of a table of the model, bytes", "table")
        self.users = g("users", "Users the model knows")
        self.items = g("items", "Items the model knows")
        self.catching_up = g("catching_up", "1 while a start reads what is on the log already, else 0")
        self.last_batch = g("last_batch_timestamp_seconds", "When the last batch was done, epoch seconds")
        self.catching_up.set(1)
        self._declare_cold_start()
        self._declare_removal()
        self._declare_training()
        self._declare_checkpoints()

    def _declare_checkpoints(self) -> None:
        """What a restart goes on from."""
        c, g, h = self._counter, self._gauge, self._histogram
        self.checkpoint_time = g(
            "checkpoint_timestamp_seconds",
            "When the newest checkpoint was taken, epoch seconds; time() minus this is its age",
        )
        self.checkpoint_bytes = g("checkpoint_bytes", "Size of the newest checkpoint, bytes")
        self.checkpoint_pause = h(
            "checkpoint_pause_seconds",
            "How long the fold stood still for a checkpoint, seconds",
            WORK_BUCKETS_S,
        )
        self.checkpoint_write = h(
            "checkpoint_write_seconds", "Writing a checkpoint, beside the fold, seconds", WAIT_BUCKETS_S
        )
        self.checkpoint_failures = c("checkpoint_failures_total", "Checkpoints that could not be written")
        self.checkpoint_refused = c(
            "checkpoint_refused_total", "Checkpoints that a start could not go on from"
        )
        self.refolded = c("refolded_total", "Batches that a start repeated as the log of folds has them")
        self.folds_left = c(
            "folds_left_total",
            "Starts that could not repeat all batches of the log of folds: complete, not exact",
        )

    def _declare_cold_start(self) -> None:
        """How soon new items are shown, and to how many."""
        c, g, h = self._counter, self._gauge, self._histogram
        self.item_to_list = h(
            "item_to_list_seconds",
            "From the first catalog event of an item being received to the first published list with it, seconds",
            WAIT_BUCKETS_S,
        )
        self.cold_list_share = g(
            "cold_list_share",
            "Share of the last 1,000 published lists with a cold item (fewer than 5 events)",
        )
        self.explored = c(
            "explored_total", "Places on published lists that the explore share gave to new items"
        )

    def _declare_removal(self) -> None:
        """What was taken back."""
        c, h = self._counter, self._histogram
        self.lists_remade = c("lists_remade_total", "Lists made again since an item on them was retired")
        self.item_off_lists = h(
            "item_off_lists_seconds",
            "From items being retired to the last list that held one of them being acknowledged by Redis, seconds",
            WAIT_BUCKETS_S,
        )

    def _declare_training(self) -> None:
        """The parts of the model that are trained: ranker, network and its vectors, encoders."""
        c, g, h = self._counter, self._gauge, self._histogram
        self.ranker_on = g(
            "ranker_on", "1 while the learned ranker orders the lists, 0 while the mixture does"
        )
        self.ranker_advantage = g(
            "ranker_advantage",
            "Hit ratio of the learned ranker minus that of the mixture, on the same recent events",
        )
        self.training_rounds = c("training_rounds_total", "Rounds of training of the network")
        self.training_late = c(
            "training_late_total",
            "Times a round of training had not ended when its weights should have come in: they come an interval later",
        )
        self.training = h("training_seconds", "One round of training, seconds", TRAINING_BUCKETS_S)
        self.vector_version = g("vector_version", "Version of the weights that lists are ranked with")
        self.vectors_written = c(
            "vectors_written_total",
            "Vectors written to Redis and acknowledged, of users or of items",
            "owner",
        )
        self.vector_backlog = g(
            "vector_backlog", "Vectors of users and items whose newest version is not in Redis yet"
        )
        self.drift = c(
            "drift_total",
            "Changes of distribution noticed in a field of catalog or profiles; beyond 64 fields: other",
            "field",
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        name = self._describe(name, "counter", labels, meaning)
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        name = self._describe(name, "gauge", labels, meaning)
        return Gauge(name, meaning, labels, registry=self.registry)

    def _histogram(
        self, name: str, meaning: str, bounds: Sequence[float], label: str | None = None
    ) -> BatchHistogram:
        name = self._describe(name, "histogram", (label,) if label else (), meaning)
        histogram = BatchHistogram(name, meaning, label, bounds)
        self.registry.register(histogram)
        return histogram

    def _describe(self, name: str, kind: str, labels: tuple[str, ...], meaning: str) -> str:
        self.described.append(Described(f"streamer_{name}", kind, labels, meaning))
        return f"streamer_{name}"


class _NoClock:
    """For telling metrics apart from a running worker: no time passes."""

    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        """Nothing to wait for."""


def describe() -> list[Described]:
    """Every metric, in the order of declaration."""
    return Telemetry(_NoClock()).described


class MetricsServer:
    """/metrics, /live, /ready, and /report where there is one, on one port, in threads of their own.

    Args:
        telemetry: What is shown.
        host, port: Where to listen; port 0 takes a free one, see `port`.
        report: Makes the report as it stands; must be safe to call from another thread.

    Raises:
        ConfigError: the address cannot be had.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        host: str,
        port: int,
        report: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        try:
            self._server = _Server((host, port), telemetry, report)
        except OSError as exc:
            raise ConfigError(
                f"metrics address {host}:{port}: cannot listen there: {exc.strerror or exc}; "
                "choose another with --metrics-port (0 takes a free one)"
            ) from exc
        self.host = host
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(
        self, address: tuple[str, int], telemetry: Telemetry, report: Callable[[], Mapping[str, Any]] | None
    ) -> None:
        self.telemetry = telemetry
        self.report = report
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is not our error; anything else shows in the next answer."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_TIMEOUT_S  # a client that sends nothing does not keep its thread
    server_version = "streamer"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one request."""
        telemetry, report = self.server.telemetry, self.server.report
        match urlsplit(self.path).path:
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(HTTPStatus.OK, encode(telemetry.registry), content_type)
            case "/live":
                self._verdict([] if telemetry.health.is_live() else ["the main loop does not turn"])
            case "/ready":
                self._verdict(telemetry.health.why_not_ready())
            case "/report" if report is not None:
                body = json.dumps(report(), indent=2).encode()
                self._answer(HTTPStatus.OK, body, "application/json")
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"expected /metrics, /live or /ready\n", "text/plain")

    def _verdict(self, problems: list[str]) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        self._answer(status, ("\n".join(problems or ["ok"]) + "\n").encode(), "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the signature is the library's
        """Scrapes every few seconds are no news."""
