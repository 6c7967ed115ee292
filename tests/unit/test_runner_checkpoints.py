"""When a worker takes a checkpoint, what becomes of those it took before, and what it does when they cannot be written."""

import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from streamer.adapters.memory import ManualClock, MemoryLog, MemorySink
from streamer.adapters.memory.checkpoints import MemoryCheckpoints, MemoryFolds
from streamer.checkpoint import pointer
from streamer.config import Settings
from streamer.errors import ConfigError, Unavailable
from streamer.events import Interaction
from streamer.ports import Fold, Record, TopicPartition
from streamer.runner import CheckpointPorts
from streamer.runner.checkpoints import RETRY_S, Checkpointer
from streamer.runner.model import Model
from streamer.runner.outgoing import Message, Outgoing
from streamer.runner.patience import Patience
from streamer.runner.positions import Positions
from streamer.runner.recovery import newest_good
from streamer.telemetry import Telemetry

TP = TopicPartition("interactions", 0)
INTERVAL_S = 60
SIZES: dict[str, Any] = {"max_items": 100, "max_users": 100, "max_nodes": 100, "max_taken": 1024}
SETTINGS = Settings(
    **SIZES,
    text_model="none",
    without=("vectors",),
    checkpoint_interval_s=INTERVAL_S,
    checkpoint_interval_events=50,
)


