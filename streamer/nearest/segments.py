"""Approximate nearest rows: usearch graphs over at most `n_segment` vectors each, of which only the last one grows.

A graph of usearch depends on the order of all its insertions and on a generator that is not saved with it. So a full graph is
never changed again, and is restored from its bytes; the growing one is restored by inserting its vectors again, in order. Either
way a restored `Segments` answers, and goes on, exactly as the saved one. The vector of a row that went stays in its graph and is
passed over; a full graph with less than half of its rows left is given up: they go back to be scanned and inserted again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.nearest.sound import check_graph, check_places

CONNECTIVITY, EXPANSION = 16, 96  # of the graphs; more finds more and takes longer


@dataclass(slots=True)
class _Segment:
    graph: Any  # usearch.index.Index, keys 0, 1, ...
    rows: NDArray[np.int32]  # (n_segment,) item row by key
    n: int = 0
    n_live: int = 0


class Segments:
    """The graphs, by number; numbers are never used again.

    Args:
        max_items: Item rows.
        dim: Numbers of a vector.
        n_segment: Vectors of a graph, >= 1.
    """

    def __init__(self, max_items: int, dim: int, n_segment: int) -> None:
        self._dim, self._n_segment = dim, n_segment
        self._segments: dict[int, _Segment] = {}
        self._last = -1
        self._entry = np.zeros(max_items, np.int64)  # number * n_segment + key + 1; 0 = not in a graph

    def add(self, row: int, code: NDArray[np.int8]) -> NDArray[np.int32]:
        """Insert a row that is in no graph; rows of a graph given up, as `remove`."""
        if self._last not in self._segments or self._segments[self._last].n == self._n_segment:
            self._last += 1
            self._segments[self._last] = self._new_segment()
        segment = self._segments[self._last]
        segment.graph.add(segment.n, code, threads=1)
        segment.rows[segment.n] = row
        self._entry[row] = self._last * self._n_segment + segment.n + 1
        segment.n += 1
        segment.n_live += 1
        return self._thinned(self._last)

    def remove(self, row: int) -> NDArray[np.int32]:
        """Pass a row over from now on. Returns rows that are in no graph any more and must be added again."""
        number = (int(self._entry[row]) - 1) // self._n_segment
        self._entry[row] = 0
        self._segments[number].n_live -= 1
        return self._thinned(number)

    def near(self, code: NDArray[np.int8], n: int) -> NDArray[np.int32]:
        """The `n` nearest of every graph, as far as they are live: (m,) rows, in order of graph and similarity."""
        rows = [np.zeros(0, np.int32)]
        for number, segment in self._segments.items():
            keys = segment.graph.search(code, n, threads=1).keys.astype(np.int64)
            found = segment.rows[keys]
            rows.append(found[self._entry[found] == number * self._n_segment + keys + 1])
        return np.concatenate(rows)

    def n_bytes(self) -> int:
        """Memory of the graphs and of what is kept beside them."""
        return sum(segment.graph.memory_usage + segment.rows.nbytes for segment in self._segments.values())

    def freeze(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """Everything that `restore` needs: rows in order of insertion, and the bytes of each graph.

        What comes back may be called later, in another thread: a full graph is never changed again, and taken apart then.
        """
        full, arrays = {}, dict[str, NDArray[Any]]()
        for number, segment in self._segments.items():
            arrays[f"rows.{number}"] = segment.rows[: segment.n].copy()
            if segment.n == self._n_segment:
                full[f"graph.{number}"] = segment.graph
            else:
                arrays[f"graph.{number}"] = np.frombuffer(segment.graph.save(), np.uint8)
        arrays["last"] = np.array([self._last])
        arrays["entry"] = self._entry[: int(np.flatnonzero(self._entry).max(initial=-1)) + 1].copy()
        return lambda: arrays | {name: np.frombuffer(graph.save(), np.uint8) for name, graph in full.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on where `snapshot` was taken. Inserts up to `n_segment` vectors again.

        Raises:
            ValueError, IndexError, KeyError: nobody here wrote these arrays.
        """
        self._last = int(arrays["last"][0])
        self._entry[:] = 0
        self._entry[: arrays["entry"].size] = arrays["entry"]
        self._segments = {}
        numbers = sorted(int(name.removeprefix("rows.")) for name in arrays if name.startswith("rows."))
        rows_of = {number: arrays[f"rows.{number}"] for number in numbers}
        check_places(rows_of, self._entry, self._n_segment)
        for number, rows in rows_of.items():
            segment, data = self._new_segment(), arrays[f"graph.{number}"].tobytes()
            # usearch would follow any link
            check_graph(data, bytes(segment.graph.save()), rows.size, self._dim)
            graph = segment.graph.restore(data)
            if rows.size == self._n_segment:
                graph.expansion_search = EXPANSION  # not among what usearch saves
                segment.graph = graph
            else:
                for key in range(rows.size):
                    segment.graph.add(key, graph.get(key), threads=1)
            segment.rows[: rows.size] = rows
            segment.n = rows.size
            entries = number * self._n_segment + np.arange(rows.size) + 1
            segment.n_live = int(np.count_nonzero(self._entry[rows] == entries))
            self._segments[number] = segment

    def holds(self, n_rows: int) -> NDArray[np.bool_]:
        """(n_rows,) whether each of the first rows is in a graph."""
        return self._entry[:n_rows] > 0

    def _thinned(self, number: int) -> NDArray[np.int32]:
        segment = self._segments[number]
        if segment.n < self._n_segment or 2 * segment.n_live >= segment.n:
            return np.zeros(0, np.int32)
        entries = number * self._n_segment + np.arange(segment.n) + 1
        left: NDArray[np.int32] = segment.rows[self._entry[segment.rows] == entries]
        self._entry[left] = 0
        del self._segments[number]
        return left

    def _new_segment(self) -> _Segment:
        from usearch.index import Index  # noqa: PLC0415  only a large catalog needs it

        # Inner products of int8 are whole numbers: the same neighbours on every machine, whatever its vector instructions.
        graph = Index(
            ndim=self._dim,
            metric="ip",
            dtype="i8",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION,
            expansion_search=EXPANSION,
        )
        return _Segment(graph, np.zeros(self._n_segment, np.int32))
