"""Segment: what users with the same profile took lately; most of what is known of a user without a history."""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.candidates import choose, find
from streamer.graph.segments import segment_mass, segment_weight
from streamer.graph.state import NODE_TOP, USER_NODES

_N_PROPOSED = 16  # items a node


@kernel
def propose(graph, cands, user_row, path):
    """The heaviest items of every node of the user's profile."""
    if user_row < 0:
        return
    user = graph.users[user_row]
    for n in range(USER_NODES):
        if user["nodes"][n] > 0:
            node = graph.nodes[user["nodes"][n] - 1]
            for place in range(min(np.int64(node["n_top"]), _N_PROPOSED)):
                choose(graph, cands, user_row, np.int64(node["top"][place]))


@kernel
def score(graph, cands, user_row, path):
    """Mean over the user's nodes of the item's share in what the node's users took."""
    if user_row < 0:
        return
    user = graph.users[user_row]
    for n in range(USER_NODES):
        if user["nodes"][n] == 0:
            continue
        node_row = np.int64(user["nodes"][n] - 1)
        mass = segment_mass(graph, node_row)
        if mass <= 0.0:
            continue
        node = graph.nodes[node_row]
        cands.mass[path] += 1.0
        for place in range(min(np.int64(node["n_top"]), NODE_TOP)):
            index = find(cands, np.int64(node["top"][place]))
            if index >= 0 and cands.chosen[index]:
                cands.score[path, index] += min(
                    np.float32(1.0), segment_weight(graph, node_row, place) / mass
                )
