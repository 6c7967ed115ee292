"""Killed before or after any call to the world, again and again: every record is folded once, in the order that was logged.

The worker is `runner.Runner` on the memory twins. A kill is an exception that nobody catches; from then on every call of the
dead worker, and of its threads, fails.
"""

import random
import threading
from contextlib import suppress
from typing import Any

import pytest
from whole_model import a_log

from streamer import pipeline
from streamer.adapters.memory import ManualClock, MemoryLists, MemoryLog, MemorySink, MemorySource
from streamer.adapters.memory.checkpoints import MemoryCheckpoints, MemoryFolds
from streamer.config import Settings
from streamer.errors import InvalidEvent
from streamer.events import Interaction, ItemRetired, UserErased, decode
from streamer.measure import Scoreboard
from streamer.ports import Fold, TopicPartition
from streamer.runner import CheckpointPorts, Runner
from streamer.telemetry import Telemetry

N_QUIET = 15  # polls without a record, after which a worker is told to stop
SETTINGS = Settings(
    text_model="none",
    without="vectors",  # type: ignore[arg-type]
    max_items=96,
    max_users=64,
    max_nodes=160,
    max_taken=16_384,
    n_neighbours=32,
    max_batch=8,
    max_measured=3,  # of a longer batch a part is measured: that is in the log of folds
    max_batch_catch_up=32,
    checkpoint_interval_s=1,
    checkpoint_interval_events=60,
)


class KilledError(BaseException):
    """The worker is no more."""


class Fate:
    """Kills at the n-th call, before or after it is done."""

    def __init__(self, n_calls: float, *, after: bool = False) -> None:
        self._n_left, self._after = n_calls, after
        self._is_dead = False
        self._lock = threading.Lock()

    def call(self, function: Any, *arguments: Any) -> Any:
        """One call to the world."""
        with self._lock:
            if self._is_dead:
                raise KilledError
            self._n_left -= 1
            self._is_dead = self._n_left <= 0
            if self._is_dead and not self._after:
                raise KilledError
            result = function(*arguments)
            if self._is_dead:
                raise KilledError
            return result

    def over(self, twin: Any) -> Any:
        """The twin, under this fate."""
        return _Doomed(self, twin)


class _Doomed:
    def __init__(self, fate: Fate, twin: Any) -> None:
        self._fate, self._twin = fate, twin

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._twin, name)
        return (lambda *arguments: self._fate.call(found, *arguments)) if callable(found) else found


class KeptFolds(MemoryFolds):
    """Remembers what is trimmed."""

    def __init__(self) -> None:
        super().__init__()
        self.all: dict[int, Fold] = {}

    def append(self, fold: Fold, by: object = None) -> bool:
        """As the twin; a number never stands for two batches."""
        follows = super().append(fold, by)
        assert self.all.setdefault(fold.number, fold) == fold
        return follows


class World:
    """A log that grows while workers come and go, and what they keep."""

    def __init__(self, seed: int) -> None:
        self.rng, self.clock = random.Random(seed), ManualClock()
        self.log = MemoryLog(
            {"interactions": 3, "catalog": 1, "profiles": 1, "dead-letters": 1}, clock=self.clock
        )
        self.folds, self.store = KeptFolds(), MemoryCheckpoints()
        self.lists = MemoryLists(clock=self.clock, folds=self.folds)
        self.coming = [message for event in a_log(seed, n_views=350) if (message := encoded(event))]

    def send_some_twice(self) -> None:
        """From now on interactions have ids, and every fifth one comes again, somewhat later."""
        coming, self.coming = self.coming, []
        again: list[tuple[str, bytes, bytes | None]] = []
        for n, (topic, key, value) in enumerate(coming):
            if topic == "interactions" and value is not None:
                identified = value[:-1] + b',"event_id":"e%d"}' % n
                again += [(topic, key, identified)] * (n % 5 == 0)
                self.coming.append((topic, key, identified))
            else:
                self.coming.append((topic, key, value))
            if len(again) > 3:
                self.coming.append(again.pop(0))
        self.coming += again

    def leave_everyone_there(self) -> None:
        """From now on nobody is erased: what a rebuild may leave out of such a user's events depends on its order."""
        self.coming = [
            (topic, key, value)
            for topic, key, value in self.coming
            if topic != "profiles" or value is not None
        ]

    def happen(self, n_most: int) -> bool:
        """The next few events; whether there were any."""
        some, self.coming = self.coming[:n_most], self.coming[n_most:]
        for topic, key, value in some:
            partition = self.rng.randrange(3) if topic == "interactions" else 0
            self.clock.advance(0.001)  # so that what erased users do afterwards lies behind their tombstones
            self.log.append(topic, partition, key, value)
        return bool(some)

    def work(self, fate: Fate) -> Runner:
        """One worker's life, to its end by this fate or to the end of the log."""
        stop, source = (
            threading.Event(),
            MemorySource(self.log, list(SETTINGS.kinds()), "g", clock=self.clock),
        )
        runner = Runner(
            SETTINGS,
            fate.over(_Polled(source, self, stop)),
            fate.over(MemorySink(self.log)),
            fate.over(self.lists),
            clock=self.clock,
            telemetry=Telemetry(self.clock),
            checkpoint_ports=CheckpointPorts(fate.over(self.store), fate.over(self.folds)),
        )
        runner.run(stop)
        return runner


