"""What others may tell us: the events, and how large each part of one may be."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

MAX_MESSAGE_BYTES = 256 * 1024
MAX_ID_BYTES = 256
MAX_DEPTH = 32
"""Objects and lists inside each other, in fields we do not know; those we know are at most three deep."""
MAX_TIMESTAMP_MS = 7_258_118_399_999
"""The last millisecond of the year 2199: beyond it lies a wrong unit (microseconds), not an event."""
SECONDS_BELOW = 100_000_000_000
"""Before March 1973 in milliseconds, the year 5138 in seconds: a producer who writes seconds is below, whenever he does."""

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


class Embedding(msgspec.Struct, frozen=True, gc=False):
    """The value of a message on the texts."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    vector: Vector


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of bytes that are not what they should be: of text that is no UTF-8 it is no DecodeError."""
OutsideEvent = Interaction | CatalogItem | Profile | ItemRetired | UserErased
"""What others tell us."""
Event = OutsideEvent | TextEmbedded | TextDropped
