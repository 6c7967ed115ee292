"""The front door of the fold: a record, and whether it is an event; the same for a worker and for whoever repeats its fold."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamer.errors import InvalidEvent
from streamer.events import SECONDS_BELOW, Event, Interaction, Kind, Profile, decode, is_in_seconds, too_early
from streamer.letters import log_ms_of
from streamer.ports import Record


class Admitted(NamedTuple):
    """What a batch of records comes to."""

    events: list[Event]
    log_ms: list[int]  # when each came to the log, by its own time, epoch milliseconds; -1 where it has none
    refused: list[tuple[int, InvalidEvent]]  # number in the batch, and why it is no event
    # numbers in the batch of events whose timestamp seems to be in seconds: taken all the same
    in_seconds: list[int]


def admit(record: Record, kind: Kind, max_skew_ms: int) -> tuple[Event, int]:
    """The event of a record, and when it came to the log, epoch milliseconds (-1 = unknown).

    Both follow from the record alone, so every reading of the log comes to the same. What a user did, or said of himself, in a
    message that was a dead letter and was replayed came to the log when the message first did: whoever was erased since then
    stays forgotten. Anything else came when this record did; a tombstone that is replayed erases what there is by then.

    Args:
        kind: Of the record's topic.
        max_skew_ms: How far ahead of the log's own time the event may be; where the log has no times, any event may be.

    Raises:
        InvalidEvent: it is none; "future" where it cannot have happened yet.
    """
    event = decode(kind, record.key, record.value)
    log_ms = record.timestamp_ms
    # asked of every record: the call is for those few that may be
    if getattr(event, "timestamp_ms", 0) - log_ms > max_skew_ms:
        early = too_early(event, log_ms, max_skew_ms)
        if early is not None:
            raise early
    if record.headers and isinstance(event, Interaction | Profile):
        return event, log_ms_of(record)
    return event, log_ms


def admit_all(records: Sequence[Record], kinds: Mapping[str, Kind], max_skew_ms: int) -> Admitted:
    """`admit` of every record.

    Args:
        kinds: Topic -> what it carries.
    """
    admitted = Admitted([], [], [], [])
    for n, record in enumerate(records):
        try:
            event, log_ms = admit(record, kinds[record.topic], max_skew_ms)
        except InvalidEvent as exc:
            # its traceback refers back to this list: a cycle that would keep the messages alive
            exc.__cause__ = exc.__context__ = None
            admitted.refused.append((n, exc.with_traceback(None)))
        else:
            if getattr(event, "timestamp_ms", SECONDS_BELOW) < SECONDS_BELOW and is_in_seconds(
                event, record.value
            ):
                admitted.in_seconds.append(n)
            admitted.events.append(event)
            admitted.log_ms.append(log_ms)
    return admitted
