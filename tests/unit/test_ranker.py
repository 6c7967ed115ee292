"""The ranker over the mixture: its short list, its features, its guard, and that it starts as the mixture."""

import math

import numpy as np
import pytest
from entries import count_foretold, take_shortlist, watch_ranks
from whole_model import SETTINGS, a_log, new_state

from streamer import pipeline
from streamer.events import CatalogItem, Interaction
from streamer.graph.rates import COLD
from streamer.graph.scratch import N_PROPOSED, new_candidates
from streamer.outcomes import COUNTED, FIRST_EVENT, MEASURED
from streamer.ranker import features, new_ranker
from streamer.ranker.guard import IS_ON
from streamer.ranker.state import N_COLD, N_RANKED, SHORT

KEPT = 1.0 - 1.0 / 2000.0


def proposed(values):
    """A scratch with these probabilities proposed, in this order; candidate n is item n."""
    cands, n = new_candidates(1, 1, 1), len(values)
    cands.mixed[:n] = values
    cands.row[:n] = cands.final[:n] = np.arange(n)
    cands.n[N_PROPOSED] = n
    return cands


def shortlisted(values, cold=()):
    """Numbers of the candidates on the short list, ascending; all items but those in `cold` had five events."""
    cands, ranker = proposed(np.array(values, np.float32)), new_ranker(4)
    cands.n_events[:] = COLD
    cands.n_events[list(cold)] = COLD - 1
    take_shortlist(cands, ranker)
    return sorted(ranker.candidate[: ranker.n[SHORT]].tolist())


def test_short_lists_that_fit_hold_everything_that_has_a_chance():
    """Up to 128 candidates all come; those without any probability never do."""
    assert shortlisted([]) == []
    assert shortlisted([0.5, 0.0, 0.25]) == [0, 2]
    assert shortlisted([0.5] * N_RANKED) == list(range(N_RANKED))
    assert shortlisted([0.5] * N_RANKED, cold=range(N_RANKED)) == list(range(N_RANKED))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [129, 200, 600])
def test_without_cold_items_the_short_list_is_the_most_probable(seed, n):
    """Exactly the 128 of a full sort, to within the 1/16 that the histogram cannot tell apart; the others none too many."""
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(0.0, 1.0 + seed, n)).astype(np.float32)
    values /= values.sum()
    chosen = shortlisted(values)
    assert len(chosen) == len(set(chosen)) == N_RANKED
    left_out = np.delete(values, chosen)
    assert left_out.max() <= values[chosen].min() * (1.0 + 1.0 / 16.0)


@pytest.mark.parametrize("n_cold", [0, 5, N_COLD, 60])
def test_cold_items_have_places_of_their_own(n_cold):
    """Behind the 96 most probable come the 32 most probable cold items; with fewer of them, more of the others."""
    values = 0.5 ** (np.arange(300) / 30.0)  # falling: the most probable come first
    cold = list(range(200, 200 + n_cold))
    best = list(range(N_RANKED - min(n_cold, N_COLD)))
    assert shortlisted(values, cold) == best + cold[:N_COLD]


def test_ties_at_the_edge_go_to_those_who_came_first():
    """Of equal candidates at the edge of the short list, the first proposed ones come, and all that are better."""
    values = [0.001] * 200
    for place in (3, 150, 199):
        values[place] = 0.5
    first = [at for at in range(200) if values[at] == 0.001][: N_RANKED - 3]
    assert shortlisted(values) == sorted([3, 150, 199, *first])


def test_equal_candidates_all_have_the_same_chance_at_any_number():
    """With every candidate alike, the first 128 are taken, not none and not all."""
    assert shortlisted([0.25] * 500) == list(range(N_RANKED))


def guarded(by_ranker, by_mixture):
    """Whether the ranker is on after every event."""
    ranker, states = new_ranker(4), []
    for one, other in zip(by_ranker, by_mixture, strict=True):
        watch_ranks(ranker, np.array([one]), np.array([other]))
        states.append(bool(ranker.guard[IS_ON]))
    return states


