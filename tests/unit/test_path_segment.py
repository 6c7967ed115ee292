"""Segments against exact fading counts: equal while there is room, within Space-Saving's bounds beyond; the path's mean."""

from collections import defaultdict

import numpy as np
import pytest
from content_twin import last_stage, of_path
from twins import empty_graph, learn_all, paths_but, taken_of
from whole_model import SETTINGS, a_log, new_state, rows_of_users

from streamer import pipeline
from streamer.events import Interaction, Profile
from streamer.graph import FoldSettings
from streamer.graph.clocks import RENORMALISE
from streamer.graph.state import HALF_LIVES, NODE_TOP, TRENDING
from streamer.paths import segment

SIZES = FoldSettings(max_items=200, max_users=8, max_nodes=8, max_taken=16_384, n_neighbours=16)
GROWTH = 2.0 ** (1.0 / HALF_LIVES[TRENDING])


def counted(items, users, nodes_of_user):
    """A graph after these events; and node -> item -> exact fading count, one event now weighing 1."""
    graph = empty_graph(SIZES)
    exact = defaultdict(lambda: defaultdict(float))
    for user, nodes in nodes_of_user.items():
        graph.users[user]["nodes"][: len(nodes)] = np.array(nodes) + 1
    learn_all(graph, users, items, range(len(items)))
    for n, (item, user) in enumerate(zip(items, users, strict=True)):
        for node in nodes_of_user[user]:
            exact[node][item] += GROWTH ** (n + 1.0 - len(items))
    return graph, exact


def kept(graph, node):
    """(item -> weight, mass) of a segment, one event now weighing 1."""
    record = graph.nodes[node]
    unit = graph.clocks.scale[TRENDING] * RENORMALISE ** float(graph.clocks.epoch[TRENDING] - record["epoch"])
    n = int(record["n_top"])
    weights = (record["top_weight"][:n] / unit).tolist()
    return dict(zip(record["top"][:n].tolist(), weights, strict=True)), float(record["mass"]) / unit


@pytest.mark.parametrize("seed", range(2))
def test_counts_are_exact_while_there_is_room(seed):
    """With no more items than places, weights are the exact fading counts of the users who carry the node, and so is the mass."""
    rng = np.random.default_rng(seed)
    items, users = rng.integers(0, NODE_TOP, 900).tolist(), rng.integers(0, 4, 900).tolist()
    graph, exact = counted(items, users, {0: [0], 1: [0, 1], 2: [1, 2, 3], 3: []})
    for node in range(4):
        weights, mass = kept(graph, node)
        assert weights == pytest.approx(exact[node], rel=1e-4)
        assert mass == pytest.approx(sum(exact[node].values()), rel=1e-4)
    assert kept(graph, 4) == ({}, 0.0)


def test_counts_survive_epochs():
    """Over three epochs of the clock, counts are what plain fading says, also of a segment that waited for most of it."""
    n = int(HALF_LIVES[TRENDING] * 16 * 2.5)
    items = [1, 2, 2] + [5] * n + [3]
    users = [0, 0, 1] + [2] * n + [0]
    graph, exact = counted(items, users, {0: [0], 1: [0, 1], 2: [2]})
    assert graph.clocks.epoch[TRENDING] == 2
    for node in (0, 2):
        weights, mass = kept(graph, node)
        assert weights == pytest.approx(exact[node], rel=1e-2, abs=1e-12)
        assert mass == pytest.approx(sum(exact[node].values()), rel=1e-2)


@pytest.mark.parametrize("seed", range(3))
def test_a_full_segment_keeps_the_bounds_of_space_saving(seed):
    """Weights add up to the mass; none is below the truth, nor above it by more than the least weight kept; what has more than
    its share of the mass is there (Metwally et al. 2005, lemmas 1 to 3)."""
    rng = np.random.default_rng(seed)
    items = np.minimum(rng.geometric(0.03, 3_000) - 1, 199).tolist()
    graph, exact = counted(items, [0] * 3_000, {0: [0]})
    weights, mass = kept(graph, 0)
    assert len(weights) == NODE_TOP < len(exact[0])
    assert sum(weights.values()) == pytest.approx(mass, rel=1e-4)
    least = min(weights.values())
    for item, weight in weights.items():
        assert exact[0][item] * (1 - 1e-4) <= weight <= (exact[0][item] + least) * (1 + 1e-4)
    heavy = {item for item, weight in exact[0].items() if weight > mass / NODE_TOP}
    assert heavy <= set(weights)
    assert heavy


