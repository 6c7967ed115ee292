"""Messages on their way to the log: sent again when they may be lost, cut when they are too large."""

from collections.abc import Callable
from typing import Any

import pytest
from runner_records import record

from streamer.adapters.memory import MemoryLog, MemorySink
from streamer.errors import InvalidEvent, Unavailable
from streamer.runner.outgoing import Message, Outgoing, dead_letter


def impatient(dependency: str, action: Callable[[], None]) -> None:
    """Repeats at once."""
    for _ in range(10):
        try:
            return action()
        except Unavailable:
            continue
    raise Unavailable(dependency)


class _FlakySink(MemorySink):
    """Fails when told to: at a send, at a flush, or for what is too large."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.send_fails = self.flush_fails = 0
        self.max_bytes = 10**9

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: Any = None) -> None:
        if self.send_fails:
            self.send_fails -= 1
            raise Unavailable("send")
        if len(key or b"") + len(value or b"") > self.max_bytes:
            raise InvalidEvent("size", "$", "too large")
        super().send(topic, key, value, headers)

    def flush(self, timeout_s: float) -> None:
        if self.flush_fails:
            self.flush_fails -= 1
            raise Unavailable("flush")
        super().flush(timeout_s)


@pytest.fixture
def log() -> MemoryLog:
    """One topic, `out`."""
    return MemoryLog({"out": 1})


@pytest.fixture
def sink(log: MemoryLog) -> _FlakySink:
    """Writes to `log`."""
    return _FlakySink(log)


def values(log: MemoryLog) -> list[bytes | None]:
    """What lies on `out`."""
    return [record.value for record in log.records("out")]


def test_messages_go_out_once_when_all_is_well(log: MemoryLog, sink: _FlakySink) -> None:
    """In their order; nothing is kept after `settle`."""
    outgoing = Outgoing(sink, impatient)
    for n in range(3):
        outgoing.add(Message("out", b"k", bytes([n])))
        outgoing.send()
    outgoing.settle()
    outgoing.settle()
    assert values(log) == [b"\0", b"\1", b"\2"]


def test_after_a_failed_flush_everything_is_sent_again(log: MemoryLog, sink: _FlakySink) -> None:
    """Any of them may be lost: rather twice than never, and the last word on a key stays the last."""
    outgoing = Outgoing(sink, impatient)
    sink.flush_fails = 1
    for n in range(2):
        outgoing.add(Message("out", b"k", bytes([n])))
    outgoing.settle()
    assert values(log) == [b"\0", b"\1", b"\0", b"\1"]


def test_after_a_failed_send_everything_is_sent_again(log: MemoryLog, sink: _FlakySink) -> None:
    """A sink that fails may have dropped what it took before."""
    outgoing = Outgoing(sink, impatient)
    outgoing.add(Message("out", b"k", b"0"))
    outgoing.send()
    sink.send_fails = 1
    outgoing.add(Message("out", b"k", b"1"))
    outgoing.settle()
    assert values(log) == [b"0", b"0", b"1"]


def test_what_kafka_finds_too_large_is_cut(log: MemoryLog, sink: _FlakySink) -> None:
    """A message that cannot be stored whole must not stop the stream; the header says so."""
    outgoing = Outgoing(sink, impatient)
    sink.max_bytes = 100_000
    outgoing.add(Message("out", None, b"small"))
    outgoing.add(Message("out", None, b"x" * 300_000, {"reason": b"size"}))
    outgoing.settle()
    assert [len(value or b"") for value in values(log)][-2:] == [5, 75_000]
    assert log.records("out")[-1].headers == (("reason", b"size"), ("cut_to_bytes", b"75000"))


def test_a_key_that_kafka_finds_too_large_is_cut(log: MemoryLog, sink: _FlakySink) -> None:
    """Who writes a message may give it any key: one as large as a message may be leaves no room for the letter's headers."""
    outgoing = Outgoing(sink, impatient)
    sink.max_bytes = 100_000
    outgoing.add(Message("out", b"k" * 99_999, b"xx"))
    outgoing.add(Message("out", b"small", None))
    outgoing.settle()
    cut, small = sorted(log.records("out"), key=lambda record: -len(record.key or b""))
    assert (cut.key, cut.value) == (b"k" * 1024, b"xx")
    assert [name for name, _ in cut.headers] == ["cut_to_bytes"]
    assert (small.key, small.value, small.headers) == (b"small", None, ())


def test_much_is_settled_early(log: MemoryLog, sink: _FlakySink) -> None:
    """Memory stays bounded, however rarely positions are committed."""
    outgoing = Outgoing(sink, impatient)
    for _ in range(17):
        outgoing.add(Message("out", None, b"x" * (1 << 20)))
    sink.flush_fails = 1  # would be noticed by a flush only
    outgoing.send()
    assert len(values(log)) == 34


def test_what_was_settled_is_counted_no_more(log: MemoryLog, sink: _FlakySink) -> None:
    """Much was sent and acknowledged: the next small message waits for nobody."""
    outgoing = Outgoing(sink, impatient)
    outgoing.add(Message("out", None, b"x" * (17 << 20)))
    outgoing.settle()
    outgoing.add(Message("out", None, b"small"))
    sink.flush_fails = 1
    outgoing.send()
    assert sink.flush_fails == 1  # nobody flushed
    assert values(log)[1:] == [b"small"]


def test_a_dead_letter_takes_any_text_in_its_headers() -> None:
    """A path may quote half a surrogate pair."""
    letter = dead_letter("dead-letters", record(0), InvalidEvent("schema", "$.\ud800", "\udfff"))
    assert letter.headers is not None
    assert letter.headers["path"] == b"$.\\ud800"