def test_the_guard_waits_for_200_fading_events():
    """A ranker that is always right is off until (1 - q**n) / (1 - q) reaches 200, which is at the 211th event."""
    n_needed = math.ceil(math.log(1.0 - 200.0 / 2000.0) / math.log(KEPT))
    assert n_needed == 211
    states = guarded([1] * 300, [0] * 300)
    assert states.index(True) == n_needed - 1
    assert all(states[n_needed:])


def test_the_guard_switches_off_when_behind_and_on_again_when_ahead():
    """From behind by half a standard error on it is off, until it is ahead again: not at the first miss, and not for ever."""
    states = guarded([1] * 300 + [0] * 600 + [1] * 2_000, [11] * 300 + [10] * 600 + [0] * 2_000)
    assert states[299]
    off = states.index(False, 300)
    ahead = both = (1 - KEPT**300) / (1 - KEPT)
    for at in range(300, off + 1):
        ahead, both = ahead * KEPT - 1.0, both * KEPT + 1.0
        assert (ahead < -0.5 * math.sqrt(both + 1.0)) == (at == off)
    assert not states[899]
    on = states.index(True, 900)
    assert 900 < on < 2_899
    assert all(states[on:])


def test_ties_of_the_guard_change_nothing():
    """Both right, or both wrong, is no reason to switch; neither is being a little behind: it stays as it is."""
    assert not any(guarded([1, 11, 0] * 200, [10, 0, 0] * 200))
    states = guarded([1] * 300 + [5, 11] * 300, [0] * 300 + [5, 11] * 300)
    assert all(states[300:])


def test_the_mixture_does_not_notice_its_ranker():
    """With the ranker and without, the mixture foretells the same; while the guard is off, so do the lists."""
    log = a_log(41, n_views=600)
    _, with_ranker = pipeline.step(new_state(), log)
    _, without = pipeline.step(new_state(SETTINGS._replace(without=("ranker",))), log)
    np.testing.assert_array_equal(with_ranker.outcomes.rank_mixture, without.outcomes.rank_mixture)
    n_counted = np.cumsum((with_ranker.outcomes.flags & COUNTED) > 0)
    early = n_counted <= 200
    np.testing.assert_array_equal(with_ranker.outcomes.rank[early], without.outcomes.rank[early])
    assert (without.outcomes.rank_mixture[n_counted > 200] > 0).sum() > 50


def test_a_ranker_that_has_not_learned_lists_what_the_mixture_lists():
    """Switched on before its first update, it deals every list out as it was: the same items, the same chances."""
    settings = SETTINGS._replace(explore_share=0.0, without=("ranker",))
    state, _ = pipeline.step(new_state(settings), a_log(42, n_views=400))
    rows = np.array([-1, *(row for _, row in state.ids.users.items())], np.int32)
    plain = pipeline.rank_users(state, rows, 50)
    state.ranker.guard[IS_ON] = 1.0
    ranked = pipeline.rank_users(state, rows, 50)
    np.testing.assert_array_equal(ranked.items, plain.items)
    np.testing.assert_allclose(ranked.scores, plain.scores, rtol=1e-3)


def ranked_by_ranker(state):
    """Everybody's list by the ranker, with features looked at; yields the user row and the short list's features."""
    state.ranker.guard[IS_ON] = 1.0
    for user in [-1, *(row for _, row in state.ids.users.items())]:
        ranking = pipeline.rank_users(state, np.array([user], np.int32), 20, np.array([10**13], np.int64))
        assert np.isfinite(ranking.scores).all()
        assert ranking.scores.sum() <= 1.0 + 1e-4
        yield user, state.ranker.x[:, : state.ranker.n[SHORT]].T


