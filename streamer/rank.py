"""From a mixture to a list: what may be listed was settled when it was chosen; here it is put in order.

The ranker deals the probability of its short list, the mixture's most probable candidates, out anew; the rest keeps what the
mixture gave it. Order: probability, then the item that is longest known (its row), so equal scores never swap from one list to
the next.
"""

import numpy as np
from numpy.typing import NDArray

from streamer.cachelines import bring
from streamer.compiled import entry_kernel, kernel
from streamer.fastmath import GOLDEN, mixed, scramble
from streamer.graph.candidates import find, may_list
from streamer.graph.rates import COLD, arrived, n_newest
from streamer.graph.scratch import N_FINAL, N_PROPOSED
from streamer.graph.state import EVENTS, USER_BYTES
from streamer.mixture import main_path, mix
from streamer.paths import NAMES
from streamer.ranker.features import describe
from streamer.ranker.guard import is_on
from streamer.ranker.network import score
from streamer.ranker.scaling import scale
from streamer.ranker.shortlist import shortlist
from streamer.ranker.state import SHORT

EXPLORED_PLACE = 10  # of a list, given to an item that was hardly shown yet
EXPLORED_PATH = NAMES.index("fresh")  # what such an item is said to be listed for
_TRACE = np.float32(1e-25)  # of a probability by the mixture, kept where the ranker gives less
_N_TRIED = 8  # draws, of which the first that may be listed is taken


@kernel
def order_shortlist(graph, cands, ranker, user_row, gap_ms):
    """Describe, scale and score the short list."""
    shortlist(cands, ranker)
    describe(graph, cands, ranker, user_row, gap_ms)
    scale(ranker)
    score(ranker, ranker.x, ranker.base, ranker.n[SHORT])


@kernel
def deal_out(cands, ranker):
    """Deal the short list's share of probability out to its candidates as the ranker thinks best.

    Each keeps a trace of what the mixture gave it: where the ranker is sure, the probabilities of the others are too small
    for a float32, and what has none is on no list.
    """
    mass = np.float32(0.0)
    for c in range(ranker.n[SHORT]):
        mass += cands.mixed[ranker.candidate[c]]
    for c in range(ranker.n[SHORT]):
        index = ranker.candidate[c]
        cands.mixed[index] = max(ranker.probability[c] * mass, cands.mixed[index] * _TRACE)


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


@kernel
def _draw_list(user_row, n_events):
    """64 bits that say whether a user's list is an explored one at this event, and what it shows."""
    return scramble(np.uint64(user_row) * GOLDEN + np.uint64(n_events))


@kernel
def _chance_of(drawn):
    return np.float64(drawn >> np.uint64(11)) * 2.0**-53


def explored_chance(user_rows: NDArray[np.int32], n_events: int) -> NDArray[np.float64]:
    """As `draw_unshown` draws, for many lists at once: those below the explore share are explored.

    Args:
        user_rows: (n,) rows of users, >= 0; of another nothing is said.
        n_events: Events folded so far.
    """
    drawn = mixed(user_rows.astype(np.uint64) * GOLDEN + np.uint64(n_events) + GOLDEN)
    return np.asarray((drawn >> np.uint64(11)) * 2.0**-53, np.float64)


@kernel
def draw_unshown(graph, user_row):
    """Row of an item that hardly anyone took yet, for the explored share of lists; -1 for the others.

    Which lists those are, and which of the last arrivals they show, follows from user and event number alone: the same in
    every replay.
    """
    if graph.explore_share <= 0.0 or user_row < 0:
        return np.int64(-1)
    drawn = _draw_list(user_row, graph.counters[EVENTS])
    if _chance_of(drawn) >= graph.explore_share:
        return np.int64(-1)
    n_drawn_from = n_newest(graph)
    for _ in range(_N_TRIED if n_drawn_from > 0 else 0):
        drawn = scramble(drawn)
        item_row = arrived(graph, np.int64((drawn >> np.uint64(33)) % np.uint64(n_drawn_from)))
        if graph.items[item_row]["n_events"] < COLD and may_list(graph, user_row, item_row):
            return item_row
    return np.int64(-1)


@kernel
def _is_among(rows, row):
    found = False
    for other in rows:
        found |= other == row
    return found


@entry_kernel
def rank_users(graph, cands, ranker, user_rows, gaps_ms, items, scores, paths):
    """Rank a list for each user.

    Args:
        user_rows: (n,) int32; -1 is the user nobody knows.
        gaps_ms: (n,) int64, how long after his last event the user is expected to look.
        items, scores, paths: (n, k) int32, float32, int8, written; -1 in `items` where a list is shorter than k.
    """
    k = items.shape[1]
    order = cands.order
    for n in range(user_rows.size):
        user_row = np.int64(user_rows[n])
        if n + 1 < user_rows.size and user_rows[n + 1] >= 0:
            bring(graph.users, np.int64(user_rows[n + 1]), USER_BYTES)
        mix(graph, cands, user_row, gaps_ms[n], np.int64(-1), max(N_FINAL, k))
        if is_on(ranker):
            order_shortlist(graph, cands, ranker, user_row, gaps_ms[n])
            deal_out(cands, ranker)
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
        explored = draw_unshown(graph, user_row)
        if explored >= 0 and n_listed >= EXPLORED_PLACE and not _is_among(items[n], explored):
            items[n, EXPLORED_PLACE - 1] = explored
            # its own, not that of whom it displaced: 0 where no path proposed it
            index = find(cands, explored)
            is_scored = index >= 0 and cands.chosen[index]
            scores[n, EXPLORED_PLACE - 1] = cands.mixed[index] if is_scored else np.float32(0.0)
            paths[n, EXPLORED_PLACE - 1] = EXPLORED_PATH