class _Polled:
    """With each poll something happens, until nothing more does."""

    def __init__(self, source: MemorySource, world: World, stop: threading.Event) -> None:
        self._source, self._world, self._stop = source, world, stop
        self._n_quiet = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def poll(self, n_most: int, timeout_s: float) -> Any:
        is_more = self._world.happen(self._world.rng.randrange(12))
        records = self._source.poll(n_most, timeout_s)
        self._n_quiet = 0 if records or is_more else self._n_quiet + 1
        if self._n_quiet > N_QUIET * 100:
            self._stop.set()
        return records


class Repeated:
    """The logged batches, folded from nothing."""

    def __init__(self, world: World) -> None:
        self.state, self.scoreboard = pipeline.new_state(SETTINGS.fold()), Scoreboard()
        self.seen: list[tuple[str, int, int]] = []  # topic, partition, offset of every record
        self.n_twice = 0
        for _, fold in sorted(world.folds.all.items()):
            self._fold(world, fold)

    def _fold(self, world: World, fold: Fold) -> None:
        events, log_ms = [], []
        for span in fold.spans:
            partition = world.log.partition(TopicPartition(span.topic, span.partition))
            for record in partition.read(span.begin, span.end):
                self.seen.append((record.topic, record.partition, record.offset))
                try:
                    events.append(decode(SETTINGS.kinds()[record.topic], record.key, record.value))
                except InvalidEvent:
                    continue
                log_ms.append(record.timestamp_ms)
        most = fold.max_measured or None
        self.state, info = pipeline.step(self.state, events, log_ms=log_ms, max_measured=most)
        self.scoreboard.update(info.outcomes)
        self.n_twice += info.n_skipped["interactions", "duplicate"]


def encoded(event: Any) -> tuple[str, bytes, bytes | None] | None:
    """(topic, key, value) of an event, where it has a topic here."""
    import msgspec

    if isinstance(event, Interaction):
        body = {
            "user_id": event.user_id,
            "item_id": event.item_id,
            "type": "view",
            "timestamp": event.timestamp_ms,
        }
        body |= {"value": event.value} if event.value is not None else {}
        return "interactions", event.user_id.encode(), msgspec.json.encode(body | {"context": event.context})
    if isinstance(event, ItemRetired):
        return "catalog", event.item_id.encode(), None
    if isinstance(event, UserErased):
        return "profiles", event.user_id.encode(), None
    for topic, name in (("catalog", "item_id"), ("profiles", "user_id")):
        if hasattr(event, name):
            body = {
                field: getattr(event, field) for field in event.__struct_fields__ if field != "timestamp_ms"
            }
            return (
                topic,
                getattr(event, name).encode(),
                msgspec.json.encode(body | {"timestamp": event.timestamp_ms}),
            )
    return None


@pytest.mark.parametrize("seed", range(12))
def test_every_record_once_whatever_is_interrupted(seed: int) -> None:
    """After six kills the state is that of the batches that were logged; each record of the log is in exactly one."""
    world = World(seed)
    world.send_some_twice()
    n_killed = 0
    for _ in range(6):
        try:
            world.work(Fate(world.rng.randrange(1, 120), after=world.rng.random() < 0.5))
        except KilledError:
            n_killed += 1
    runner = world.work(Fate(float("inf")))
    assert n_killed >= 3
    assert not world.coming

    folds = world.folds.all
    assert sorted(folds) == list(range(1, len(folds) + 1))
    repeated = Repeated(world)
    assert repeated.n_twice > 50
    assert {fold.max_measured for fold in folds.values()} == {0, 3}
    everything = [r for topic in SETTINGS.kinds() for r in world.log.records(topic)]
    assert sorted(repeated.seen) == sorted((r.topic, r.partition, r.offset) for r in everything)
    report = runner.report()
    assert report["state_hash"] == pipeline.state_hash(repeated.state)
    assert report["counted"] == repeated.scoreboard.n_counted


@pytest.mark.parametrize("n_calls", [25, 60, float("inf")])
def test_a_start_from_far_behind_is_repeated_as_it_was(
    n_calls: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the log's last interactions all are measured, of those before a part, as of the longest live batch."""
    monkeypatch.setattr("streamer.runner.model.N_UNHURRIED", 60)
    world = World(5)
    while world.happen(50):
        pass
    with suppress(KilledError):
        world.work(Fate(n_calls))
    runner = world.work(Fate(float("inf")))
    longest = SETTINGS.max_measured * SETTINGS.max_batch_catch_up // SETTINGS.max_batch
    limits = [fold.max_measured for _, fold in sorted(world.folds.all.items()) if fold.spans]
    assert max(limits) == longest
    assert limits[-1] == 0
    assert runner.report()["state_hash"] == pipeline.state_hash(Repeated(world).state)


@pytest.mark.parametrize("lost", ["checkpoints", "folds", "both"])
def test_what_is_lost_is_folded_from_the_log(lost: str) -> None:
    """Without the checkpoints, the log of folds, or both, every record is still folded once; in which order is another matter."""
    world = World(3)
    world.leave_everyone_there()
    world.work(Fate(float("inf")))
    n_batches = max(world.folds.all)
    if lost != "folds":
        world.store.held.clear()
    if lost != "checkpoints":
        world.folds.clear()
    world.folds.all.clear()
    runner = world.work(Fate(float("inf")))
    assert runner.report()["events"] == len(world.log.records("interactions"))
    world.log.append("interactions", 0, *encoded(Interaction("u1", "i1", "view", 1))[1:])  # type: ignore[index]
    assert world.work(Fate(float("inf"))).report()["events"] == len(world.log.records("interactions"))
    if lost == "folds":
        assert min(world.folds.all) == n_batches + 1, "the checkpoint held the rest"
