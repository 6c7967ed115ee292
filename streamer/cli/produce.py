"""`streamer produce`: JSON lines -> checked events on a topic."""

import sys
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import msgspec
import xxhash

from streamer.cli.connect import sink_of
from streamer.cli.meant import fields_of, hardly_meant
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
    too_early,
)
from streamer.ports import Sink

_MAX_TOLD = 20  # invalid lines that get a sentence each: a file in another format has a million of them
_MAX_EXCERPT = 40  # characters of a line
_MAX_EVENT_IDS = 200_000  # remembered: what is wrong with them shows in the first lines


class _Line(NamedTuple):
    number: int
    key: bytes
    value: bytes


def produce(
    settings: Settings, topic: str, file: Path | None, *, strict: bool, complain: Callable[[str], None]
) -> tuple[int, int]:
    """Send every valid line of `file`; tell of every other.

    Args:
        settings: Names the topics and Kafka.
        topic: A topic of events, by its name, or by the kind of events on it.
        file: One JSON object a line; empty lines are skipped. None and "-": stdin.
        strict: Read everything first, and send nothing when a line is invalid.
        complain: Gets a sentence for each invalid line, up to a limit, and for what is valid and hardly meant.

    Returns:
        How many lines were sent, how many were invalid.

    Raises:
        ConfigError: `topic` is none of those, or no Kafka is set.
        DataError: `file` cannot be read.
        Unavailable: Kafka is away, or does not take the messages.
    """
    topic, kind = _resolve(settings, topic)
    if file == Path("-"):
        file = None
    if file is None and sys.stdin.isatty():
        complain("reading events from the terminal, one JSON object a line; Ctrl-D ends them")
    sending = _Sending(sink_of(settings), topic, complain)
    try:
        with _open(file) as lines:
            sending.run(_checked(lines, kind, _Looks(complain), settings.max_skew_s * 1000), strict=strict)
    except BaseException:
        if sending.n_sent:
            complain(
                f"ended after {sending.n_sent:,} events were handed to Kafka, some of which may be on the log: sent again, those "
                "without an event_id count twice"
            )
        raise
    return sending.n_sent, sending.n_invalid


class _Sending:
    """Sends lines, and counts how far it came."""

    def __init__(self, sink: Sink, topic: str, complain: Callable[[str], None]) -> None:
        self._sink = sink
        self._topic = topic
        self._complain = complain
        self.n_sent = self.n_invalid = 0

    def run(self, lines: Iterable["_Line | str"], *, strict: bool) -> None:
        """Send these, or tell why not."""
        kept: list[_Line] = []
        try:
            for line in lines:
                if isinstance(line, str):
                    self.n_invalid += 1
                    if self.n_invalid <= _MAX_TOLD:
                        self._complain(line)
                elif strict:
                    kept.append(line)
                else:
                    self._send(line)
            if self.n_invalid > _MAX_TOLD:
                self._complain(f"and {self.n_invalid - _MAX_TOLD} more lines like these; not sent")
            for line in kept if not self.n_invalid else ():
                self._send(line)
        finally:
            if self.n_sent:  # also those before a Ctrl-C, which are still in the queue
                self._sink.close()

    def _send(self, line: _Line) -> None:
        self._sink.send(self._topic, line.key, line.value)
        self.n_sent += 1


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


class _Looks:
    """Tells once, of each kind, what the contract allows and is hardly meant: else it shows when somebody misses events."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._told: set[str] = set()
        self._events: dict[int, tuple[int, str, str]] = {}  # by hash of the event id: line, user, item
        self._tells_ids = self._tells_returns = True

    def look(self, number: int, fields: Set[str], event: OutsideEvent) -> None:
        """At the fields of one line, and the event that it is."""
        self._look_for_unknown_fields(number, fields, event)
        if not isinstance(event, Interaction):
            return
        if event.event_id and self._tells_ids:
            self._look_for_shared_id(number, event)
        if (event.value or 0) < 0 and self._tells_returns:
            self._tells_returns = False
            self._complain(
                f"line {number}: value {event.value:g}: an event counts as taken whatever its value, so a return should "
                "not be sent"
            )

    def _look_for_unknown_fields(self, number: int, fields: Set[str], event: OutsideEvent) -> None:
        """A name with a typing error."""
        known = {field.encode_name for field in msgspec.structs.fields(type(event))}
        for name in sorted(fields - known - self._told):
            if len(self._told) < _MAX_TOLD:
                self._told.add(name)
                names = ", ".join(sorted(known))
                self._complain(f"line {number}: {name[:_MAX_EXCERPT]!r} is ignored: it is none of {names}")

    def _look_for_shared_id(self, number: int, event: Interaction) -> None:
        """An id of an order, or a count a user, in place of one of its own: all but the first event would be duplicates."""
        key = xxhash.xxh3_64_intdigest(event.event_id.encode())
        first, *whom = self._events.get(key, (0, "", ""))
        if first and whom != [event.user_id, event.item_id]:
            self._tells_ids = False
            self._complain(
                f"line {number}: event_id {event.event_id[:_MAX_EXCERPT]!r} is that of line {first}, which is another event: of "
                "those with one id the first alone is learned. An id must be unique over all users and items; leave it out "
                "where there is none"
            )
        elif not first and len(self._events) < _MAX_EVENT_IDS:
            self._events[key] = number, event.user_id, event.item_id


def _checked(lines: BinaryIO, kind: Kind, looks: _Looks, max_skew_ms: int) -> Iterator[_Line | str]:
    """A line that can be sent, or a sentence about one that cannot."""
    for number, line in enumerate(_lines(lines), start=1):
        if not line.strip():
            continue
        try:
            event = cast("OutsideEvent", decode(kind, None, line))
            # the log's own time of it would be about now
            early = too_early(event, time.time_ns() // 1_000_000, max_skew_ms)
            if early is not None:
                raise early
        except InvalidEvent as exc:
            yield f"line {number}: {_why_not(line, kind, exc)}; not sent"
            continue
        fields = fields_of(line)
        if other := hardly_meant(event, line, fields):
            yield f"line {number}: {other}; not sent"
            continue
        looks.look(number, fields, event)
        yield _Line(number, _id(event).encode(), line)


_INSTEAD_OF_NULL = {
    "catalog": '"available": false in its record retires an item; a null value takes a producer with keys',
    "profiles": "`streamer erase USER` erases a user",
}


def _why_not(line: bytes, kind: Kind, exc: InvalidEvent) -> str:
    if line.strip() == b"null" and kind in _INSTEAD_OF_NULL:
        return f"a line that is null names no id: {_INSTEAD_OF_NULL[kind]}"
    if exc.reason == "json" and not line.lstrip().startswith(b"{"):
        excerpt = line[: 4 * _MAX_EXCERPT].decode("utf-8", "replace")[:_MAX_EXCERPT]
        return f"expected one JSON object a line, got {excerpt!r}"
    return str(exc)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines without their end. What is longer than a message may be is cut: it is refused for its size."""
    limit = MAX_MESSAGE_BYTES + 2
    while line := file.readline(limit):
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(limit)):
            pass
        yield line.removeprefix(BOM_UTF8).rstrip(b"\r\n")


def _id(event: OutsideEvent) -> str:
    return event.user_id if isinstance(event, Interaction | Profile | UserErased) else event.item_id
