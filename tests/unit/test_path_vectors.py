"""The vectors path against a dense softmax over all items, and an estimate where not all of them were proposed."""

import numpy as np
import pytest
from content_twin import draws, last_stage, of_path
from whole_model import SETTINGS, a_log, drawn_tables, rows_of_users

from streamer import pipeline
from streamer.graph.state import DIM, HISTORY, N_HEADS, NO_VALUE, TICK_MS, VALUE_UNIT
from streamer.graph.vectors import user_vectors
from streamer.paths import vectors


def state_with_vectors(settings, seed, n_items=50, n_without=0):
    """A state whose first items have vectors, and the last `n_without` have none yet."""
    settings = settings._replace(max_items=n_items + 10)
    state, _ = pipeline.step(pipeline.new_state(settings), a_log(seed, n_items=n_items))
    tables = drawn_tables(seed, state.ids.items.n_rows - n_without)
    return state._replace(graph=state.graph._replace(vectors=tables))


def scores_of(state, user, gap_ms):
    """h_u . h_i + b_i of every item that has a vector, from the user's ring of items, times and values."""
    graph, row = state.graph, state.graph.users[user]
    items = np.full((1, HISTORY), -1, np.int32)
    gap_s, z_score = np.zeros((1, HISTORY), np.float32), np.full((1, HISTORY), np.nan, np.float32)
    now = (int(row["last_time_ms"]) + gap_ms) // TICK_MS
    for k in range(min(int(row["n_events"]), HISTORY)):
        at = (int(row["n_events"]) - 1 - k) % HISTORY
        items[0, k] = row["ring"][at]
        gap_s[0, k] = max(0, now - int(row["ring_time"][at])) * TICK_MS / 1000
        if row["ring_value"][at] != NO_VALUE:
            z_score[0, k] = row["ring_value"][at] / VALUE_UNIT
    h_u = np.zeros((1, DIM), np.float32)
    user_vectors(graph.vectors, items, gap_s, z_score, np.zeros((N_HEADS, DIM), np.float32), h_u)
    return graph.vectors.h.astype(float) @ h_u[0].astype(float) + graph.vectors.bias


def ranked(state, user, gap_ms):
    """One list; afterwards the scratch holds how it was made."""
    return pipeline.rank_users(state, np.array([user], np.int32), 20, np.array([gap_ms], np.int64))


@pytest.mark.parametrize("gap_ms", [0, 50_000, 10**10])
def test_with_all_items_proposed_the_path_is_the_softmax(gap_ms):
    """Every item on the last stage: p = exp(h_u . h_i + b_i) over the sum of all, whatever the gap since the last event."""
    state = state_with_vectors(SETTINGS._replace(repeats=True), 31, n_items=24)
    state.graph.unlistable[:] = False
    n_all = 0
    for user in rows_of_users(state):
        ranked(state, user, gap_ms)
        stage = last_stage(state.scratch)
        if state.graph.users[user]["n_events"] == 0 or len(stage) < state.ids.items.n_rows:
            continue
        n_all += 1
        dense = np.exp(scores_of(state, user, gap_ms))
        scores, mass = of_path(state.scratch, "vectors")
        for row, score in scores.items():
            assert score / mass == pytest.approx(dense[row] / dense.sum(), rel=1e-3)
            logit = state.scratch.logit[stage[row]]
            assert logit == pytest.approx(np.log(dense[row]), abs=1e-3)
        assert state.scratch.has_vector[0]
    assert n_all > 6


def test_the_rest_is_guessed_at_from_drawn_items():
    """What was not proposed counts as so many items of the mean of 32 drawn ones; items without vectors get nothing."""
    state = state_with_vectors(SETTINGS, 32, n_without=9)
    n_items, n_rest = state.graph.vectors.bias.size, 0
    for user in rows_of_users(state):
        ranked(state, user, 0)
        scores, mass = of_path(state.scratch, "vectors")
        n_events = int(state.graph.users[user]["n_events"])
        if n_events == 0:
            assert mass == 0.0
            continue
        dense = scores_of(state, user, 0)
        scored = [row for row in scores if row < n_items]
        most = dense[scored].max()
        expected = {row: np.exp(dense[row] - most) if row < n_items else 0.0 for row in scores}
        assert scores == pytest.approx(expected, rel=2e-3, abs=1e-7)
        drawn = draws(user * 1000003 + n_events, vectors._N_DRAWN, n_items)
        mean = np.mean(np.exp(np.minimum(30.0, dense[drawn] - most)))
        rest = mean * max(n_items - len(scored), 0)
        assert mass == pytest.approx(sum(expected.values()) + rest, rel=2e-3)
        n_rest += len(scored) < n_items
    assert n_rest > 6


def test_without_a_history_or_tables_there_is_silence():
    """The unknown user has no vector, and before the first version nobody has."""
    state = state_with_vectors(SETTINGS, 33)
    ranked(state, -1, 0)
    assert of_path(state.scratch, "vectors")[1] == 0.0
    assert not state.scratch.has_vector[0]
    state, _ = pipeline.step(pipeline.new_state(SETTINGS), a_log(33))
    ranked(state, 0, 0)
    assert of_path(state.scratch, "vectors")[1] == 0.0
