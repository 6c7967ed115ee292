"""Category nodes against sums and sorts over their items."""

from collections import defaultdict

import numpy as np
import pytest
from twins import ClockTwin, clock_weight_of, empty_graph, events_of, learn_all

from streamer.graph import FoldSettings
from streamer.graph.catalog import move_to_nodes
from streamer.graph.clocks import RENORMALISE
from streamer.graph.state import HALF_LIVES, N_NUMBERS, NODE_TOP, TRENDING

SIZES = FoldSettings(
    max_items=200, max_users=8, max_nodes=8, max_taken=16_384, n_neighbours=16, pair_window=1
)


class NodesTwin:
    """Which items a node has, and when each last grew or came."""

    def __init__(self):
        self.clock = ClockTwin(HALF_LIVES[TRENDING])
        self.nodes_of = defaultdict(list)
        self.placed = {}
        self.n = 0

    def learn(self, item):
        """Count one event."""
        self.clock.tick(item)
        self._place(item)

    def move(self, item, nodes):
        """Give an item other nodes."""
        if self.nodes_of[item] != nodes:
            self.nodes_of[item] = nodes
            self._place(item)

    def _place(self, item):
        self.n += 1
        self.placed[item] = self.n

    def items(self, node):
        """Heaviest first, ties in the order of their last move."""
        own = [item for item, nodes in self.nodes_of.items() if node in nodes and item in self.clock.weight]
        return sorted(own, key=lambda item: (-self.clock.weight[item], self.placed[item]))

    def mass(self, node):
        """Weight of all its items."""
        return sum(self.clock.weight[item] for item in self.items(node))


def top_of(graph, node):
    """A node's ordered list."""
    return graph.nodes[node]["top"][: graph.nodes[node]["n_top"]].tolist()


def mass_of(graph, node):
    """A node's mass in present units."""
    n_behind = int(graph.clocks.epoch[TRENDING]) - int(graph.nodes[node]["epoch"])
    return float(graph.nodes[node]["mass"]) / RENORMALISE**n_behind


def move(graph, item, nodes):
    """Give an item these categories."""
    no_numbers = np.full(N_NUMBERS, np.nan, np.float32)
    move_to_nodes(graph, item, np.array(nodes, np.int32), len(nodes), no_numbers)


def played(rng, n_items, n_rounds, settings=SIZES):
    """Graph and twin after rounds of events, with an item changing its nodes after each."""
    graph, twin = empty_graph(settings), NodesTwin()
    for _ in range(n_rounds):
        users, items, times = events_of(rng, 40, 8, n_items)
        learn_all(graph, users, items, times)
        for item in items.tolist():
            twin.learn(item)
        item, nodes = int(rng.integers(0, n_items)), rng.permutation(5)[: rng.integers(0, 4)].tolist()
        move(graph, item, nodes)
        twin.move(item, nodes)
    return graph, twin


@pytest.mark.parametrize("seed", range(3))
def test_nodes_equal_sums_and_sorts(seed):
    """While all items of a node fit its list: the list is a full sort and the mass a sum, whatever items moved where."""
    graph, twin = played(np.random.default_rng(seed), NODE_TOP - 2, 150)
    unit = RENORMALISE ** float(graph.clocks.epoch[TRENDING])
    for node in range(5):
        assert top_of(graph, node) == twin.items(node)
        assert mass_of(graph, node) == pytest.approx(twin.mass(node) / unit, rel=1e-3)


def test_mass_and_order_survive_epochs():
    """A node that nobody touches for several epochs of the clock still weighs what its items weigh."""
    graph = empty_graph(SIZES)
    for item in (1, 2):
        move(graph, item, [3])
    learn_all(graph, [0] * 5, [1, 2, 2, 1, 2], range(5))
    n = int(HALF_LIVES[TRENDING] * 16 * 2.5)
    learn_all(graph, [1] * n, [7] * n, range(5, n + 5))
    assert graph.clocks.epoch[TRENDING] == 2
    assert top_of(graph, 3) == [2, 1]
    expected = clock_weight_of(graph, TRENDING, 1) + clock_weight_of(graph, TRENDING, 2)
    assert mass_of(graph, 3) == pytest.approx(expected, rel=1e-5)
    learn_all(graph, [0], [1], [n + 6])
    assert top_of(graph, 3) == [1, 2]
    expected = clock_weight_of(graph, TRENDING, 1) + clock_weight_of(graph, TRENDING, 2)
    assert mass_of(graph, 3) == pytest.approx(expected, rel=1e-5)  # in units of now


def test_a_full_list_holds_the_heaviest():
    """With more items than places and none ever moved, the list is the head of a full sort."""
    graph, twin = empty_graph(SIZES), NodesTwin()
    for item in range(120):
        move(graph, item, [0])
        twin.move(item, [0])
    users, items, times = events_of(np.random.default_rng(4), 3_000, 8, 120)
    learn_all(graph, users, items, times)
    for item in items.tolist():
        twin.learn(item)
    assert len(twin.items(0)) > NODE_TOP
    assert top_of(graph, 0) == twin.items(0)[:NODE_TOP]


def test_moving_an_item_moves_its_weight():
    """An item that changes category takes what it earned along; the same categories again change nothing."""
    graph = empty_graph(SIZES)
    move(graph, 1, [0])
    learn_all(graph, [0, 0, 0], [1, 1, 1], [0, 1, 2])
    assert (top_of(graph, 0), top_of(graph, 1)) == ([1], [])
    move(graph, 1, [1, 2])
    assert (top_of(graph, 0), top_of(graph, 1), top_of(graph, 2)) == ([], [1], [1])
    weight = clock_weight_of(graph, TRENDING, 1)
    assert weight == pytest.approx(3.0, rel=1e-2)
    assert mass_of(graph, 0) == pytest.approx(0.0, abs=1e-6)
    assert mass_of(graph, 1) == mass_of(graph, 2) == pytest.approx(weight)
    before = graph.nodes.tobytes()
    move(graph, 1, [1, 2])
    assert graph.nodes.tobytes() == before


def test_numbers_are_those_of_the_last_record():
    """Also where an item keeps its categories: a price may change within its kind, or go."""
    graph = empty_graph(SIZES)
    for price in (0.5, 0.75, np.nan):
        numbers = np.full(N_NUMBERS, np.nan, np.float32)
        numbers[1] = price
        move_to_nodes(graph, 1, np.array([3], np.int32), 1, numbers)
        np.testing.assert_array_equal(graph.items["number"][1], numbers)


@pytest.mark.parametrize("n", [0, N_NUMBERS - 1, N_NUMBERS + 1])
def test_as_many_numbers_are_asked_for_as_an_item_keeps(n):
    """Kernels look at no bounds: what is missing would be read beyond the end."""
    with pytest.raises(ValueError, match=rf"numbers: expected \({N_NUMBERS},\), got \({n},\)"):
        move_to_nodes(empty_graph(SIZES), 1, np.array([3], np.int32), 1, np.zeros(n, np.float32))


def test_mass_is_never_negative():
    """Rounding cannot leave a node with less than nothing, however often items come and go."""
    rng = np.random.default_rng(6)
    graph, _ = played(rng, 12, 60)
    for item in range(12):
        move(graph, item, [])
    assert (graph.nodes["mass"] >= 0.0).all()
    assert (graph.nodes["n_top"] == 0).all()
