"""What catalog and profile events do to the tables: items change category, arrive as news, go and come back; users are erased."""

import numpy as np
from numpy.typing import NDArray

from streamer.compiled import entry_kernel, kernel
from streamer.graph.categories import add_mass, leave_node, place_in_node
from streamer.graph.clocks import clock_weight, enter_lists, leave_lists
from streamer.graph.content import length_of
from streamer.graph.histories import forget_user
from streamer.graph.learning import arrive
from streamer.graph.rates import COLD, enter_pool, settle_node
from streamer.graph.state import (
    DESCRIBED,
    MEASURED_AT,
    N_ARRIVED,
    N_NUMBERS,
    N_RECENT,
    POOLED,
    TRENDING,
    Graph,
)


@kernel
def _same_nodes(item, nodes, n_categories):
    if item["n_nodes"] != nodes.size or item["n_categories"] != n_categories:
        return False
    for n in range(nodes.size):
        if item["nodes"][n] != nodes[n]:
            return False
    return True


@kernel
def _lay_down(graph, node_row, item_row):
    """An item has come to a node: it is the newest there."""
    node = graph.nodes[node_row]
    node["recent"][node["n_recent"] % N_RECENT] = item_row
    node["n_recent"] += 1


@kernel
def _is_at(item, node_row):
    for n in range(item["n_nodes"]):
        if item["nodes"][n] == node_row:
            return True
    return False


@kernel
def _count_item(graph, node_row, one, is_cold):
    graph.node_items[node_row] += one
    if is_cold:
        settle_node(graph, node_row)
        graph.nodes[node_row]["n_cold"] += one


@kernel
def _refresh_lengths(graph):
    """Once the catalog has grown by a sixteenth, idf has moved: measure all items anew. The first ones had no length at all."""
    if graph.counters[DESCRIBED] * 16 <= graph.counters[MEASURED_AT] * 17:
        return
    graph.counters[MEASURED_AT] = graph.counters[DESCRIBED]
    for at in range(min(graph.rates.n[N_ARRIVED], graph.rates.arrived.size)):
        item = graph.items[graph.rates.arrived[at]]
        if item["n_nodes"] > 0:
            item["length"] = length_of(graph, item)


def move_to_nodes(
    graph: Graph,
    item_row: int,
    nodes: NDArray[np.int32],
    n_categories: int,
    numbers: NDArray[np.float32],
) -> None:
    """Give an item these feature nodes, categories first; the weight it has earned moves with it.

    Args:
        nodes: (n <= NODES,) rows.
        numbers: (N_NUMBERS,) standardised; nan = missing.

    Raises:
        ValueError: there are not N_NUMBERS numbers.
    """
    if numbers.shape != (N_NUMBERS,):
        raise ValueError(f"numbers: expected ({N_NUMBERS},), got {numbers.shape}")
    _move_to_nodes(graph, item_row, nodes, n_categories, numbers)


@entry_kernel
def _move_to_nodes(graph, item_row, nodes, n_categories, numbers):
    item = graph.items[item_row]
    for n in range(N_NUMBERS):
        item["number"][n] = numbers[n]
    if _same_nodes(item, nodes, n_categories):
        return
    is_cold = item["flags"] & POOLED and item["n_events"] < COLD
    graph.counters[DESCRIBED] += (nodes.size > 0) - (item["n_nodes"] > 0)
    for n in range(nodes.size):
        if not _is_at(item, nodes[n]):  # where it lies already it is no newcomer, whatever else changed
            _lay_down(graph, nodes[n], item_row)
    for n in range(item["n_nodes"]):
        leave_node(graph, item["nodes"][n], item_row)
        _count_item(graph, item["nodes"][n], -1, is_cold)
    item["n_nodes"] = nodes.size
    item["n_categories"] = n_categories
    weight = clock_weight(graph, TRENDING, item_row)
    for n in range(nodes.size):
        item["nodes"][n] = nodes[n]
        _count_item(graph, nodes[n], 1, is_cold)
        if weight > 0.0:
            add_mass(graph, nodes[n], weight)
            place_in_node(graph, nodes[n], item_row)
    item["length"] = length_of(graph, item)
    _refresh_lengths(graph)


@kernel
def _enter(graph, item_row):
    # an item described while unavailable missed every change of idf
    graph.items[item_row]["length"] = length_of(graph, graph.items[item_row])
    enter_pool(graph, item_row)


@entry_kernel
def arrive_as_news(graph, item_row):
    """Let an item that nobody took yet be listed as fresh."""
    _enter(graph, item_row)
    arrive(graph, item_row)


@entry_kernel
def stock(graph, item_row):
    """Let an item of the inventory, which nobody took yet, be listed for its features: it is no news."""
    _enter(graph, item_row)


@entry_kernel
def withdraw(graph, item_row, n_rows):
    """Let an item be on no list from now on. What it has earned stays, and grows with its events.

    Args:
        n_rows: Rows of items in use.
    """
    graph.unlistable[item_row] = True
    leave_lists(graph, item_row, n_rows)


@entry_kernel
def offer_again(graph, item_row):
    """Let an item that was withdrawn be listed again, with what it has earned."""
    graph.unlistable[item_row] = False
    enter_lists(graph, item_row)


@entry_kernel
def erase_user(graph, user_row):
    """Clear a user's row and his taken items."""
    forget_user(graph, user_row)
