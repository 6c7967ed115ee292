"""Bench of the nearest items: what a put, a change and a drop cost, what approximate search misses, what an item weighs.

Vectors are clustered at random, 50 to a cluster, cosine .5 within one. Costs are CPU time of one thread, a value a call.
"""

import time
from collections.abc import Callable, Iterator

import numpy as np
from figures import Row
from numpy.typing import NDArray
from options import Options

from streamer.nearest import N_NEAR, Nearest

DIM = 384
N_EXACT = 20_000
SIZES = (1_000, 10_000, 20_000, 25_000, 100_000)
N_TIMED = 300
N_CHECKED = 300
BANDWIDTH = 0.12


def nearest(_: Options | None = None) -> list[Row]:
    """Costs at growing sizes; recall, masses and memory at the last of them; a restore."""
    rng = np.random.default_rng(0)
    vectors = _clustered(rng, SIZES[-1] + 2 * N_TIMED)
    table = Nearest(len(vectors), DIM, N_EXACT)
    rows = []
    n = 0
    for size in SIZES:
        while n < size - N_TIMED:
            table.put(n, vectors[n])
            n += 1
        put = _timed(
            f"put, {size:,} held", (lambda row=row: table.put(row, vectors[row]) for row in range(n, size))
        )
        n = size
        rows.append(put)
    rows += _checked(rng, table, n)
    rows += _moved(table, vectors, n)
    rows += _restored(table)
    return rows


def _clustered(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    centres = rng.standard_normal((n // 50, DIM), np.float32)
    return centres[rng.integers(len(centres), size=n)] + rng.standard_normal((n, DIM), np.float32)


def _timed(case: str, calls: Iterator[Callable[[], object]]) -> Row:
    row = Row("nearest", case, "ms CPU")
    for call in calls:
        start_s = time.thread_time()
        call()
        row.add((time.thread_time() - start_s) * 1e3)
    return row


def _checked(rng: np.random.Generator, table: Nearest, n: int) -> list[Row]:
    """Random rows against all others."""
    recall = Row("nearest", f"recall@{N_NEAR}, {n:,} held", "share")
    mass = Row("nearest", "mass over true mass", "ratio")
    codes = table.table.vector[:n].astype(np.float32)
    for row in rng.choice(n, N_CHECKED, replace=False).tolist():
        cosines = codes @ codes[row] / 127.0**2
        cosines[row] = -np.inf
        true = np.argpartition(-cosines, N_NEAR)[:N_NEAR]
        recall.add(float(np.isin(true, table.table.item[row] - 1).mean()))
        mass.add(float(table.table.mass[row] / np.exp((cosines.clip(max=1.0) - 1.0) / BANDWIDTH).sum()))
    memory = Row("nearest", "memory an item", "bytes", [table.n_bytes() / n])
    return [recall, mass, memory]


def _moved(table: Nearest, vectors: NDArray[np.float32], n: int) -> list[Row]:
    """Other vectors for rows at regular distances, then drops of them."""
    rows = range(0, n, n // N_TIMED)[:N_TIMED]
    change = _timed(
        f"change, {n:,} held", (lambda row=row: table.put(row, vectors[-1 - row % N_TIMED]) for row in rows)
    )
    drop = _timed(f"drop, {n:,} held", (lambda row=row: table.drop(row) for row in rows))
    return [change, drop]


def _restored(table: Nearest) -> list[Row]:
    start_s = time.thread_time()
    snapshot = table.snapshot()
    snapshot_s = time.thread_time() - start_s
    other = Nearest(len(table.table.mass), DIM, N_EXACT)
    start_s = time.thread_time()
    other.restore(snapshot)
    restore_s = time.thread_time() - start_s
    return [
        Row("nearest", "snapshot", "s CPU", [snapshot_s]),
        Row("nearest", "restore", "s CPU", [restore_s]),
        Row("nearest", "snapshot", "MB", [sum(array.nbytes for array in snapshot.values()) / 1e6]),
    ]


if __name__ == "__main__":
    from figures import speed_table

    print(speed_table(nearest()))
