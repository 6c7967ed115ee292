"""From a mixture to a list: what may be listed was settled when it was chosen; here it is put in order.

Order: probability, then the item that is longest known (its row), so equal scores never swap from one list to the next.
"""

import numpy as np

from streamer.compiled import entry_kernel, kernel
from streamer.graph.candidates import N_PROPOSED
from streamer.mixture import main_path, mix


@kernel
def _before(cands, a, b):
    if cands.mixed[a] != cands.mixed[b]:
        return cands.mixed[a] > cands.mixed[b]
    return cands.row[a] < cands.row[b]


@kernel
def top_k(cands, order, k):
    """Indices of the best candidates, best first, into `order[:n]`; returns n <= k. Insertion into a short sorted list."""
    n = 0
    for at in range(cands.n[N_PROPOSED]):
        index = cands.final[at]
        if cands.mixed[index] <= 0.0 or (n == k and not _before(cands, index, order[k - 1])):
            continue
        place = n if n < k else k - 1
        while place > 0 and _before(cands, index, order[place - 1]):
            order[place] = order[place - 1]
            place -= 1
        order[place] = index
        n = min(n + 1, k)
    return n


@entry_kernel
def rank_users(graph, cands, user_rows, gaps_ms, items, scores, paths):
    """Rank a list for each user.

    Args:
        user_rows: (n,) int32; -1 is the user nobody knows.
        gaps_ms: (n,) int64, how long after his last event the user is expected to look.
        items, scores, paths: (n, k) int32, float32, int8, written; -1 in `items` where a list is shorter than k.
    """
    k = items.shape[1]
    order = cands.order
    for n in range(user_rows.size):
        mix(graph, cands, np.int64(user_rows[n]), gaps_ms[n], np.int64(-1))
        n_listed = top_k(cands, order, k)
        for place in range(k):
            if place < n_listed:
                items[n, place] = cands.row[order[place]]
                scores[n, place] = cands.mixed[order[place]]
                paths[n, place] = main_path(cands, order[place])
            else:
                items[n, place] = -1
                scores[n, place] = 0.0
                paths[n, place] = -1
