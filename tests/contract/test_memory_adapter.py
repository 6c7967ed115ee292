"""What the twins in memory add to their ports: bounds, and a clock that obeys."""

import pytest

from streamer.adapters.memory import ManualClock, MemoryLists, MemoryLog, MemorySource, SystemClock
from streamer.errors import ConfigError, Unavailable
from streamer.ports import Clock, TopicPartition


def test_a_partition_is_bounded_as_by_retention() -> None:
    """Past `max_records` the oldest record goes, with its headers; offsets keep counting."""
    log = MemoryLog({"t": 1}, max_records=3)
    offsets = [log.append("t", 0, None, b"%d" % i, headers={"h": b"%d" % i}) for i in range(10)]
    assert offsets == list(range(10))
    assert [(r.offset, r.value) for r in log.records("t")] == [(7, b"7"), (8, b"8"), (9, b"9")]
    assert [r.headers for r in log.records("t")] == [(("h", b"%d" % offset),) for offset in (7, 8, 9)]

    log.truncate(TopicPartition("t", 0), 9)
    assert [r.offset for r in log.records("t")] == [9]
    log.truncate(TopicPartition("t", 0), 1000)
    assert log.append("t", 0, None, b"next") == 10


def test_a_busy_partition_does_not_starve_the_others() -> None:
    """With more to read than a poll may return, every partition gets its turn."""
    log = MemoryLog({"t": 3})
    for partition in range(3):
        for _ in range(100):
            log.append("t", partition, None, b"v")
    source = MemorySource(log, ["t"], "g")
    assert {r.partition for _ in range(3) for r in source.poll(10, 0)} == {0, 1, 2}


def test_topics_only_grow() -> None:
    """A topic has at least one partition and never loses any."""
    log = MemoryLog({"t": 2})
    for n_partitions in (1, 0, -1):
        with pytest.raises(ValueError, match="partitions"):
            log.create_topic("t", n_partitions)
    with pytest.raises(Unavailable, match="no partition 2"):
        log.append("t", 2, None, b"v")


def test_records_carry_the_time_of_the_clock() -> None:
    """A record without a time of its own gets that of the injected clock."""
    clock = ManualClock(now_ms=1000)
    log = MemoryLog({"t": 1}, clock=clock)
    log.append("t", 0, None, b"v")
    clock.advance(1.5)
    log.append("t", 0, None, b"v")
    log.append("t", 0, None, b"v", timestamp_ms=7)
    assert [r.timestamp_ms for r in log.records("t")] == [1000, 2500, 7]


def test_lists_are_bounded() -> None:
    """A full store refuses as Redis does; what expired makes room, and so does overwriting."""
    clock = ManualClock()
    lists = MemoryLists(clock=clock, max_bytes=10)
    lists.write([("a", b"12345"), ("b", b"12345")], ttl_s=10)
    with pytest.raises(Unavailable, match="full"):
        lists.write([("c", b"1")], ttl_s=10)
    lists.write([("a", b"54321")], ttl_s=20)
    clock.advance(10)
    lists.write([("c", b"12345")], ttl_s=10)
    assert [lists.read(user) for user in "abc"] == [b"54321", None, b"12345"]
    with pytest.raises(ConfigError, match="max_bytes"):
        MemoryLists(max_bytes=0)


def test_a_manual_clock_moves_only_when_told() -> None:
    """Sleeping takes no real time and moves both clocks alike; time never goes back."""
    clock: Clock = ManualClock(now_ms=5)
    assert (clock.now_ms(), clock.monotonic_s()) == (5, 0.0)
    clock.sleep(3600)
    assert (clock.now_ms(), clock.monotonic_s()) == (3_600_005, 3600.0)
    with pytest.raises(ValueError, match="back"):
        clock.sleep(-1)


def test_the_system_clock_goes_forward() -> None:
    """The machine's wall clock counts milliseconds since 1970, the monotonic one seconds, and `sleep`
    waits."""
    clock: Clock = SystemClock()
    began_ms, began_s = clock.now_ms(), clock.monotonic_s()
    clock.sleep(0.02)
    assert began_ms > 1_700_000_000_000
    assert clock.now_ms() >= began_ms
    assert clock.monotonic_s() - began_s >= 0.02
