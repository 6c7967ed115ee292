"""Delivery, through the loop: clock skew, duplicates, late events, and users who were erased, on whatever way the log is read."""

import json
import logging
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from test_runner import INTERACTIONS, Worker, World, interaction

from streamer.adapters.memory import ManualClock, MemoryLists, MemoryLog, MemorySink, MemorySource
from streamer.adapters.memory.checkpoints import MemoryCheckpoints, MemoryFolds
from streamer.config import Settings
from streamer.errors import ConfigError, LogGap, Unavailable
from streamer.events import ANONYMOUS
from streamer.letters import LOG_MS
from streamer.ports import Fold, Span
from streamer.runner import CheckpointPorts, Runner
from streamer.runner.checkpoints import Checkpointer
from streamer.telemetry import Telemetry

NOW_MS = 1_700_000_000_000
SIZES: dict[str, Any] = {"max_items": 100, "max_users": 100, "max_nodes": 100, "max_taken": 1_000}


@pytest.fixture
def world() -> World:
    """Nothing has happened in it."""
    return World()


def identified(user_id: str, item_id: str, time_ms: int, event_id: str) -> tuple[bytes, bytes]:
    """Key and value of a view with an id."""
    event = {
        "event_id": event_id,
        "user_id": user_id,
        "item_id": item_id,
        "type": "view",
        "timestamp": time_ms,
    }
    return user_id.encode(), json.dumps(event).encode()


def outcomes(worker: Worker, topic: str = "interactions") -> dict[str, float]:
    """Outcome -> records, of a topic."""
    names = ("learned", "invalid", "duplicate", "erased", "refused")
    found = {name: worker.value("events_total", topic=topic, outcome=name) for name in names}
    return {name: value for name, value in found.items() if value}


# --- clock skew ---


@pytest.mark.parametrize("topic", ["interactions", "catalog", "profiles"])
def test_what_cannot_have_happened_yet_is_a_dead_letter(world: World, topic: str) -> None:
    """More than max_skew_s ahead of the log's own time, by a millisecond; the reason and the field are named."""
    body = {"user_id": "u", "item_id": "i", "type": "view"}
    for ahead_ms in (-1_000_000, 60_000, 60_001):
        value = json.dumps(body | {"timestamp": NOW_MS + ahead_ms}).encode()
        world.log.append(topic, 0, None, value, timestamp_ms=NOW_MS)
    worker = world.worker(max_skew_s=60).run()
    assert outcomes(worker, topic) == {"learned": 2, "invalid": 1}
    assert worker.value("dead_letters_total", reason="future") == 1
    (letter,) = world.log.records("dead-letters")
    headers = dict(letter.headers)
    assert (headers["reason"], headers["path"]) == (b"future", b"$.timestamp")


def test_a_log_without_times_is_not_held_against_any_clock(world: World) -> None:
    """What cannot be decided the same way on each reading is not decided."""
    world.log.append("interactions", 0, *interaction("u", "i", NOW_MS * 2), timestamp_ms=-1)
    assert outcomes(world.worker().run()) == {"learned": 1}


def test_skew_is_decided_by_the_log_on_every_reading(world: World) -> None:
    """Years later the event is not in the future any more, and is refused all the same: the state is the same."""
    world.log.append("interactions", 0, *interaction("u", "i", NOW_MS + 10**9), timestamp_ms=NOW_MS)
    world.append(interaction("u", "j", 5))
    first = world.worker().run()
    world.clock.advance(10.0**8)
    second = world.worker().run()
    assert second.state_hash == first.state_hash
    assert outcomes(second) == outcomes(first) == {"learned": 1, "invalid": 1}
    assert len(world.log.records("dead-letters")) == 1


# --- duplicates and late events ---


