"""`streamer dlq list` and `show`: what lies on the topic of dead letters."""

import heapq
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

import msgspec
import typer
from rich import box
from rich.table import Table

from streamer.cli.connect import TIMEOUT_S, source_of
from streamer.cli.log_reading import records_until
from streamer.config import Settings
from streamer.drawing import ago, plain, wide_console
from streamer.errors import ConfigError, DataError
from streamer.events import UNREADABLE
from streamer.letters import Letter, Place, Replays, letter_of
from streamer.log import printable
from streamer.ports import Source, TopicPartition, place

_MAX_SHOWN = 4096  # characters of a message; all of it with --raw
_MAX_REASONS = 100  # a header says anything
_MAX_TOPIC = 249  # characters of a name
_FILE_WIDTH = 200  # columns where there is no terminal to ask
_WORDS = {
    "json": "it is no JSON",
    "schema": "it does not follow the schema",
    "size": "it is too large",
    "depth": "it nests too deep",
    "utf8": "it is no Unicode text",
    "key": "its key is not its id",
    "number": "it has a number that cannot be used",
    "future": "it comes from the future",
}

# what is shown of a letter: not its message, so memory stays small, however large they are
_Row = tuple[str, ...]


class Wanted(NamedTuple):
    """Which letters are meant."""

    reason: str | None = None
    topic: str | None = None  # that the message came from
    places: frozenset[Place] = frozenset()  # none: any

    def has(self, letter: Letter) -> bool:
        """Whether this is one of them."""
        return (
            (self.reason is None or letter.reason == self.reason)
            and (self.topic is None or (letter.origin is not None and letter.origin.topic == self.topic))
            and (not self.places or letter.place in self.places)
        )


