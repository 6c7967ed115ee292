"""The window of event ids: whatever was folded lately is recognised when it comes again.

    ring    64-bit hashes of the last event ids, each once; when it is full, the oldest lies at n % size
    slots   the same hashes, open addressing with linear probing: made from the ring, and never kept with it

An id that comes again stays where it is. Two ids of one hash in a window of a million: one event in 2e13.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from streamer.compiled import entry_kernel, kernel


class Window(NamedTuple):
    """See above; 0 stands for no id."""

    ring: NDArray[np.uint64]  # (size,)
    n: NDArray[np.int64]  # (1,) hashes put in so far
    slots: NDArray[np.uint64]  # (a power of two, at least twice the size,)


def new_window(size: int) -> Window:
    """An empty window.

    Args:
        size: Ids remembered, >= 0; with 0 nothing is ever recognised.
    """
    n_slots = 1 << (2 * max(size, 1) - 1).bit_length()
    return Window(np.zeros(size, np.uint64), np.zeros(1, np.int64), np.zeros(n_slots, np.uint64))


def hashes_of(event_ids: Iterable[str]) -> NDArray[np.uint64]:
    """Hash of each id, xxh3 of its UTF-8, the same on every machine; 0 for an empty id, which is none."""
    ids = list(event_ids)
    hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, map(str.encode, ids)), np.uint64, len(ids))
    hashes[hashes == 0] = 1
    if "" in ids:
        hashes[[not event_id for event_id in ids]] = 0
    return hashes


def recognise(window: Window, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of these are in the window, or come twice among them; the others are put in, in their order.

    Args:
        hashes: (n,) as `hashes_of` gives them.

    Returns:
        (n,) bool; False where there is no id.
    """
    is_known = np.zeros(hashes.size, np.bool_)
    if window.ring.size:
        _recognise(window.ring, window.n, window.slots, hashes, is_known)
    return is_known


def refill(window: Window) -> None:
    """Make the slots anew, from a ring that was read from elsewhere.

    Raises:
        ValueError: the ring holds a hash twice, or none where one should be.
    """
    window.slots[:] = 0
    hashes = window.ring[: min(int(window.n[0]), window.ring.size)]
    again = np.zeros(hashes.size, np.bool_)
    if hashes.size:
        _recognise(np.zeros_like(window.ring), np.zeros(1, np.int64), window.slots, hashes, again)
    if again.any() or not hashes.all():
        raise ValueError(f"window: expected {hashes.size} different hashes, got one twice, or none")


@kernel
def _home(slots: NDArray[np.uint64], wanted: np.uint64) -> np.int64:
    return np.int64(wanted & np.uint64(slots.size - 1))


@kernel
def _find(slots: NDArray[np.uint64], wanted: np.uint64) -> Any:
    """Slot of a hash, or the free one where it would go."""
    at = _home(slots, wanted)
    while slots[at] != 0 and slots[at] != wanted:
        at = (at + 1) & (slots.size - 1)
    return at


@kernel
def _drop(slots: NDArray[np.uint64], gone: np.uint64) -> None:
    """Free the slot of a hash; those behind it move up, so that no search ends too early."""
    mask = slots.size - 1
    hole = _find(slots, gone)
    at = (hole + 1) & mask
    while slots[at] != 0:
        if ((at - _home(slots, slots[at])) & mask) >= ((at - hole) & mask):
            slots[hole] = slots[at]
            hole = at
        at = (at + 1) & mask
    slots[hole] = 0


@entry_kernel
def _recognise(
    ring: NDArray[np.uint64],
    n: NDArray[np.int64],
    slots: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    is_known: NDArray[np.bool_],
) -> None:
    """See `recognise`; the ring has at least one place."""
    for at in range(hashes.size):
        wanted = hashes[at]
        if wanted == 0:
            continue
        slot = _find(slots, wanted)
        if slots[slot] == wanted:
            is_known[at] = True
            continue
        place = n[0] % ring.size
        if n[0] >= ring.size:
            _drop(slots, ring[place])
            slot = _find(slots, wanted)
        slots[slot] = wanted
        ring[place] = wanted
        n[0] += 1
