"""The seam between the fold and the trainer: what a round of training gets, and when its weights come in."""

import numpy as np
from numpy.typing import NDArray

from streamer.graph.state import CO, KNOWN, ROUND
from streamer.pipeline.items import without_vectors
from streamer.pipeline.state import State
from streamer.propagate.learner import N_NEIGHBOURS, Round
from streamer.propagate.settings import Examples


def next_round(state: State, n_items: int) -> State:
    """Take the weights of the last round in, and begin the next one; while that may not be, this one is left out.

    Args:
        n_items: Item rows in use after the event that ends the round; more of them may have been handed out already.
    """
    trainer = state.trainer
    if trainer is None:
        return state
    is_free, tables = trainer.take()
    if tables is not None:
        # the round that made them knew these rows as those of who had them before
        tables = without_vectors(tables, np.array(sorted(state.evicted), np.int64))
        state = state._replace(graph=state.graph._replace(vectors=tables))
    if is_free:
        trainer.submit(_gathered(state, n_items))
        state.changed.clear()
        state.evicted.clear()
    state.graph.takes.n[0] = 0
    return state


def _gathered(state: State, n_items: int) -> Round:
    """Copies of the last first takes, oldest first, and of all items that changed since the last round."""
    graph = state.graph
    n = int(graph.takes.n[0])
    order = np.arange(max(0, n - ROUND), n) % ROUND
    takes = graph.takes
    examples = Examples(takes.target[order], takes.items[order], takes.gap_s[order], takes.z_score[order])
    state.changed.update(examples.target.tolist())
    rows = np.array(sorted(state.changed), np.int64)
    items = graph.items[rows]
    nodes = np.where(np.arange(items["nodes"].shape[1]) < items["n_nodes"][:, None], items["nodes"] + 1, 0)
    vectors = graph.near.vector
    text = vectors[rows] if vectors.shape[0] else np.zeros((rows.size, 0), np.int8)
    known = ((items["flags"] & KNOWN) > 0) & ~graph.unlistable[rows]
    evicted = np.array(sorted(state.evicted), np.int64)
    return Round(
        examples, n_items, rows, text, nodes.astype(np.int32), known, _co_taken(state, rows), evicted
    )


def _co_taken(state: State, rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """The items most often taken together with each of these, (n, N_NEIGHBOURS) row + 1; 0 = none."""
    ids, evidence = state.graph.neighbour[rows], state.graph.evidence[rows, :, CO]
    best = np.argsort(-evidence, axis=1, kind="stable")[:, :N_NEIGHBOURS]
    return np.take_along_axis(ids, best, axis=1)
