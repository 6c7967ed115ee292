"""Bytes -> frozen events, or `InvalidEvent` with the reason and the offending field.

    contract  the events, and how large each part of one may be
    names     ids: what may be one, and those that are ours
    decoding  one message -> one event
    refusal   why a message cannot be used, in our words
    timing    events of the future; seconds in place of milliseconds

The contract is in `schemas/`; the rules that a JSON Schema cannot state are in `schemas/README.md`. Both are
held against these files by `tests/properties/test_events_agree.py`.

Message bytes are hostile: whether a message is usable depends on its bytes alone, never on the stack depth,
the interpreter or the order of arrival, because the same log must fold to the same state everywhere.
"""

from streamer.events.contract import (
    MAX_DEPTH,
    MAX_ID_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_TIMESTAMP_MS,
    SECONDS_BELOW,
    UNREADABLE,
    CatalogItem,
    Event,
    Interaction,
    ItemRetired,
    Kind,
    OutsideEvent,
    Profile,
    TextDropped,
    TextEmbedded,
    UserErased,
)
from streamer.events.decoding import (
    decode,
    is_null,
    vector_problem,
)
from streamer.events.names import (
    ANONYMOUS,
    PROFILE_NODE,
    RESERVED_PREFIX,
    category_name,
    escaped,
    id_problem,
    profile_node,
    segment_list_id,
    user_id_problem,
)
from streamer.events.timing import is_in_seconds, too_early

__all__ = [
    "ANONYMOUS",
    "MAX_DEPTH",
    "MAX_ID_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_TIMESTAMP_MS",
    "PROFILE_NODE",
    "RESERVED_PREFIX",
    "SECONDS_BELOW",
    "UNREADABLE",
    "CatalogItem",
    "Event",
    "Interaction",
    "ItemRetired",
    "Kind",
    "OutsideEvent",
    "Profile",
    "TextDropped",
    "TextEmbedded",
    "UserErased",
    "category_name",
    "decode",
    "escaped",
    "id_problem",
    "is_in_seconds",
    "is_null",
    "profile_node",
    "segment_list_id",
    "too_early",
    "user_id_problem",
    "vector_problem",
]
