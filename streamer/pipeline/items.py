"""Room in a full table of items: those that are gone make way first, then those that nobody took for longest.

A row that changes hands must be a row that nothing names any more. Who names an item is not stored, so a look at everything
takes a sixteenth of the table out at once (`ops/decisions/0001-tables-at-their-cap.md`). Which items go follows from the state
alone, so a replay evicts the same, however the log is cut into batches.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.graph.removal import (
    leave_clocks,
    leave_counts,
    leave_neighbours,
    leave_nodes,
    leave_users,
    new_scratch,
)
from streamer.graph.state import EVENTS, POOLED, RING, ROUND
from streamer.graph.vectors import Tables
from streamer.pipeline.state import State
from streamer.propagate.settings import Examples, take, without_items

ONE_IN = 16  # of the rows: a look at everything costs the same for one item, and the coldest sixteenth is missed by few
MAX_PROTECTED = 64  # items of the last events stay: the next lists are made from them
_FRESH = np.iinfo(np.int64).max

Rows = NDArray[np.int64]


class EvictedItems(NamedTuple):
    """Rows that were given up."""

    rows: Rows  # the coldest last
    was_unlistable: NDArray[np.bool_]  # (n,) whether each was retired, or not available


def evict_items(state: State) -> tuple[State, EvictedItems]:
    """Forget a sixteenth of the items; their rows are free for newcomers. Call it when the table is full and all is folded.

    First go those that may not be listed, then the others, in each case those whose last event, or arrival, is longest
    ago. Items of the last events stay: without any other, nobody goes.

    Args:
        state: Given away; its tables are changed.
    """
    rows = _coldest(state)
    evicted = EvictedItems(rows, state.graph.unlistable[rows].copy())
    if not rows.size:
        return state, evicted
    # whose text the table of the nearest ones holds: one is taken out as its row is given to a newcomer, see `reuse_row`
    has_text = state.graph.near.vector[rows].any(axis=1) if len(state.graph.near.vector) else False
    _forget_ids_and_texts(state, rows)
    forget_rows(state, rows)
    state.graph.unlistable[rows] = has_text
    if state.trainer is not None:
        state.changed.update(rows.tolist())
        state.evicted.update(rows.tolist())
    vectors = without_vectors(state.graph.vectors, rows)
    return state._replace(graph=state.graph._replace(vectors=vectors)), evicted


def is_used(state: State, row: int) -> bool:
    """Whether a row that nobody owns must be made ready by `reuse_row` before somebody gets it."""
    return bool(state.graph.unlistable[row])


def reuse_row(state: State, row: int) -> None:
    """Let the table of the nearest ones forget the text of whoever had this row. Costs as much as a new text does."""
    if state.nearest is not None:
        state.nearest.drop(row)
    state.graph.unlistable[row] = False
    state.changed.add(row)


def without_vectors(tables: Tables, rows: Rows) -> Tables:
    """The tables of the network, in which these items have no vector yet: a score of minus infinity. The given ones stay.

    Until the next tables come, such an item is none in the history of who took it.
    """
    rows = rows[rows < tables.bias.size]
    if not rows.size:
        return tables
    x, h, bias = tables.x.copy(), tables.h.copy(), tables.bias.copy()
    x[rows], h[rows], bias[rows] = 0.0, 0.0, -np.inf
    return tables._replace(x=x, h=h, bias=bias)


def _coldest(state: State) -> Rows:
    graph, n_rows = state.graph, state.ids.items.n_rows
    items = graph.items[:n_rows]
    n_events, last_event = items["n_events"], items["last_event"]
    since = np.where(n_events > 0, last_event, items["first_event"])
    key = since + (~graph.unlistable[:n_rows]).astype(np.int64) * (1 << 61)
    n_protected = max(1, min(MAX_PROTECTED, n_rows // 2))
    key[(n_events > 0) & (last_event > graph.counters[EVENTS] - n_protected)] = _FRESH
    n_wanted = max(1, n_rows // ONE_IN)
    bound = np.partition(key, n_wanted - 1)[n_wanted - 1]
    arrival = np.full(n_rows, -1, np.int64)
    arrived = graph.rates.arrived[: int(graph.rates.n[0])]
    arrival[arrived] = np.arange(arrived.size)
    some = np.flatnonzero((key <= bound) & (key < _FRESH))
    return some[np.lexsort((some, arrival[some], key[some]))][:n_wanted][::-1].astype(np.int64)


def _forget_ids_and_texts(state: State, rows: Rows) -> None:
    ids, texts, vectors = state.ids.items, state.texts, state.graph.near.vector
    for row in rows.tolist():
        item_id = ids.id(row)
        if item_id is not None:
            ids.release(item_id)
        key = texts.key(row)
        if key:
            texts.forget(row)
            if vectors[row : row + 1].any():
                # for whoever has the text next: its vector is on the log already, and nobody sends it again
                texts.arrive(key, vectors[row].astype("<f2").tobytes())


def forget_rows(state: State, rows: Rows) -> None:
    """Take items out of every table but those of ids, texts, nearest ones and the network.

    Args:
        rows: (n,) int64, no row twice.
    """
    graph, ids = state.graph, state.ids
    is_gone = np.zeros(ids.items.n_rows + 1, np.bool_)
    is_gone[rows + 1] = True
    scratch = new_scratch()
    items = graph.items[rows]
    # a tombstone of an item that nobody knew is in no sum: rates, fitted anew where something leaves them, stay as they are
    counted = rows[((items["flags"] & POOLED) > 0) | (items["n_nodes"] > 0)]
    if counted.size:
        leave_counts(graph, counted)
    leave_neighbours(graph, is_gone)
    leave_users(graph, is_gone, ids.users.n_rows, scratch)
    leave_nodes(graph, is_gone, ids.nodes.n_rows, scratch)
    leave_clocks(graph, is_gone)
    _leave_arrivals(state, is_gone[1:])
    _leave_takes(state, is_gone[1:])
    graph.items[rows] = np.zeros((), graph.items.dtype)
    graph.damping[rows] = 0.0
    graph.unlistable[rows] = False
    graph.company.sum[rows] = 0.0
    graph.company.code[rows] = 0
    state.contents.items[rows] = 0


def _leave_arrivals(state: State, is_gone: NDArray[np.bool_]) -> None:
    rates, fresh = state.graph.rates, state.graph.fresh
    n = int(rates.n[0])
    stays = ~is_gone[rates.arrived[:n]]
    n_before = np.concatenate(
        [[0], np.cumsum(stays)]
    )  # of those that stay, how many came before each arrival
    kept = rates.arrived[:n][stays]
    rates.arrived[: kept.size] = kept
    rates.arrived[kept.size : n] = 0
    rates.passed[:] = n_before[rates.passed]
    rates.n[0] = kept.size
    ring = rates.ring[: min(int(state.graph.counters[EVENTS]) + 1, RING)]
    ring[is_gone[ring]] = 0
    fresh[(fresh >= 0) & is_gone[np.maximum(fresh, 0)]] = -1


def _leave_takes(state: State, is_gone: NDArray[np.bool_]) -> None:
    """Examples of items that go are none; histories close up, newest first."""
    takes = state.graph.takes
    n = int(takes.n[0])
    order = np.arange(max(0, n - ROUND), n) % ROUND
    whole = Examples(takes.target, takes.items, takes.gap_s, takes.z_score)
    kept = without_items(take(whole, order), is_gone)
    n_kept = kept.target.size
    for part, rest in zip(whole, kept, strict=True):
        part[:n_kept] = rest
        part[n_kept:] = 0
    takes.n[0] = n_kept
