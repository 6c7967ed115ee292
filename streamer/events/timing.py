"""What a timestamp says, held against what is likely: an event of the future, and seconds where milliseconds are meant."""

from streamer.errors import InvalidEvent
from streamer.events.contract import SECONDS_BELOW, Event
from streamer.events.refusal import raw_timestamp

# A whole number up to here is no time in milliseconds (it would be before March 1973), but one in seconds from then on.
_SECONDS = range(100_000_000, SECONDS_BELOW)
_UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000))


def too_early(event: Event, log_ms: int, max_skew_ms: int) -> InvalidEvent | None:
    """Why an event cannot have happened yet; None: it can, or the log has no times.

    Args:
        log_ms: When its message came to the log, by the log's own time, epoch milliseconds; -1 = unknown.
        max_skew_ms: How far ahead of that it may be.
    """
    ahead_ms = getattr(event, "timestamp_ms", 0) - log_ms
    if ahead_ms <= max_skew_ms or log_ms < 0:
        return None
    expected = f"expected at most {max_skew_ms / 1000:g} s after the log's own time"
    return InvalidEvent("future", "$.timestamp", f"{expected}, got {_span(ahead_ms)}")


def is_in_seconds(event: Event, value: bytes | None) -> bool:
    """Whether the timestamp of an event, written in its message as a number, seems to be in seconds; text means what it says."""
    if value is None or getattr(event, "timestamp_ms", 0) not in _SECONDS:
        return False
    return not raw_timestamp(value).startswith(b'"')


def _span(ms: int) -> str:
    """For people: "2.5 h"; to the millisecond where that is short, since a limit may be missed by one."""
    for unit, size_ms in _UNITS_MS:
        if ms >= 10 * size_ms:
            return f"{ms / size_ms:,.1f} {unit}"
    return f"{ms / 1000:,g} s"
