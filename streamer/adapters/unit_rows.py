"""What every text model gives, the one in memory too: rows of norm 1."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MIN_NORM = 1e-6


def unit_rows(rows: NDArray[np.float32], texts: Sequence[str]) -> NDArray[np.float32]:
    """The rows at norm 1. Where a model found nothing in a text, it gets a direction of its own, near nothing.

    That direction is drawn from the text's hash: equal texts stay equal, and in many dimensions two drawn
    directions are nearly at right angles.

    Args:
        rows: (n, dim) float32.
        texts: n, of which the rows were made.

    Returns:
        (n, dim) float32, new.
    """
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    is_sound = np.isfinite(norms) & (norms > _MIN_NORM)
    unit: NDArray[np.float32] = np.divide(rows, norms, out=np.zeros_like(rows), where=is_sound)
    for n in np.flatnonzero(~is_sound).tolist():
        unit[n] = _direction(texts[n], rows.shape[1])
    return unit


def _direction(text: str, dim: int) -> NDArray[np.float32]:
    digest = hashlib.shake_256(text.encode("utf-8", "replace")).digest(dim // 8 + 1)
    signs = np.unpackbits(np.frombuffer(digest, np.uint8))[:dim].astype(np.float32) * 2 - 1
    return signs / np.float32(np.sqrt(dim))
