"""Vectors in, links out: which items are near which, kept up to date one vector at a time."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from streamer.nearest import links
from streamer.nearest.segments import Segments
from streamer.nearest.sound import check_upkeep
from streamer.nearest.table import (
    CATCH_UP,
    DRAWS,
    INDEXED,
    N_HELD,
    N_LOST,
    N_NEAR,
    N_ROWS,
    N_SCANNED,
    NONE,
    ONE,
    REFRESH,
    SCANNED,
    SPARSE,
    TAIL,
    UNIT,
    new_table,
)

N_FOUND = 64  # asked of every graph, so that N_NEAR are left when half of its rows went
N_SLICE = 4  # scanned rows moved into a graph by a put, from the moment that the catalog is large
_SETTLED_AT_ONCE = 65_536  # rows
_NOTHING = np.zeros(0, np.int32)


class Nearest:
    """The nearest of every item by the cosine of its text vector.

    While at most `n_exact` vectors are held, every put looks at all of them. From then on a few rows a put move into graphs
    (`segments`), so that no put waits for a build, and only rows that did not move yet are looked at one by one. A catalog that
    shrinks again keeps its graphs.

    *Links.* A put fills its own row, and stands in the rows of others where it is nearer than their farthest. While search is
    exact and nothing changes or goes, every row holds exactly its N_NEAR nearest, whatever the order of the puts. Who lists a
    row is not stored, only by how many it is listed: this count ends the pass over the table that a drop or a changed vector
    needs (a new one needs none). There a dropped row is taken out everywhere, at once, and a changed one gets its new similarity
    everywhere. A row that so may lack one of its nearest is marked; every put or drop looks again for one such row, `refresh`
    for more.

    *Masses* are exact while search is. Later an item that was not looked at counts with a tail weight, a running mean over
    random pairs, and reaches the masses of the others by a sweep of 64 rows a put.

    All of it depends only on the sequence of puts, drops and refreshes.

    Args:
        max_items: Item rows, >= 1.
        dim: Numbers of a vector, >= 1.
        n_exact: Vectors that are searched exactly, >= 0.
        n_segment: Vectors of one graph: a restore inserts at most as many again.

    Raises:
        ValueError: a size is out of range.
    """

    def __init__(self, max_items: int, dim: int, n_exact: int = 20_000, n_segment: int = 32_768) -> None:
        if min(max_items, dim, n_segment) < 1 or n_exact < 0:
            got = f"max_items={max_items}, dim={dim}, n_exact={n_exact}, n_segment={n_segment}"
            raise ValueError(f"Nearest: expected sizes >= 1 and n_exact >= 0, got {got}")
        self._max_items, self._dim, self._n_exact = max_items, dim, n_exact
        self.table, self._upkeep = new_table(max_items, dim)
        self._segments = Segments(max_items, dim, n_segment)

    @property
    def n_held(self) -> int:
        """Rows that have a vector."""
        return int(self._upkeep.counters[N_HELD])

    @property
    def n_lost(self) -> int:
        """Rows that may lack one of their nearest, and wait to be looked for again."""
        return int(self._upkeep.counters[N_LOST])

    def put(self, item_row: int, vector: NDArray[np.float32]) -> None:
        """Give a row its vector, the first or another one. The same again does nothing; all zeros is as `drop`.

        Args:
            item_row: 0 <= item_row < max_items.
            vector: (dim,) float32, finite, of any length.

        Raises:
            ValueError: another row, shape, dtype, or a number that is not finite; nothing was changed.
        """
        self._check_row("put", item_row)
        code = self._encode("put", vector)
        if np.array_equal(code, self.table.vector[item_row]):
            return
        if not code.any():
            self.drop(item_row)
            return
        if self._upkeep.place[item_row] != NONE:
            self._take_out(item_row)
        counters = self._upkeep.counters
        counters[N_ROWS] = max(counters[N_ROWS], item_row + 1)
        links.put_row(self.table, self._upkeep, item_row, code.astype(np.int16), self._found(code))
        self._scan_later([item_row])
        if not counters[SPARSE] and counters[N_HELD] > self._n_exact:
            counters[SPARSE] = 1
            self._upkeep.counted[self._upkeep.place != NONE] = counters[N_HELD]
        if counters[SPARSE]:
            self._catch_up()
        self.refresh(1)

    def drop(self, item_row: int) -> None:
        """Forget a row, at once and everywhere; it may be put again as another item. Nothing to do for a row without a vector.

        Raises:
            ValueError: item_row is out of range.
        """
        self._check_row("drop", item_row)
        if self._upkeep.place[item_row] == NONE:
            return
        self._take_out(item_row)
        links.forget_row(self.table, self._upkeep, item_row)
        self.refresh(1)

    def settle(self) -> None:
        """Forget the order in which vectors came: neighbours stand nearest first, and the tail is sampled anew.

        Which neighbours a row has does not depend on that order, while search is exact, but the slots they stand in do, and
        with them the order in which sums over neighbours are rounded. Looks at the whole table; nothing to do once search
        is not exact any more.
        """
        counters, item, near = self._upkeep.counters, self.table.item, self.table.similarity
        if counters[SPARSE]:
            return
        for begin in range(0, int(counters[N_ROWS]), _SETTLED_AT_ONCE):
            rows = slice(begin, min(begin + _SETTLED_AT_ONCE, int(counters[N_ROWS])))
            order = np.lexsort((item[rows], -near[rows], item[rows] == 0), axis=1)
            item[rows] = np.take_along_axis(item[rows], order, axis=1)
            near[rows] = np.take_along_axis(near[rows], order, axis=1)
        self._upkeep.counted[self._upkeep.place != NONE] = counters[N_HELD]
        counters[[TAIL, DRAWS]] = 0

    def refresh(self, n_rows: int) -> int:
        """Look again for the nearest of at most `n_rows` marked rows; how many there were to look for."""
        counters = self._upkeep.counters
        n_done = 0
        while n_done < n_rows and counters[N_LOST] > 0:
            row = links.next_marked(self._upkeep.lost, 1, counters[REFRESH], counters[N_ROWS])
            counters[REFRESH] = row + 1
            code = self.table.vector[row]
            links.refill_row(self.table, self._upkeep, row, code.astype(np.int16), self._found(code))
            n_done += 1
        return n_done

    def search(self, vector: NDArray[np.float32], n: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The rows nearest to any vector, nearest first, ties by row. Changes nothing.

        Returns:
            (m,) int32 rows and (m,) float32 cosines, m <= n.

        Raises:
            ValueError: as `put`.
        """
        code = self._encode("search", vector)
        found = self._found(code, max(n, N_FOUND))
        n_visited = links.look_around(self.table, self._upkeep, -1, code.astype(np.int16), found)
        rows, dots = self._upkeep.visited[:n_visited], self._upkeep.dot[:n_visited]
        order = np.lexsort((rows, -dots))[:n]
        return rows[order], dots[order].astype(np.float32) / np.float32(ONE)

    def n_bytes(self) -> int:
        """Memory in use: table rows up to the highest one ever put, and the graphs."""
        n_rows = int(self._upkeep.counters[N_ROWS])
        arrays = (*self.table, *self._upkeep)
        per_row = sum(array[:1].nbytes for array in arrays if len(array) == self._max_items)
        return n_rows * per_row + self._segments.n_bytes()

    def digest(self) -> bytes:
        """16 bytes, equal for equal states (xxh3). Of the graphs it covers what was inserted, when, and what is left."""
        digest = xxhash.xxh3_128()
        for name, array in sorted(self.snapshot().items()):
            # bytes between the nodes of a graph are anyone's guess
            if not name.startswith("segments.graph."):
                digest.update(f"{name}{array.shape};".encode())
                digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.digest()

    def freeze(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """As `snapshot`, in two steps: what comes back may be called later, in another thread, and takes the graphs apart."""
        arrays, graphs = self._tables(), self._segments.freeze()
        return lambda: {**arrays, **{f"segments.{name}": array for name, array in graphs().items()}}

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The whole state as arrays by name, for a checkpoint."""
        return self.freeze()()

    def _tables(self) -> dict[str, NDArray[Any]]:
        n_rows = int(self._upkeep.counters[N_ROWS])
        arrays = {f"table.{name}": array[:n_rows] for name, array in self.table._asdict().items()}
        upkeep = self._upkeep._asdict()
        arrays |= {name: upkeep[name][:n_rows] for name in ("place", "floor", "n_listing", "lost", "counted")}
        arrays["masses"] = self._upkeep.mass[:n_rows]
        arrays["counters"] = self._upkeep.counters
        return {name: array.copy() for name, array in arrays.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on exactly where `snapshot` was taken, in a new object of the same sizes.

        Raises:
            ValueError, IndexError, KeyError: the snapshot is of more rows, or of vectors of another length, or is none.
        """
        n_rows, dim = arrays["table.vector"].shape
        if n_rows > self._max_items or dim != self._dim or self._upkeep.counters[N_ROWS] > 0:
            expected = f"at most {self._max_items} rows of {self._dim} numbers, and nothing put before"
            raise ValueError(f"Nearest.restore: expected {expected}, got {n_rows} rows of {dim}")
        for name, array in self.table._asdict().items():
            array[:n_rows] = arrays[f"table.{name}"]
        upkeep = self._upkeep._asdict()
        for name in ("place", "floor", "n_listing", "lost", "counted"):
            upkeep[name][:n_rows] = arrays[name]
        self._upkeep.mass[:n_rows] = arrays["masses"]
        self._upkeep.counters[:] = arrays["counters"]
        prefix = "segments."
        self._segments.restore(
            {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        )
        check_upkeep(arrays, self._segments.holds(n_rows))

    def _found(self, code: NDArray[np.int8], n: int = N_FOUND) -> NDArray[np.int32]:
        return self._segments.near(code, n) if self._upkeep.counters[SPARSE] else _NOTHING

    def _take_out(self, row: int) -> None:
        """Take a held row out of the masses and of where it is looked for."""
        code = self.table.vector[row]
        links.take_row_out(self.table, self._upkeep, row, code.astype(np.int16), self._found(code))
        was_scanned = self._upkeep.place[row] == SCANNED
        self._upkeep.place[row] = NONE
        if was_scanned:
            self._upkeep.counters[N_SCANNED] -= 1
        else:
            self._scan_later(self._segments.remove(row))

    def _scan_later(self, rows: NDArray[np.int32] | list[int]) -> None:
        """These rows are in no graph: look at each of them, until `_catch_up` comes to it."""
        counters = self._upkeep.counters
        for row in rows:
            self._upkeep.place[row] = SCANNED
            counters[CATCH_UP] = min(counters[CATCH_UP], row)
        counters[N_SCANNED] += len(rows)

    def _catch_up(self) -> None:
        counters = self._upkeep.counters
        for _ in range(min(N_SLICE, counters[N_SCANNED])):
            row = links.next_marked(self._upkeep.place, SCANNED, counters[CATCH_UP], counters[N_ROWS])
            counters[CATCH_UP] = row + 1
            self._upkeep.place[row] = INDEXED
            counters[N_SCANNED] -= 1
            self._scan_later(self._segments.add(row, self.table.vector[row]))

    def _encode(self, what: str, vector: NDArray[np.float32]) -> NDArray[np.int8]:
        """The unit vector times 127, rounded: (dim,) int8."""
        if vector.shape != (self._dim,) or vector.dtype != np.float32:
            expected = f"({self._dim},) float32"
            raise ValueError(f"Nearest.{what}: expected {expected}, got {vector.shape} {vector.dtype}")
        wide = vector.astype(np.float64)
        length = float(np.sqrt(np.sum(wide * wide)))  # not BLAS, whose order of sums is the machine's
        if not np.isfinite(length):
            raise ValueError(f"Nearest.{what}: expected finite numbers, got a vector of length {length}")
        if length == 0.0:
            return np.zeros(self._dim, np.int8)
        return np.rint(wide * (UNIT / length)).astype(np.int8)

    def _check_row(self, what: str, item_row: int) -> None:
        if not 0 <= item_row < self._max_items:
            raise ValueError(f"Nearest.{what}: expected a row below {self._max_items}, got {item_row}")


def warm_up() -> None:
    """Compile every kernel of this package, or read it from disk, so that no put of a worker waits for that."""
    nearest = Nearest(max_items=N_NEAR + 2, dim=2, n_exact=N_NEAR)
    for row in range(N_NEAR + 2):
        nearest.put(row, np.array([1.0, row], np.float32))
    nearest.put(0, np.array([0.0, 1.0], np.float32))
    nearest.drop(1)
    nearest.refresh(N_NEAR)
    nearest.search(np.ones(2, np.float32), 1)
