"""Bytes -> frozen events, or `InvalidEvent` with the reason and the offending field.

The contract is in `schemas/`; the rules that a JSON Schema cannot state are in `schemas/README.md`. Both are
held against this file by `tests/properties/test_events_agree.py`.

Message bytes are hostile: whether a message is usable depends on its bytes alone, never on the stack depth,
the interpreter or the order of arrival, because the same log must fold to the same state everywhere.
"""

import base64
import hashlib
import math
import re
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from streamer.errors import InvalidEvent

MAX_MESSAGE_BYTES = 256 * 1024
MAX_ID_BYTES = 256
MAX_DEPTH = 32
"""Objects and lists inside each other, in fields we do not know; those we know are at most three deep."""
MAX_TIMESTAMP_MS = 7_258_118_399_999
"""The last millisecond of the year 2199: beyond it lies a wrong unit (microseconds), not an event."""
RESERVED_PREFIX = "__streamer"
"""User ids that begin so are ours: they name lists for users nobody knows."""
PROFILE_NODE = "profile:"
"""What the encoders' name of a profile's feature node begins with: `profile:country=France`."""
SEGMENT = "__streamer_segment__"
"""What the owners of segments' lists begin with, see `segment_list_id`."""
ANONYMOUS = "__streamer_anonymous__"
"""Owner of the list for users nobody knows."""

MAX_TEXT_DIM = 1024
"""Numbers in the embedding of a text."""

Kind = Literal["interactions", "catalog", "profiles", "texts"]

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Category = Annotated[str, Meta(min_length=1, max_length=256)]
Categories = Annotated[list[Category], Meta(max_length=64)]
Categorical = Annotated[dict[Name, Categories], Meta(max_length=64)]
Numerical = Annotated[dict[Name, float], Meta(max_length=64)]
Context = Annotated[dict[Name, Category | float], Meta(max_length=64)]

# Base64 of an even number of bytes, in the one way of writing them: whole groups of 6 bytes, then 0, 2 or 4 more.
_FLOATS16 = "^(?:[A-Za-z0-9+/]{8})*(?:[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/]{5}[AQgw]==)?$(?!\\n)"
Vector = Annotated[str, Meta(min_length=4, max_length=2732, pattern=_FLOATS16)]

if TYPE_CHECKING:
    Timestamp = int
else:
    # On the wire also RFC 3339; `decode` turns it into epoch milliseconds before anyone sees the struct. One
    # struct for both spares a second allocation an event.
    Timestamp = Annotated[int, Meta(ge=0, le=MAX_TIMESTAMP_MS)] | Annotated[datetime, Meta(tz=True)]


class Interaction(msgspec.Struct, frozen=True, gc=False):
    """A user did something with an item, at `timestamp_ms` of event time."""

    user_id: Id
    item_id: Id
    type: Annotated[str, Meta(min_length=1, max_length=64)]
    timestamp_ms: Timestamp = msgspec.field(name="timestamp")
    value: float | None = None
    context: Context = {}
    event_id: Annotated[str, Meta(max_length=MAX_ID_BYTES)] = ""


