"""Messages that must be on the log before our positions are committed: dead letters and published lists."""

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from streamer.errors import InvalidEvent, Unavailable
from streamer.events import MAX_ID_BYTES
from streamer.letters import letter_headers
from streamer.ports import Record, Sink

_log = logging.getLogger("streamer.runner")

_FLUSH_TIMEOUT_S = 10.0
_MAX_PENDING = 20_000
_MAX_PENDING_BYTES = 16 << 20
_CUT_BYTES = 64 << 10  # below this, every Kafka takes a message
_KEY_BYTES = 4 * MAX_ID_BYTES  # of a key that is cut: no id is longer

Patient = Callable[[str, Callable[[], None]], None]


class Message(NamedTuple):
    """What goes out."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] | None = None


class Outgoing:
    """Keeps each message until the log has acknowledged it; after a failure all that are kept are sent again.

    Args:
        sink: Where they go.
        patient: Repeats a call while Kafka is away.
    """

    def __init__(self, sink: Sink, patient: Patient) -> None:
        self._sink = sink
        self._patient = patient
        self._pending: list[Message] = []
        self._n_sent = 0  # of those pending
        self._n_bytes = 0

    def add(self, message: Message) -> None:
        """Take a message; `send` or `settle` moves it on."""
        self._pending.append(message)
        self._n_bytes += _size(message)

    def send(self) -> None:
        """Hand everything to the sink, without waiting for the log; what piles up is settled."""
        if len(self._pending) > _MAX_PENDING or self._n_bytes > _MAX_PENDING_BYTES:
            self.settle()
        elif self._n_sent < len(self._pending):
            self._patient("kafka", self._send)

    def settle(self) -> None:
        """Return when the log has everything."""
        if self._pending:
            self._patient("kafka", self._deliver)

    def _send(self) -> None:
        self._until_accepted(self._send_rest)

    def _deliver(self) -> None:
        self._until_accepted(self._send_rest_and_flush)
        self._pending.clear()
        self._n_sent = self._n_bytes = 0

    def _until_accepted(self, action: Callable[[], None]) -> None:
        while True:
            try:
                return action()
            except Unavailable:
                self._n_sent = 0  # any of them may be lost
                raise
            except InvalidEvent as exc:
                self._n_sent = 0
                self._cut_largest(exc)

    def _send_rest(self) -> None:
        while self._n_sent < len(self._pending):
            self._sink.send(*self._pending[self._n_sent])
            self._n_sent += 1

    def _send_rest_and_flush(self) -> None:
        self._send_rest()
        self._sink.flush(_FLUSH_TIMEOUT_S)

    def _cut_largest(self, exc: InvalidEvent) -> None:
        """Kafka says that a message is too large, not which: halve the size of the largest until all fit."""
        largest = max(map(_size, self._pending))
        if largest <= _CUT_BYTES:
            raise Unavailable(
                f"Kafka takes no message of {largest} bytes; raise the limit of the topic"
            ) from exc
        kept = max(largest // 2, _CUT_BYTES)
        for at, message in enumerate(self._pending):
            if _size(message) > kept:
                self._pending[at] = _cut(message, kept)
        _log.warning("messages_cut", extra={"cut_to_bytes": kept, "error": str(exc)})


def _size(message: Message) -> int:
    return len(message.key or b"") + len(message.value or b"")


def _cut(message: Message, n_bytes: int) -> Message:
    """So many bytes of it: of its key, where that is no id, and of its value."""
    key, value = message.key, message.value
    if key is not None:
        key = key[:_KEY_BYTES]
    if value is not None:
        value = value[: n_bytes - len(key or b"")]
    headers = {**(message.headers or {}), "cut_to_bytes": str(n_bytes).encode()}
    return message._replace(key=key, value=value, headers=headers)


def dead_letter(topic: str, record: Record, error: InvalidEvent) -> Message:
    """The message as it came, and in its headers where it came from, what is wrong with it, and its lineage.

    Args:
        topic: The dead-letter topic.
        record: What cannot be used.
        error: Why.
    """
    return Message(topic, record.key, record.value, letter_headers(record, error))
