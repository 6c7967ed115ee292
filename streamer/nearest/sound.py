"""Is what a checkpoint holds of this package what it once wrote? Kernels and usearch follow links and look nothing up twice.

A graph as usearch 2 saves it, little endian, for vectors of `dim` bytes and n of them:

    n, dim      2 x uint32
    vectors     n x dim x int8
    head        64 bytes: "usearch", its version, types, n, how many are deleted, dim
    sizes       5 x uint64: n, links of a node above level 0, links of it at level 0, highest level, node to begin at
    levels      n x int16
    nodes       n x (key uint64, level int16, then for each level from 0: how many links uint32, links uint32 ...)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.nearest.table import (
    CATCH_UP,
    INDEXED,
    N_HELD,
    N_LOST,
    N_ROWS,
    N_SCANNED,
    NONE,
    REFRESH,
    SCANNED,
    SWEEP,
)

_HEAD = 64
_HEAD_N = slice(17, 25)  # where the head says n
_SIZES = 5 * 8
_OF_A_NODE = 8 + 2
_LINK = 4


def check_graph(data: bytes, empty: bytes, n: int, dim: int) -> None:
    """Look at every number that usearch would follow.

    Args:
        data: The graph as it was saved.
        empty: What a new graph of the same kind saves: type and version must agree.
        n, dim: Vectors in it, and their length; the key of each is its place.

    Raises:
        ValueError: they are not the bytes of such a graph.
    """
    buffer = np.frombuffer(data, np.uint8)
    at = 2 * 4 + n * dim
    head = bytearray(empty[8 : 8 + _HEAD])
    head[_HEAD_N] = n.to_bytes(8, "little")
    if buffer.size < at + _HEAD + _SIZES + 2 * n or n < 1:
        raise ValueError(f"graph: expected {n} vectors of {dim}, got {buffer.size} bytes")
    if np.frombuffer(data, "<u4", 2).tolist() != [n, dim] or data[at : at + _HEAD] != head:
        raise ValueError(f"graph: expected one of {n} vectors of {dim} by this version of usearch")
    at += _HEAD
    n_nodes, n_links, n_base, top, entry = np.frombuffer(data, "<u8", 5, at).tolist()
    if [n_nodes, n_links, n_base] != [n, *np.frombuffer(empty, "<u8", 3, 8 + _HEAD)[1:].tolist()]:
        raise ValueError(f"graph: expected {n} nodes with as many links as we make")
    at += _SIZES
    levels = np.frombuffer(data, "<i2", n, at).astype(np.int64)
    if levels.min() < 0 or levels.max() != top or entry >= n or levels[entry] != top:
        raise ValueError("graph: expected to begin at a node of the highest level")
    sizes = _OF_A_NODE + _LINK * (1 + n_base) + levels * _LINK * (1 + n_links)
    ends = at + 2 * n + np.cumsum(sizes)
    if ends[-1] != buffer.size:
        raise ValueError(f"graph: expected {ends[-1]} bytes, got {buffer.size}")
    begins = ends - sizes
    if (_numbers(buffer, begins, 1, "<u8")[:, 0] != np.arange(n)).any():
        raise ValueError("graph: expected the keys 0, 1, 2, ...")
    if (_numbers(buffer, begins + 8, 1, "<i2")[:, 0] != levels).any():
        raise ValueError("graph: expected each node to know its level")
    _check_links(buffer, begins + _OF_A_NODE, n_base, levels, 0)
    for level in range(1, top + 1):
        there = levels >= level
        lists = begins[there] + _OF_A_NODE + _LINK * (1 + n_base) + (level - 1) * _LINK * (1 + n_links)
        _check_links(buffer, lists, n_links, levels, level)


def check_places(rows: Mapping[int, NDArray[np.int32]], entry: NDArray[np.int64], n_segment: int) -> None:
    """Every row that is said to stand in a graph stands there, and nowhere else.

    Args:
        rows: Number of a graph -> item row by key.
        entry: By item row: number * n_segment + key + 1; 0 = in no graph.

    Raises:
        ValueError, IndexError: not so.
    """
    n_found = 0
    for number, of_graph in rows.items():
        if not 1 <= of_graph.size <= n_segment or of_graph.min() < 0:
            raise ValueError(f"rows of graph {number}: expected 1 to {n_segment} rows, 0 or more each")
        n_found += int(np.count_nonzero(entry[of_graph] == number * n_segment + np.arange(of_graph.size) + 1))
    if n_found != np.count_nonzero(entry):
        raise ValueError("entry: expected rows to stand where they are said to")


def check_upkeep(arrays: Mapping[str, NDArray[Any]], is_in_graph: NDArray[np.bool_]) -> None:
    """Counters count what is there, and marks are marks.

    Args:
        arrays: As `Nearest.snapshot` names them.
        is_in_graph: By item row, as many as there are rows.

    Raises:
        ValueError: not so.
    """
    counters, place, lost = arrays["counters"], arrays["place"], arrays["lost"]
    n_rows = len(arrays["table.vector"])
    counted = {
        N_ROWS: n_rows,
        N_HELD: np.count_nonzero(place != NONE),
        N_SCANNED: np.count_nonzero(place == SCANNED),
        N_LOST: np.count_nonzero(lost),
    }
    for counter, count in counted.items():
        if counters[counter] != count:
            raise ValueError(f"nearest.counters[{counter}]: expected {count}, got {counters[counter]}")
    if counters.min() < 0 or counters[[SWEEP, REFRESH, CATCH_UP]].max() > n_rows:
        raise ValueError(f"nearest.counters: expected 0 to {n_rows}")
    if place.size and (place.min() < NONE or place.max() > INDEXED or lost.max() > 1):
        raise ValueError("nearest: expected each mark to be NONE, SCANNED or INDEXED, and lost to be 0 or 1")
    if ((place == INDEXED) != is_in_graph).any():
        raise ValueError("nearest.place: expected a row to be in a graph where it says so")


def _check_links(
    buffer: NDArray[np.uint8], lists: NDArray[np.int64], n_most: int, levels: NDArray[np.int64], level: int
) -> None:
    """The links of one level lead to nodes of that level."""
    found = _numbers(buffer, lists, 1 + n_most, "<u4").astype(np.int64)
    n_links, links = found[:, :1], found[:, 1:]
    if n_links.max() > n_most:
        raise ValueError(f"graph: expected at most {n_most} links at level {level}, got {n_links.max()}")
    links = links[np.arange(n_most) < n_links]
    if links.size and (links.max() >= levels.size or levels[links].min() < level):
        raise ValueError(f"graph: expected links to nodes of level {level}")


def _numbers(buffer: NDArray[np.uint8], at: NDArray[np.int64], n: int, dtype: str) -> NDArray[Any]:
    """(len(at), n) numbers, the first of each row at that byte."""
    width = n * np.dtype(dtype).itemsize
    windows = np.lib.stride_tricks.sliding_window_view(buffer, width)
    return np.ascontiguousarray(windows[at]).view(dtype)