def test_duplicates_and_late_events_are_counted(world: World) -> None:
    """Each record is under one outcome; a late event is learned, and counted beside that."""
    world.append(identified("u", "a", 9_000, "e1"), identified("u", "b", 5_000, "e2"))
    world.append(identified("u", "a", 9_000, "e1"))
    worker = world.worker().run()
    assert outcomes(worker) == {"learned": 2, "duplicate": 1}
    assert worker.value("late_total") == 1


def test_a_duplicate_in_another_batch_leaves_the_state_as_it_was(world: World) -> None:
    """Sent again long after, while live: the hash of a run without it."""
    events = [identified(f"u{n % 3}", f"i{n % 5}", n, f"e{n}") for n in range(40)]
    world.append(*events)
    alone = world.worker().run().state_hash
    world.append(*events[10:20])
    worker = world.worker().run()
    assert worker.state_hash == alone
    assert outcomes(worker) == {"learned": 40, "duplicate": 10}


# --- erased users ---


class Shop:
    """A log whose time is set by hand, and workers that keep checkpoints."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        topics = {"interactions": 1, "catalog": 1, "profiles": 1, "dead-letters": 1}
        self.log = MemoryLog(topics, clock=self.clock)
        self.folds = MemoryFolds()
        self.lists = MemoryLists(clock=self.clock, folds=self.folds)
        self.store = MemoryCheckpoints()

    def take(self, user_id: str, item_id: str, log_ms: int) -> None:
        """Somebody takes something."""
        self.log.append("interactions", 0, *interaction(user_id, item_id, log_ms), timestamp_ms=log_ms)

    def profile(self, user_id: str, log_ms: int, **fields: Any) -> None:
        """Somebody says who he is; without fields he is erased."""
        categorical = {name: [value] for name, value in fields.items()}
        value = json.dumps({"user_id": user_id, "timestamp": log_ms, "categorical": categorical}).encode()
        self.log.append("profiles", 0, user_id.encode(), value if fields else None, timestamp_ms=log_ms)

    def work(self, *, is_keeping: bool = True) -> Runner:
        """A worker's life until the log is quiet; `is_keeping`: it leaves a checkpoint of all it read behind."""
        stop, source = threading.Event(), MemorySource(self.log, ["catalog", "profiles", "interactions"], "g")
        self.telemetry = Telemetry(self.clock)
        runner = Runner(
            Settings(text_model="none", checkpoint_interval_s=1 if is_keeping else 0, **SIZES),
            _UntilQuiet(source, stop),  # type: ignore[arg-type]
            MemorySink(self.log),
            self.lists,
            clock=self.clock,
            telemetry=self.telemetry,
            checkpoint_ports=CheckpointPorts(self.store, self.folds),
        )
        runner.run(stop)
        return runner

    def n_dead_letters(self) -> int:
        """Records that nobody could use."""
        return len(self.log.records("dead-letters"))

    def n_erased(self, topic: str) -> float | None:
        """Records left out by the last worker."""
        name, labels = "streamer_events_total", {"topic": topic, "outcome": "erased"}
        return self.telemetry.registry.get_sample_value(name, labels)


