"""Vectors: `softmax(h_u . h_i + b_i)` from the attention network, co-propagated over the user's last items (`propagate`)."""

import numpy as np

from streamer.compiled import kernel
from streamer.fastmath import dot, exp, scramble
from streamer.graph.histories import copy_history
from streamer.graph.scratch import N_CHOSEN
from streamer.graph.vectors import user_vector

_N_DRAWN = 32  # items drawn to guess at the mass of those that nobody proposed
_MOST = np.float32(30.0)  # of a score over the highest: keeps exp finite


@kernel
def _score_of(tables, h_u, row):
    return tables.bias[row] + dot(h_u, tables.h[row])


@kernel
def score(graph, cands, user_row, path):
    """exp of the score over the highest one, and a mass that counts the rest as what a few drawn items are worth."""
    tables = graph.vectors
    n_items = tables.bias.size
    if user_row < 0 or n_items == 0 or graph.users[user_row]["n_events"] == 0:
        return
    time_ms = graph.users[user_row]["last_time_ms"] + cands.gap_ms[0]
    copy_history(graph, user_row, time_ms, cands.past_items, cands.past_gap_s, cands.past_z)
    user_vector(tables, cands.past_items, cands.past_gap_s, cands.past_z, cands.pooled, cands.h_u)
    most, n_scored = np.float32(-np.inf), 0
    for at in range(cands.n[N_CHOSEN]):
        index = cands.final[at]
        row = cands.row[index]
        logit = _score_of(tables, cands.h_u, row) if row < n_items else np.float32(-np.inf)
        n_scored += row < n_items
        cands.logit[index] = cands.in_turn[at] = logit
        most = max(most, logit)
    if most == -np.inf:
        return
    for at in range(cands.n[N_CHOSEN]):  # side by side, so that it vectorises
        cands.in_turn[at] = exp(cands.in_turn[at] - most)
    mass = 0.0
    for at in range(cands.n[N_CHOSEN]):
        cands.score[path, cands.final[at]] = cands.in_turn[at]
        mass += cands.in_turn[at]
    drawn = np.uint64(user_row) * np.uint64(1000003) + np.uint64(graph.users[user_row]["n_events"])
    other = 0.0
    for _ in range(_N_DRAWN):
        drawn = scramble(drawn)
        row = np.int64((drawn >> np.uint64(33)) % np.uint64(n_items))
        other += exp(min(_MOST, _score_of(tables, cands.h_u, row) - most))
    cands.mass[path] = mass + other / _N_DRAWN * max(n_items - n_scored, 0)
    cands.has_vector[0] = True
