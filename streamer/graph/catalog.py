"""What catalog and profile events do to the tables: items change category, arrive as news; users are erased."""

from streamer.compiled import entry_kernel, kernel
from streamer.graph.categories import add_mass, leave_node, place_in_node
from streamer.graph.clocks import clock_weight
from streamer.graph.histories import forget_user
from streamer.graph.learning import arrive
from streamer.graph.state import TRENDING


@kernel
def _same_nodes(item, nodes):
    if item["n_nodes"] != nodes.size:
        return False
    for n in range(nodes.size):
        if item["nodes"][n] != nodes[n]:
            return False
    return True


@entry_kernel
def move_to_nodes(graph, item_row, nodes):
    """Give an item these category nodes, (n <= 8,) int32; the weight it has earned moves with it."""
    item = graph.items[item_row]
    if _same_nodes(item, nodes):
        return
    for n in range(item["n_nodes"]):
        leave_node(graph, item["nodes"][n], item_row)
    item["n_nodes"] = nodes.size
    weight = clock_weight(graph, TRENDING, item_row)
    for n in range(nodes.size):
        item["nodes"][n] = nodes[n]
        if weight > 0.0:
            add_mass(graph, nodes[n], weight)
            place_in_node(graph, nodes[n], item_row)


@entry_kernel
def arrive_as_news(graph, item_row):
    """Let an item that nobody took yet be listed as fresh."""
    arrive(graph, item_row)


@entry_kernel
def erase_user(graph, user_row):
    """Clear a user's row and his taken items."""
    forget_user(graph, user_row)
