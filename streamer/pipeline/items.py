"""Room in a full table of items: those that are gone make way first, then those that nobody took for longest.

A row that changes hands must be a row that nothing names any more. Who names an item is not stored, so a pass over everything
takes a thirty-second of the table out (`ops/decisions/0001-tables-at-their-cap.md`); most of it is made beforehand, a stretch
for some newcomers each (`leaving`), the rest at once when the table is full. Which items go follows from the state alone, so a
replay evicts the same, however the log is cut into batches.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.graph.removal import clear_neighbours, leave_clocks, leave_counts, leave_nodes, new_scratch
from streamer.graph.state import EVENTS, N_ARRIVED, POOLED, RING, ROUND
from streamer.graph.vectors import Tables
from streamer.pipeline.info import StepInfo
from streamer.pipeline.leaving import by_coldness, choose, pass_on, pass_rest, who_goes
from streamer.pipeline.state import State
from streamer.propagate.settings import Examples, take, without_items

Rows = NDArray[np.int64]


class EvictedItems(NamedTuple):
    """Rows that were given up."""

    rows: Rows  # the coldest last
    was_unlistable: NDArray[np.bool_]  # (n,) whether each was retired, or not available


_NOBODY = EvictedItems(np.zeros(0, np.int64), np.zeros(0, np.bool_))


def make_room(state: State) -> tuple[State, EvictedItems]:
    """Do what is due before the next newcomer: a stretch of the pass, or, when the table is full, its end.

    Call it when `leaving.n_until_due` says so, and all is folded.

    Args:
        state: Given away; its tables are changed.
    """
    if state.ids.items.is_full:
        return evict_items(state)
    if not state.leaving.is_gone.any():
        choose(state)
    pass_on(state)
    return state, _NOBODY


def evict_items(state: State) -> tuple[State, EvictedItems]:
    """Forget the items that are leaving; their rows are free for newcomers. Call it when all is folded.

    Where nobody is leaving, or all of them came back, others are chosen, and the whole pass is made at once. Items of the last
    events stay: without any other, nobody goes.

    Args:
        state: Given away; its tables are changed.
    """
    rows = who_goes(state)
    if not rows.size:
        choose(state)
        rows = who_goes(state)
    if not rows.size:
        return state, _NOBODY
    pass_rest(state)
    rows = np.ascontiguousarray(by_coldness(state, rows)[::-1])
    evicted = EvictedItems(rows, state.graph.unlistable[rows].copy())
    # whose text the table of the nearest ones holds: one is taken out as its row is given to a newcomer, see `reuse_row`
    has_text = state.graph.near.vector[rows].any(axis=1) if len(state.graph.near.vector) else False
    _forget_ids_and_texts(state, rows)
    _forget_rows(state, rows)
    state.leaving.is_gone[rows + 1] = False
    state.graph.unlistable[rows] = has_text
    if state.trainer is not None:
        state.changed.update(rows.tolist())
        state.evicted.update(rows.tolist())
    vectors = without_vectors(state.graph.vectors, rows)
    return state._replace(graph=state.graph._replace(vectors=vectors)), evicted


def rows_of_nobody(state: State, info: StepInfo) -> Rows:
    """Rows of items that were evicted in this batch, and that no newcomer has got since."""
    id_of = state.ids.items.id
    return np.array([row for row in info.evicted_item_rows if id_of(row) is None], np.int64)


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
    """The tables of the network, in which these items have no vector yet: a bias of minus infinity. The given ones stay.

    Until the next tables come, such an item is none in the history of who took it, and its vectors are not read: they
    are left as they are, since a copy of them would be the longest part of an eviction.
    """
    rows = rows[rows < tables.bias.size]
    if not rows.size:
        return tables
    bias = tables.bias.copy()
    bias[rows] = -np.inf
    return tables._replace(bias=bias)


def _forget_ids_and_texts(state: State, rows: Rows) -> None:
    ids, texts, table = state.ids.items, state.texts, state.graph.near.vector
    vectors = table[rows] if len(table) else np.zeros((rows.size, 0), np.int8)
    has_vector = np.any(vectors, axis=1)
    for row, is_there, vector in zip(rows.tolist(), has_vector, vectors.astype("<f2"), strict=True):
        item_id = ids.id(row)
        if item_id is not None:
            ids.release(item_id)
        key = texts.key(row)
        if key:
            texts.forget(row)
            if is_there:
                # for whoever has the text next: its vector is on the log already, and nobody sends it again
                texts.arrive(key, vector.tobytes())


def _forget_rows(state: State, rows: Rows) -> None:
    """Take items whom no user and no neighbour row names out of all tables but those of ids, texts, nearest ones, the network."""
    graph, ids = state.graph, state.ids
    is_gone = state.leaving.is_gone
    items = graph.items[rows]
    # a tombstone of an item that nobody knew is in no sum: rates, fitted anew where something leaves them, stay as they are
    counted = rows[((items["flags"] & POOLED) > 0) | (items["n_nodes"] > 0)]
    if counted.size:
        leave_counts(graph, counted)
    clear_neighbours(graph, rows)
    leave_nodes(graph, is_gone, ids.nodes.n_rows, new_scratch())
    graph.unlistable[rows] = True  # so that none of them comes up from behind a list
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
    n = int(rates.n[N_ARRIVED])
    stays = ~is_gone[rates.arrived[:n]]
    # of those that stay, how many came before each arrival
    n_before = np.concatenate([[0], np.cumsum(stays)])
    kept = rates.arrived[:n][stays]
    rates.arrived[: kept.size] = kept
    rates.arrived[kept.size : n] = 0
    rates.passed[:] = n_before[rates.passed]
    rates.n[N_ARRIVED] = kept.size
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
