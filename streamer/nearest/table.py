"""The table of nearest items, and what is kept beside it to keep it up to date.

Vectors are kept as int8, so that a dot product is an exact whole number on every machine. `dot / 127**2` is the cosine, off by
.003 or so at 384 numbers. Two neighbours are compared by one number, `key`: the nearer first, then the lower row; without ties,
the order in which vectors arrive cannot matter.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.cachelines import zeros
from streamer.compiled import kernel

N_NEAR = 32
UNIT = 127
ONE = UNIT * UNIT  # the dot product of equal unit vectors
BANDWIDTH = 0.12  # of the weight exp((cos - 1) / .12); research/cold-start.md
MASS_ONE = 2**40  # a weight of one: sums of whole numbers can be undone exactly
NONE, SCANNED, INDEXED = 0, 1, 2  # where a row's vector is looked for
# of Upkeep.counters
N_HELD, N_SCANNED, N_ROWS, N_LOST, SPARSE, TAIL, DRAWS, SWEEP, REFRESH, CATCH_UP = range(10)
N_SAMPLE = 64  # rows drawn by a put to estimate the weight of those that are not looked at
N_SWEEP = 64  # masses brought up to date by a put
FARTHER_THAN_ALL = -(2**62)


class NearTable(NamedTuple):
    """What kernels of the fold read. A row has at most N_NEAR neighbours, in no order."""

    item: NDArray[np.int32]  # (max_items, N_NEAR) item row + 1; 0 = free slot
    similarity: NDArray[np.float32]  # (max_items, N_NEAR) cosine, at most 1
    mass: NDArray[np.float32]  # (max_items,) sum over all other items held of exp((cos - 1) / .12)
    vector: NDArray[np.int8]  # (max_items, dim) unit vector times 127, rounded; all zero = none


class Upkeep(NamedTuple):
    """What only this package reads and writes, a row; and scratch space."""

    place: NDArray[np.int8]  # (max_items,) NONE, SCANNED or INDEXED
    # (max_items,) key of the farthest neighbour; below all keys while a slot is free
    floor: NDArray[np.int64]
    n_listing: NDArray[np.int32]  # (max_items,) how many rows list it
    lost: NDArray[np.uint8]  # (max_items,) 1 = a neighbour went away, and the next nearest is not known
    mass: NDArray[np.int64]  # (max_items,) NearTable.mass in units of 1 / MASS_ONE
    counted: NDArray[np.int32]  # (max_items,) how many items were held when mass was brought up to date
    counters: NDArray[np.int64]  # (10,) see N_HELD ...
    weights: NDArray[np.int64]  # (2 * ONE + 1,) constant: weight of a dot product, at dot + ONE
    visited: NDArray[np.int32]  # (max_items,) scratch: rows looked at
    dot: NDArray[np.int32]  # (max_items,) scratch: their dot products


def new_table(max_items: int, dim: int) -> tuple[NearTable, Upkeep]:
    """Empty tables at their caps; a page of them costs memory once it is written."""
    cosines = np.arange(-ONE, ONE + 1) / ONE
    table = NearTable(
        item=zeros((max_items, N_NEAR), np.int32),
        similarity=zeros((max_items, N_NEAR), np.float32),
        mass=np.zeros(max_items, np.float32),
        vector=zeros((max_items, dim), np.int8),
    )
    upkeep = Upkeep(
        place=np.zeros(max_items, np.int8),
        floor=np.zeros(max_items, np.int64),
        n_listing=np.zeros(max_items, np.int32),
        lost=np.zeros(max_items, np.uint8),
        mass=np.zeros(max_items, np.int64),
        counted=np.zeros(max_items, np.int32),
        counters=np.zeros(CATCH_UP + 1, np.int64),
        weights=np.rint(np.exp((cosines - 1.0) / BANDWIDTH) * MASS_ONE).astype(np.int64),
        visited=np.zeros(max_items, np.int32),
        dot=np.zeros(max_items, np.int32),
    )
    return table, upkeep


@kernel
def dot_of(vectors, row, code):
    """Dot product of a row's vector and a code, kept within what unit vectors can have."""
    vector = vectors[row]
    total = np.int32(0)
    for k in range(vector.size):
        total = np.int32(total + np.int32(np.int32(vector[k]) * np.int32(code[k])))
    return min(max(total, np.int32(-ONE)), np.int32(ONE))


@kernel
def similarity(table, a_row, b_row):
    """Cosine of two rows, as the table has it; 0 when one of them has no vector."""
    return np.float32(dot_of(table.vector, a_row, table.vector[b_row])) / np.float32(ONE)


@kernel
def key_of(dot, row):
    """Order of neighbours: the greater key is the nearer one."""
    return np.int64(dot) * np.int64(2**31) - np.int64(row)
