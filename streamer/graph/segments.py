"""Segments: what the users of one profile value take. A segment is a feature node that users carry instead of items.

    nodes[row].top, top_weight     its items in no order, with fading counts, at most NODE_TOP
    nodes[row].mass                all its events, fading alike

A full segment gives the place of its lightest item to a newcomer, who inherits the weight (Space-Saving, Metwally et al. 2005).
Fading is that of the trending clock: new events weigh more, in its units.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.categories import add_mass, node_mass
from streamer.graph.clocks import in_epoch
from streamer.graph.state import NODE_TOP, TRENDING, USER_NODES


@kernel
def segment_mass(graph, node_row):
    """Fading count of all events of a segment, in the trending clock's grown units."""
    return node_mass(graph, node_row)


@kernel
def segment_weight(graph, node_row, place):
    """Fading count of the item at a place of a segment, in the same units."""
    node = graph.nodes[node_row]
    return in_epoch(node["top_weight"][place], node["epoch"], graph.clocks.epoch[TRENDING])


@kernel
def _settle(graph, node):
    """Bring all weights of a segment into the clock's present epoch."""
    if node["epoch"] == graph.clocks.epoch[TRENDING]:
        return
    for place in range(node["n_top"]):
        node["top_weight"][place] = in_epoch(
            node["top_weight"][place], node["epoch"], graph.clocks.epoch[TRENDING]
        )


@kernel
def count_in_segments(graph, user_row, item_row):
    """Count one event of a user, which the clocks have counted already, in the segments of his profile."""
    user = graph.users[user_row]
    scale = np.float32(graph.clocks.scale[TRENDING])
    for n in range(USER_NODES):
        if user["nodes"][n] == 0:
            continue
        node_row = np.int64(user["nodes"][n] - 1)
        node = graph.nodes[node_row]
        _settle(graph, node)
        add_mass(graph, node_row, scale)
        chosen, least = 0, np.float32(np.inf)
        found = False
        for place in range(node["n_top"]):
            if node["top"][place] == item_row:
                node["top_weight"][place] += scale
                found = True
                break
            if node["top_weight"][place] < least:
                chosen, least = place, node["top_weight"][place]
        if found:
            continue
        if node["n_top"] < NODE_TOP:
            chosen, least = np.int64(node["n_top"]), np.float32(0.0)
            node["n_top"] += 1
        node["top"][chosen] = item_row
        node["top_weight"][chosen] = least + scale
