"""Why a message cannot be used, in our words: which rule, which field, what was expected and what came."""

import re
from typing import Any, get_args

import msgspec

from streamer.errors import InvalidEvent, Reason
from streamer.events.contract import MAX_DEPTH

TOO_DEEP = f"expected at most {MAX_DEPTH} objects and lists inside each other"
# A string, or the rest of the message where it is never closed: tried once, so linear on any bytes.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET = bytes(sorted(set(range(256)) - set(b"{}[]")))


def is_deeper(value: bytes, depth: int) -> bool:
    """Whether well-formed JSON nests deeper than `depth`: each round takes the innermost brackets away."""
    brackets = _STRING.sub(b"", value).translate(_TO_SQUARE, _NO_BRACKET)
    for _ in range(depth):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def refusal(decoder: msgspec.json.Decoder[Any], value: bytes, exc: Exception) -> InvalidEvent:
    """What the decoder found, in our words: its messages name types and fields, never what was in them."""
    if isinstance(exc, msgspec.ValidationError):
        return _schema_refusal(decoder, value, str(exc))
    if isinstance(exc, UnicodeDecodeError):
        found = exc.object[exc.start]
        return InvalidEvent("utf8", "$", f"expected UTF-8, got byte 0x{found:02x} at {exc.start}")
    if isinstance(exc, RecursionError):
        return InvalidEvent("depth", "$", TOO_DEEP)
    if value.startswith(b"\xef\xbb\xbf"):
        return InvalidEvent("json", "$", "expected JSON, got a byte order mark first")
    if any(match[1] for match in _SURROGATES.finditer(value)):
        return InvalidEvent("utf8", "$", "expected Unicode text, got a lone surrogate (\\ud800 to \\udfff)")
    return _number_refusal(decoder, value) or InvalidEvent("json", "$", f"expected JSON: {_lower(str(exc))}")


# An escaped backslash, a pair, or (group 1) half a pair.
_SURROGATES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_NOT_FINITE = re.compile(_STRING.pattern + rb"|(-?(?:NaN|Infinity))\b", re.DOTALL)


def _number_refusal(decoder: msgspec.json.Decoder[Any], value: bytes) -> InvalidEvent | None:
    """Blame NaN or Infinity if they alone break the JSON: a number that overflows in its place says where."""
    as_overflow = _NOT_FINITE.sub(lambda match: b"1e999" if match[1] else match[0], value)
    if as_overflow == value:
        return None
    path = "$"
    try:
        decoder.decode(as_overflow)
    except msgspec.ValidationError as exc:
        refusal = _schema_refusal(decoder, value, str(exc))
        if refusal.reason != "number":
            return refusal
        path = _named(decoder, as_overflow, refusal.path)
    except (msgspec.DecodeError, RecursionError):
        return None
    return InvalidEvent("number", path, "expected a finite number, got NaN or Infinity")


_AT = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`(?P<path>\$[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<name>[^`]*)`$")


def _schema_refusal(decoder: msgspec.json.Decoder[Any], value: bytes, message: str) -> InvalidEvent:
    found = _AT.match(message)
    what, path, in_key = found.group("what", "path", "key") if found else (message, None, None)
    path = _named(decoder, value, path) if path else "$"
    missing = _MISSING.match(what)
    if missing:
        return InvalidEvent("schema", f"{path}.{missing['name']}", "required field is missing")
    if path == "$.timestamp":
        return InvalidEvent("schema", path, bad_timestamp(value))
    reason: Reason = "number" if what.endswith("out of range") else "schema"
    return InvalidEvent(reason, path, ("name of a field: " if in_key else "") + _lower(what))


_OF_ENTRY = re.compile(r"^\$\.(?P<field>\w+)\[\.\.\.\](?P<rest>.*)$")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # any other might do harm where the path is shown


def _named(decoder: msgspec.json.Decoder[Any], value: bytes, path: str) -> str:
    """`$.categorical.colour` for `$.categorical[...]`: with the name of the entry to blame, where that is a plain one."""
    found = _OF_ENTRY.match(path)
    if found is None:
        return path
    (event,) = (
        kind for kind in (decoder.type, *get_args(decoder.type)) if isinstance(kind, type(msgspec.Struct))
    )
    (field,) = (field for field in msgspec.structs.fields(event) if field.encode_name == found["field"])
    try:
        fields = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
        entries = msgspec.json.decode(fields[field.encode_name], type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):  # what comes after the field is broken too
        return path
    for name, entry in entries.items():
        try:
            msgspec.json.decode(b'{"_":' + bytes(entry) + b"}", type=field.type)
        except msgspec.ValidationError:
            return f"$.{field.encode_name}.{name}{found['rest']}" if _PLAIN_NAME.fullmatch(name) else path
    return path


class _Peek(msgspec.Struct):
    timestamp: msgspec.Raw


_PEEK = msgspec.json.Decoder(_Peek)


def raw_timestamp(value: bytes) -> bytes:
    """`timestamp` as it stands in a message.

    Raises:
        msgspec.DecodeError: there is none, or what comes before it is broken.
        RecursionError: the message is too deep.
    """
    return bytes(_PEEK.decode(value).timestamp)


def bad_timestamp(value: bytes) -> str:
    """What was expected of `timestamp`, and what came, as much of it as fits on a line."""
    expected = "expected RFC 3339 with an offset, or whole epoch milliseconds, from 1970 to 2199"
    try:
        raw = raw_timestamp(value)
    except (msgspec.DecodeError, RecursionError):  # what comes after the field is broken too
        return expected
    shown = raw[:32].decode("ascii", "backslashreplace")
    excerpt = "".join(c if c.isprintable() else "?" for c in shown) + ("..." if len(raw) > 32 else "")
    return f"{expected}, got {excerpt}"


def _lower(message: str) -> str:
    return message if message.startswith("JSON") else message[:1].lower() + message[1:]
