"""What the contract of events allows and nobody means: told before it is sent, since no worker can know."""

import time
from collections.abc import Set

import msgspec

from streamer.events import Interaction, OutsideEvent, is_in_seconds


def fields_of(message: bytes) -> Set[str]:
    """Names of the fields of a message, whose values may be anything."""
    return msgspec.json.decode(message, type=dict[str, msgspec.Raw]).keys()


def hardly_meant(event: OutsideEvent, message: bytes, fields: Set[str]) -> str:
    """Why a message is another event than was meant, as the end of "line 3: ..."; "" where it seems to be that one.

    Args:
        event: As it was decoded.
        message: Its bytes, not null.
        fields: Its `fields_of`.
    """
    if not isinstance(event, Interaction) and fields >= {"user_id", "item_id", "type"}:
        # on the catalog it would take title and features of its item away
        return "this is an interaction (it has user_id, item_id and type)"
    if is_in_seconds(event, message):
        when = getattr(event, "timestamp_ms", 0)
        day = time.strftime("%Y-%m-%d", time.gmtime(when / 1000))
        return f"$.timestamp: expected milliseconds, got {when}, which would be {day}: are these seconds?"
    return ""
