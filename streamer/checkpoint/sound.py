"""Rows that tables name must be rows that there are: kernels look nothing up twice."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.graph.state import (
    EVENTS,
    MAX_TAKEN_CLASS,
    MIN_TAKEN_CLASS,
    N_ARRIVED,
    N_SLOTS_USED,
    NODE_TOP,
    NODES,
    OVERFULL,
    TAKEN_CLASS,
    TOP,
    TRENDING,
)
from streamer.pipeline.state import State, leaving_rows

_UNIT = 1 << MIN_TAKEN_CLASS  # slots: what a link to a free block counts in
_N_EVENTS = 2**31 - 1
_N_EPOCHS = 2**30  # more are never reached, and one more still fits

Bounds = tuple[str, NDArray[Any], int, int]


def check_rows(state: State) -> None:
    """Look at everything that kernels use as an index or a length.

    Raises:
        ValueError: which table, what was expected, what came.
    """
    _check((*_of_items(state), *_of_users(state), *_of_nodes(state), *_of_the_rest(state)))
    _check_taken(state)


def check_trainer(arrays: Mapping[str, NDArray[Any]], n_items: int, n_nodes: int) -> None:
    """Look at the rows that a trainer knows, before it takes them: later a round of training, or the fold, would fall over them.

    Args:
        arrays: As `Trainer.freeze` gives them; those that are not there are passed over.

    Raises:
        ValueError: which array, what was expected, what came.
    """
    bounds = {
        "inputs.nodes": (0, n_nodes),  # rows + 1
        "inputs.neighbours": (0, n_items),
        "network.buffer.target": (0, n_items - 1),
        "network.buffer.items": (-1, n_items - 1),
    }
    _check((f"trainer.{name}", arrays[name], *bounds[name]) for name in bounds if name in arrays)
    for names in (["inputs.known"], ["tables.x", "tables.h", "tables.bias"]):
        lengths = {len(arrays[name]) for name in names if name in arrays}
        if len(lengths) > 1 or max(lengths, default=0) > n_items:
            raise ValueError(f"trainer.{names[0]}: expected at most {n_items} rows, the same everywhere")


def _check(bounds: Iterable[Bounds]) -> None:
    for name, array, least, most in bounds:
        if array.size and not (least <= array.min() and array.max() <= most):
            got = f"{array.min()} to {array.max()}"
            raise ValueError(f"{name}: expected {least} to {most}, got {got}")


def _check_taken(state: State) -> None:
    """Each user's items lie within the pool and are items; only the head of a free block is a link to another block."""
    taken, n_items = state.graph.taken, state.ids.items.n_rows
    n_taken = int(taken.used[N_SLOTS_USED])
    heads, n_steps = set[int](), 0
    for first in taken.free.tolist():
        head = first
        while head >= 0:
            n_steps += 1
            if head >= n_taken or n_steps > n_taken:
                raise ValueError("taken.free: expected lists of free blocks that end")
            heads.add(head)
            head = (int(taken.item[head]) - 1) * _UNIT if taken.item[head] > 0 else -1
    beyond = np.flatnonzero(taken.item[:n_taken] > n_items)
    if not heads.issuperset(beyond.tolist()) or taken.item[:n_taken].min(initial=0) < 0:
        raise ValueError(f"taken: expected 0 to {n_items}")
    users = state.graph.users[: state.ids.users.n_rows]
    classes = users["taken_class"].astype(np.int64) & TAKEN_CLASS
    sizes = np.where(classes > 0, np.int64(1) << classes, 0)
    ends = users["taken_start"] + sizes
    if (users.size and (users["n_taken"] > sizes).any()) or ends.max(initial=0) > n_taken:
        raise ValueError(f"users: expected the items they took within {n_taken} slots")


def _of_items(state: State) -> Iterator[Bounds]:
    n_items, n_nodes = state.ids.items.n_rows, state.ids.nodes.n_rows
    graph = state.graph
    items = graph.items[:n_items]
    yield "items.nodes", items["nodes"], 0, max(n_nodes - 1, 0)
    yield "items.n_nodes", items["n_nodes"], 0, NODES
    yield "items.n_categories", items["n_categories"], 0, NODES
    yield "items.position", items["position"], 0, TOP
    yield "items.n_events", items["n_events"], 0, _N_EVENTS
    yield "neighbours", graph.neighbour[:n_items], 0, n_items
    n_vectors = len(graph.vectors.x)
    yield (
        "vectors",
        np.array([n_vectors, len(graph.vectors.h), len(graph.vectors.bias)]),
        n_vectors,
        n_vectors,
    )
    yield "vectors", np.array([n_vectors]), 0, n_items
    near = graph.near.item
    yield "nearest.item", near[:n_items], 0, n_items
    yield "nearest.item", near[n_items : n_items + 1], 0, 0
    yield "changed", np.array(list(state.changed), np.int64), 0, n_items - 1
    yield "leaving.rows", leaving_rows(state), 0, n_items - 1
    yield "leaving.rows", state.leaving.is_gone[:1], 0, 0  # what names nobody is named everywhere
    yield "evicted", np.array(list(state.evicted), np.int64), 0, n_items - 1


