"""Every metric declared once, with its unit and meaning.

`describe` lists them all: the table in the README is made from it.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from streamer.errors import REASONS
from streamer.ports import Clock
from streamer.telemetry.health import DEPENDENCIES, Health
from streamer.telemetry.histogram import BatchHistogram

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
OUTCOMES = "learned", "invalid", "duplicate", "erased", "refused", "other_model"  # what becomes of a record
SIZE_BUCKETS = tuple(float(1 << n) for n in range(15))


class Described(NamedTuple):
    """One metric as the README shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Telemetry:
    """The metrics of one worker, in a registry of their own.

    Args:
        clock: For /live.
        live_timeout_s: After how long without a turn of the main loop /live turns red.
    """

    def __init__(self, clock: Clock, live_timeout_s: float = 60.0) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, and when the process began
        self.described: list[Described] = []
        self.health = Health(clock, live_timeout_s)
        c, g, h = self._counter, self._gauge, self._histogram

        self.events = c(
            "events_total",
            "Records read, by what became of them: learned, invalid, duplicate (learned before), erased (of a user who "
            "was erased after it), refused (a table was full), or other_model (the vector of a text, by a model that is not "
            "text_model)",
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
        self.counted = c(
            "counted_total", "Interactions that a list could have foreseen: of items known before"
        )
        self.measured = c(
            "measured_total", "Of these, ranked before they were learned: hit ratios are of them"
        )
        self.late = c(
            "late_total", "Interactions learned that happened before one of the same user learned earlier"
        )
        self.refused = c("refused_total", "Events not learned, since a table was full")
        self.ranks_skipped = c(
            "ranks_skipped_total",
            "Interactions without a ranking of their own: another interaction of the same user was in the batch, or the "
            "worker was still catching up",
        )
        self.evicted = c(
            "evicted_total",
            "Rows of a full table that made way for newcomers, retired items first, then the coldest",
            "table",
        )
        self.lists_written = c("lists_written_total", "Lists written to Redis and acknowledged")
        self.lists_renewed = c(
            "lists_renewed_total", "Lists of users who are away that were made again since they were old"
        )
        self.texts_embedded = c(
            "texts_embedded_total", "Texts of items that got their vector, by where it came from", "origin"
        )
        self.text_failures = c("text_failures_total", "Failed attempts to embed texts; each is retried")
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
            "Share of counted events whose item was among the first 10 of a list: served (what Redis held when the event was "
            "learned; of all events), streamer (ranked right before the event), mixture (the same without the learned ranker), "
            "trending, popularity (of those that were measured); over the last 1,000 or 10,000, or in total",
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
        self.nodes = g("nodes", "Values, bins and words that the model knows, of max_nodes")
        self.catching_up = g("catching_up", "1 while a start reads what is on the log already, else 0")
        self.last_batch = g("last_batch_timestamp_seconds", "When the last batch was done, epoch seconds")
        self.catching_up.set(1)
        loop_age = g(
            "loop_age_seconds",
            "Since the main loop last came round, seconds; 0 while a start compiles the kernels",
        )
        loop_age.set_function(self.health.loop_age_s)
        away = g(
            "dependency_away", "1 while a dependency does not answer and is waited for, else 0", "dependency"
        )
        for dependency in DEPENDENCIES:
            away.labels(dependency).set_function(partial(self.health.is_away, dependency))
        self._declare_cold_start()
        self._declare_removal()
        self._declare_training()
        self._declare_checkpoints()

    def begin(self, topics: Iterable[str]) -> None:
        """Show what may come of these topics and of dependencies, at 0: Prometheus sees no growth in what is not there before.

        Args:
            topics: Those that are read.
        """
        for topic in topics:
            self.log_gaps.labels(topic)
            self.log_gap_records.labels(topic)
            for outcome in OUTCOMES:
                self.events.labels(topic, outcome)
        for reason in REASONS:
            self.dead_letters.labels(reason)
        for dependency in DEPENDENCIES:
            self.unavailable.labels(dependency)

    def _declare_checkpoints(self) -> None:
        """What a restart resumes from."""
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
            "checkpoint_refused_total", "Checkpoints that a start could not resume from"
        )
        self.refolded = c("refolded_total", "Batches that a start repeated as the log of folds has them")
        self.store_lost = c(
            "store_lost_total",
            "Times Redis came back without what it had acknowledged; every list is written again",
        )
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
        self.lists_remade = c(
            "lists_remade_total",
            "Lists rebuilt because an item on them was retired, or, after a start, may have been on them",
        )
        self.lists_cut = c(
            "lists_cut_total",
            "Lists that a retired item was taken out of as they were, since too many held it to make all again at once",
        )
        self.item_off_lists = h(
            "item_off_lists_seconds",
            "From items being retired to the last list that held one of them being acknowledged by Redis, seconds",
            WAIT_BUCKETS_S,
        )
        self.nodes_refused = c(
            "nodes_refused_total",
            "Times a value, bin or word of a record was left out, since max_nodes, or the share of its kind, was used up",
        )
        self.taken_unrecorded = c(
            "taken_unrecorded_total",
            "Takes for which max_taken, or the most items that are kept of one user, left no room: with repeats off, their "
            "users may be listed an item again, and their events are in no hit ratio any more",
        )
        self.fields_refused = c(
            "fields_refused_total",
            "Times a field of a record was left out, since there were 64 others of its kind",
        )
        self.erased_forgotten = c(
            "erased_forgotten_total",
            "Erased users beyond max_erased that made way for newer ones: a rebuild learns again what they did",
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