class CatalogItem(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """All that is known about an item from now on; it replaces what was known before."""

    item_id: Id
    title: Annotated[str, Meta(max_length=4096)] = ""
    text: Annotated[str, Meta(max_length=65_536)] = ""
    categorical: Categorical = {}
    numerical: Numerical = {}
    available: bool = True
    timestamp_ms: Timestamp = msgspec.field(name="timestamp")


class Profile(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """All that is known about a user from now on; it replaces what was known before."""

    user_id: Id
    categorical: Categorical = {}
    numerical: Numerical = {}
    timestamp_ms: Timestamp = msgspec.field(name="timestamp")


class ItemRetired(msgspec.Struct, frozen=True, gc=False):
    """Null value on the catalog: the item must not be listed any more."""

    item_id: str


class UserErased(msgspec.Struct, frozen=True, gc=False):
    """Null value on the profiles: the user must be forgotten."""

    user_id: str


class TextEmbedded(msgspec.Struct, frozen=True, gc=False):
    """What a model makes of a text. Every item that has this text, by then or later, has this vector.

    Args:
        key: `texts.content_key` of the model and the text, 64 hexadecimal digits.
        model: Name of the model, as in the settings of whoever embedded the text.
        vector: (dim,) float16, little endian, as bytes; norm within 0.9 to 1.1.
    """

    key: str
    model: str
    vector: bytes


class TextDropped(msgspec.Struct, frozen=True, gc=False):
    """Null value on the texts: it makes room on the compacted log, and takes nothing from those who have read the vector."""

    key: str


class _Embedding(msgspec.Struct, frozen=True, gc=False):
    """The value of a message on the texts."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    vector: Vector


OutsideEvent = Interaction | CatalogItem | Profile | ItemRetired | UserErased
"""What others tell us."""
Event = OutsideEvent | TextEmbedded | TextDropped

_DECODERS: dict[Kind, msgspec.json.Decoder[Interaction | CatalogItem | Profile | _Embedding | None]] = {
    "interactions": msgspec.json.Decoder(Interaction),
    "catalog": msgspec.json.Decoder(CatalogItem | None),
    "profiles": msgspec.json.Decoder(Profile | None),
    "texts": msgspec.json.Decoder(_Embedding | None),
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _refusal(kind, value, exc) from exc
    if event is None:
        return _tombstone(kind, key)
    if value.count(b"[") + value.count(b"{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise InvalidEvent("depth", "$", _TOO_DEEP)
    if isinstance(event, _Embedding):
        return _text(key, event)
    when: object = event.timestamp_ms
    if isinstance(when, datetime):
        msgspec.structs.force_setattr(event, "timestamp_ms", _epoch_ms(value, when))
    _check(key, event)
    return event


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def id_problem(text: str) -> str | None:
    """Why `text` cannot be an id, as the end of the sentence "expected an id, got ..."; None when it can."""
    if not text:
        return "an empty one"
    if _CONTROL.search(text):
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


_SEPARATORS = str.maketrans({mark: f"%{ord(mark):02X}" for mark in "%=#~:"})


def profile_node(field: str, value: str) -> str:
    """The encoders' name of the node of a category in a profile: `profile:country=France`.

    Separators in the field are percent-encoded, and a value that begins like a name of ours (`__`) or an escape
    (`%`) gets a `%` in front: two features never share a name.
    """
    mark = "%" if value.startswith(("__", "%")) else ""
    return f"{PROFILE_NODE}{field.translate(_SEPARATORS)}={mark}{value}"


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


def _text(key: bytes | None, embedding: _Embedding) -> TextEmbedded:
    content_key = _content_key(key)
    if _CONTROL.search(embedding.model):
        raise InvalidEvent("schema", "$.model", "expected a name, got one with control characters")
    vector = base64.b64decode(embedding.vector)
    problem = vector_problem(vector)
    if problem is not None:
        raise InvalidEvent("number", "$.vector", f"expected a vector, got {problem}")
    return TextEmbedded(content_key, embedding.model, vector)


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
        raise InvalidEvent("schema", "$.timestamp", _bad_timestamp(value))
    return timestamp_ms


_TOO_DEEP = f"expected at most {MAX_DEPTH} objects and lists inside each other"
# A string, or the rest of the message where it is never closed: tried once, so linear on any bytes.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET = bytes(sorted(set(range(256)) - set(b"{}[]")))


def _is_deeper(value: bytes, depth: int) -> bool:
    """Whether well-formed JSON nests deeper than `depth`: each round takes the innermost brackets away."""
    brackets = _STRING.sub(b"", value).translate(_TO_SQUARE, _NO_BRACKET)
    for _ in range(depth):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _refusal(kind: Kind, value: bytes, exc: Exception) -> InvalidEvent:
    """What the decoder found, in our words: its messages name types and fields, never what was in them."""
    if isinstance(exc, msgspec.ValidationError):
        return _schema_refusal(value, str(exc))
    if isinstance(exc, UnicodeDecodeError):
        found = exc.object[exc.start]
        return InvalidEvent("utf8", "$", f"expected UTF-8, got byte 0x{found:02x} at {exc.start}")
    if isinstance(exc, RecursionError):
        return InvalidEvent("depth", "$", _TOO_DEEP)
    if value.startswith(b"\xef\xbb\xbf"):
        return InvalidEvent("json", "$", "expected JSON, got a byte order mark first")
    if any(match[1] for match in _SURROGATES.finditer(value)):
        return InvalidEvent("utf8", "$", "expected Unicode text, got a lone surrogate (\\ud800 to \\udfff)")
    return _number_refusal(kind, value) or InvalidEvent("json", "$", f"expected JSON: {_lower(str(exc))}")


# An escaped backslash, a pair, or (group 1) half a pair.
_SURROGATES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_NOT_FINITE = re.compile(_STRING.pattern + rb"|(-?(?:NaN|Infinity))\b", re.DOTALL)


def _number_refusal(kind: Kind, value: bytes) -> InvalidEvent | None:
    """Blame NaN or Infinity if they alone break the JSON: a number that overflows in its place says where."""
    as_overflow = _NOT_FINITE.sub(lambda match: b"1e999" if match[1] else match[0], value)
    if as_overflow == value:
        return None
    path = "$"
    try:
        _DECODERS[kind].decode(as_overflow)
    except msgspec.ValidationError as exc:
        refusal = _schema_refusal(value, str(exc))
        if refusal.reason != "number":
            return refusal
        path = refusal.path
    except (msgspec.DecodeError, RecursionError):
        return None
    return InvalidEvent("number", path, "expected a finite number, got NaN or Infinity")


_AT = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`(?P<path>\$[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]*)`$")


def _schema_refusal(value: bytes, message: str) -> InvalidEvent:
    found = _AT.match(message)
    what, path, in_key = found.group("what", "path", "key") if found else (message, None, None)
    path = path or "$"
    missing = _MISSING.match(what)
    if missing:
        return InvalidEvent("schema", f"{path}.{missing['name']}", "required field is missing")
    if path == "$.timestamp":
        return InvalidEvent("schema", path, _bad_timestamp(value))
    reason = "number" if what.endswith("out of range") else "schema"
    return InvalidEvent(reason, path, ("name of a field: " if in_key else "") + _lower(what))


class _Peek(msgspec.Struct):
    timestamp: msgspec.Raw


_PEEK = msgspec.json.Decoder(_Peek)


def _bad_timestamp(value: bytes) -> str:
    expected = "expected RFC 3339 with an offset, or whole epoch milliseconds, from 1970 to 2199"
    try:
        raw = bytes(_PEEK.decode(value).timestamp)
    except (msgspec.DecodeError, RecursionError):  # what comes after the field is broken too
        return expected
    shown = raw[:32].decode("ascii", "backslashreplace")
    excerpt = "".join(c if c.isprintable() else "?" for c in shown) + ("..." if len(raw) > 32 else "")
    return f"{expected}, got {excerpt}"


def _lower(message: str) -> str:
    return message if message.startswith("JSON") else message[:1].lower() + message[1:]
