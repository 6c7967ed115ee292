"""Text: items whose text is near the text of the user's last items, times their rate.

The neighbours of an item by text are kept in a table (`nearest`), so nothing is compared here but what the table holds. More
paths look at cold items (fewer than 5 events) alone, and at those that nobody took yet: the same score, and `transfer`, the
sequence evidence that neighbours by text lend to cold items.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.candidates import choose, find, place_best
from streamer.graph.content import NEARNESS
from streamer.graph.histories import history_length, past_item
from streamer.graph.rates import COLD, COLD_ITEMS, NEW_ITEMS, share_of
from streamer.graph.scratch import N_ALL, N_CHOSEN, N_LENDERS, N_LENDING, NEAR
from streamer.graph.state import N_ARRIVED
from streamer.nearest.table import N_NEAR
from streamer.paths.evidence import FAINTEST

_N_PROPOSING = 4  # of the user's last items, whose neighbours are proposed
_LEAST = np.float32(0.35)  # similarity worth proposing
_LEAST_LENT = np.float32(0.15)  # similarity that lends
_UNSEEN = 2.0  # evidence lent to cold items in all, for one unit lent to those that are listed


@kernel
def _has_rows(graph, user_row):
    return user_row >= 0 and graph.near.item.shape[0] > 0


@kernel
def propose(graph, cands, user_row, path):
    """The neighbours by text of the user's last items."""
    if not _has_rows(graph, user_row):
        return
    near = graph.near
    for k in range(min(history_length(graph, user_row), _N_PROPOSING)):
        owner = past_item(graph, user_row, k)
        for slot in range(N_NEAR):
            if near.item[owner, slot] > 0 and near.similarity[owner, slot] > _LEAST:
                choose(graph, cands, user_row, np.int64(near.item[owner, slot] - 1))


@kernel
def score(graph, cands, user_row, path):
    """sum of .8**k exp((cosine - 1) / .12) over the last 10 items k, times the rate."""
    if not _has_rows(graph, user_row) or cands.unlisted[NEARNESS] == 0.0:
        return
    mass, rate_listed = 0.0, 0.0
    for at in range(cands.n[N_CHOSEN]):
        index = cands.final[at]
        cands.score[path, index] = cands.text[index] * cands.rate[index]
        mass += cands.score[path, index]
        rate_listed += cands.rate[index]
    cands.mass[path] = mass + _unlisted(graph, cands, rate_listed)


@kernel
def _unlisted(graph, cands, rate_listed):
    """What is not listed: its nearness, times the rate of an average item that is not."""
    n_others = max(graph.rates.n[N_ARRIVED] - cands.n[N_CHOSEN], 1)
    return cands.unlisted[NEARNESS] * max(0.0, 1.0 - rate_listed) / n_others


@kernel
def _score_pool(graph, cands, user_row, path, pool, n_below):
    """The same among the items with fewer than so many events."""
    if not _has_rows(graph, user_row):
        return
    mass, rate_listed = 0.0, 0.0
    for at in range(cands.n[N_CHOSEN]):
        index = cands.final[at]
        if cands.n_events[index] < n_below:
            cands.score[path, index] = cands.text[index] * cands.rate[index]
            mass += cands.score[path, index]
        rate_listed += cands.rate[index]
    if mass > 0.0:
        cands.mass[path] = mass + _unlisted(graph, cands, rate_listed) * share_of(graph, pool)


@kernel
def score_cold(graph, cands, user_row, path):
    """Among cold items alone."""
    _score_pool(graph, cands, user_row, path, COLD_ITEMS, COLD)


@kernel
def score_new(graph, cands, user_row, path):
    """Among items that nobody took yet."""
    _score_pool(graph, cands, user_row, path, NEW_ITEMS, 1)


@kernel
def _find_lenders(cands):
    """The candidates with the most sequence evidence into `cands.lending`."""
    lending, n = cands.lending, 0
    for index in range(cands.n[N_ALL]):
        if cands.evidence[index, NEAR] > 0.0:
            n = place_best(lending, n, N_LENDING, index, cands.evidence[:, NEAR])
    cands.n[N_LENDERS] = n


@kernel
def propose_borrowers(graph, cands, user_row, path):
    """The cold neighbours by text of the candidates with the most sequence evidence."""
    if not _has_rows(graph, user_row):
        return
    _find_lenders(cands)
    for at in range(cands.n[N_LENDERS]):
        owner = cands.row[cands.lending[at]]
        for slot in range(N_NEAR):
            row = np.int64(graph.near.item[owner, slot]) - 1
            if (
                row >= 0
                and graph.near.similarity[owner, slot] > _LEAST_LENT
                and graph.items[row]["n_events"] < COLD
            ):
                choose(graph, cands, user_row, row)


@kernel
def score_transfer(graph, cands, user_row, path):
    """sum over the lenders of similarity**2 times their evidence from the user's last items, for their cold neighbours."""
    if not _has_rows(graph, user_row):
        return
    near, mass = graph.near, 0.0
    for at in range(cands.n[N_LENDERS]):
        lender = cands.lending[at]
        owner = cands.row[lender]
        evidence = cands.evidence[lender, NEAR] * graph.damping[owner]
        for slot in range(N_NEAR):
            row = np.int64(near.item[owner, slot]) - 1
            if row < 0 or near.similarity[owner, slot] <= _LEAST_LENT or graph.items[row]["n_events"] >= COLD:
                continue
            index = find(cands, row)
            if index >= 0 and cands.chosen[index]:
                lent = near.similarity[owner, slot] ** 2 * evidence
                cands.score[path, index] += lent
                mass += lent
    cands.mass[path] = _UNSEEN * mass if mass > FAINTEST else 0.0