HUGE = 1.7e308
ODD = {
    "nothing yet": [],
    "items without anything": [Interaction(f"u{n % 5}", f"i{n % 7}", "view", n) for n in range(40)],
    "values beyond float32": [
        Interaction(f"u{n % 5}", f"i{n % 7}", "view", n, HUGE if n % 2 else -HUGE) for n in range(80)
    ],
    "numbers without a spread": [
        *(CatalogItem(item_id=f"i{n}", numerical={"price": HUGE}, timestamp_ms=0) for n in range(9)),
        *(Interaction(f"u{n % 5}", f"i{n % 9}", "view", n) for n in range(60)),
    ],
    "one catalog record": [
        CatalogItem(item_id="i0", title="red cup", categorical={"kind": ["k"]}, timestamp_ms=0),
        *(Interaction(f"u{n % 5}", "i0", "view", n) for n in range(30)),
    ],
    "news that nobody took": [
        Interaction("u0", "i0", "view", 0),
        *(CatalogItem(item_id=f"i{n}", timestamp_ms=0) for n in range(60)),
    ],
    "time that runs backwards": [
        Interaction(f"u{n % 5}", f"i{n % 7}", "view", 7_258_118_399_999 - n * 10**10) for n in range(80)
    ],
    "everything": a_log(43, n_views=500),
}


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("name", ODD)
def test_features_are_small_numbers_whatever_came(name, repeats):
    """No state makes a feature infinite, undefined, or so large that one step of the ranker would run away."""
    state, _ = pipeline.step(new_state(SETTINGS._replace(repeats=repeats)), ODD[name])
    for _, x in ranked_by_ranker(state):
        assert np.isfinite(x).all()
        assert abs(x).max(initial=0.0) < 20.0, features.FEATURES[int(abs(x).max(axis=0).argmax())]


@pytest.mark.parametrize("faded", [1.0, 1e-36, 1e-42])
def test_evidence_that_faded_away_makes_no_feature_undefined(faded):
    """Where too little is left to be divided by, the paths that read it are silent, `transfer` too."""
    state, _ = pipeline.step(new_state(SETTINGS), ODD["everything"])
    state.graph.evidence[:] *= np.float32(faded)
    transfer, most = features.FEATURES.index("transfer"), 0.0
    for _, x in ranked_by_ranker(state):
        assert np.isfinite(x).all()
        assert abs(x).max(initial=0.0) < 20.0
        most = max(most, state.scratch.mass[transfer])
    assert (most > 0.0) == (faded == 1.0)


def test_calibration_counts_what_was_foretold_and_what_came():
    """Every candidate's `expected` grows by its probability, the taken one's `hits` by one; beyond 50 both are halved."""
    state, _ = pipeline.step(new_state(SETTINGS), a_log(44))
    for _, x in ranked_by_ranker(state):
        assert x.shape[1] >= features.N_FEATURES
    ranker, scratch, graph = state.ranker, state.scratch, state.graph
    rows = scratch.row[ranker.candidate[: ranker.n[SHORT]]]
    graph.items["expected"][:], graph.items["hits"][:] = 0.0, 0.0
    graph.items["expected"][rows[1]], graph.items["hits"][rows[1]] = 50.0, 7.0
    chances = scratch.mixed[ranker.candidate[: ranker.n[SHORT]]].copy()
    count_foretold(graph, scratch, ranker, 0)
    expected, hits = chances.copy(), np.zeros_like(chances)
    hits[0] = 1.0
    expected[1], hits[1] = (50.0 + chances[1]) / 2, 3.5
    np.testing.assert_allclose(graph.items["expected"][rows], expected, rtol=1e-5)
    np.testing.assert_allclose(graph.items["hits"][rows], hits, rtol=1e-5)
    assert graph.items["expected"].sum() == pytest.approx(expected.sum(), rel=1e-5)


