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


class TextRows:
    """Which items have which text, and vectors that came before their items. Bounded; part of the fold's state.

    Args:
        max_early: Vectors kept for texts of which no item is known yet; the oldest gives way.
    """

    def __init__(self, max_early: int) -> None:
        self._max_early = max_early
        self._key_of: dict[int, str] = {}
        self._rows_of: dict[str, list[int]] = {}
        self._early: dict[str, bytes] = {}

    def describe(self, item_row: int, key: str) -> tuple[bytes | None, int]:
        """Give an item its text, "" for none.

        Returns:
            The text's vector where it came before, else None; and the row of another item with this text, else -1.
        """
        self.forget(item_row)
        if not key:
            return None, -1
        rows = self._rows_of.setdefault(key, [])
        rows.append(item_row)
        self._key_of[item_row] = key
        return self._early.pop(key, None), rows[0] if len(rows) > 1 else -1

    def key(self, item_row: int) -> str:
        """Key of an item's text, "" when it has none."""
        return self._key_of.get(item_row, "")

    def arrive(self, key: str, vector: bytes) -> list[int]:
        """Rows of the items with this text; without any, the vector waits for one."""
        rows = self._rows_of.get(key)
        if rows:
            return list(rows)
        if key not in self._early and len(self._early) >= self._max_early:
            del self._early[next(iter(self._early))]
        self._early[key] = vector
        return []

    def forget(self, item_row: int) -> None:
        """The item has no text any more."""
        key = self._key_of.pop(item_row, None)
        if key is not None:
            rows = self._rows_of[key]
            rows.remove(item_row)
            if not rows:
                del self._rows_of[key]

    def n_bytes(self) -> int:
        """Estimate of the memory held: 300 bytes an item with a text, and the vectors that wait."""
        return 300 * len(self._key_of) + sum(map(len, self._early.values()))

    def digest(self) -> bytes:
        """Equal states give equal bytes, whatever the order in which texts and vectors came."""
        digest = hashlib.sha256()
        for row, key in sorted(self._key_of.items()):
            digest.update(f"{row}:{key};".encode())
        for key, vector in sorted(self._early.items()):
            digest.update(key.encode() + vector)
        return digest.digest()
