"""Text paths against sums over the table of nearest items: nearness times rate, cold items alone, and evidence that is lent."""

import math

import numpy as np
import pytest
from content_twin import last_stage, of_path, shares
from twins import history_of, paths_but, taken_of
from whole_model import SETTINGS, a_log, new_state, rows_of_users

from streamer import pipeline
from streamer.graph.rates import ALL_ITEMS, COLD_ITEMS, NEW_ITEMS
from streamer.graph.scratch import N_ALL, N_LENDING, NEAR
from streamer.graph.state import N_ARRIVED
from streamer.nearest.table import BANDWIDTH
from streamer.paths import text

COLD = 5


@pytest.fixture(scope="module", params=[False, True], ids=["once", "repeats"])
def state(request):
    """After a log in which texts came early and late, changed, and are shared."""
    return pipeline.step(new_state(SETTINGS._replace(repeats=request.param)), a_log(11, n_views=400))[0]


def ranked(state, user_row):
    """One list; afterwards the scratch holds how it was made."""
    return pipeline.rank_users(state, np.array([user_row], np.int32), 20)


def neighbours(state, row):
    """Item row -> cosine, as the table has it."""
    slots = zip(state.graph.near.item[row].tolist(), state.graph.near.similarity[row].tolist(), strict=True)
    return {item - 1: similarity for item, similarity in slots if item > 0}


def nearness(state, user, rows):
    """(item row -> sum of .8**k exp((cosine - 1) / .12) over the last ten items, the same sum over all items there are)."""
    found, everyone = dict.fromkeys(rows, 0.0), 0.0
    for k, owner in enumerate(history_of(state.graph, user)[:10]):
        everyone += 0.8**k * float(state.graph.near.mass[owner])
        for row, similarity in neighbours(state, owner).items():
            if row in found:
                found[row] += 0.8**k * math.exp((similarity - 1.0) / BANDWIDTH)
    return found, everyone


def test_scores_are_nearness_times_rate(state):
    """The mass adds the nearness of what nobody proposed, times the rate of an average item of those; cold items likewise."""
    n_spoke, spoke = 0, {"text_cold": 0, "text_new": 0}
    for user in rows_of_users(state):
        ranked(state, user)
        stage = last_stage(state.scratch)
        rate = shares(state.graph, stage)
        near, everyone = nearness(state, user, stage)
        scores, mass = of_path(state.scratch, "text")
        expected = {row: near[row] * rate[row] for row in stage}
        assert scores == pytest.approx(expected, rel=1e-3, abs=1e-9)
        n_others = max(int(state.graph.rates.n[N_ARRIVED]) - len(stage), 1)
        not_near = max(1e-9, everyone - sum(near.values())) if everyone > 0.0 else 0.0
        unlisted = not_near * max(0.0, 1.0 - sum(rate.values())) / n_others
        assert mass == pytest.approx(sum(expected.values()) + unlisted, rel=1e-3)
        n_spoke += mass > 0.0
        for name, n_below, pool in (("text_cold", COLD, COLD_ITEMS), ("text_new", 1, NEW_ITEMS)):
            scores, mass = of_path(state.scratch, name)
            own = {row for row in stage if state.graph.items[row]["n_events"] < n_below}
            expected = {row: near[row] * rate[row] if row in own else 0.0 for row in stage}
            assert scores == pytest.approx(expected, rel=1e-3, abs=1e-9)
            share = float(state.graph.rates.total[pool] / state.graph.rates.total[ALL_ITEMS])
            spoke[name] += any(expected.values())
            assert mass == pytest.approx(
                sum(expected.values()) + unlisted * share if any(expected.values()) else 0.0, rel=1e-3
            )
    assert min(n_spoke, spoke["text_cold"]) > 8
    assert spoke["text_new"] > 4


def lenders(state):
    """The eight candidates with the most sequence evidence, the first among equals: (index, row)."""
    scratch = state.scratch
    found = [index for index in range(scratch.n[N_ALL]) if scratch.evidence[index, NEAR] > 0.0]
    found.sort(key=lambda index: -scratch.evidence[index, NEAR])
    return [(index, int(scratch.row[index])) for index in found[:N_LENDING]]


def test_cold_neighbours_borrow_sequence_evidence(state):
    """A cold item gets similarity**2 of its lenders' damped evidence; the mass counts twice what is lent."""
    n_lent = 0
    for user in rows_of_users(state):
        ranked(state, user)
        stage, graph = last_stage(state.scratch), state.graph
        expected = dict.fromkeys(stage, 0.0)
        for index, owner in lenders(state):
            evidence = float(state.scratch.evidence[index, NEAR]) * float(graph.damping[owner])
            for row, similarity in neighbours(state, owner).items():
                if similarity > text._LEAST_LENT and graph.items[row]["n_events"] < COLD and row in stage:
                    expected[row] += similarity**2 * evidence
        scores, mass = of_path(state.scratch, "transfer")
        assert scores == pytest.approx(expected, rel=1e-3, abs=1e-9)
        assert mass == pytest.approx(2.0 * sum(expected.values()), rel=1e-3, abs=1e-9)
        n_lent += sum(score > 0.0 for score in expected.values())
    assert n_lent > 20


def near_the_last(state, user):
    """Near neighbours of the user's last four items."""
    return {
        row
        for owner in history_of(state.graph, user)[: text._N_PROPOSING]
        for row, similarity in neighbours(state, owner).items()
        if similarity > text._LEAST
    }


def cold_near_lenders(state):
    """Cold neighbours of the lenders."""
    return {
        row
        for _, owner in lenders(state)
        for row, similarity in neighbours(state, owner).items()
        if similarity > text._LEAST_LENT and state.graph.items[row]["n_events"] < COLD
    }


def test_neighbours_are_proposed(state):
    """Near neighbours of the last four items, and cold neighbours of the lenders, are in the last stage where they may be."""
    graph, n_proposed = state.graph, 0
    for user in rows_of_users(state):
        ranked(state, user)
        stage = last_stage(state.scratch)
        taken = set() if graph.repeats else set(taken_of(graph, user))
        for row in near_the_last(state, user) | cold_near_lenders(state):
            assert (row in stage) == (not graph.unlistable[row] and row not in taken)
            n_proposed += row in stage
    assert n_proposed > 50


@pytest.mark.parametrize("names", [("text",), ("text", "transfer")])
def test_nobody_else_is_proposed(names):
    """Where these paths are all there are, the last stage holds their neighbours and no others."""
    without = (*paths_but(*names), "ranker")
    settings = SETTINGS._replace(repeats=True, explore_share=0.0, without=without)
    state, n_proposed = pipeline.step(new_state(settings), a_log(11, n_views=400))[0], 0
    for user in rows_of_users(state):
        ranked(state, user)
        wanted = near_the_last(state, user) | (cold_near_lenders(state) if "transfer" in names else set())
        expected = {row for row in wanted if not state.graph.unlistable[row]}
        assert set(last_stage(state.scratch)) == expected
        n_proposed += len(expected)
    assert n_proposed > 50


def test_nobody_speaks_of_texts_to_the_unknown_user(state):
    """Without a history there is nothing to be near to."""
    ranked(state, -1)
    for name in ("text", "text_cold", "text_new", "transfer", "vectors", "feature", "segment"):
        assert of_path(state.scratch, name)[1] == 0.0
