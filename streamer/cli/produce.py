"""`streamer produce`: JSON lines -> checked events on a topic."""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from streamer.adapters.kafka import KafkaSink
from streamer.config import Settings
from streamer.errors import ConfigError, DataError, InvalidEvent
from streamer.events import (
    MAX_MESSAGE_BYTES,
    Interaction,
    Kind,
    OutsideEvent,
    Profile,
    UserErased,
    decode,
)

_TIMEOUT_S = 10.0


class _Line(NamedTuple):
    number: int
    key: bytes
    value: bytes


def produce(
    settings: Settings, topic: str, file: Path | None, *, strict: bool, complain: Callable[[str], None]
) -> tuple[int, int]:
    """Send every valid line of `file` (None: stdin); tell of every other.

    Args:
        settings: Names the topics and Kafka.
        topic: A topic of events, by its name, or by the kind of events on it.
        file: One JSON object a line; empty lines are skipped.
        strict: Read everything first, and send nothing when a line is invalid.
        complain: Gets a sentence for each invalid line.

    Returns:
        How many lines were sent, how many were invalid.

    Raises:
        ConfigError: `topic` is none of those, or no Kafka is set.
        DataError: `file` cannot be read.
        Unavailable: Kafka is away, or does not take the messages.
    """
    topic, kind = _resolve(settings, topic)
    sink = KafkaSink(settings.require_kafka(), config=settings.kafka_config, timeout_s=_TIMEOUT_S)
    n_sent = n_invalid = 0
    kept: list[_Line] = []
    with _open(file) as lines:
        for line in _checked(lines, kind):
            if isinstance(line, str):
                n_invalid += 1
                complain(line)
            elif strict:
                kept.append(line)
            else:
                sink.send(topic, line.key, line.value)
                n_sent += 1
    if not n_invalid:
        for line in kept:
            sink.send(topic, line.key, line.value)
            n_sent += 1
    if n_sent:
        sink.close()
    return n_sent, n_invalid


def _resolve(settings: Settings, topic: str) -> tuple[str, Kind]:
    # The topic of texts is the workers' own.
    kinds = {name: kind for name, kind in settings.kinds().items() if kind != "texts"}
    if topic in kinds:
        return topic, kinds[topic]
    for name, kind in kinds.items():
        if kind == topic:
            return name, kind
    raise ConfigError(f"topic {topic[:80]!r}: expected one for events: {', '.join(kinds)}")


def _open(file: Path | None) -> "nullcontext[BinaryIO] | BinaryIO":
    if file is None:
        return nullcontext(sys.stdin.buffer)
    try:
        return file.open("rb")
    except OSError as exc:
        raise DataError(f"{file}: cannot be read: {exc.strerror}") from exc


def _checked(lines: BinaryIO, kind: Kind) -> Iterator[_Line | str]:
    """A line that can be sent, or a sentence about one that cannot."""
    for number, line in enumerate(_lines(lines), start=1):
        if not line.strip():
            continue
        try:
            event = cast("OutsideEvent", decode(kind, None, line))
            yield _Line(number, _id(event).encode(), line)
        except InvalidEvent as exc:
            yield f"line {number}: {exc}; not sent"


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines without their end. What is longer than a message may be is cut: it is refused for its size."""
    limit = MAX_MESSAGE_BYTES + 2
    while line := file.readline(limit):
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(limit)):
            pass
        yield line.rstrip(b"\r\n")


def _id(event: OutsideEvent) -> str:
    return event.user_id if isinstance(event, Interaction | Profile | UserErased) else event.item_id