def test_first_events_do_not_calibrate():
    """An item's first event, measured though it is, says nothing of how often what was foretold comes; the next one does."""
    state, _ = pipeline.step(new_state(SETTINGS._replace(repeats=True)), a_log(46))
    item = CatalogItem(item_id="new", categorical={"kind": ["k"]}, timestamp_ms=0)
    state, _ = pipeline.step(state, [item])
    for flag, n_calibrated in ((FIRST_EVENT, 0), (COUNTED, 1)):
        before = state.graph.items["expected"].sum(), state.graph.items["hits"].sum()
        state, info = pipeline.step(state, [Interaction("u1", "new", "view", 2_000_000_000_000)])
        after = state.graph.items["expected"].sum(), state.graph.items["hits"].sum()
        assert info.outcomes.flags[0] & (FIRST_EVENT | COUNTED | MEASURED) == flag | MEASURED
        assert info.outcomes.rank_mixture[0] > 0
        assert (after[0] > before[0], after[1] - before[1]) == (n_calibrated > 0, n_calibrated)


def test_a_late_event_is_foretold_as_of_the_user_s_last_one():
    """Time that runs backwards is no gap: the ranker learns from a late event what it does from one without a gap."""
    learned = []
    for late_ms in (0, 500_000):
        state, _ = pipeline.step(new_state(SETTINGS._replace(repeats=True)), a_log(47, n_views=200))
        row = state.ids.users.row("u3")
        best = pipeline.rank_users(state, np.array([row], np.int32), 1).items[0, 0]
        n_updates, time_ms = int(state.ranker.n_updates[0]), int(state.graph.users["last_time_ms"][row])
        state, info = pipeline.step(
            state, [Interaction("u3", state.ids.items.id(best), "view", time_ms - late_ms)]
        )
        assert state.ranker.n_updates[0] > n_updates
        learned.append((info.outcomes.rank_mixture[0], *(part.tobytes() for part in state.ranker.weights)))
    assert learned[0] == learned[1]


def test_a_list_that_teaches_is_kept_and_looked_at_again():
    """With fewer items than are kept of a list: every event that was foretold is a list in memory and two steps."""
    log = [Interaction(f"u{n % 5}", f"i{n * n % 7}", "view", n * 10_000) for n in range(60)]
    settings = SETTINGS._replace(repeats=True, without=("vectors",))
    state, info = pipeline.step(pipeline.new_state(settings), log)
    n_foretold = int((info.outcomes.rank_mixture > 0).sum())
    assert n_foretold > 40
    assert state.ranker.memory.n_kept[0] == n_foretold
    assert state.ranker.n_updates[0] == 2 * n_foretold
    assert state.ranker.scaling.n[0] >= 0.99 * n_foretold  # each list showed one candidate at least


def test_the_ranker_finds_what_no_path_says():
    """Where users go on to something of about the same price, no path knows; the ranker learns it and hits more often."""
    rng, n_items = np.random.default_rng(45), 90
    prices = rng.permutation(n_items) / n_items
    log = [
        CatalogItem(item_id=f"i{item}", numerical={"price": float(prices[item])}, timestamp_ms=0)
        for item in range(n_items)
    ]
    price_of_last = rng.random(30)
    for n in range(2_500):
        user = int(rng.integers(0, 30))
        item = int(rng.choice(np.argsort(abs(prices - price_of_last[user]))[:14]))
        log.append(Interaction(f"u{user}", f"i{item}", "view", n * 10_000_000))
        price_of_last[user] = prices[item] if rng.random() < 0.9 else rng.random()
    settings = SETTINGS._replace(
        max_items=128, repeats=True, explore_share=0.0, without=("vectors", "repeat")
    )
    state, info = pipeline.step(pipeline.new_state(settings), log)
    late = [ranks[1_500:] for ranks in (info.outcomes.rank, info.outcomes.rank_mixture)]
    by_ranker, by_mixture = (((ranks >= 1) & (ranks <= 10)).mean() for ranks in late)
    assert by_ranker > by_mixture + 0.02
    assert state.ranker.weights.linear[features.FEATURES.index("from_last_0")] < -0.1
