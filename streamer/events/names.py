"""Ids: what may be one, and those that are ours."""

import hashlib
import re

from streamer.events.contract import MAX_ID_BYTES

RESERVED_PREFIX = "__streamer"
"""User ids that begin so are ours: they name lists for users nobody knows."""
PROFILE_NODE = "profile:"
"""What the encoders' name of a profile's feature node begins with: `profile:country=France`."""
SEGMENT = "__streamer_segment__"
"""What the owners of segments' lists begin with, see `segment_list_id`."""
ANONYMOUS = "__streamer_anonymous__"
"""Owner of the list for users nobody knows."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def id_problem(text: str) -> str | None:
    """Why `text` cannot be an id, as the end of the sentence "expected an id, got ..."; None when it can."""
    if not text:
        return "an empty one"
    if CONTROL.search(text):
        return "one with control characters"
    try:
        n_bytes = len(text.encode())
    except UnicodeEncodeError:
        return "one that is not Unicode text (a lone surrogate)"
    return None if n_bytes <= MAX_ID_BYTES else f"one of {n_bytes} bytes, over {MAX_ID_BYTES}"


def user_id_problem(text: str) -> str | None:
    """As `id_problem`, of a user id: these may not begin with the reserved prefix."""
    if text.startswith(RESERVED_PREFIX):
        return f"one that begins with {RESERVED_PREFIX}, which is reserved"
    return id_problem(text)


_ESCAPES = str.maketrans({mark: f"%{ord(mark):02X}" for mark in "%=#~:"})


def escaped(field: str) -> str:
    """The field without any separator of node names in it; different fields stay different."""
    return field.translate(_ESCAPES)


def category_name(stem: str, value: str) -> str:
    """Name of a value's node: "category=Drama".

    A value that begins like a name of ours (`__`) or an escape (`%`) gets a `%` in front: two features never share a name.

    Args:
        stem: The escaped field, with the "profile:" or "context:" of its kind in front.
        value: As it came.
    """
    return f"{stem}=%{value}" if value.startswith(("__", "%")) else f"{stem}={value}"


def profile_node(field: str, value: str) -> str:
    """The encoders' name of the node of a category in a profile: `profile:country=France`."""
    return category_name(PROFILE_NODE + escaped(field), value)


def segment_list_id(node_name: str) -> str:
    """Owner of the list for users nobody knows, but for this feature of their profile.

    Args:
        node_name: As the encoders name it, `profile:country=France`.

    Returns:
        `__streamer_segment__country=France`; where that would be longer than an id may be, the SHA-256 (hex) of
        what follows the prefix takes its place.

    Raises:
        ValueError: the node is not one of a profile, or not Unicode text (a lone surrogate).
    """
    if not node_name.startswith(PROFILE_NODE):
        raise ValueError(
            f"segment_list_id: expected a node {PROFILE_NODE}<field>=<value>, got {node_name[:64]!r}"
        )
    feature = node_name.removeprefix(PROFILE_NODE)
    encoded = feature.encode()
    if len(SEGMENT) + len(encoded) > MAX_ID_BYTES:
        feature = hashlib.sha256(encoded).hexdigest()
    return SEGMENT + feature
