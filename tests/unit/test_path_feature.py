"""Feature paths against dense cosines: idf, likeness, rates, and masses that count what nobody proposed."""

import numpy as np
import pytest
from content_twin import Interests, last_stage, nodes_of, of_path, shares
from twins import taken_of
from whole_model import SETTINGS, a_log, rows_of_users

from streamer import pipeline
from streamer.events import CatalogItem, Interaction
from streamer.graph import content
from streamer.graph.rates import ALL_ITEMS, COLD_ITEMS, NEW_ITEMS
from streamer.graph.scratch import N_INTERESTED, N_PROPOSING
from streamer.graph.state import DESCRIBED
from streamer.paths import feature

COLD = 5
WITHOUT = SETTINGS._replace(without=("vectors",), text_model="none")


@pytest.fixture(scope="module")
def state():
    """After a log with catalog records, some items moved from node to node, some retired."""
    return pipeline.step(pipeline.new_state(WITHOUT), a_log(1))[0]


def ranked(state, user_row):
    """One list; afterwards the scratch holds how it was made."""
    return pipeline.rank_users(state, np.array([user_row], np.int32), 20)


def test_counts_behind_idf_equal_a_census(state):
    """How many items carry a node, and how many have any node at all, after records that moved items about."""
    graph = state.graph
    carriers = np.zeros(WITHOUT.max_nodes, int)
    for row in range(state.ids.items.n_rows):
        assert len(set(nodes_of(graph, row))) == len(nodes_of(graph, row))
        carriers[nodes_of(graph, row)] += 1
    assert graph.node_items.tolist() == carriers.tolist()
    assert graph.counters[DESCRIBED] == (graph.items["n_nodes"] > 0).sum()


def test_idf_and_length_by_hand():
    """idf is log((1 + items) / (1 + items with the node)); a length is its root of squares, taken anew as the catalog grows."""
    records = [
        CatalogItem(item_id=item, categorical={"kind": kind}, timestamp_ms=0)
        for item, kind in (("a", ["k"]), ("b", ["k"]), ("c", ["z", "k", "w"]))
    ]
    state, _ = pipeline.step(pipeline.new_state(WITHOUT), records[:2])
    assert state.graph.items["length"][:2] == pytest.approx([0.0, 0.0], abs=2e-3)  # k says nothing yet
    state, _ = pipeline.step(state, records[2:])
    idf = {"k": np.log(4 / 4), "z": np.log(4 / 2), "w": np.log(4 / 2)}
    expected = np.sqrt(idf["k"] ** 2 + idf["z"] ** 2 + idf["w"] ** 2)
    assert state.graph.items["length"][2] == pytest.approx(expected, rel=1e-4)
    fourth = CatalogItem(item_id="d", categorical={"kind": ["z"]}, timestamp_ms=0)
    state, _ = pipeline.step(state, [fourth])
    idf = {"k": np.log(5 / 4), "z": np.log(5 / 3), "w": np.log(5 / 2)}
    expected = np.sqrt(idf["k"] ** 2 + idf["z"] ** 2 + idf["w"] ** 2)
    expected = [idf["k"], idf["k"], expected, idf["z"]]
    assert state.graph.items["length"][:4] == pytest.approx(expected, rel=1e-4)


def test_lengths_of_what_could_not_be_had_are_those_of_the_present():
    """Items that are described before they are available are measured when they become so."""

    def record(n, available):
        kinds = {"kind": [f"k{n % 7}"], "colour": [f"c{n % 5}"]}
        return CatalogItem(item_id=f"i{n}", categorical=kinds, available=available, timestamp_ms=0)

    waiting, _ = pipeline.step(pipeline.new_state(WITHOUT), [record(n, available=False) for n in range(60)])
    waiting, _ = pipeline.step(waiting, [record(n, available=True) for n in range(60)])
    graph = waiting.graph
    idf = np.log((1.0 + graph.counters[DESCRIBED]) / (1.0 + graph.node_items))
    for item in graph.items[:60]:
        expected = np.sqrt(np.sum(idf[item["nodes"][: item["n_nodes"]]] ** 2))
        assert item["length"] == pytest.approx(expected, rel=1e-3)


def test_the_last_arrivals_of_a_node_came_to_it():
    """An item whose price changes is no newcomer among those of its kind, however often that happens."""

    def record(name, price):
        categorical = {"kind": ["a"], "price": [str(price)]}
        return CatalogItem(item_id=name, categorical=categorical, timestamp_ms=price)

    records = [record(f"i{n}", n) for n in range(5)] + [record("i0", 100 + n) for n in range(20)]
    state, _ = pipeline.step(pipeline.new_state(WITHOUT), records)
    node = state.graph.nodes[state.ids.nodes.row("kind=a")]
    assert node["recent"][: node["n_recent"]].tolist() == [0, 1, 2, 3, 4]


def test_likeness_is_the_cosine_of_feature_vectors(state):
    """At all three decays, for every candidate of every user; 0 for items without nodes and users without a past."""
    n_alike = 0
    for user in [-1, *rows_of_users(state)]:
        ranked(state, user)
        twin = Interests(state.graph, user)
        for row, index in last_stage(state.scratch).items():
            for column in (content.FAST, content.SLOW, content.NEWEST):
                expected = twin.likeness(row, column)
                assert state.scratch.likeness[index, column] == pytest.approx(expected, abs=2e-4)
                n_alike += expected > 0.05
    assert n_alike > 500


