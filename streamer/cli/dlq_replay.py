"""`streamer dlq replay`: the way of dead letters back through the front door."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import typer

from streamer.cli.connect import TIMEOUT_S, sink_of, source_of
from streamer.cli.dlq import Wanted, opened
from streamer.cli.dlq_since import Named, Since, named_by, read, read_since
from streamer.cli.log_reading import records_until
from streamer.cli.meant import fields_of, hardly_meant
from streamer.config import Settings
from streamer.errors import DataError, InvalidEvent
from streamer.events import MAX_MESSAGE_BYTES, CatalogItem, Event, Interaction, Profile, id_problem, too_early
from streamer.letters import Letter, Replays, letter_of, note_headers, replay_headers
from streamer.log import printable
from streamer.ports import Sink, Source, TopicPartition


class Replayed(NamedTuple):
    """What a replay did."""

    n_sent: int
    n_left: int  # wanted, and not sent
    n_before: int  # not named, and sent by an earlier replay


class Repair(NamedTuple):
    """What is sent in place of a message."""

    value: bytes
    key: bytes | None  # None: the key as it came


def replay(
    settings: Settings, wanted: Wanted, repair: Repair | None, n_most: int, *, again: bool
) -> Replayed:
    """Send letters back to the topics they came from; tell of each that is not sent, and why.

    What this version would refuse once more, and what a newer record of the same item or profile has replaced, is sent where it
    is named alone: a newer worker may know better, and so may whoever names it.

    Letters of users who were erased since the message came to the log are left out, as far as the log of profiles still has the
    tombstone. That spares dead messages; what keeps an erased user out is the header with the time of the message, by which every
    worker knows that it is older than the tombstone it remembers (`runner.admission`): no tombstone can come in between.

    Args:
        repair: Sent in place of the message; None: it is sent as it came.
        n_most: Letters sent at most.
        again: Those that were sent before, too.

    Raises:
        DataError: a place that was named holds no letter.
        Unavailable: Kafka is away; what was sent before is on the log, and has its note.
    """
    keyed_topics = [settings.topic_catalog, settings.topic_profiles]
    with (
        closing(opened(settings)) as letters,
        closing(source_of(settings, keyed_topics)) as keyed,
        closing(sink_of(settings)) as sink,
    ):
        return Replay(settings, letters, keyed, sink, repair).run(wanted, n_most, again=again)


class Replay:
    """Letters, one after the other, on their way back.

    Args:
        letters: Reads the topic of dead letters.
        keyed: Reads the topics of the catalog and of profiles.
        sink: Where messages are sent, and the notes that they were.
        repair: See `replay`.
        tell: Gets a sentence for each letter that is not sent, or sent against advice.
        now_ms: The log's own time of what is sent now.
    """

    def __init__(
        self,
        settings: Settings,
        letters: Source,
        keyed: Source,
        sink: Sink,
        repair: Repair | None,
        *,
        tell: Callable[[str], None] = lambda line: typer.echo(printable(line), err=True),
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self._letters = letters
        self._keyed = keyed
        self._sink = sink
        self._repair = repair
        self._tell = tell
        self._now_ms = now_ms
        self._replays = Replays()
        self._kinds = settings.kinds()

    def run(self, wanted: Wanted, n_most: int, *, again: bool) -> Replayed:
        """As `replay`, from here to there. Once."""
        end = self._letters.end_offsets()
        since = read_since(self._settings, self._keyed, self._look_through(end, wanted))
        n_sent = n_left = n_before = 0
        missing, is_empty = set(wanted.places), True
        for letter in self._wanted(end, wanted):
            missing.discard(letter.place)
            is_empty = False
            if self._replays.n_sent(letter) and not (again or wanted.places):
                n_before += 1
                continue
            if n_sent >= n_most:
                self._tell(f"{n_most} were sent, and there are more: run it again, or raise --limit")
                return Replayed(n_sent, n_left + 1, n_before)
            is_repaired = self._repair is not None
            why = self._replays.why_not(letter, self._kinds, is_repaired=is_repaired, again=again)
            if why is None:
                outgoing = self._read(letter)
                why = self._why_not(letter, outgoing, since, is_named=bool(wanted.places))
            if why is None:
                self._send(letter, outgoing)
                n_sent += 1
            else:
                self._tell(f"letter {letter.place}: {why}; not sent")
                n_left += 1
        if is_empty and (wanted.reason is not None or wanted.topic is not None):
            self._tell("no letter has that reason and topic: `streamer dlq list` shows which there are")
        if missing:
            raise DataError(f"there is no letter at {', '.join(map(str, sorted(missing)))}")
        return Replayed(n_sent, n_left, n_before)

    def _look_through(self, end: Mapping[TopicPartition, int], wanted: Wanted) -> set[Named]:
        """Learn what was replayed before; whom the letters that are wanted are about."""
        about = set[Named]()
        for record in records_until(self._letters, end):
            self._replays.take(record)
            letter = letter_of(record)
            if letter is not None and wanted.has(letter) and self._is_ours(letter):
                named = self._read(letter).named
                about |= {named} if named is not None else set()
        return about

    def _wanted(self, end: Mapping[TopicPartition, int], wanted: Wanted) -> Iterator[Letter]:
        for record in records_until(self._letters, end):
            letter = letter_of(record)
            if letter is not None and wanted.has(letter):
                yield letter

    def _why_not(self, letter: Letter, outgoing: "_Outgoing", since: Since, *, is_named: bool) -> str | None:
        """Why the message is not sent, as the end of "letter 0:7: ..."; None when it is, maybe against advice."""
        named, event = outgoing.named, outgoing.event
        if self._repair is not None and isinstance(event, Interaction | CatalogItem | Profile):
            value = outgoing.value or b""
            if other := hardly_meant(event, value, fields_of(value)):
                return other
        if named is not None and since.is_erased(named, letter.log_ms):
            return "its user was erased after it was written"
        against = self._refusal(outgoing)
        if against is None and named is not None and since.is_outdated(named, letter.log_ms):
            against = f"a newer record of {named.id!r} is on the log, and this one would replace it"
        if against is None:
            return None
        if not is_named:
            return f"{against}; repair it, or name it to send it all the same"
        self._tell(f"letter {letter.place}: {against}")
        return None

    def _refusal(self, outgoing: "_Outgoing") -> str | None:
        """Why a worker of this version will not take it; None: it will."""
        event = outgoing.event
        # its time on the log is about now: what came too early may have become true
        refused = (
            event
            if isinstance(event, InvalidEvent)
            else too_early(event, self._now_ms(), self._settings.max_skew_s * 1000)
        )
        return f"this version of streamer will refuse it: {refused}" if refused is not None else None

    def _send(self, letter: Letter, outgoing: "_Outgoing") -> None:
        attempt = self._replays.next_attempt(letter)
        self._sink.send(outgoing.topic, outgoing.key, outgoing.value, replay_headers(letter, attempt))
        # The note comes after the message, so a crash between them can send it twice and never lose it.
        self._sink.flush(TIMEOUT_S)
        dead_letters = self._settings.topic_dead_letters
        self._sink.send(dead_letters, letter.key, None, note_headers(letter, attempt))
        self._sink.flush(TIMEOUT_S)
        self._replays.sent(letter)

    def _is_ours(self, letter: Letter) -> bool:
        return letter.origin is not None and letter.origin.topic in self._kinds

    def _read(self, letter: Letter) -> "_Outgoing":
        """A letter of a topic of ours as it would be sent."""
        assert letter.origin is not None  # noqa: S101  `why_not` and `_is_ours` have seen to it
        topic, key, value = letter.origin.topic, letter.key, letter.value
        if self._repair is not None:
            key, value = self._repair.key if self._repair.key is not None else key, self._repair.value
        event = read(self._kinds[topic], key, value)
        return _Outgoing(topic, key, value, event, named_by(self._kinds[topic], key, event))


class _Outgoing(NamedTuple):
    """A message as it would be sent, and what a worker would make of it."""

    topic: str
    key: bytes | None
    value: bytes | None
    event: Event | InvalidEvent
    named: Named | None


def repair_of(file: Path | None, key: str | None) -> Repair | None:
    """The repaired message in a file, `-` for stdin.

    Raises:
        DataError: it cannot be read, a key comes without a value, or is no id.
    """
    if file is None:
        if key is not None:
            raise DataError("--key replaces the key of a repaired message: give its --value, too")
        return None
    problem = id_problem(key) if key is not None else None
    if problem is not None:
        raise DataError(f"--key: expected an id, got {problem}")
    try:
        value = sys.stdin.buffer.read(MAX_MESSAGE_BYTES + 1) if str(file) == "-" else file.read_bytes()
    except OSError as exc:
        raise DataError(f"{file}: cannot be read: {exc.strerror}") from exc
    return Repair(value.rstrip(b"\r\n"), key.encode() if key is not None else None)
