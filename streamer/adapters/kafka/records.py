"""Messages of the client -> records."""

from collections.abc import Iterable

from confluent_kafka import Message

from streamer.ports import Record

_BAD_NAME = (SystemError, UnicodeDecodeError)


def records_of(messages: Iterable[Message]) -> list[Record]:
    """The messages that carry a record.

    On the hot path: one call of C an attribute, no `Record.__new__`, and no look at single headers unless one is bad.
    """
    usable = [message for message in messages if message.error() is None]
    try:
        carried = [tuple(message.headers() or ()) for message in usable]
    except _BAD_NAME:
        carried = [headers(message) for message in usable]
    new, record = tuple.__new__, Record
    return [
        # a time of -1: there is none
        new(record, (m.topic(), m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value(), own))
        for m, own in zip(usable, carried, strict=True)
    ]


def headers(message: Message) -> tuple[tuple[str, bytes | None], ...]:
    """What the message carries beside key and value; nothing where a name is no UTF-8, since the client cannot read it."""
    try:
        found = message.headers()
    except _BAD_NAME:
        return ()  # anybody can write such a name: no reason to lose the message, or the worker
    return tuple(found) if found else ()  # type: ignore[arg-type]  # of pairs, as the stubs have it only for producers
