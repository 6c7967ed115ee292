"""Online EM: responsibilities, weights that go where the predictions are, and numbers that stay numbers."""

import numpy as np
import pytest
from entries import context_of
from twins import NOT_COUNTING, dense_mixture, events_of, fold_all, learn_all, taken_of
from whole_model import a_log, new_state

from streamer import mixture, paths, pipeline
from streamer.events import CatalogItem, Interaction
from streamer.graph import FoldSettings
from streamer.graph.scratch import N_CHOSEN
from streamer.graph.state import KNOWN, LANES, WITH_RANKER
from streamer.outcomes import COUNTED, MEASURED

SIZES = FoldSettings(max_items=64, max_users=64, max_nodes=8, max_taken=16_384, n_neighbours=8 * LANES)
COUNTING = SIZES._replace(without=NOT_COUNTING, explore_share=0.0)


def filled(n_events, sizes=SIZES, seed=1):
    """A state with ids for 40 items and 20 users after a random stream."""
    state = pipeline.new_state(sizes)
    users, items, times = events_of(np.random.default_rng(seed), n_events, 20, 40)
    fold_all(state, users, items, times)
    return state


def assert_all_finite(state, user_rows):
    """Weights and lists are finite; scores are probabilities."""
    assert np.isfinite(state.graph.weights).all()
    assert (state.graph.weights >= 0.0).all()
    ranking = pipeline.rank_users(state, np.array(user_rows, np.int32), 50)
    assert np.isfinite(ranking.scores).all()
    assert (ranking.scores >= 0.0).all()
    assert (ranking.scores.sum(axis=1) <= 1.0 + 1e-3).all()


@pytest.mark.parametrize("repeats", [False, True])
def test_an_update_adds_the_responsibilities_of_bayes(repeats):
    """R' = forgetting * R + rho, where rho sums to one and is pi_m p_m / p, here from the dense twin of the counting paths."""
    state = filled(800, COUNTING._replace(repeats=repeats))
    rng = np.random.default_rng(3)
    n_updates = 0
    for _ in range(60):
        user, item = int(rng.integers(0, 20)), int(rng.integers(0, 40))
        before = state.graph.weights.copy()
        row = state.graph.users[user]
        context = context_of(int(row["n_events"]), 0)
        taken = taken_of(state.graph, user)
        pipeline.rank_users(state, np.array([user], np.int32), 1)
        mixed, by_path = dense_mixture(state.graph, before[context], user)
        out = fold_all(state, [user], [item], [int(row["last_time_ms"])])
        added = state.graph.weights - mixture.FORGETTING * before
        others = [c for c in range(mixture.N_CONTEXTS) if c != context]
        assert (state.graph.weights[others] == before[others]).all()
        if not out.flags[0] & COUNTED or (item in taken and not repeats) or mixed.get(item, 0.0) < 1e-6:
            continue
        assert added[context].sum() == pytest.approx(1.0, abs=1e-4)
        speaking = [bool(by_path[name]) for name in paths.NAMES]
        pi = np.where(speaking, before[context], 0.0) / before[context][speaking].sum()
        expected = pi * [by_path[name].get(item, 0.0) for name in paths.NAMES] / mixed[item]
        np.testing.assert_allclose(added[context], expected, rtol=5e-3, atol=1e-4)
        assert out.path[0] == np.argmax(added[context])
        n_updates += 1
    assert n_updates > 20


