"""The text model and its cache in memory."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from streamer.adapters.unit_rows import unit_rows
from streamer.errors import Unavailable


class MemoryTextModel:
    """`ports.TextModel` without a model: a bag of words, each hashed to one of `dim` signed places.

    Texts that share words are near each other. Set `down = True` to make it raise `Unavailable`.

    Args:
        dim: Numbers of a vector.
    """

    def __init__(self, dim: int = 64) -> None:
        self.name = "memory"
        self.dim = dim
        self.down = False
        self.n_embedded = 0  # texts, over all calls

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim) float32 rows of unit norm."""
        if self.down:
            raise Unavailable("the text model in memory is down")
        counts = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(counts, texts, strict=True):
            for word in text.lower().split():
                number = int.from_bytes(
                    hashlib.sha256(word.encode("utf-8", "replace")).digest()[:8], "little"
                )
                row[(number >> 1) % self.dim] += 1.0 if number & 1 else -1.0
        self.n_embedded += len(texts)
        return unit_rows(counts, texts)


class MemoryTextCache:
    """`ports.TextCache` in a dict. Set `down = True` to make every access raise `Unavailable`.

    Args:
        max_texts: Most vectors held; beyond it the older half goes.
    """

    def __init__(self, *, max_texts: int = 1_000_000) -> None:
        self.down = False
        self._max_texts = max_texts
        self._vectors: dict[str, bytes] = {}
        self._closed = False

    def read(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Key -> vector of those that are held."""
        self._check()
        return {key: self._vectors[key] for key in keys if key in self._vectors}

    def write(self, vectors: Mapping[str, bytes]) -> None:
        """Hold these, in place of what was held for the same keys."""
        self._check()
        self._vectors.update(vectors)
        # half at once: one by one would look for the oldest each time
        if len(self._vectors) > self._max_texts:
            for key in list(islice(self._vectors, len(self._vectors) - self._max_texts // 2)):
                del self._vectors[key]

    def close(self) -> None:
        """Leave the cache. Idempotent."""
        self._closed = True

    def _check(self) -> None:
        if self.down or self._closed:
            raise Unavailable("the text cache in memory is " + ("closed" if self._closed else "down"))