def _of_users(state: State) -> Iterator[Bounds]:
    n_items, n_nodes = state.ids.items.n_rows, state.ids.nodes.n_rows
    users = state.graph.users[: state.ids.users.n_rows]
    yield "users.ring", users["ring"], 0, max(n_items - 1, 0)
    yield "users.nodes", users["nodes"], 0, n_nodes
    yield "users.n_events", users["n_events"], 0, _N_EVENTS
    yield "users.taken_class", users["taken_class"], 0, OVERFULL | TAKEN_CLASS
    yield "users.taken_class", users["taken_class"] & TAKEN_CLASS, 0, MAX_TAKEN_CLASS
    yield "users.taken_start", users["taken_start"], 0, len(state.graph.taken.item)
    yield "segments", np.array(list(state.segments.values()), np.int64), 0, len(users) - 1
    yield "segments", np.array(list(state.segments), np.int64), 0, n_nodes - 1


def _of_nodes(state: State) -> Iterator[Bounds]:
    n_items = state.ids.items.n_rows
    nodes = state.graph.nodes[: state.ids.nodes.n_rows]
    yield "nodes.top", nodes["top"], 0, max(n_items - 1, 0)
    yield "nodes.n_top", nodes["n_top"], 0, NODE_TOP
    yield "nodes.recent", nodes["recent"], 0, max(n_items - 1, 0)
    yield "nodes.n_recent", nodes["n_recent"], 0, _N_EVENTS


def _of_the_rest(state: State) -> Iterator[Bounds]:
    graph, n_items = state.graph, state.ids.items.n_rows
    last = max(n_items - 1, 0)
    yield "counters", graph.counters, 0, 2**62
    yield "clocks.top", graph.clocks.top, 0, last
    yield "clocks.n_top", graph.clocks.n_top, 0, TOP
    # how many epochs ago a weight was written is an index: none is from an epoch to come
    now = graph.clocks.epoch.astype(np.int64)
    yield "clocks.epochs", now, 0, _N_EPOCHS
    yield "items.epoch", now - graph.items["epoch"][:n_items], 0, _N_EPOCHS
    yield "nodes.epoch", now[TRENDING] - graph.nodes["epoch"][: state.ids.nodes.n_rows], 0, _N_EPOCHS
    yield "rates.n", graph.rates.n, 0, n_items  # an item arrives once
    cold_events = graph.rates.cold_events
    yield "rates.cold_events", cold_events, 0, 2**62
    yield "nodes.cold_event", cold_events[0] - graph.nodes["cold_event"][: state.ids.nodes.n_rows], 0, 2**62
    yield "rates.ring", graph.rates.ring, 0, last
    yield "rates.arrived", graph.rates.arrived[: int(graph.rates.n[N_ARRIVED])], 0, last
    yield "rates.passed", graph.rates.passed, 0, int(graph.rates.n[N_ARRIVED])
    yield "taken.free", graph.taken.free, -1, len(graph.taken.item) - 1
    yield "taken.used", graph.taken.used[:1], 0, len(graph.taken.item)
    n_passed, n_users, since = np.split(state.leaving.progress, 3)
    yield "leaving.progress", n_passed, 0, int(n_users[0]) + state.settings.max_items
    yield "leaving.progress", n_users, 0, state.ids.users.n_rows
    yield "leaving.progress", since, 0, int(graph.counters[EVENTS])
    yield "window_n", state.window.n, 0, 2**62
    yield "fresh", graph.fresh, -1, last
    yield "takes.target", graph.takes.target, 0, last
    yield "takes.items", graph.takes.items, -1, last
    yield "takes.n", graph.takes.n, 0, 2**62
    memory = state.ranker.memory
    yield "ranker.memory.n", memory.n, 0, memory.base.shape[1]
    yield "ranker.memory.taken", memory.taken, 0, memory.base.shape[1] - 1
    yield "ranker.memory.n_kept", memory.n_kept, 0, 2**62