def test_the_rule_of_bayes_holds_for_all_paths_together():
    """With text, features, segments and vectors too: rho is what the paths' own probabilities of the taken item say."""
    state, _ = pipeline.step(new_state(), a_log(4))
    graph, scratch = state.graph, state.scratch
    graph.switches[WITH_RANKER] = False  # it would deal the mixture's probabilities out anew
    rng = np.random.default_rng(4)
    spoke = np.zeros(paths.N_PATHS, int)
    for _ in range(150):
        user, item = int(rng.choice([row for _, row in state.ids.users.items()])), int(rng.integers(0, 40))
        before, context = graph.weights.copy(), context_of(int(graph.users[user]["n_events"]), 0)
        out = fold_all(state, [user], [item], [int(graph.users[user]["last_time_ms"])])
        places = np.nonzero(scratch.row[scratch.final[: scratch.n[N_CHOSEN]]] == item)[0]
        added = (graph.weights - np.maximum(mixture.FORGETTING * before, mixture.LEAST))[context]
        if not out.flags[0] & MEASURED or not places.size or scratch.mixed[scratch.final[places[0]]] <= 0.0:
            continue
        index, speaking = scratch.final[places[0]], scratch.mass > 0.0
        chances = np.where(speaking, scratch.score[:, index] / np.where(speaking, scratch.mass, 1.0), 0.0)
        joint = before[context] * chances
        np.testing.assert_allclose(added, joint / joint.sum(), rtol=5e-3, atol=1e-4)
        spoke += added > 0.001
    silent = {name for name, n in zip(paths.NAMES, spoke, strict=True) if not n}
    assert silent <= {"repeat"}


def test_paths_of_a_part_of_the_events_begin_with_less():
    """In every context of a new state: .3 for the clocks of sessions' beginnings and of newcomers, 1 for every other path."""
    weights = pipeline.new_state(SIZES).graph.weights
    for path, name in enumerate(paths.NAMES):
        expected = 0.3 if name in ("starting_300", "newcomers_300") else 1.0
        assert (weights[:, path] == expected).all()


def test_contexts_are_history_lengths_by_gaps():
    """0, 1-2, 3-9, 10-39, 40+ events by up to a minute, up to half an hour, longer: every pair has its own row."""
    rows = [
        context_of(n_events, gap_ms) for n_events in (0, 1, 3, 10, 40) for gap_ms in (0, 60_001, 1_800_001)
    ]
    assert rows == list(range(mixture.N_CONTEXTS))
    assert context_of(2, 60_000) == context_of(1, 0)
    assert context_of(39, 1_800_000) == context_of(10, 60_001)


def test_weight_goes_to_the_paths_that_predict():
    """Where every item is followed by the same next one, the weight leaves popularity for paths that know the order."""
    state = pipeline.new_state(SIZES._replace(repeats=True))
    rng = np.random.default_rng(5)
    follower = rng.permutation(40)
    users = np.arange(3_000) % 20
    items, at = [], rng.integers(0, 40, 20)
    for user in users:
        at[user] = follower[at[user]]
        items.append(at[user])
    times = np.arange(3_000) * 1_000
    fold_all(state, users, items, times)
    weights = pipeline.path_weights(state)
    assert sum(weights.values()) == pytest.approx(1.0)
    ordered = sum(w for name, w in weights.items() if name.startswith(("sequence", "lag")))
    popular = sum(w for name, w in weights.items() if name.startswith(("trending", "popularity")))
    assert ordered > 5 * popular


def test_weight_stays_with_popularity_where_nothing_else_helps():
    """Where items are drawn by popularity alone, popularity clocks weigh more than sequence paths."""
    state = pipeline.new_state(SIZES._replace(repeats=True, n_neighbours=LANES))
    rng = np.random.default_rng(6)
    items = np.minimum(rng.geometric(0.2, 4_000) - 1, 39)
    fold_all(state, rng.integers(0, 60, 4_000), items, np.arange(4_000) * 10_000_000)
    weights = pipeline.path_weights(state)
    clocks = sum(w for name, w in weights.items() if name.startswith(("trending", "popularity")))
    assert clocks > sum(w for name, w in weights.items() if name.startswith(("sequence", "lag")))


