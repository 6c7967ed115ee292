"""What of an item is embedded, and by which key its vector is known; the vector as a message of the topic `texts`."""

import hashlib

import msgspec

from streamer.events import CatalogItem, TextEmbedded

MAX_CONTENT_CHARS = 1024
"""The models look at 128 tokens. What comes later would only make a new key of an equal vector."""

_ENCODER = msgspec.json.Encoder()


def content_of(item: CatalogItem) -> str:
    """Title, then text, a line each, without white space around them; "" where there is nothing to embed.

    At most `MAX_CONTENT_CHARS` characters: the beginning.
    """
    content = "\n".join(part for part in (item.title.strip(), item.text.strip()) if part)
    return content[:MAX_CONTENT_CHARS].rstrip()


def content_key(model: str, content: str) -> str:
    """The key of a text: SHA-256 of the model's name, a zero byte and the text, 64 hexadecimal digits.

    Equal texts of different items share it; another model, or another text, has another one.
    """
    return hashlib.sha256(f"{model}\0{content}".encode()).hexdigest()


def encode(event: TextEmbedded) -> bytes:
    """The value of the message that `events.decode` makes this event of; its key is the event's, in ASCII."""
    return _ENCODER.encode({"model": event.model, "vector": event.vector})
