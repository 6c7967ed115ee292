"""Vectors from the fold to their store: whose are written, when, of which version; and whose are taken away."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from streamer import pipeline
from streamer.adapters.memory import (
    ManualClock,
    MemoryLists,
    MemoryLog,
    MemorySink,
    MemorySource,
    SystemClock,
)
from streamer.adapters.memory.vectors import MemoryVectors
from streamer.config import Settings
from streamer.events import CatalogItem, Interaction, ItemRetired, Profile, UserErased
from streamer.pipeline import State
from streamer.ports import Record, VectorEntry
from streamer.propagate.learner import Learner
from streamer.runner import Runner
from streamer.runner.patience import Patience
from streamer.runner.vectors import ENCODERS_INTERVAL_S, INTERVAL_S, VectorWriter
from streamer.telemetry import Telemetry
from streamer.training import ThreadTrainer

TIMEOUT_S = 60.0
SIZES: dict[str, Any] = {
    "max_items": 200,
    "max_users": 200,
    "max_nodes": 100,
    "max_taken": 10_000,
    "text_model": "none",
}


class World:
    """A fold, a store of vectors, and who brings one to the other."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.telemetry = Telemetry(self.clock)
        self.vectors = MemoryVectors(clock=self.clock)
        self.settings = Settings(**{**SIZES, **settings})
        self.state = pipeline.new_state(self.settings.fold())
        stop = threading.Event()
        patience = Patience(stop, 1.0, 1.0, self.clock, self.telemetry)
        self.writer = VectorWriter(
            self.settings, self.vectors, patience, self.clock, self.telemetry, lambda: None
        )

    def fold(self, *events: Any) -> None:
        """A batch."""
        self.state, info = pipeline.step(self.state, list(events))
        self.writer.follow(self.state, info)

    def new_weights(self, version: int) -> None:
        """Made-up tables for all items there are."""
        rng = np.random.default_rng(version)
        old = self.state.graph.vectors
        n_items = self.state.ids.items.n_rows
        made = {
            name: rng.normal(0.0, 0.3, (n_items, *getattr(old, name).shape[1:])).astype(np.float32)
            for name in ("x", "h", "bias")
        }
        same = ("gap_bias", "pos_bias", "gap_value", "pos_value", "rating_value", "mix", "self_loop", "h_0")
        made |= {name: rng.normal(0.0, 0.3, getattr(old, name).shape).astype(np.float32) for name in same}
        tables = old._replace(**made, version=version)
        self.state = self.state._replace(graph=self.state.graph._replace(vectors=tables))

    def write(self) -> None:
        """When it is time again."""
        self.clock.advance(INTERVAL_S)
        self.writer.write(self.state)

    def value(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        return self.telemetry.registry.get_sample_value(f"streamer_{name}", labels)


def floats(entry: VectorEntry | None) -> np.ndarray:
    """The numbers of an entry that is there."""
    assert entry is not None
    return np.frombuffer(entry.vector, "<f2")


def view(user_id: str, item_id: str, time_ms: int = 1_000) -> Interaction:
    """An interaction."""
    return Interaction(user_id, item_id, "view", time_ms)


@pytest.fixture
def world() -> World:
    """Two users, three items; u took a and b, v took b; c was only announced."""
    world = World()
    world.fold(
        CatalogItem(item_id="c", categorical={"kind": ["lamp"]}, timestamp_ms=1),
        Profile(user_id="u", categorical={"country": ["NO"]}, timestamp_ms=1),
        view("u", "a", 10_000),
        view("u", "b", 30_000),
        view("v", "b", 20_000),
    )
    return world


def test_before_the_first_weights_nothing_is_written(world: World) -> None:
    """Version 0 has no vectors."""
    world.write()
    assert world.vectors.read_user("u") is None
    assert world.vectors.read_item("a") is None


def test_an_entry_says_what_it_is(world: World) -> None:
    """h_u and h_i as float16, the version, the newest event of each, and the nodes of its features."""
    world.new_weights(7)
    world.write()
    tables = world.state.graph.vectors
    user = world.vectors.read_user("u")
    assert user is not None
    row = np.array([world.state.ids.users.row("u")], np.int32)
    expected = pipeline.user_vectors(world.state, row)[0].astype("<f2")
    np.testing.assert_array_equal(floats(user), expected)
    assert (user.version, user.event_time_ms) == (7, 30_000)
    assert json.loads(user.fields["nodes"]) == ["profile:country=NO"]
    for item_id, event_time_ms, nodes in (("a", 10_000, []), ("b", 30_000, []), ("c", -1, ["kind=lamp"])):
        item = world.vectors.read_item(item_id)
        assert item is not None
        np.testing.assert_array_equal(
            floats(item), tables.h[world.state.ids.items.row(item_id)].astype("<f2")
        )
        assert (item.version, item.event_time_ms) == (7, event_time_ms)
        assert json.loads(item.fields["nodes"]) == nodes
    assert world.value("vectors_written_total", owner="user") == 2
    assert world.value("vectors_written_total", owner="item") == 3


def test_weights_too_large_for_half_a_float_stay_finite(world: World) -> None:
    """Readers refuse what is not finite."""
    world.new_weights(1)
    world.state.graph.vectors.h[:] = 1e9
    world.write()
    assert np.isfinite(floats(world.vectors.read_item("a"))).all()


def test_an_item_newer_than_the_weights_waits_for_the_next(world: World) -> None:
    """It has no vector of this version; it gets one of the next by itself."""
    world.new_weights(1)
    world.fold(view("u", "later"))
    world.write()
    assert world.vectors.read_item("later") is None
    world.new_weights(2)
    world.write()
    entry = world.vectors.read_item("later")
    assert entry is not None
    assert entry.version == 2


def test_an_event_renews_its_user_and_its_item(world: World) -> None:
    """And nobody else, while the weights are the same."""
    world.new_weights(1)
    world.write()
    world.fold(view("v", "c", 90_000))
    world.write()
    user, item = world.vectors.read_user("v"), world.vectors.read_item("c")
    assert user is not None
    assert item is not None
    assert (user.event_time_ms, item.event_time_ms) == (90_000, 90_000)
    assert world.value("vectors_written_total", owner="user") == 3
    assert world.value("vectors_written_total", owner="item") == 4


def test_new_weights_renew_everything_a_few_at_a_time() -> None:
    """No more than the setting allows; those that events touched go first; the backlog says what is left."""
    world = World(vectors_per_s=200)  # ten a turn
    world.fold(*(view(f"u{n}", f"i{n}") for n in range(40)))
    world.new_weights(1)
    written = []
    for _ in range(10):
        world.write()
        written.append(sum(world.value("vectors_written_total", owner=o) or 0 for o in ("user", "item")))
    assert written == [10, 20, 30, 40, 50, 60, 70, 80, 80, 80]
    world.new_weights(2)
    world.fold(view("u39", "i39", 5_000))
    world.write()
    entry = world.vectors.read_user("u39")
    assert entry is not None
    assert entry.version == 2
    world.writer.show()
    assert world.value("vector_backlog") == 70


def test_the_interval_is_kept(world: World) -> None:
    """However often it is called."""
    world.new_weights(1)
    world.write()
    world.fold(view("v", "c"))
    world.clock.advance(INTERVAL_S / 2)
    world.writer.write(world.state)
    assert world.value("vectors_written_total", owner="user") == 2


def test_none_are_written_where_none_are_wanted() -> None:
    """With `vectors_per_s` at 0 no vector is written."""
    world = World(vectors_per_s=0)
    world.fold(view("u", "a"))
    world.new_weights(1)
    world.write()
    assert world.vectors.read_user("u") is None


def test_who_was_erased_or_retired_is_not_written_again(world: World) -> None:
    """Deleted once, and left out by all later versions, also where the deletion came while they waited."""
    world.new_weights(1)
    world.write()
    world.fold(view("u", "a"), ItemRetired("a"), UserErased("u"))
    world.writer.delete(["u"], ["a"])
    for version in (2, 3):
        world.new_weights(version)
        world.write()
    assert world.vectors.read_user("u") is None
    assert world.vectors.read_item("a") is None
    assert world.vectors.read_user("v") is not None
    world.fold(view("u", "c", 70_000), CatalogItem(item_id="a", timestamp_ms=2))
    world.write()
    back, restored = world.vectors.read_user("u"), world.vectors.read_item("a")
    assert back is not None
    assert back.event_time_ms == 70_000
    assert restored is not None


def test_after_a_start_no_retired_item_is_written(world: World) -> None:
    """Everything is due then, and its row is still there."""
    world.fold(ItemRetired("a"))
    world.new_weights(1)
    world.writer.restored(world.state)
    world.write()
    assert world.vectors.read_item("a") is None
    assert world.vectors.read_item("b") is not None


def test_a_newcomer_in_an_evicted_item_s_row_has_nothing_of_it() -> None:
    """No vector of these weights, and no event of its own yet."""
    world = World(max_items=16)
    world.fold(*(view("u", f"i{n}", 1_000 * n) for n in range(16)))
    world.new_weights(1)
    world.fold(CatalogItem(item_id="new", timestamp_ms=1))
    assert world.state.ids.items.row("new") == 0
    world.write()
    assert world.vectors.read_item("new") is None
    world.new_weights(2)
    world.write()
    entry = world.vectors.read_item("new")
    assert entry is not None
    assert entry.event_time_ms == -1


def test_a_row_that_changed_hands_is_its_new_owner_s(world: World) -> None:
    """Erased and given away within one batch: the vector goes to the newcomer's key."""
    world.new_weights(1)
    world.fold(UserErased("u"), view("new", "c", 80_000))
    assert world.state.ids.users.row("new") == 0
    world.write()
    entry = world.vectors.read_user("new")
    assert entry is not None
    assert entry.event_time_ms == 80_000
    assert world.vectors.read_user("u") is None


def test_a_store_that_is_away_is_waited_for(world: World) -> None:
    """What was planned is written when it is back."""
    world.new_weights(1)
    world.vectors.down = True
    back_at_s = world.clock.monotonic_s() + 5.0

    def sleep(seconds: float) -> None:
        world.clock.advance(seconds)
        world.vectors.down = world.clock.monotonic_s() < back_at_s

    world.clock.sleep = sleep  # type: ignore[method-assign]
    world.write()
    assert world.vectors.read_user("u") is not None
    assert (world.value("unavailable_total", dependency="redis") or 0) > 1


def test_the_encoders_state_is_readable_and_rewritten_when_it_changed(world: World) -> None:
    """Once at the start, then every ten seconds at most, and only after catalog, profiles or contexts."""
    world.write()
    first = world.vectors.read_encoders()
    assert first is not None
    assert "kind" in json.dumps(json.loads(first))
    world.vectors.write_encoders(b"{}")
    world.fold(view("u", "c"))
    world.clock.advance(ENCODERS_INTERVAL_S)
    world.write()
    assert world.vectors.read_encoders() == b"{}"
    world.fold(CatalogItem(item_id="d", categorical={"kind": ["sofa"]}, timestamp_ms=1))
    world.write()
    assert b"sofa" in (world.vectors.read_encoders() or b"")


# --- a whole worker ---


class _Source(MemorySource):
    """Stops its worker when there is nothing to read and `look` says True, or at the deadline."""

    def __init__(self, log: MemoryLog, stop: threading.Event, look: Callable[[], bool]) -> None:
        super().__init__(log, ["interactions", "catalog", "profiles"], "streamer")
        self._stop, self._look = stop, look
        self._give_up_at_s = time.monotonic() + TIMEOUT_S

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        records = super().poll(max_records, timeout_s)
        assert time.monotonic() < self._give_up_at_s, "it did not come to rest"
        if not records and self._look():
            self._stop.set()
        return records


@pytest.fixture
def trainers() -> Iterator[Callable[..., ThreadTrainer]]:
    """Makes trainers, and closes them."""
    made: list[ThreadTrainer] = []

    def make(*, waits: bool) -> ThreadTrainer:
        made.append(ThreadTrainer(Learner(), waits=waits))
        return made[-1]

    yield make
    for trainer in made:
        trainer.close()


N_EVENTS = 300
INTERVAL = 64


def walks() -> list[Interaction]:
    """7 users walk through 11 items, once each and then again."""
    return [view(f"u{n % 7}", f"i{n * 5 % 11}", 1_000 * n) for n in range(N_EVENTS)]


def test_a_worker_trains_and_publishes(trainers: Callable[..., ThreadTrainer]) -> None:
    """While it catches up it waits for each round, though told not to: its state is that of a fold that always waits.

    Then the vectors of all users and items are in the store, of the version that the lists name.
    """
    log = MemoryLog(dict.fromkeys(("interactions", "catalog", "profiles", "dead-letters"), 1))
    for event in walks():
        fields = {"user_id": event.user_id, "item_id": event.item_id, "type": "view"}
        value = json.dumps({**fields, "timestamp": event.timestamp_ms}).encode()
        log.append("interactions", 0, event.user_id.encode(), value)
    settings = Settings(**SIZES, training_interval=INTERVAL)
    stop, telemetry, lists, vectors = (
        threading.Event(),
        Telemetry(SystemClock()),
        MemoryLists(),
        MemoryVectors(),
    )

    def is_at_rest() -> bool:
        return all(vectors.read_user(f"u{n}") for n in range(7)) and all(
            vectors.read_item(f"i{n}") for n in range(11)
        )

    runner = Runner(
        settings,
        _Source(log, stop, is_at_rest),
        MemorySink(log),
        lists,
        clock=SystemClock(),
        telemetry=telemetry,
        trainer=trainers(waits=False),
        vectors=vectors,
    )
    runner.run(stop)

    def folded() -> State:
        state = pipeline.new_state(settings.fold(), trainers(waits=True))
        return pipeline.step(state, walks())[0]

    expected = folded()
    assert runner.report()["state_hash"] == pipeline.state_hash(expected)
    version = expected.graph.vectors.version
    assert version == N_EVENTS // INTERVAL - 1  # the last round is on its way
    published = json.loads(lists.read("u3") or b"")
    assert published["model"].endswith(f"+v{version}")
    row = np.array([expected.ids.users.row("u3")], np.int32)
    entry = vectors.read_user("u3")
    np.testing.assert_array_equal(floats(entry), pipeline.user_vectors(expected, row)[0].astype("<f2"))
    assert entry is not None
    assert entry.version == version
    read = telemetry.registry.get_sample_value
    assert read("streamer_vector_version") == version
    # the last round may end before or after the worker's figures are shown for the last time
    assert read("streamer_training_rounds_total") in (version, N_EVENTS // INTERVAL)
    assert read("streamer_training_late_total") == 0


def test_without_vectors_a_worker_works_as_before() -> None:
    """No trainer, no store: lists name version 0."""
    log = MemoryLog(dict.fromkeys(("interactions", "catalog", "profiles", "dead-letters"), 1))
    value = json.dumps({"user_id": "u", "item_id": "i", "type": "view", "timestamp": 1}).encode()
    log.append("interactions", 0, b"u", value)
    settings = Settings(**SIZES, without=("vectors",))
    stop, lists, clock = threading.Event(), MemoryLists(), SystemClock()
    source = _Source(log, stop, lambda: lists.read("u") is not None)
    Runner(settings, source, MemorySink(log), lists, clock=clock, telemetry=Telemetry(clock)).run(stop)
    assert json.loads(lists.read("u") or b"")["model"].endswith("+v0")