def test_silent_paths_stay_numbers_and_come_back():
    """A path that has nothing to say for thousands of events keeps a finite weight, and weighs again when it speaks."""
    state = pipeline.new_state(SIZES._replace(repeats=True))
    n = 3_000
    items = np.random.default_rng(7).integers(0, 30, n)
    fold_all(state, np.arange(n) % 20, items, np.arange(n) * 1_000)
    silent = paths.NAMES.index("category")
    assert np.isfinite(state.graph.weights).all()
    before = state.graph.weights[:, silent].copy()
    assert (before > 0.0).all()
    records = [
        CatalogItem(item_id=f"i{item}", categorical={"kind": [str(item)]}, timestamp_ms=n)
        for item in range(30)
    ]
    events = [
        Interaction(f"v{user}", f"i{item}", "view", n + item) for user in range(20) for item in [3, 3, 3, 3]
    ]
    state, _ = pipeline.step(pipeline.new_state(state.settings), [*records, *events, *events, *events])
    assert (state.graph.weights[:, silent] > 1.0).any()


HOSTILE = {
    "one user, one item": ([0] * 2_000, [0] * 2_000, range(2_000)),
    "one user, all items": ([0] * 2_000, [n % 60 for n in range(2_000)], range(2_000)),
    "one item, all users": ([n % 60 for n in range(2_000)], [0] * 2_000, range(2_000)),
    "all ties": ([n % 60 for n in range(2_400)], [n // 60 for n in range(2_400)], [5] * 2_400),
    "time runs backwards": (
        [n % 7 for n in range(2_000)],
        [n * n % 31 for n in range(2_000)],
        [7_258_118_399_999 - n * 1_000_000 for n in range(2_000)],
    ),
    "huge gaps": (
        [n % 7 for n in range(2_000)],
        [n * n % 31 for n in range(2_000)],
        [n % 2 * 7_258_118_399_999 for n in range(2_000)],
    ),
    "one pair, then one item for ever": ([0] * 3 + [1] * 3_000, [0, 1, 2] + [0] * 3_000, range(3_003)),
}


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_streams_leave_numbers(name, repeats):
    """Whatever comes, weights and scores are finite after every hundred events, and lists can be made for everyone."""
    users, items, times = HOSTILE[name]
    state = pipeline.new_state(SIZES._replace(repeats=repeats))
    everyone = range(-1, max(users) + 1)
    for start in range(0, len(users), 100):
        cut = slice(start, start + 100)
        fold_all(state, users[cut], items[cut], times[cut])
        assert_all_finite(state, everyone)


@pytest.mark.parametrize("repeats", [False, True])
def test_old_evidence_fades_without_breaking_numbers(repeats):
    """Evidence that its owner's later events have faded away ends as silence, never as inf or NaN, at every age."""
    state = pipeline.new_state(SIZES._replace(repeats=repeats))
    fold_all(state, [0, 0, 0, 2, 2], [0, 1, 2, 0, 3], range(5))
    for n in range(400):
        learn_all(state.graph, [1] * 10, [0] * 10, [10 + n] * 10)
        assert_all_finite(state, [-1, 0, 1, 2])


def test_first_events_teach_the_anonymous_list():
    """What first events of new users teach the weights is what the list for users nobody knows is mixed with."""
    state = pipeline.new_state(SIZES._replace(max_users=4_000))
    items = np.random.default_rng(8).integers(0, 5, 3_000)
    fold_all(state, range(3_000), items, 1_600_000_000_000 + np.arange(3_000) * 1_000)
    pipeline.rank_users(state, np.array([-1], np.int32), 5)
    contexts = [context_of(0, gap_ms) for gap_ms in (0, 10**6, 10**9)]
    learned = max((state.graph.weights[context] for context in contexts), key=np.sum)
    assert learned.sum() > 100.0
    speaking = state.scratch.mass > 0.0
    np.testing.assert_allclose(
        state.scratch.shared[speaking], learned[speaking] / learned[speaking].sum(), rtol=0.05
    )


def test_items_nobody_took_and_nobody_announced_are_never_listed():
    """Rows of the table without an item behind them are on no list."""
    state = filled(300)
    ranking = pipeline.rank_users(state, np.arange(-1, 20, dtype=np.int32), 200)
    listed = ranking.items[ranking.items >= 0]
    assert (state.graph.items["flags"][listed] & KNOWN).all()