class _FullStore(MemoryCheckpoints):
    def write(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:  # noqa: ARG002
        raise Unavailable("no room")


def test_what_is_folded_again_is_counted_as_learned() -> None:
    """Its dead letters are counted: alone they would be all that a start saw, and their share far too high."""
    shop = Shop()
    shop.store = _FullStore()
    for n in range(6):
        shop.take(f"u{n}", "a", 100 + n)
    shop.log.append("interactions", 0, b"u", b"{", timestamp_ms=200)
    for n_refolded in (0, 1):
        shop.work()
        value = shop.telemetry.registry.get_sample_value
        assert (value("streamer_refolded_total") or 0) >= n_refolded
        for outcome, n_records in (("learned", 6), ("invalid", 1)):
            labels = {"topic": "interactions", "outcome": outcome}
            assert value("streamer_events_total", labels) == n_records


class _UntilQuiet:
    def __init__(self, source: MemorySource, stop: threading.Event) -> None:
        self._source, self._stop, self._n_quiet = source, stop, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def poll(self, n_most: int, timeout_s: float) -> Any:
        records = self._source.poll(n_most, timeout_s)
        self._n_quiet = 0 if records else self._n_quiet + 1
        if self._n_quiet > 20:
            self._stop.set()
        return records


def users_of(runner: Runner) -> set[str]:
    """Whom the model knows, segments aside."""
    ids = runner._model.state.ids.users
    return {user_id for user_id, _ in ids.items() if not user_id.startswith("__")}


@pytest.fixture
def shop() -> Shop:
    """Ann was there, said who she is, and was erased at 500; Bob was there before and after."""
    shop = Shop()
    for n in range(6):
        shop.take("ann" if n % 2 else "bob", f"i{n}", 100 + n)
    shop.profile("ann", 200, country="FR")
    return shop


@pytest.mark.parametrize("is_rebuilt", [True, False])
def test_an_erased_user_s_old_events_do_not_bring_him_back(shop: Shop, is_rebuilt: bool) -> None:
    """The log read anew, profiles first; or resumed from a checkpoint older than the tombstone, with old events behind it."""
    if not is_rebuilt:
        shop.work()
        assert shop.lists.read("ann") is not None
    shop.profile("ann", 500)
    shop.take("ann", "i9", 400)  # of before, on the log behind the tombstone or beside it
    shop.take("bob", "i9", 600)
    runner = shop.work(is_keeping=False)
    assert users_of(runner) == {"bob"}
    assert shop.lists.read("ann") is None
    assert shop.n_dead_letters() == 0
    assert shop.n_erased("interactions") == (4 if is_rebuilt else 1)


def test_who_comes_back_is_a_new_user(shop: Shop) -> None:
    """What he does after the tombstone is learned, and nothing else of him; on a rebuild from nothing, too."""
    shop.profile("ann", 500)
    shop.take("ann", "i8", 501)
    for _ in range(2):
        runner = shop.work()
        state = runner._model.state
        user = state.graph.users[state.ids.users.row("ann")]
        assert (user["n_events"], user["n_taken"]) == (1, 1)
        assert not user["nodes"].any()
        shop.store.held.clear()
        shop.folds.clear()


def test_a_profile_of_before_is_not_learned(shop: Shop) -> None:
    """Written late to another partition, it is read after the tombstone, and was on the log before it."""
    shop.profile("ann", 500)
    shop.profile("ann", 450, country="NO")
    assert "ann" not in users_of(shop.work())
    assert shop.n_erased("profiles") == 1


# --- a start from a checkpoint ---


def test_a_restart_writes_every_list_again(shop: Shop) -> None:
    """Where the lists are lost and the checkpoint is not, and no event comes: that of strangers, too."""
    shop.work()
    shop.lists = MemoryLists(clock=shop.clock, folds=shop.folds)
    shop.work()
    for user_id in ("ann", "bob", ANONYMOUS):
        assert shop.lists.read(user_id) is not None, user_id


def test_a_restart_knows_how_old_its_checkpoint_is(shop: Shop) -> None:
    """That of the one that it went on from, until there is a newer one."""
    value = lambda: shop.telemetry.registry.get_sample_value("streamer_checkpoint_timestamp_seconds")  # noqa: E731
    shop.work()
    kept_s = value()
    shop.clock.advance(10_000)
    shop.work()  # there is nothing new to be kept
    assert value() == kept_s != 0


def test_no_checkpoint_passes_a_deletion_that_is_not_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes with the first lists. A start from a checkpoint between would not read the tombstone again, nor delete."""
    shop.lists.write([("ann", b"of an earlier worker")], 600)
    shop.profile("ann", 500)
    found, turn = list[bytes | None](), Checkpointer.turn

    def looking(checkpointer: Checkpointer) -> None:
        found.append(shop.lists.read("ann"))
        turn(checkpointer)

    monkeypatch.setattr(Checkpointer, "turn", looking)
    shop.work()
    assert found
    assert set(found) == {None}


# --- two workers ---


def test_a_worker_beside_a_live_one_leaves_what_that_needs(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its newest batches lie behind the end of the log as we saw it: it is at work, and the log of folds is not to be cleared."""

    def full(*_: Any) -> None:
        raise Unavailable("full")

    monkeypatch.setattr(shop.store, "write", full)
    shop.work()
    theirs, read = shop.folds.last() + 1, shop.folds.read

    def while_they_fold(after: int, n_max: int) -> list[Fold]:
        if shop.folds.last() < theirs:
            shop.take("bob", "i9", 600)
            shop.folds.append(Fold(theirs, (Span("interactions", 0, 6, 7),), 1))
        return read(after, n_max)

    monkeypatch.setattr(shop.folds, "read", while_they_fold)
    with pytest.raises(ConfigError, match="another worker"):
        shop.work()
    assert [fold.number for fold in read(0, 1000)] == list(range(1, theirs + 1))


# --- log truncation ---


@pytest.mark.parametrize("on_log_gap", ["continue", "stop"])
def test_a_gap_is_never_silent(world: World, on_log_gap: str, caplog: pytest.LogCaptureFixture) -> None:
    """Retention overtook the worker while he was away: metric, log line with the numbers, and the decision of the setting."""
    caplog.set_level(logging.WARNING)
    world.append_many(30)
    world.worker().run()
    world.append_many(20)
    world.log.truncate(INTERACTIONS, 40)
    worker = world.worker(on_log_gap=on_log_gap)
    if on_log_gap == "stop":
        with pytest.raises(LogGap, match=r"expected offset 30, got 40: 10 records are gone; stopped because"):
            worker.run()
    else:
        worker.run()
        assert outcomes(worker) == {"learned": 10}
    assert worker.value("log_gaps_total", topic="interactions") == 1
    assert worker.value("log_gap_records_total", topic="interactions") == 10
    (line,) = [record.__dict__ for record in caplog.records if record.getMessage() == "log_gap"]
    wanted = {"topic": "interactions", "partition": 0, "expected": 30, "got": 40, "n_lost": 10}
    assert {name: line[name] for name in wanted} == wanted
    assert line["levelname"] == "ERROR"


@pytest.mark.parametrize("is_rebuilt", [True, False])
def test_a_replayed_letter_does_not_bring_an_erased_user_back(shop: Shop, is_rebuilt: bool) -> None:
    """It is a new record, of an old message: older than the tombstone. A message that was written after it is learned."""
    if not is_rebuilt:
        shop.work()
    shop.profile("ann", 500)
    for user_id, written_ms in (("ann", 500), ("bob", 400), ("carl", 501)):
        if user_id == "carl":
            shop.profile("carl", 500)
        shop.log.append(
            "interactions",
            0,
            *interaction(user_id, "i9", 1),
            timestamp_ms=900,
            headers={LOG_MS: b"%d" % written_ms},
        )
    runner = shop.work(is_keeping=False)
    assert users_of(runner) == {"bob", "carl"}
    assert shop.lists.read("ann") is None
    assert shop.n_erased("interactions") == (4 if is_rebuilt else 1)


def test_a_gap_behind_a_checkpoint_is_counted_once(shop: Shop) -> None:
    """Retention went past the place from which the fold goes on: reported at the start, and not again with the first record."""
    shop.work()
    n_before = len(shop.log.records("interactions"))
    for n in range(10):
        shop.take("dan", f"i{n}", 1_000 + n)
    shop.log.truncate(INTERACTIONS, n_before + 4)
    shop.work()
    read, topic = shop.telemetry.registry.get_sample_value, {"topic": "interactions"}
    assert read("streamer_log_gaps_total", topic) == 1
    assert read("streamer_log_gap_records_total", topic) == 4
    assert read("streamer_events_total", {**topic, "outcome": "learned"}) == 6
