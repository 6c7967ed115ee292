"""Feature: items that share categories, bins of numbers and words with the user's last items, times their rate.

The one path that can list an item nobody took yet, together with text. Cold items (fewer than 5 events), and those that nobody
took yet, form paths of their own besides: they compete with each other first, and the mixture decides how much of a list is
theirs.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.candidates import choose, place_best
from streamer.graph.content import LIKENESS, SLOW
from streamer.graph.rates import COLD, COLD_ITEMS, NEW_ITEMS, share_of
from streamer.graph.scratch import N_CHOSEN, N_INTERESTED, N_PROPOSING
from streamer.graph.state import N_RECENT

_N_PROPOSED = 6  # items of the node's heaviest
_N_NEWEST = 10  # of its last arrivals


@kernel
def propose(graph, cands, user_row, path):
    """The newest and the heaviest items of the nodes that interest the user most."""
    if user_row < 0:
        return
    nodes, n = cands.proposing, 0
    for at in range(cands.n[N_INTERESTED]):
        n = place_best(nodes, n, N_PROPOSING, cands.interested[at], cands.interest[:, SLOW])
    for at in range(n):
        node = graph.nodes[nodes[at]]
        n_recent = np.int64(node["n_recent"])
        for age in range(min(n_recent, _N_NEWEST)):
            choose(graph, cands, user_row, np.int64(node["recent"][(n_recent - 1 - age) % N_RECENT]))
        for place in range(min(np.int64(node["n_top"]), _N_PROPOSED)):
            choose(graph, cands, user_row, np.int64(node["top"][place]))


@kernel
def score(graph, cands, user_row, path):
    """Squared cosine times rate."""
    if cands.n[N_INTERESTED] == 0:
        return
    mass, listed = 0.0, 0.0
    for at in range(cands.n[N_CHOSEN]):
        index = cands.final[at]
        cands.score[path, index] = cands.likeness[index, SLOW] ** 2 * cands.rate[index]
        mass += cands.score[path, index]
        listed += cands.rate[index]
    cands.mass[path] = mass + max(0.0, 1.0 - listed) * cands.unlisted[LIKENESS]


@kernel
def _score_pool(graph, cands, path, pool, n_below):
    """The same among the items with fewer than so many events."""
    if cands.n[N_INTERESTED] == 0:
        return
    mass, listed = 0.0, 0.0
    for at in range(cands.n[N_CHOSEN]):
        index = cands.final[at]
        if cands.n_events[index] < n_below:
            cands.score[path, index] = cands.likeness[index, SLOW] ** 2 * cands.rate[index]
            mass += cands.score[path, index]
            listed += cands.rate[index]
    cands.mass[path] = mass + max(0.0, share_of(graph, pool) - listed) * cands.unlisted[LIKENESS]


@kernel
def score_cold(graph, cands, user_row, path):
    """Among cold items alone."""
    _score_pool(graph, cands, path, COLD_ITEMS, COLD)


@kernel
def score_new(graph, cands, user_row, path):
    """Among items that nobody took yet."""
    _score_pool(graph, cands, path, NEW_ITEMS, 1)


@kernel
def score_rate(graph, cands, user_row, path):
    """The rate alone: what is due to be taken again, or for the first time."""
    listed = 0.0
    for at in range(cands.n[N_CHOSEN]):
        cands.score[path, cands.final[at]] = cands.rate[cands.final[at]]
        listed += cands.rate[cands.final[at]]
    # lifts are not in the rate of all items, and that is fitted now and then
    cands.mass[path] = max(1.0, listed)