def test_likeness_of_an_item_to_itself_is_one():
    """With lengths of today, the user's only item would be as like his interest as can be; nothing is more, ever."""
    state, _ = pipeline.step(pipeline.new_state(WITHOUT._replace(repeats=True)), a_log(2, n_views=100))
    for row in range(state.ids.items.n_rows):
        twin = Interests(state.graph, -1)
        length = np.sqrt(sum(twin.idf[node] ** 2 for node in nodes_of(state.graph, row)) + 1e-6)
        state.graph.items["length"][row] = length
    row = max(range(state.ids.items.n_rows), key=lambda row: len(nodes_of(state.graph, row)))
    state, _ = pipeline.step(state, [Interaction("newcomer", state.ids.items.id(row), "view", 1)])
    state.graph.unlistable[:] = False
    ranked(state, state.ids.users.row("newcomer"))
    stage = last_stage(state.scratch)
    assert state.scratch.likeness[stage[row], : content.NEWEST + 1] == pytest.approx(1.0, abs=1e-4)
    assert state.scratch.likeness[list(stage.values())].max() <= 1.0 + 1e-4
    state.graph.items["length"] *= np.float32(0.25)  # as if of a much smaller catalog
    ranked(state, state.ids.users.row("newcomer"))
    likeness = state.scratch.likeness[list(last_stage(state.scratch).values()), : content.NEWEST + 1]
    assert likeness.max(axis=0).tolist() == [1.0] * 3


def test_scores_are_squared_likeness_times_rate(state):
    """Over the last stage; the mass adds what an item that nobody proposed is like, times the rate of all of those.

    Likewise among cold items, and among those that nobody took yet.
    """
    n_spoke = 0
    for user in rows_of_users(state):
        ranked(state, user)
        stage, twin = last_stage(state.scratch), Interests(state.graph, user)
        rate = shares(state.graph, stage)
        alike = {row: twin.likeness(row, content.SLOW) ** 2 for row in stage}
        scores, mass = of_path(state.scratch, "feature")
        if state.scratch.n[N_INTERESTED] == 0:
            assert mass == of_path(state.scratch, "feature_cold")[1] == 0.0
            continue
        n_spoke += 1
        any_item = twin.of_any_item(user)
        expected = {row: alike[row] * rate[row] for row in stage}
        assert scores == pytest.approx(expected, rel=1e-2, abs=1e-8)
        unlisted = max(0.0, 1.0 - sum(rate.values())) * any_item
        assert mass == pytest.approx(sum(expected.values()) + unlisted, rel=1e-2)
        for name, n_below, pool in (("feature_cold", COLD, COLD_ITEMS), ("feature_new", 1, NEW_ITEMS)):
            scores, mass = of_path(state.scratch, name)
            own = {row for row in stage if state.graph.items[row]["n_events"] < n_below}
            expected = {row: alike[row] * rate[row] if row in own else 0.0 for row in stage}
            assert scores == pytest.approx(expected, rel=1e-2, abs=1e-8)
            share = state.graph.rates.total[pool] / state.graph.rates.total[ALL_ITEMS]
            unlisted = max(0.0, share - sum(rate[row] for row in own)) * any_item
            assert mass == pytest.approx(sum(expected.values()) + unlisted, rel=1e-2)
    assert n_spoke > 8


def test_the_rate_path_is_the_rate(state):
    """Scores are shares of the rate of all items, and together no more than the mass."""
    for user in [-1, *rows_of_users(state)]:
        ranked(state, user)
        scores, mass = of_path(state.scratch, "rate")
        assert scores == pytest.approx(shares(state.graph, last_stage(state.scratch)), rel=1e-3)
        assert mass == pytest.approx(max(1.0, sum(scores.values())), rel=1e-4)


def test_the_nodes_that_interest_most_propose(state):
    """The last arrivals and the heaviest items of the six nodes with the most interest are in the last stage."""
    n_proposed = 0
    for user in rows_of_users(state):
        ranked(state, user)
        scratch, graph = state.scratch, state.graph
        nodes = scratch.interested[: scratch.n[N_INTERESTED]].tolist()
        nodes.sort(key=lambda node: -scratch.interest[node, content.SLOW])
        stage = last_stage(scratch)
        for node in nodes[:N_PROPOSING]:
            record = graph.nodes[node]
            n_recent = int(record["n_recent"])
            ages = range(min(n_recent, feature._N_NEWEST))
            newest = [int(record["recent"][(n_recent - 1 - age) % record["recent"].size]) for age in ages]
            heaviest = record["top"][: min(int(record["n_top"]), feature._N_PROPOSED)].tolist()
            for row in newest + heaviest:
                closed = graph.unlistable[row] or row in taken_of(graph, user)
                assert (row in stage) == (not closed)
                n_proposed += not closed
    assert n_proposed > 50


def test_the_scratch_of_interests_is_clean_for_the_next_list(state):
    """Nothing of one user's interest is left for the next: after a list for nobody, every interest is zero."""
    n_dirty = 0
    for user in rows_of_users(state):
        ranked(state, user)
        n_dirty += state.scratch.interest.any()
        ranked(state, -1)
        assert not state.scratch.interest.any()
    assert n_dirty > 8


def test_lists_do_not_depend_on_the_last_list_without_content():
    """With content switched off, no path reads likeness or rates that an earlier list left behind."""
    settings = SETTINGS._replace(without=("vectors", "content"))
    state, _ = pipeline.step(pipeline.new_state(settings), a_log(3))
    before = [ranked(state, user) for user in rows_of_users(state)]
    state.scratch.rate[:] = 0.5
    state.scratch.likeness[:] = 0.5
    again = [ranked(state, user) for user in rows_of_users(state)]
    for one, other in zip(before, again, strict=True):
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
