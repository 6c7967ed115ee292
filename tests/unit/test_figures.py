"""What the worker tells of the parts that learn: guard, training, drifts; and how long new items wait."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from streamer import pipeline
from streamer.adapters.memory import ManualClock
from streamer.encode.drift import Drift
from streamer.events import CatalogItem, Interaction, Profile
from streamer.graph import FoldSettings
from streamer.measure import Scoreboard
from streamer.outcomes import COUNTED, MEASURED
from streamer.pipeline import State, StepInfo
from streamer.ranker.guard import EVENTS, IS_ON, MIXTURE_HITS, RANKER_HITS
from streamer.runner.drifts import MAX_FIELDS, Drifts
from streamer.runner.figures import Figures
from streamer.telemetry import Telemetry
from streamer.training import ThreadTrainer

SIZES = FoldSettings(max_items=64, max_users=64, max_nodes=64, max_taken=2_048, n_neighbours=16)


class World:
    """A clock, metrics, and who sets them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.telemetry = Telemetry(self.clock)
        self.figures = Figures(self.clock, self.telemetry)

    def show(self, state: State, trainer: Any = None) -> None:
        """Set the gauges."""
        self.figures.show(state, Scoreboard(), cast("ThreadTrainer | None", trainer))

    def value(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        return self.telemetry.registry.get_sample_value(f"streamer_{name}", labels)


@pytest.fixture
def world() -> World:
    """Nothing has happened in it."""
    return World()


def folded(*events: Any) -> tuple[State, StepInfo]:
    """State and info of one batch from nothing."""
    return pipeline.step(pipeline.new_state(SIZES), events)


def test_the_guard_is_shown(world: World) -> None:
    """By hand: 40 hits against 30 in 100 events are an advantage of a tenth."""
    state, _ = folded()
    world.show(state)
    assert world.value("ranker_on") == 0
    state.ranker.guard[[EVENTS, RANKER_HITS, MIXTURE_HITS, IS_ON]] = 100.0, 40.0, 30.0, 1.0
    world.show(state)
    assert world.value("ranker_on") == 1
    assert world.value("ranker_advantage") == pytest.approx(0.1)


def test_rounds_of_training_are_counted_once(world: World) -> None:
    """However often the gauges are set."""
    state, _ = folded()
    trainer = SimpleNamespace(n_rounds=3, n_late=1, take_seconds=lambda: [0.5, 0.25])
    world.show(state, trainer)
    trainer.n_rounds, trainer.take_seconds = 4, list
    world.show(state, trainer)
    world.show(state, trainer)
    assert (world.value("training_rounds_total"), world.value("training_late_total")) == (4, 1)
    assert (world.value("training_seconds_count"), world.value("training_seconds_sum")) == (2, 0.75)
    assert world.value("vector_version") == 0


def test_erased_users_who_are_forgotten_are_counted_and_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Their old events would be learned again by a rebuild: by the third of two who fit, and the fourth, two are forgotten."""
    state = pipeline.new_state(SIZES._replace(max_erased=2))
    for n in range(4):
        state.erased.note(f"u{n}", 10 + n)
        world.show(state)
        world.show(state)
        assert world.value("erased_forgotten_total") == max(0, n - 1)
    (told,) = [record for record in caplog.records if record.message == "erased_users_forgotten"]
    assert told.levelno == logging.WARNING
    assert "max_erased" in str(vars(told)["hint"])


def test_features_without_room_are_counted_and_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The events count all the same, so nothing else would tell that new categories mean nothing any more."""
    state = pipeline.new_state(SIZES._replace(max_nodes=4))
    for n in range(3):
        fields = {f"f{n}_{m}": 1.0 for m in range(63)}
        item = CatalogItem(
            item_id=f"i{n}", categorical={"kind": ["a", "b"]}, numerical=fields, timestamp_ms=1
        )
        state, _ = pipeline.step(state, [item])
        world.show(state)
        world.show(state)
    assert (world.value("nodes"), world.value("nodes_refused_total")) == (4, state.ids.nodes.n_refused)
    assert world.value("fields_refused_total") == state.encoders.n_fields_refused > 0
    told = [record.message for record in caplog.records if record.message.endswith("_refused")]
    assert told == ["nodes_refused", "fields_refused"]


def test_takes_without_room_are_counted_and_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Six of ten items of a user fit into a pool of eight; of another none. What was so before a restart is not counted."""
    state = pipeline.new_state(SIZES._replace(max_taken=8))
    for n, user_id in enumerate("ab"):
        log = [Interaction(user_id, f"i{item}", "view", item) for item in range(10)]
        state, _ = pipeline.step(state, log)
        world.show(state)
        world.show(state)
        assert world.value("taken_unrecorded_total") == (4, 14)[n]
    (told,) = [record for record in caplog.records if record.message == "takes_unrecorded"]
    assert told.levelno == logging.WARNING
    assert "max_taken" in str(vars(told)["hint"])
    restarted = World()
    restarted.figures.restored(state, Scoreboard())
    restarted.show(state)
    assert restarted.value("taken_unrecorded_total") == 0


def test_what_was_forgotten_before_a_restart_is_not_counted_again(world: World) -> None:
    """The count is of the process."""
    state = pipeline.new_state(SIZES._replace(max_erased=1))
    state.erased.note("u0", 10)
    state.erased.note("u1", 11)
    world.figures.restored(state, Scoreboard())
    world.show(state)
    assert world.value("erased_forgotten_total") == 0


def test_what_was_counted_before_a_restart_is_not_counted_again(world: World) -> None:
    """Counters are of the process: a rate() over the five million of its predecessor would be millions a second."""
    state, info = folded(Interaction("u", "a", "view", 1))
    scoreboard = Scoreboard()
    before = info.outcomes._replace(flags=np.full(1, COUNTED | MEASURED, info.outcomes.flags.dtype))
    scoreboard.update(before, None)
    world.figures.restored(state, scoreboard)
    world.figures.show(state, scoreboard, None)
    assert (world.value("counted_total"), world.value("measured_total")) == (0, 0)
    scoreboard.update(before, None)
    world.figures.show(state, scoreboard, None)
    assert (world.value("counted_total"), world.value("measured_total")) == (1, 1)


def test_users_who_stand_for_segments_are_no_users(world: World) -> None:
    """One user with two values of a profile is one user."""
    state, _ = folded(Profile(user_id="u", categorical={"country": ["FR", "NO"]}, timestamp_ms=1))
    world.show(state)
    assert len(state.ids.users) == 3
    assert world.value("users") == 1


def test_new_items_are_timed_only_while_live(world: World) -> None:
    """From their first event on the catalog to the first list with them; those that were read at the start never."""
    state, info = folded(CatalogItem(item_id="old", timestamp_ms=1))
    world.figures.folded(info, world.clock.monotonic_s(), is_serving=False, is_live=False)
    received_s = world.clock.monotonic_s()
    state, info = pipeline.step(state, [CatalogItem(item_id=item, timestamp_ms=1) for item in ("old", "new")])
    world.figures.folded(info, received_s, is_serving=True, is_live=True)
    world.clock.advance(1.5)
    rows = np.array([[0, 1, -1]], np.int32)
    world.figures.listed(rows, np.array([[False, True, True]]), 1)
    world.figures.listed(rows, np.array([[False, False, True]]), 0)
    world.show(state)
    assert (world.value("item_to_list_seconds_count"), world.value("item_to_list_seconds_sum")) == (1, 1.5)
    assert (world.value("lists_written_total"), world.value("explored_total")) == (2, 1)
    assert world.value("cold_list_share") == 0.5


def test_items_that_are_not_available_do_not_wait(world: World) -> None:
    """They cannot be listed: their time begins when they can."""
    _, info = folded(
        CatalogItem(item_id="later", available=False, timestamp_ms=1), Interaction("u", "later", "view", 2)
    )
    assert info.described_item_rows.tolist() == []


def drift(field: str) -> Drift:
    """A change in a field."""
    return Drift(field, "numerical", 100, 1.0, 2.0)


def test_drifts_are_counted_and_told_once_a_minute(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The first at once, then one line a field and minute with the number of changes since; each is in the counter."""
    drifts = Drifts(world.clock, world.telemetry)
    with caplog.at_level(logging.WARNING, "streamer.runner"):
        drifts.see([drift("price")])
        world.clock.advance(30)
        drifts.see([drift("price"), drift("price"), drift("size")])
        assert [(r.field, r.n) for r in caplog.records] == [("price", 1), ("size", 1)]  # type: ignore[attr-defined]
        world.clock.advance(29)
        drifts.see([])
        assert len(caplog.records) == 2
        world.clock.advance(1)
        drifts.see([])
        drifts.see([])
    assert [(r.message, r.field, r.n) for r in caplog.records][2:] == [("drift", "price", 2)]  # type: ignore[attr-defined]
    assert world.value("drift_total", field="price") == 3
    assert world.value("drift_total", field="size") == 1


def test_fields_beyond_the_cap_are_counted_together(world: World) -> None:
    """The names of fields are the producers' word: they must not make series without end."""
    drifts = Drifts(world.clock, world.telemetry)
    drifts.see([drift(f"f{n}") for n in range(MAX_FIELDS + 10)])
    drifts.see([drift("f0"), drift("f70")])
    assert world.value("drift_total", field="f0") == 2
    assert world.value("drift_total", field="other") == 11
    (family,) = [f for f in world.telemetry.registry.collect() if f.name == "streamer_drift"]
    assert len({sample.labels["field"] for sample in family.samples}) == MAX_FIELDS + 1


def test_only_what_happened_lately_has_an_age(world: World) -> None:
    """Of events a second ago, in an hour, and a year ago, the first alone says how soon lists follow; all were received."""
    now_ms, now_s = world.clock.now_ms(), world.clock.monotonic_s()
    times = np.array([now_ms - 1_000, now_ms + 3_600_000, now_ms - 365 * 86_400_000], np.int64)
    world.figures.followed(times, now_s, now_ms)
    assert world.value("event_to_list_seconds_count", origin="event_time") == 1
    assert world.value("event_to_list_seconds_sum", origin="event_time") == 1.0
    assert world.value("event_to_list_seconds_count", origin="received") == 3
