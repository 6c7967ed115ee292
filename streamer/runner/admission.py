"""The front door of the fold: a record, and whether it is an event; the same for a worker and for whoever repeats its fold."""

from streamer.errors import InvalidEvent
from streamer.events import Event, Interaction, Kind, Profile, decode
from streamer.letters import log_ms_of
from streamer.ports import Record


def admit(record: Record, kind: Kind, max_skew_ms: int) -> tuple[Event, int]:
    """The event of a record, and when it came to the log, epoch milliseconds (-1 = unknown).

    Both follow from the record alone, so every reading of the log comes to the same. What a user did, or said of himself, in a
    message that was a dead letter and was replayed came to the log when the message first did: whoever was erased since then
    stays forgotten. Anything else came when this record did; a tombstone that is replayed erases what there is by then.

    Args:
        kind: Of the record's topic.
        max_skew_ms: How far ahead of the log's own time the event may be.

    Raises:
        InvalidEvent: it is none; "future" where it cannot have happened yet.
    """
    event = decode(kind, record.key, record.value)
    _check_skew(event, record.timestamp_ms, max_skew_ms)
    if record.headers and isinstance(event, Interaction | Profile):
        return event, log_ms_of(record)
    return event, record.timestamp_ms


def _check_skew(event: Event, log_ms: int, max_skew_ms: int) -> None:
    """Refuse what cannot have happened yet, by the log's own time: so it is refused on every reading, or on none."""
    ahead_ms = getattr(event, "timestamp_ms", 0) - log_ms
    if log_ms >= 0 and ahead_ms > max_skew_ms:
        what = (
            f"expected at most {max_skew_ms / 1000:g} s after the log's own time, got {ahead_ms / 1000:g} s"
        )
        raise InvalidEvent("future", "$.timestamp", what)
