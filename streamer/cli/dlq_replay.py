"""`streamer dlq replay`: the way of dead letters back through the front door."""

import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import typer

from streamer.adapters.kafka import KafkaSink, KafkaSource
from streamer.cli.dlq import Wanted, opened
from streamer.cli.log_reading import records_until
from streamer.config import Settings
from streamer.erased import ErasedUsers
from streamer.errors import DataError, InvalidEvent
from streamer.events import (
    MAX_MESSAGE_BYTES,
    Event,
    Interaction,
    Profile,
    UserErased,
    decode,
    id_problem,
    is_null,
    too_early,
)
from streamer.letters import Letter, Replays, letter_of, note_headers, replay_headers
from streamer.log import printable
from streamer.ports import Sink, Source

_TIMEOUT_S = 10.0


class Replayed(NamedTuple):
    """What a replay did."""

    n_sent: int
    n_left: int  # wanted, and not sent
    n_before: int  # not named, and sent by an earlier replay


class Repair(NamedTuple):
    """What is sent in place of a message."""

    value: bytes
    key: bytes | None  # None: the key as it came


class _Outgoing(NamedTuple):
    """A message as it would be sent."""

    topic: str
    key: bytes | None
    value: bytes | None


def replay(
    settings: Settings, wanted: Wanted, repair: Repair | None, n_most: int, *, again: bool
) -> Replayed:
    """Send letters back to the topics they came from; tell of each that is not sent, and why.

    What this version would refuse once more is sent where it is named alone: a newer worker may know better.

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
    bootstrap, config = settings.require_kafka(), settings.kafka_config
    with (
        closing(opened(settings)) as source,
        closing(KafkaSource(bootstrap, [settings.topic_profiles], settings.group, config=config)) as profiles,
        closing(KafkaSink(bootstrap, config=config, timeout_s=_TIMEOUT_S)) as sink,
    ):
        erased = erased_by(settings, profiles)
        return replay_from(settings, source, sink, wanted, repair, n_most, again=again, erased=erased)


def erased_by(settings: Settings, profiles: Source) -> ErasedUsers:
    """Who was erased, and when, by the tombstones that are still on the log.

    Args:
        profiles: Reads the topic of profiles.
    """
    erased = ErasedUsers(settings.max_erased)
    for record in records_until(profiles, profiles.end_offsets()):
        if is_null(record.value):
            event = _read(settings, record.topic, record.key, record.value)
            if isinstance(event, UserErased):
                erased.note(event.user_id, record.timestamp_ms)
    return erased


def replay_from(
    settings: Settings,
    source: Source,
    sink: Sink,
    wanted: Wanted,
    repair: Repair | None,
    n_most: int,
    *,
    again: bool,
    erased: ErasedUsers,
    tell: Callable[[str], None] = lambda line: typer.echo(printable(line), err=True),
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Replayed:
    """As `replay`, with these ports."""
    end = source.end_offsets()
    replays = Replays()
    for record in records_until(source, end):
        replays.take(record)
    n_sent = n_left = n_before = 0
    missing = set(wanted.places)
    for record in records_until(source, end):
        letter = letter_of(record)
        if letter is None or not wanted.has(letter):
            continue
        if n_sent >= n_most:
            tell(f"{n_most} were sent, and there are more: run it again, or raise --limit")
            return Replayed(n_sent, n_left + 1, n_before)
        missing.discard(letter.place)
        if replays.n_sent(letter) and not (again or wanted.places):
            n_before += 1
            continue
        why = replays.why_not(letter, settings.kinds(), is_repaired=repair is not None, again=again)
        if why is None:
            outgoing = _outgoing(letter, repair)
            event = _read(settings, *outgoing)
            refused = _refusal(settings, event, now_ms())
            will = f"this version of streamer will refuse it: {refused}"
            if _is_of_erased(settings, outgoing, event, letter.log_ms, erased):
                why = "its user was erased after it was written"
            elif refused is not None and not wanted.places:
                why = f"{will}; repair it, or name it to send it all the same"
            elif refused is not None:
                tell(f"letter {letter.place}: {will}")
        if why is not None:
            n_left += 1
            tell(f"letter {letter.place}: {why}; not sent")
            continue
        _send(settings, sink, letter, repair, replays.next_attempt(letter))
        replays.sent(letter)
        n_sent += 1
    if missing:
        raise DataError(f"there is no letter at {', '.join(map(str, sorted(missing)))}")
    return Replayed(n_sent, n_left, n_before)


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


def _send(
    settings: Settings,
    sink: Sink,
    letter: Letter,
    repair: Repair | None,
    attempt: int,
) -> None:
    topic, key, value = _outgoing(letter, repair)
    sink.send(topic, key, value, replay_headers(letter, attempt))
    # The note comes after the message, so a crash between them can send it twice and never lose it.
    sink.flush(_TIMEOUT_S)
    sink.send(settings.topic_dead_letters, letter.key, None, note_headers(letter, attempt))
    sink.flush(_TIMEOUT_S)


def _refusal(settings: Settings, event: Event | InvalidEvent, now_ms: int) -> InvalidEvent | None:
    """Why a worker of this version will not take it; None: it will."""
    if isinstance(event, InvalidEvent):
        return event
    # its time on the log is about now: what came too early may have become true
    return too_early(event, now_ms, settings.max_skew_s * 1000)


def _outgoing(letter: Letter, repair: Repair | None) -> _Outgoing:
    assert letter.origin is not None  # noqa: S101  `why_not` has seen to it
    if repair is None:
        return _Outgoing(letter.origin.topic, letter.key, letter.value)
    return _Outgoing(letter.origin.topic, repair.key if repair.key is not None else letter.key, repair.value)


def _is_of_erased(
    settings: Settings, message: _Outgoing, event: Event | InvalidEvent, log_ms: int, erased: ErasedUsers
) -> bool:
    """Whether this is about a user who was erased since: by what it says, and by its key where it says nothing."""
    if not isinstance(event, InvalidEvent):
        return isinstance(event, Interaction | Profile) and erased.covers(event.user_id, log_ms)
    if settings.kinds()[message.topic] not in ("interactions", "profiles") or message.key is None:
        return False
    return erased.covers(message.key.decode("utf-8", "replace"), log_ms)


def _read(settings: Settings, topic: str, key: bytes | None, value: bytes | None) -> Event | InvalidEvent:
    """What a worker makes of a message."""
    try:
        return decode(settings.kinds()[topic], key, value)
    except InvalidEvent as exc:
        return exc
