"""How far each partition was read, what is lost, and what a start must read."""

from typing import Any

import pytest
from runner_records import TP, record

from streamer.adapters.memory import ManualClock
from streamer.checkpoint import Meta
from streamer.config import Settings
from streamer.ports import TopicPartition
from streamer.runner.positions import Jump, Positions, n_lost
from streamer.runner.recovery import Found
from streamer.runner.start import LogBounds, ask_for_texts, must_read


def test_offsets_in_a_row_are_no_jump() -> None:
    """The first record of a partition may have any offset that the log begins with."""
    positions = Positions({TP: 5}, {})
    assert positions.advance([record(5), record(6)]) == []
    assert positions.advance([record(9)]) == [Jump(TP, 7, 9)]
    assert positions.advance([record(3), record(4), record(6)]) == [Jump(TP, 10, 3), Jump(TP, 5, 6)]
    assert positions.snapshot() == {TP: 7}
    assert positions.by_name() == {"interactions-0": 7}


@pytest.mark.parametrize(
    ("expected", "got", "begin", "lost"),
    [
        (5, 7, 0, 0),  # a marker, or compacted away
        (5, 7, 7, 2),  # retention overtook us
        (5, 9, 7, 2),  # two are gone, then there are holes
        (5, 7, 90, 2),  # retention went on meanwhile
        (5, 0, 0, None),  # cut off, or made anew
    ],
)
def test_what_is_lost_is_what_the_log_no_longer_holds(
    expected: int, got: int, begin: int, lost: int | None
) -> None:
    """A hole alone is no loss."""
    assert n_lost(Jump(TP, expected, got), {TP: begin}) == lost


def test_lag_and_what_is_left() -> None:
    """Lag is counted by topic, over its partitions."""
    other = TopicPartition("interactions", 1)
    catalog = TopicPartition("catalog", 0)
    positions = Positions({TP: 5, other: 0, catalog: 2}, {})
    end = {TP: 8, other: 1, catalog: 2}
    assert positions.lag(end) == {"interactions": 4, "catalog": 0}
    assert positions.left(end, ["catalog"]) == {}
    assert positions.left(end, ["catalog", "interactions"]) == {TP: 5, other: 0}


def test_a_log_may_lack_what_a_checkpoint_holds() -> None:
    """Only partitions that begin behind the place from which the fold goes on are looked at; a new one has no place yet."""
    old, gone, new = (TopicPartition("interactions", n) for n in range(3))
    meta = Meta({}, [("interactions", 0, 7), ("interactions", 1, 7)], 0, 0, 0, "test")
    bounds = LogBounds({old: 7, gone: 8, new: 1}, {}, {old: 9})
    assert must_read(bounds, Found(meta, None)) == ({gone: 8, new: 1}, {old: 7, gone: 7})  # type: ignore[arg-type]
    assert must_read(bounds, None) == (bounds.begin, bounds.committed)


def test_a_catalog_is_not_read_twice_for_nothing(clock: ManualClock) -> None:
    """Where every text has its vector, the log is not even asked."""
    catalog = TopicPartition("catalog", 0)
    found: Any = Found(Meta({}, [("catalog", 0, 7)], 0, 0, 0, "test"), None)  # type: ignore[arg-type]
    nobody: Any = None
    bounds = LogBounds({catalog: 0}, {catalog: 7}, {})
    ask_for_texts(Settings(), nobody, bounds, found, set(), nobody, nobody, clock)
