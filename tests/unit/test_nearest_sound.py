"""Bytes of graphs that nobody here wrote: every number that would be followed is looked at first."""

import random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.nearest import Nearest
from streamer.nearest.segments import Segments
from streamer.nearest.sound import check_graph
from streamer.nearest.table import N_HELD, N_ROWS, REFRESH

DIM, N_SEGMENT, SEED = 16, 120, 5


def vectors_of(n: int) -> NDArray[np.float32]:
    """Random vectors."""
    return np.random.default_rng(SEED).normal(size=(n, DIM)).astype(np.float32)


def graph_of(n: int) -> tuple[bytes, bytes]:
    """A graph of n vectors as it is saved, and an empty one."""
    graph = Segments(n, DIM, n)._new_segment().graph
    empty = bytes(graph.save())
    for key, vector in enumerate(vectors_of(n)):
        graph.add(key, np.clip(vector * 40, -127, 127).astype(np.int8), threads=1)
    return bytes(graph.save()), empty


def kept() -> dict[str, NDArray[Any]]:
    """A snapshot with a full graph, a growing one, and rows in neither."""
    nearest = Nearest(400, DIM, n_exact=20, n_segment=N_SEGMENT)
    for row, vector in enumerate(vectors_of(300)):
        nearest.put(row, vector)
    for row in range(0, 200, 9):
        nearest.drop(row)
    arrays = nearest.snapshot()
    assert {"segments.graph.0", "segments.graph.1"} <= set(arrays)
    return arrays


@pytest.mark.parametrize("n", [1, 2, 33, 2000])
def test_graphs_as_usearch_saves_them_are_sound(n: int) -> None:
    """Small ones, and ones of several levels."""
    check_graph(*graph_of(n), n, DIM)


def test_no_changed_number_of_a_graph_is_followed() -> None:
    """Each number of a graph but the vectors, changed to one out of range, is refused; so are bytes too few or too many.

    Of a list of links only the first ones count: those behind are never read, and may be anything.
    """
    n = 200
    data, empty = graph_of(n)
    links_at = 8 + n * DIM + 64 + 40 + 2 * n
    refused = 0
    places = [*range(8), *range(8 + n * DIM, links_at), *range(links_at, len(data))]
    for at in places:
        broken = bytearray(data)
        broken[at] ^= 0x80
        try:
            check_graph(bytes(broken), empty, n, DIM)
        except ValueError:
            refused += 1
        else:
            assert at >= links_at, at
    level = np.frombuffer(data, "<i2", n, links_at - 2 * n)
    n_numbers = sum(10 + 4 + 4 * _n_links(data, links_at, level, node) for node in range(n))
    # An unused slot of a list is four bytes that say nothing; the low byte of a link may lead to another node that is there.
    assert refused > 0.7 * n_numbers + (links_at - 8 - n * DIM)
    for wrong in (b"", data[:-1], data + b"\0", data[: links_at + 5], empty):
        with pytest.raises(ValueError, match="graph"):
            check_graph(wrong, empty, n, DIM)


def _n_links(data: bytes, nodes_at: int, levels: NDArray[np.int16], node: int) -> int:
    sizes = 10 + 4 * 33 + levels[:node].astype(int) * 4 * 17
    return int.from_bytes(data[nodes_at + int(sizes.sum()) + 10 :][:4], "little")


def test_more_links_than_a_list_has_room_for_are_refused() -> None:
    """The 33rd would be read from the next node."""
    n = 50
    data, empty = graph_of(n)
    count_at = 8 + n * DIM + 64 + 40 + 2 * n + 10  # of the first node, at level 0
    for n_links, is_sound in ((32, True), (33, False), (2**32 - 1, False)):
        broken = bytearray(data)
        broken[count_at : count_at + 4] = n_links.to_bytes(4, "little")
        if is_sound:  # the spare ones lead to node 0
            check_graph(bytes(broken), empty, n, DIM)
            continue
        with pytest.raises(ValueError, match="at most 32 links"):
            check_graph(bytes(broken), empty, n, DIM)


def test_a_link_to_a_node_below_its_level_is_refused() -> None:
    """It would be followed beyond the end of that node's lists."""
    n = 2000
    data, empty = graph_of(n)
    levels = np.frombuffer(data, "<i2", n, 8 + n * DIM + 64 + 40)
    nodes_at = 8 + n * DIM + 64 + 40 + 2 * n
    high = int(np.flatnonzero(levels > 0)[0])
    low = int(np.flatnonzero(levels == 0)[0])
    begin = nodes_at + int((10 + 4 * 33 + levels[:high].astype(int) * 4 * 17).sum())
    broken = bytearray(data)
    broken[begin + 10 + 4 * 34 : begin + 10 + 4 * 35] = low.to_bytes(4, "little")
    with pytest.raises(ValueError, match="links to nodes of level 1"):
        check_graph(bytes(broken), empty, n, DIM)


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("counters", N_ROWS, 399),
        ("counters", N_HELD, 1),
        ("counters", REFRESH, 2**40),
        ("place", 150, 7),
        ("place", 150, 0),
        ("lost", 3, 2),
        ("segments.entry", 150, 1),
        ("segments.entry", 150, 10**9),
        ("segments.rows.0", 5, 300),
        ("segments.rows.0", 5, -1),
        ("segments.rows.1", 5, 2**30),
    ],
)
def test_what_does_not_fit_together_is_refused(name: str, at: int, value: int) -> None:
    """Counters, marks, and where rows are said to stand: one number changed, and the snapshot is none."""
    arrays = kept()
    arrays[name] = arrays[name].copy()
    assert arrays[name][at] != value
    arrays[name][at] = value
    with pytest.raises((ValueError, IndexError)):
        Nearest(400, DIM, 20, N_SEGMENT).restore(arrays)


def test_fuzzed_graphs_never_reach_usearch() -> None:
    """Whatever bytes of graphs are changed: refused, or restored and searched without an error."""
    rng, arrays, vectors = random.Random(SEED), kept(), vectors_of(3)
    n_restored = 0
    for _ in range(300):
        fuzzed = dict(arrays)
        name = rng.choice(["segments.graph.0", "segments.graph.1"])
        fuzzed[name] = arrays[name].copy()
        for _ in range(rng.randint(1, 3)):
            fuzzed[name][rng.randrange(fuzzed[name].size)] = rng.randrange(256)
        nearest = Nearest(400, DIM, 20, N_SEGMENT)
        try:
            nearest.restore(fuzzed)
        except ValueError:
            continue
        n_restored += 1
        for vector in vectors:
            assert nearest.search(vector, 10)[0].max() < 300
    assert n_restored > 0
