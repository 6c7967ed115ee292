"""Category nodes: for every category value, the trending weight of its items and the heaviest of them in order."""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.clocks import clock_weight, in_epoch
from streamer.graph.state import NODE_TOP, TRENDING


@kernel
def node_mass(graph, node_row):
    """Trending weight of all items of a node, in the trending clock's grown units."""
    node = graph.nodes[node_row]
    return in_epoch(node["mass"], node["epoch"], graph.clocks.epoch[TRENDING])


@kernel
def add_mass(graph, node_row, weight):
    """Add trending weight (grown units, may be negative) to a node."""
    node = graph.nodes[node_row]
    node["mass"] = max(np.float32(0.0), np.float32(node_mass(graph, node_row) + weight))
    node["epoch"] = graph.clocks.epoch[TRENDING]


@kernel
def touch_nodes(graph, item_row):
    """Count one event of an item, which the clocks have counted already, on its category nodes."""
    item = graph.items[item_row]
    for n in range(item["n_nodes"]):
        add_mass(graph, item["nodes"][n], graph.clocks.scale[TRENDING])
        place_in_node(graph, item["nodes"][n], item_row)


@kernel
def place_in_node(graph, node_row, item_row):
    """Put an item that grew where it belongs in the node's ordered list, or leave it out of a full one."""
    node = graph.nodes[node_row]
    weight = clock_weight(graph, TRENDING, item_row)
    place = np.int64(node["n_top"])
    for at in range(node["n_top"]):
        if node["top"][at] == item_row:
            place = at
            break
    if place == node["n_top"]:
        if place < NODE_TOP:
            node["n_top"] += 1
        elif weight > clock_weight(graph, TRENDING, node["top"][NODE_TOP - 1]):
            place = np.int64(NODE_TOP - 1)
        else:
            return
    while place > 0 and weight > clock_weight(graph, TRENDING, node["top"][place - 1]):
        node["top"][place] = node["top"][place - 1]
        place -= 1
    node["top"][place] = item_row


@kernel
def leave_node(graph, node_row, item_row):
    """Take an item out of a node: its list and its weight."""
    add_mass(graph, node_row, -clock_weight(graph, TRENDING, item_row))
    node = graph.nodes[node_row]
    kept = 0
    for at in range(node["n_top"]):
        if node["top"][at] != item_row:
            node["top"][kept] = node["top"][at]
            kept += 1
    node["n_top"] = kept
