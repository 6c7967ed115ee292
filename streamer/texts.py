"""What of an item is embedded, and by which key its vector is known; the vector as a message of the topic `texts`."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.events import CatalogItem, TextEmbedded

MAX_CONTENT_CHARS = 1024
"""The models look at 128 tokens. What comes later would only make a new key of an equal vector."""

_ENCODER = msgspec.json.Encoder()
_KEY_BYTES = 32  # of a SHA-256


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

    def items(self) -> Iterator[tuple[int, str]]:
        """(row, key) of every item that has a text."""
        return iter(self._key_of.items())

    def early_keys(self) -> Iterator[str]:
        """Keys of the vectors that wait for an item."""
        return iter(self._early)

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

    def freeze(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """The state as it is now; what comes back may be called later, in another thread, and gives it as arrays.

        rows: (n,) int32, keys: (n, 32) uint8, which item has which text, in the order of description.
        early_keys: (m, 32) uint8, early_sizes: (m,) int32, early: uint8, the vectors that wait, the oldest first.
        """
        key_of, early = dict(self._key_of), dict(self._early)

        def arrays() -> dict[str, NDArray[Any]]:
            return {
                "rows": np.fromiter(key_of, np.int32, len(key_of)),
                "keys": _packed(list(key_of.values())),
                "early_keys": _packed(list(early)),
                "early_sizes": np.fromiter(map(len, early.values()), np.int32, len(early)),
                "early": np.frombuffer(b"".join(early.values()), np.uint8),
            }

        return arrays

    @classmethod
    def thaw(cls, max_early: int, arrays: Mapping[str, NDArray[Any]]) -> "TextRows":
        """The state whose `freeze` this is.

        Raises:
            ValueError: the arrays contradict each other.
        """
        rows, keys = arrays["rows"].tolist(), _unpacked(arrays["keys"])
        early_keys, sizes, early = _unpacked(arrays["early_keys"]), arrays["early_sizes"], arrays["early"]
        if sizes.size != len(early_keys) or sizes.min(initial=0) < 0 or int(sizes.sum()) != early.size:
            raise ValueError("texts: expected a vector for each key that waits")
        if len(rows) != len(keys) or len(set(rows)) != len(rows) or len(early_keys) > max_early:
            raise ValueError("texts: expected each item once, and a key for it")
        texts = cls(max_early)
        for row, key in zip(rows, keys, strict=True):
            texts.describe(row, key)
        vectors, end = early.tobytes(), 0
        for key, size in zip(early_keys, sizes.tolist(), strict=True):
            texts._early[key] = vectors[end : end + size]
            end += size
        return texts


def _packed(keys: list[str]) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex("".join(keys)), np.uint8).reshape(-1, _KEY_BYTES)


def _unpacked(keys: NDArray[np.uint8]) -> list[str]:
    digits, width = keys.tobytes().hex(), 2 * _KEY_BYTES
    return [digits[at : at + width] for at in range(0, len(digits), width)]