class Desk:
    """A checkpointer over a model and memory twins."""

    def __init__(self, store: MemoryCheckpoints | None = None) -> None:
        self.clock, self.store, self.folds = ManualClock(), store or MemoryCheckpoints(), MemoryFolds()
        self.telemetry, self.model = Telemetry(self.clock), Model(SETTINGS)
        self.positions = Positions({TP: 0}, {})
        self.log = MemoryLog({"dead-letters": 1}, clock=self.clock)
        patience = Patience(threading.Event(), 1.0, 1.0, self.clock, self.telemetry)
        self.outgoing = Outgoing(MemorySink(self.log), patience)
        self.keeper = Checkpointer(
            SETTINGS,
            CheckpointPorts(self.store, self.folds),
            self.model,
            self.positions,
            self.outgoing,
            self.clock,
            self.telemetry,
        )
        self.n = 0

    def fold(self, n_events: int) -> Fold | None:
        """One batch, as the loop does it."""
        events = [Interaction(f"u{n % 7}", f"i{n % 11}", "view", n) for n in range(self.n, self.n + n_events)]
        records = [Record(*TP, n, 0, None, None) for n in range(self.n, self.n + n_events)]
        self.positions.advance(records)
        self.n += n_events
        if events:
            self.model.fold(events, self.n, is_serving=False)
        fold = self.keeper.count(records)
        if fold is not None:
            self.folds.append(fold)
        return fold

    def turn(self) -> None:
        """Until what the thread does is done."""
        for _ in range(3):
            self.keeper.turn()
            self.keeper._writer._thread.submit(lambda: None).result()

    def kept(self) -> list[int]:
        """Batches in each checkpoint that counts, the newest first."""
        return [one.n_batches for one in pointer.decode(self.store.read_pointer())]

    def value(self, name: str) -> float | None:
        """A metric."""
        return self.telemetry.registry.get_sample_value(f"streamer_{name}")


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Nothing was folded yet."""
    desk = Desk()
    yield desk
    desk.keeper.close()


def test_the_first_one_comes_at_once_the_next_when_it_is_time(desk: Desk) -> None:
    """By seconds, or by records; never one that would hold the same as the last one."""
    desk.turn()
    assert desk.kept() == []
    assert desk.fold(0) is None
    desk.fold(3)
    desk.turn()
    assert desk.kept() == [1]
    desk.fold(3)
    desk.turn()
    assert desk.kept() == [1]
    desk.clock.advance(INTERVAL_S)
    desk.turn()
    assert desk.kept() == [2, 1]
    desk.clock.advance(10 * INTERVAL_S)
    desk.turn()
    assert desk.kept() == [2, 1]
    desk.fold(30)
    desk.turn()
    desk.fold(30)
    desk.turn()
    assert desk.kept() == [3, 2], "it was long due"
    desk.fold(20)
    desk.turn()
    assert desk.kept() == [5, 3], "after 50 records"


def test_older_ones_and_their_batches_go(desk: Desk) -> None:
    """Two count; nothing else is left in the store, and the log of folds reaches back to the older of them."""
    desk.store.write("debris-of-a-crash", [b"x"])
    for _ in range(4):
        desk.fold(2)
        desk.fold(2)
        desk.keeper.at_the_end()
    assert desk.kept() == [8, 6]
    assert len(desk.store.names()) == 2
    assert [fold.number for fold in desk.folds.read(0, 99)] == [7, 8]
    assert desk.value("checkpoint_bytes") == len(desk.store.held[max(desk.store.held)])


def test_a_store_that_is_away_stops_nothing(desk: Desk) -> None:
    """It is counted, tried again after a while, and the checkpoint before stays."""
    desk.fold(1)
    desk.turn()
    desk.store.down = True
    desk.fold(1)
    desk.clock.advance(INTERVAL_S)
    desk.turn()
    desk.turn()
    assert desk.value("checkpoint_failures_total") == 1
    desk.store.down = False
    assert desk.kept() == [1]
    desk.clock.advance(RETRY_S)
    desk.turn()
    assert desk.kept() == [2, 1]


class _Full(MemoryCheckpoints):
    """Holds what came before it was full, as a server or a disk does; what counts is written in any case."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = True

    def write(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        super().write(name, pieces)
        if self.is_full:
            self.held[name] = self.held[name][:100]
            raise Unavailable("full")


class _Small(MemoryCheckpoints):
    """Holds nothing of the size of a model."""

    n_tries = 0

    def check_size(self, n_bytes: int) -> None:
        assert n_bytes > 1000
        self.n_tries += 1
        raise ConfigError("set checkpoint_url")

    def write(self, *_: Any) -> None:
        raise AssertionError("what is too large is not sent")


class _LosesAnswers(MemoryCheckpoints):
    """Writes the pointer, and goes away before it says so."""

    loses = True

    def write_pointer(self, pointer: bytes) -> None:
        super().write_pointer(pointer)
        if self.loses:
            raise Unavailable("no answer")


def test_nothing_is_left_of_one_that_failed() -> None:
    """It would fill the store: no checkpoint, nor list, would find room any more. Even the first, which nothing follows."""
    store = _Full()
    desk = Desk(store)
    desk.fold(1)
    desk.turn()
    assert desk.value("checkpoint_failures_total") == 1
    assert store.names() == set()
    store.is_full = False
    desk.clock.advance(RETRY_S)
    desk.turn()
    assert desk.kept() == [1]
    desk.keeper.close()


def test_one_that_is_too_large_waits_for_its_time(caplog: pytest.LogCaptureFixture) -> None:
    """No waiting heals it: it is not sent, the log says what to set, and the next copy is not made before the next is due."""
    store = _Small()
    desk = Desk(store)
    desk.fold(1)
    desk.turn()
    assert store.n_tries == 1
    assert [record.__dict__["error"] for record in caplog.records if record.msg == "checkpoint_failed"] == [
        "set checkpoint_url"
    ]
    desk.clock.advance(INTERVAL_S - 1)
    desk.turn()
    assert store.n_tries == 1
    desk.clock.advance(1)
    desk.turn()
    assert store.n_tries == 2
    assert desk.value("checkpoint_failures_total") == 2
    desk.keeper.close()


def test_what_could_not_be_removed_is_removed_by_the_next() -> None:
    """The store went away in the middle: the next one, which fails itself, removes what both left."""
    store = _Full()
    delete, tries = store.delete, list[str]()

    def away_once(name: str) -> None:
        tries.append(name)
        if len(tries) == 1:
            raise Unavailable("away")
        delete(name)

    store.delete = away_once  # type: ignore[method-assign]
    desk = Desk(store)
    desk.fold(1)
    desk.turn()
    assert len(store.names()) == 1
    desk.clock.advance(RETRY_S)
    desk.turn()
    assert len(set(tries)) == 2
    assert store.names() == set()
    desk.keeper.close()


def test_one_that_counts_stays_whatever_failed_then() -> None:
    """The answer to the pointer's write was lost: what it names is whole, and stays."""
    store = _LosesAnswers()
    desk = Desk(store)
    desk.fold(1)
    desk.turn()
    assert desk.value("checkpoint_failures_total") == 1
    (one,) = pointer.decode(store.read_pointer())
    assert store.names() == {one.name}
    desk.keeper.close()


def test_debris_goes_before_there_is_room_for_the_next() -> None:
    """What is older than the newest that counts, or than an hour, is nobody's; another worker may be writing what is newer."""
    store = _Full()
    store.is_full = False
    desk = Desk(store)
    desk.clock.advance(10 * 3600)
    desk.fold(1)
    desk.turn()
    (first,) = store.names()
    now_ms = desk.clock.now_ms()
    store.held[pointer.new_name(9, now_ms - 1)] = b"a kill left it"
    theirs = pointer.new_name(9, now_ms + 1)
    store.held[theirs] = b"another worker is writing it"
    store.is_full = True
    desk.fold(1)
    desk.clock.advance(INTERVAL_S)
    desk.turn()
    assert store.names() == {first, theirs}
    store.write_pointer(b'{"version":2,"checkpoints":[]}')
    desk.clock.advance(3601)
    desk.turn()
    assert store.names() == {first, theirs}, "a newer version knows which of them count"
    store.write_pointer(pointer.encode([]))
    desk.clock.advance(RETRY_S)
    desk.turn()
    assert store.names() == set(), "they are more than an hour old by now"
    desk.keeper.close()


def test_a_store_that_hangs_keeps_no_process_alive() -> None:
    """What cannot be written is left behind after its time, and the interpreter does not wait for it at its end."""
    script = """
import threading
from streamer.adapters.memory import SystemClock
from streamer.adapters.memory.checkpoints import MemoryCheckpoints, MemoryFolds
from streamer.checkpoint import Meta
from streamer.runner.checkpoint_writer import CheckpointPorts, CheckpointWriter
from streamer.telemetry import Telemetry

clock, at_work = SystemClock(), threading.Event()
ports = CheckpointPorts(MemoryCheckpoints(), MemoryFolds())
writer = CheckpointWriter(ports, 1, lambda: 0, clock, Telemetry(clock))
writer.write(lambda: at_work.set() or threading.Event().wait(), Meta({}, [], 1, 0, 0, ""), 0)
at_work.wait()
writer.wait(0.01)
writer.close()
print("closed")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=90
    )
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr


def test_dead_letters_are_on_the_log_before(desk: Desk) -> None:
    """What lies behind the positions is not read again."""
    desk.fold(1)
    desk.outgoing.add(Message("dead-letters", None, b"x"))
    desk.turn()
    assert [record.value for record in desk.log.records("dead-letters")] == [b"x"]


@pytest.mark.parametrize("spoil", ["newest", "pointer", "all", "other log", "nothing"])
def test_a_start_takes_the_newest_that_is_good(desk: Desk, spoil: str) -> None:
    """Damaged ones are passed over; without any, or with one of a longer log than there is, it begins from nothing."""
    for _ in range(2):
        desk.fold(5)
        desk.keeper.at_the_end()
    for n, name in enumerate(sorted(desk.store.held, reverse=True)):
        if spoil == "all" or (spoil == "newest" and n == 0):
            desk.store.held[name] = desk.store.held[name][:-1]
    if spoil == "pointer":
        desk.store.write_pointer(b"{")
    end = {TP: 7 if spoil == "other log" else 10}
    found = newest_good(SETTINGS, desk.store, None, end, desk.telemetry)
    expected = {"nothing": 2, "newest": 1, "other log": 1}.get(spoil)
    assert (found.meta.n_batches if found is not None else None) == expected
    assert desk.value("checkpoint_refused_total") == {"nothing": 0, "all": 2}.get(spoil, 1)
    if found is not None:
        assert found.positions == {TP: 5 * found.meta.n_batches}
        assert found.restored.scoreboard.n_events == 5 * found.meta.n_batches


def test_who_was_superseded_keeps_nothing() -> None:
    """A worker that was paused while another took over: its checkpoint is older, and must not become the newest."""
    desk = Desk()
    desk.fold(10)
    desk.turn()
    pointer_before = desk.store.read_pointer()
    assert pointer_before is not None
    desk.fold(1)
    desk.folds.append(Fold(desk.keeper.n_batches + 1, (), 1))
    desk.clock.advance(INTERVAL_S)
    desk.turn()
    assert desk.store.read_pointer() == pointer_before
    assert desk.telemetry.checkpoint_failures._value.get() == 1


def test_a_damaged_one_pushes_out_no_good_one(desk: Desk) -> None:
    """It does not count, though the pointer names it: the good one that the start went on from stays the second."""
    for _ in range(2):
        desk.fold(5)
        desk.keeper.at_the_end()
    good, damaged = sorted(desk.store.held)
    desk.store.held[damaged] = desk.store.held[damaged][:-1]
    found = newest_good(SETTINGS, desk.store, None, {TP: 10}, desk.telemetry)
    assert found is not None
    assert found.refused == {damaged}
    again = Desk(desk.store)
    again.clock.advance(INTERVAL_S)
    again.keeper.go_on_from(found)
    again.fold(5)
    again.turn()
    assert again.kept() == [2, 1]
    assert good in desk.store.names()
    assert damaged not in desk.store.names()
    again.keeper.close()