def place_of(shown: str) -> Place:
    """A place as `list` shows it.

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", shown)
    if match is None:
        raise ConfigError(
            f"{shown[:80]!r}: expected PARTITION:OFFSET as `streamer dlq list` shows it, e.g. 0:17"
        )
    return Place(int(match[1]), int(match[2]))


def opened(settings: Settings) -> Source:
    """The topic of dead letters. To be closed."""
    return source_of(settings, [settings.topic_dead_letters])


def show_all(settings: Settings, wanted: Wanted, n_shown: int) -> None:
    """Counts by reason, and the newest letters, with what became of each."""
    with closing(opened(settings)) as source:
        counts, rows = overview(source, wanted, n_shown)
    for line in head(settings.topic_dead_letters, counts, wanted):
        typer.echo(printable(line))
    if rows:
        wide_console(_FILE_WIDTH).print(_table(rows))


class Counts(NamedTuple):
    """How many letters there are."""

    by_reason: Counter[str]  # of those that are wanted
    n_open: int  # of them: neither replayed, nor come back as another letter
    reasons: frozenset[str]  # of all letters
    topics: frozenset[str]  # that all letters came from


def overview(source: Source, wanted: Wanted, n_shown: int) -> tuple[Counts, list[_Row]]:
    """Count the letters, and give the newest as they are shown, the newest first.

    The log is read twice: whether a letter was replayed is said by notes behind it.
    """
    end = source.end_offsets()
    replays = Replays()
    for record in records_until(source, end):
        replays.take(record)
    by_reason: Counter[str] = Counter()
    n_open, reasons, topics = 0, set[str](), set[str]()
    newest: list[tuple[int, Place, _Row]] = []
    for record in records_until(source, end):
        letter = letter_of(record)
        if letter is None:
            continue
        if len(reasons) < _MAX_REASONS:
            reasons.add(letter.reason[:80])
        if letter.origin is not None and len(topics) < _MAX_REASONS:
            topics.add(letter.origin.topic[:_MAX_TOPIC])
        if wanted.has(letter):
            by_reason[letter.reason] += 1
            became = replays.became(letter)
            n_open += not became
            one = (letter.timestamp_ms, letter.place, _row(letter, became))
            (heapq.heappushpop if len(newest) >= n_shown else heapq.heappush)(newest, one)
    return Counts(by_reason, n_open, frozenset(reasons), frozenset(topics)), [
        row for _, _, row in sorted(newest, reverse=True)
    ]


def head(topic: str, counts: Counts, wanted: Wanted) -> Iterator[str]:
    """What is said above the letters."""
    n = counts.by_reason.total()
    by_reason = ", ".join(f"{n:,} {reason}" for reason, n in counts.by_reason.most_common())
    yield f"{n:,} on {topic}" + (f": {by_reason}; {counts.n_open:,} open" if n else "")
    if wanted.reason is not None and wanted.reason[:80] not in counts.reasons and counts.reasons:
        yield f"no letter has the reason {wanted.reason[:80]!r}; there are {', '.join(sorted(counts.reasons))}"
    if wanted.topic is not None and wanted.topic[:_MAX_TOPIC] not in counts.topics and counts.topics:
        yield f"no letter came from topic {wanted.topic[:80]!r}; they came from {', '.join(sorted(counts.topics))}"


def show_one(settings: Settings, place: Place, *, raw: bool) -> None:
    """What is wrong with one, its headers, and the message; nothing of it reaches the terminal as it came, but for `raw`.

    Raises:
        DataError: there is none at this place.
    """
    with closing(opened(settings)) as source:
        letter = _letter_at(source, TopicPartition(settings.topic_dead_letters, place.partition), place)
    if raw:
        sys.stdout.buffer.write(letter.value or b"")
        return
    for line in _about(letter):
        typer.echo(printable(line))
    for line in _shown(letter.value):
        typer.echo(line)


def _letter_at(source: Source, tp: TopicPartition, place: Place) -> Letter:
    begin, end = source.begin_offsets(), source.end_offsets()
    if tp not in end:
        raise DataError(f"{place}: there is no partition {tp.partition}; {tp.topic} has {_numbers(end)}")
    if begin.get(tp, 0) <= place.offset < end.get(tp, 0):
        source.hold([other for other in end if other != tp])
        source.seek({tp: place.offset})
        give_up_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < give_up_s:
            for record in source.poll(1, 0.2):
                letter = letter_of(record) if record.offset == place.offset else None
                if letter is None:
                    raise DataError(f"{place}: no letter lies there; `streamer dlq list` shows some")
                return letter
    first, last = begin.get(tp, 0), end.get(tp, 0) - 1
    held = f"holds {first} to {last}" if first <= last else "is empty"
    raise DataError(f"{place}: no letter lies there; {tp.topic}[{tp.partition}] {held}")


def _numbers(partitions: Iterable[TopicPartition]) -> str:
    numbers = sorted(tp.partition for tp in partitions)
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]} alone"


def _about(letter: Letter) -> Iterator[str]:
    """A sentence on what is wrong, then what the headers say."""
    what = _WORDS.get(letter.reason, f"it was refused ({letter.reason})")
    where = f" at {letter.path}" if letter.path not in ("", "$") else ""
    yield f"Letter {letter.place}: {what}{where}" + (f": {letter.detail}." if letter.detail else ".")
    yield f"came from {_origin(letter)}, {_age(letter)}"
    if letter.lineage is not None:
        yield f"was letter {letter.lineage.letter}, and has been replayed {letter.lineage.attempt} times"
    if letter.is_cut:
        yield "its end was cut off, since it was too large for Kafka"
    yield "key: " + ("none" if letter.key is None else letter.key[:256].decode("utf-8", "backslashreplace"))
    yield "value: " + ("null" if letter.value is None else f"{len(letter.value):,} bytes")


def _shown(value: bytes | None) -> list[str]:
    """The message, indented where it is JSON, and cut where it is long; each line safe to print."""
    if not value:
        return []
    try:
        pretty = msgspec.json.format(value, indent=2).decode()
        msgspec.json.decode(value)
    except UNREADABLE:
        return [printable(value[:_MAX_SHOWN].decode("utf-8", "backslashreplace")) + _rest(len(value))]
    lines = [printable(line) for line in pretty[:_MAX_SHOWN].split("\n")]
    return [*lines[:-1], lines[-1] + _rest(len(pretty))]


def _rest(n: int) -> str:
    return f" ... {n - _MAX_SHOWN:,} more; --raw gives all" if n > _MAX_SHOWN else ""


def _row(letter: Letter, became: str) -> _Row:
    key = "" if letter.key is None else letter.key[:64].decode("utf-8", "backslashreplace")
    size = "null" if letter.value is None else f"{len(letter.value):,}"
    cells = (str(letter.place), letter.reason, letter.path[:80], _origin(letter), key)
    before = f"{letter.n_sent}x before" if letter.n_sent else ""
    return (*cells, size, ", ".join(filter(None, (before, became))), _age(letter))


def _table(rows: list[_Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("letter", "reason", "path", "from", "key"):
        table.add_column(heading, overflow="fold")
    table.add_column("bytes", justify="right")
    table.add_column("replayed")
    table.add_column("when")
    for row in rows:
        table.add_row(*map(plain, row))
    return table


def _origin(letter: Letter) -> str:
    if letter.origin is None:
        return "unknown"
    return place(*letter.origin)


def _age(letter: Letter) -> str:
    if letter.timestamp_ms < 0:
        return "at an unknown time"
    return f"{ago(time.time_ns() // 1_000_000 - letter.timestamp_ms)} ago"
