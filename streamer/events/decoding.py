"""Bytes -> frozen events, or `InvalidEvent` with the reason and the offending field."""

import base64
import math
import re
import struct
from datetime import UTC, datetime, timedelta

import msgspec

from streamer.errors import InvalidEvent
from streamer.events.contract import (
    MAX_DEPTH,
    MAX_MESSAGE_BYTES,
    MAX_TEXT_DIM,
    MAX_TIMESTAMP_MS,
    UNREADABLE,
    CatalogItem,
    Embedding,
    Event,
    Interaction,
    ItemRetired,
    Kind,
    Profile,
    TextDropped,
    TextEmbedded,
    UserErased,
)
from streamer.events.names import CONTROL, RESERVED_PREFIX, id_problem, user_id_problem
from streamer.events.refusal import TOO_DEEP, bad_timestamp, is_deeper, refusal

_DECODERS: dict[Kind, msgspec.json.Decoder[Interaction | CatalogItem | Profile | Embedding | None]] = {
    "interactions": msgspec.json.Decoder(Interaction),
    "catalog": msgspec.json.Decoder(CatalogItem | None),
    "profiles": msgspec.json.Decoder(Profile | None),
    "texts": msgspec.json.Decoder(Embedding | None),
}


def decode(kind: Kind, key: bytes | None, value: bytes | None) -> Event:
    """Decode and check one message.

    Fields that the contract does not name are ignored, so that it can grow. The JSON literal `null` on
    catalog and profiles is read as the null value, since some producers cannot write the latter.

    Args:
        kind: What the topic carries.
        key: The message key; where present it must be the id. It is the only id that a tombstone or a text has.
        value: JSON in UTF-8, or None for a tombstone.

    Raises:
        InvalidEvent: The message can never be used.
    """
    if value is None:
        return _tombstone(kind, key)
    if len(value) > MAX_MESSAGE_BYTES:
        raise InvalidEvent("size", "$", f"expected at most {MAX_MESSAGE_BYTES} bytes, got {len(value)}")
    try:
        if not value.isascii():
            str(value, "utf-8")  # the decoder does not look into strings of fields it skips
        event = _DECODERS[kind].decode(value)
    except UNREADABLE as exc:
        raise refusal(_DECODERS[kind], value, exc) from exc
    if event is None:
        return _tombstone(kind, key)
    if value.count(b"[") + value.count(b"{") > MAX_DEPTH and is_deeper(value, MAX_DEPTH):
        raise InvalidEvent("depth", "$", TOO_DEEP)
    if isinstance(event, Embedding):
        return _text(key, event)
    when: object = event.timestamp_ms
    if isinstance(when, datetime):
        msgspec.structs.force_setattr(event, "timestamp_ms", _epoch_ms(value, when))
    _check(key, event)
    return event


def _check(key: bytes | None, event: Interaction | CatalogItem | Profile) -> None:
    """Check what types cannot state. Text of printable ASCII alone needs no second look."""
    if isinstance(event, Interaction):
        owner, path = event.user_id, "$.user_id"
        texts = f"{owner}{event.item_id}{event.type}{event.event_id}"
    elif isinstance(event, Profile):
        owner = texts = event.user_id
        path = "$.user_id"
    else:
        owner = texts = event.item_id
        path = "$.item_id"
    if not (texts.isascii() and texts.isprintable()):
        _check_unusual(event)
    if owner.startswith(RESERVED_PREFIX) and path == "$.user_id":
        raise InvalidEvent("schema", path, f"expected an id, got {user_id_problem(owner)}")
    if key is not None and key != owner.encode():
        raise InvalidEvent("key", path, "expected the id that is the message key, got another one")


def _check_unusual(event: Interaction | CatalogItem | Profile) -> None:
    for name in ("user_id", "item_id", "type", "event_id"):
        text = getattr(event, name, "")
        problem = id_problem(text) if text else None
        if problem is not None:
            noun = "a type" if name == "type" else "an id"
            raise InvalidEvent("schema", f"$.{name}", f"expected {noun}, got {problem}")


def vector_problem(vector: bytes) -> str | None:
    """Why these bytes cannot be the embedding of a text, as the end of "expected a vector, got ..."; None when they can."""
    n_bytes = len(vector)
    if n_bytes % 2 or not 2 <= n_bytes <= 2 * MAX_TEXT_DIM:
        return f"one of {n_bytes} bytes, not 1 to {MAX_TEXT_DIM} numbers of 2 bytes"
    norm = math.hypot(*struct.unpack(f"<{n_bytes // 2}e", vector))
    if not math.isfinite(norm):
        return "one with NaN or an infinite number"
    return None if 0.9 <= norm <= 1.1 else f"one of norm {norm:.3g}, not 0.9 to 1.1"


_CONTENT_KEY = re.compile(rb"[0-9a-f]{64}")


def _content_key(key: bytes | None) -> str:
    if key is None or not _CONTENT_KEY.fullmatch(key):
        got = "no key" if key is None else "another one"
        raise InvalidEvent("key", "$", f"expected a key of 64 digits, 0 to 9 and a to f, got {got}")
    return key.decode()


def _text(key: bytes | None, embedding: Embedding) -> TextEmbedded:
    content_key = _content_key(key)
    if CONTROL.search(embedding.model):
        raise InvalidEvent("schema", "$.model", "expected a name, got one with control characters")
    vector = base64.b64decode(embedding.vector)
    problem = vector_problem(vector)
    if problem is not None:
        raise InvalidEvent("number", "$.vector", f"expected a vector, got {problem}")
    return TextEmbedded(content_key, embedding.model, vector)


def is_null(value: bytes | None) -> bool:
    """Whether `decode` reads this as a null value: none, or null as JSON."""
    return value is None or value.strip(b" \t\n\r") == b"null"


def _tombstone(kind: Kind, key: bytes | None) -> ItemRetired | UserErased | TextDropped:
    if kind == "interactions":
        raise InvalidEvent("schema", "$", "expected an object, got a null value")
    if kind == "texts":
        return TextDropped(_content_key(key))
    path = "$.item_id" if kind == "catalog" else "$.user_id"
    if key is None:
        raise InvalidEvent("key", path, "expected the id as the key of a null value, got no key")
    try:
        owner = key.decode()
    except UnicodeDecodeError as exc:
        raise InvalidEvent("key", path, "expected the id in UTF-8 as the key of a null value") from exc
    problem = id_problem(owner) if kind == "catalog" else user_id_problem(owner)
    if problem is not None:
        raise InvalidEvent("key", path, f"expected an id as the key of a null value, got {problem}")
    return ItemRetired(owner) if kind == "catalog" else UserErased(owner)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def _epoch_ms(value: bytes, when: datetime) -> int:
    timestamp_ms = (when - _EPOCH) // _MILLISECOND
    if not 0 <= timestamp_ms <= MAX_TIMESTAMP_MS:
        raise InvalidEvent("schema", "$.timestamp", bad_timestamp(value))
    return timestamp_ms
