"""How much waits on the log, and what only seems to."""

import contextlib
from collections.abc import Mapping

import pytest
from runner_records import TP, record

from streamer.adapters.memory import MemoryLog, MemorySource
from streamer.errors import Unavailable
from streamer.ports import TopicPartition
from streamer.runner.lag import Lag
from streamer.runner.positions import Positions


class _WithMarkers(MemorySource):
    """A log whose partitions end with the marker of a transaction, and who asks what."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log, ["interactions"], "g")
        self.asked: list[dict[TopicPartition, int]] = []

    def end_offsets(self) -> dict[TopicPartition, int]:
        return {tp: end + 1 for tp, end in super().end_offsets().items()}

    def has_records(self, offsets: Mapping[TopicPartition, int]) -> bool:
        self.asked.append(dict(offsets))
        return super().has_records(offsets)


def test_the_marker_of_a_transaction_is_no_lag() -> None:
    """No reader comes past it: where nothing moves the log is asked, once, whether a record is there."""
    log = MemoryLog({"interactions": 1})
    log.append("interactions", 0, None, b"v")
    source, positions = _WithMarkers(log), Positions({TP: 0}, {})
    lag = Lag(source, positions)
    looks = lambda n: [lag.look(may_ask=True)["interactions"] for _ in range(n)]  # noqa: E731
    assert looks(3) == [2, 2, 2]  # a record that waits, and is asked for once
    assert source.asked == [{TP: 0}]
    positions.advance([record(0)])
    assert looks(3) == [1, 0, 0]
    assert source.asked == [{TP: 0}, {TP: 1}]
    log.append("interactions", 0, None, b"v")
    assert looks(1) == [2]


def test_a_start_asks_for_no_markers() -> None:
    """What is held back does not move either."""
    source = _WithMarkers(MemoryLog({"interactions": 1}))
    lag = Lag(source, Positions({TP: 0}, {}))
    assert [lag.look(may_ask=False)["interactions"] for _ in range(3)] == [1, 1, 1]
    assert source.asked == []


def test_a_log_that_does_not_answer_is_seldom_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop waits for the answer: once a minute is enough."""
    source = _WithMarkers(MemoryLog({"interactions": 1}))
    lag, n_tries = Lag(source, Positions({TP: 0}, {})), 0

    def has_records(offsets: Mapping[TopicPartition, int]) -> bool:
        nonlocal n_tries
        n_tries += 1
        raise Unavailable(str(offsets))

    monkeypatch.setattr(source, "has_records", has_records)
    for _ in range(25):
        with contextlib.suppress(Unavailable):
            assert lag.look(may_ask=True) == {"interactions": 1}
    assert n_tries == 2
