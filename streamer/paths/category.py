"""Category: the categories of the user's last items, and what is trending in each of them."""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.candidates import choose, weigh_categories
from streamer.graph.categories import node_mass
from streamer.graph.scratch import CATEGORY, N_CHOSEN, N_LIKED
from streamer.graph.state import TRENDING

_N_PROPOSED = 10  # items a node


@kernel
def propose(graph, cands, user_row, path):
    """The heaviest items of the user's nodes; what he cares for each node goes beside his other interest in it."""
    if user_row < 0:
        return
    weigh_categories(graph, cands, user_row)
    for n in range(cands.n[N_LIKED]):
        node = graph.nodes[cands.node[n]]
        mass = node_mass(graph, cands.node[n])
        cands.interest[cands.node[n], CATEGORY] = cands.affinity[n] / mass if mass > 0.0 else np.float32(0.0)
        for place in range(min(np.int64(node["n_top"]), _N_PROPOSED)):
            choose(graph, cands, user_row, np.int64(node["top"][place]))


@kernel
def score(graph, cands, user_row, path):
    """sum over the user's nodes c of P(c | user) * weight(item) / weight(c); proper, since each node's part is."""
    if cands.n[N_LIKED] == 0:
        return
    cands.mass[path] = 1.0
    for at in range(cands.n[N_CHOSEN]):
        index = cands.final[at]
        # a node's weight is kept by adding and taking away: after a long while it may be a little too small
        cands.score[path, index] = min(
            np.float32(1.0), cands.likeness[index, CATEGORY] * cands.current[index, TRENDING]
        )