def test_the_path_is_the_mean_of_the_user_s_segments():
    """p(item) is the mean, over the nodes of profile and context that anything is known of, of its share in each."""
    state, _ = pipeline.step(new_state(SETTINGS), a_log(21, n_views=400))
    graph, n_spoke = state.graph, 0
    for user in rows_of_users(state):
        pipeline.rank_users(state, np.array([user], np.int32), 20)
        scores, mass = of_path(state.scratch, "segment")
        nodes = [int(node) - 1 for node in graph.users[user]["nodes"] if node > 0]
        known = [node for node in nodes if kept(graph, node)[1] > 0.0]
        assert mass == len(known)
        expected = dict.fromkeys(last_stage(state.scratch), 0.0)
        for node in known:
            weights, total = kept(graph, node)
            for row, weight in weights.items():
                if row in expected:
                    expected[row] += weight / total
            heaviest = graph.nodes[node]["top"][: min(int(graph.nodes[node]["n_top"]), segment._N_PROPOSED)]
            proposed = [row for row in heaviest.tolist() if not graph.unlistable[row]]
            assert all(row in expected or row in taken_of(graph, user) for row in proposed)
        assert scores == pytest.approx(expected, rel=1e-3, abs=1e-6)
        n_spoke += len(known) > 2
    assert n_spoke > 4


def test_the_heaviest_of_each_segment_are_proposed():
    """Where no other path is, the last stage holds the sixteen heaviest items of every node of the user, and no others."""
    without = (*paths_but("segment"), "ranker")
    settings = SETTINGS._replace(repeats=True, explore_share=0.0, without=without)
    state, n_most = pipeline.step(new_state(settings), a_log(21, n_views=400))[0], 0
    for user in rows_of_users(state):
        pipeline.rank_users(state, np.array([user], np.int32), 20)
        expected = set()
        for node in state.graph.users[user]["nodes"]:
            record = state.graph.nodes[node - 1]
            expected |= set(record["top"][: min(int(record["n_top"]), 16)].tolist()) if node > 0 else set()
        assert set(last_stage(state.scratch)) == {row for row in expected if not state.graph.unlistable[row]}
        n_most = max(n_most, len(expected))
    assert n_most > 16


def test_no_item_has_more_than_all_of_its_segment():
    """Where rounding left a segment less than one of its items, that item's share of it is 1, not more."""
    state, _ = pipeline.step(new_state(SETTINGS._replace(repeats=True)), a_log(21, n_views=400))
    state.graph.nodes["mass"] *= np.float32(1e-3)
    n_spoke = 0
    for user in rows_of_users(state):
        pipeline.rank_users(state, np.array([user], np.int32), 20)
        scores, mass = of_path(state.scratch, "segment")
        assert max(scores.values()) <= mass
        n_spoke += mass > 0.0
    assert n_spoke > 4


def test_a_profile_speaks_for_a_user_without_a_history():
    """Two newcomers of two countries are listed first what each one's compatriots took."""
    settings = SIZES._replace(without=("vectors",), explore_share=0.0)
    people = [
        Profile(user_id=f"{country}{n}", categorical={"country": [country]}, timestamp_ms=0)
        for country in ("se", "no")
        for n in range(3)
    ]
    views = [
        Interaction(f"{country}{n}", f"{country}-item{item}", "view", item)
        for item in range(6)
        for n in range(2)
        for country in ("se", "no")
    ]
    state, _ = pipeline.step(pipeline.new_state(settings), [*people, *views])
    for country in ("se", "no"):
        row = state.ids.users.row(f"{country}2")
        ranking = pipeline.rank_users(state, np.array([row], np.int32), 6)
        assert {state.ids.items.id(row)[:2] for row in ranking.items[0].tolist()} == {country}
