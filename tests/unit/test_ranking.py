"""Lists against a dense twin that scores every item: paths are distributions, the mixture adds up, top k is a full sort."""

from itertools import combinations
from math import log2, sqrt

import numpy as np
import pytest
from content_twin import nodes_of, of_path
from entries import admit_and_clear, choose_best, context_of, deal_out, top_k
from twins import (
    CLOCKS,
    COUNTING,
    NOT_COUNTING,
    clock_weight_of,
    dense_mixture,
    events_of,
    fold_all,
    history_of,
    learn_all,
    taken_of,
)
from whole_model import SETTINGS as WHOLE
from whole_model import a_log, new_state

from streamer import paths, pipeline
from streamer.events import CatalogItem, Interaction, ItemRetired, Profile
from streamer.graph import FoldSettings
from streamer.graph.scratch import DEPTH, N_ALL, N_CHOSEN, N_FINAL, N_PROPOSED, N_SLOTS, new_candidates
from streamer.graph.state import ALL_TIME, EVENTS, KNOWN, LANES, N_CLOCKS, TOP
from streamer.outcomes import N_LISTED
from streamer.paths import LIST_PATHS
from streamer.ranker import new_ranker
from streamer.ranker.features import N_FEATURES
from streamer.ranker.guard import IS_ON
from streamer.ranker.state import SHORT

SMALL = FoldSettings(
    max_items=64,
    max_users=32,
    max_nodes=16,
    max_taken=16_384,
    n_neighbours=8 * LANES,
    explore_share=0.0,  # see test_explore
)
LARGE = SMALL._replace(max_items=900, max_taken=65_536)


def world(settings, n_items, seed, n_events=1_500, n_users=20):
    """A state with a mixed past: categories, news, retired items, weights that EM has moved."""
    rng = np.random.default_rng(seed)
    state = pipeline.new_state(settings)
    users, items, times = events_of(rng, n_events, n_users, n_items, 400_000)
    events = []
    for n, (user, item, time_ms) in enumerate(
        zip(users.tolist(), items.tolist(), times.tolist(), strict=True)
    ):
        events.append(Interaction(f"u{user}", f"i{item}", "view", time_ms))
        if n % 7 == 0:
            categories = {"kind": [f"k{c}" for c in rng.integers(0, 6, rng.integers(0, 3))]}
            other = f"i{rng.integers(0, n_items)}"
            events.append(
                CatalogItem(
                    item_id=other, categorical=categories, available=rng.random() > 0.1, timestamp_ms=time_ms
                )
            )
        if n % 100 == 99:
            events.append(ItemRetired(f"i{item}"))
    state, _ = pipeline.step(state, events)
    return state


def ranked(state, user_row, k=20):
    """One user's list; afterwards the scratch holds how it was made."""
    return pipeline.rank_users(state, np.array([user_row], np.int32), k)


def rows_of(state):
    """All users, and the one nobody knows."""
    return [-1, *range(state.ids.users.n_rows)]


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("seed", [0, 3])  # in the world of 3 the oldest arrival that is kept may be listed
def test_paths_and_mixture_equal_the_dense_twin(seed, repeats):
    """In a world where every item is a candidate, each path and the mixture are what scoring all items gives."""
    state = world(SMALL._replace(repeats=repeats, without=NOT_COUNTING), 40, seed)
    n_seen = dict.fromkeys(COUNTING, 0)
    for user_row in rows_of(state):
        ranked(state, user_row)
        scratch = state.scratch
        n_events = int(state.graph.users[user_row]["n_events"]) if user_row >= 0 else 0
        weights = state.graph.weights[context_of(n_events, 0)]
        mixed, by_path = dense_mixture(state.graph, weights, user_row)
        final = scratch.final[: scratch.n[N_PROPOSED]]
        for number, name in enumerate(paths.NAMES):
            assert (scratch.mass[number] > 0.0) == bool(by_path[name]), (name, user_row)
            if name in n_seen:
                n_seen[name] += bool(by_path[name])
            for index in final if by_path[name] else []:
                item = int(scratch.row[index])
                got = scratch.score[number, index] / scratch.mass[number]
                expected = by_path[name].get(item, 0.0)
                assert got == pytest.approx(expected, rel=2e-3, abs=1e-6), (name, user_row, item)
        got = {
            int(scratch.row[index]): float(scratch.mixed[index])
            for index in final
            if scratch.mixed[index] > 0.0
        }
        assert set(mixed) - set(got) == {item for item in set(mixed) - set(got) if mixed[item] < 1e-7}
        for item, chance in got.items():
            assert chance == pytest.approx(mixed.get(item, 0.0), rel=2e-3, abs=1e-6), (user_row, item)
    silent = {name for name, n in n_seen.items() if not n}
    assert silent <= (set() if repeats else {name for name in paths.NAMES if name.startswith("repeat")})


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize(("settings", "n_items"), [(SMALL, 40), (LARGE, 800)])
def test_every_path_is_a_distribution(settings, n_items, repeats):
    """No path gives the items of the last stage more than probability 1 together, also when its list is cut."""
    state = world(settings._replace(repeats=repeats), n_items, 5, n_events=4_000)
    assert_distributions(state)


@pytest.mark.parametrize("repeats", [False, True])
def test_every_path_of_the_whole_model_is_a_distribution(repeats):
    """The same where texts, profiles, contexts and a network speak, too."""
    state, _ = pipeline.step(new_state(WHOLE._replace(repeats=repeats)), a_log(5, n_views=500))
    assert assert_distributions(state) >= set(paths.NAMES) - {"repeat"}


def assert_distributions(state):
    """Of everybody's list; gives the names of the paths that spoke."""
    spoke = set()
    for user_row in rows_of(state):
        ranked(state, user_row)
        scratch = state.scratch
        final = scratch.final[: scratch.n[N_CHOSEN]]
        assert len(set(final.tolist())) == final.size
        for number, name in enumerate(paths.NAMES):
            assert np.isfinite(scratch.mass[number])
            if scratch.mass[number] > 0.0:
                spoke.add(name)
                chances = scratch.score[number, final] / scratch.mass[number]
                assert (chances >= 0.0).all(), name
                assert chances.sum() <= 1.0 + 1e-4, name
        assert scratch.mixed[final].sum() <= 1.0 + 1e-4
        assert scratch.shared.sum() == pytest.approx(1.0)
    return spoke


def test_a_list_is_the_full_sort_of_the_candidates():
    """The list of any length is the head of all proposed candidates sorted by probability, then by row."""
    state = world(LARGE, 800, 6, n_events=3_000)
    for user_row in rows_of(state):
        for k in (1, 10, 200):
            ranking = ranked(state, user_row, k)
            scratch = state.scratch
            final = scratch.final[: scratch.n[N_PROPOSED]]
            expected = sorted(
                (-float(scratch.mixed[i]), int(scratch.row[i])) for i in final if scratch.mixed[i] > 0.0
            )[:k]
            n = len(expected)
            assert ranking.items[0, :n].tolist() == [item for _, item in expected]
            assert ranking.scores[0, :n].tolist() == [-score for score, _ in expected]
            assert (ranking.items[0, n:] == -1).all()
            assert (ranking.paths[0, n:] == -1).all()
            assert (ranking.paths[0, :n] >= 0).all()


def test_lists_hold_only_what_may_be_listed():
    """No list holds a retired or unavailable item, nor, with repeats off, one that the user took."""
    state = world(LARGE, 300, 7, n_events=3_000)
    n_barred = int(state.graph.unlistable.sum())
    assert n_barred > 5
    for user_row in rows_of(state):
        items = ranked(state, user_row, 200).items[0]
        items = items[items >= 0]
        assert items.size > 10
        assert len(set(items.tolist())) == items.size
        assert not state.graph.unlistable[items].any()
        if user_row >= 0:
            assert not set(items.tolist()) & set(taken_of(state.graph, user_row))


def test_lists_do_not_depend_on_who_was_ranked_before():
    """The scratch is cleaned: a user alone gets the same list as among others, in any order."""
    state = world(LARGE, 800, 8, n_events=3_000)
    rows = np.array(rows_of(state), np.int32)
    together = pipeline.rank_users(state, rows, 50)
    backwards = pipeline.rank_users(state, rows[::-1].copy(), 50)
    for at, user_row in enumerate(rows):
        alone = ranked(state, user_row, 50)
        for n in range(1, 4):
            assert (
                together[n][at].tobytes()
                == alone[n][0].tobytes()
                == backwards[n][rows.size - 1 - at].tobytes()
            )


def test_nothing_is_left_of_candidates_that_met_in_one_slot():
    """Rows drawn at random meet in some slots; taken out one by one, they leave every slot free."""
    rows = np.random.default_rng(12).choice(2**20, N_SLOTS // 16, replace=False)
    graph = pipeline.new_state(SMALL).graph._replace(unlistable=np.zeros(2**20, np.bool_))
    cands = new_candidates(1, 1, 1)
    assert admit_and_clear(graph, cands, rows) == rows.size
    assert not cands.slot.any()


def test_nothing_of_the_last_list_reaches_who_has_no_history():
    """Whoever was ranked before, with every path and the ranker on, the unknown user and a user without events get the same."""
    state, _ = pipeline.step(new_state(WHOLE._replace(explore_share=0.0)), a_log(11, n_views=400))
    state, _ = pipeline.step(state, [Profile(user_id="idle", categorical={"sex": ["f"]}, timestamp_ms=0)])
    state.ranker.guard[IS_ON] = 1.0
    for user_row in (-1, state.ids.users.row("idle")):
        lists = set()
        for before in rows_of(state):
            ranked(state, before)
            lists.add(b"".join(column.tobytes() for column in ranked(state, user_row)))
        assert len(lists) == 1


def test_ranks_of_measured_events_are_places_on_the_list():
    """The rank of an event is where its item stands on the list ranked right before it: 0 when it is not on it."""
    state = world(LARGE, 300, 9, n_events=2_000)
    rng = np.random.default_rng(9)
    n_found = 0
    for _ in range(120):
        user, item = int(rng.integers(0, 20)), int(rng.integers(0, state.ids.items.n_rows))
        time_ms = int(state.graph.users[user]["last_time_ms"])  # no gap, as lists are ranked for
        if item in taken_of(state.graph, user) or state.graph.items[item]["n_events"] == 0:
            continue
        ranking = ranked(state, user, N_FINAL)
        listed, scores = ranking.items[0].tolist(), ranking.scores[0]
        rank = int(fold_all(state, [user], [item], [time_ms]).rank[0])
        if item in listed:
            tied = int((scores >= scores[listed.index(item)]).sum())  # ties rank against us
            assert rank == pytest.approx(tied, abs=1), item  # an item nobody proposed may join the fresh ones
            n_found += 1
        else:
            assert rank == 0 or (rank >= N_FINAL and -1 not in listed)
    assert n_found > 20


@pytest.mark.parametrize("is_on", [0.0, 1.0])
def test_a_sampled_list_is_described_by_plain_arithmetic(is_on):
    """One measured event in 16 has the list of its user written down as he would get it, and what it is like; no other has."""
    state = world(SMALL._replace(repeats=True), 60, 10, n_events=150)
    graph, rng, seen = state.graph, np.random.default_rng(10), []
    for _ in range(200):
        user = int(rng.integers(0, 20))
        state.ranker.guard[IS_ON] = is_on
        listed = ranked(state, user, N_LISTED).items[0]
        nodes, n_events = [set(nodes_of(graph, row)) for row in listed], graph.items["n_events"][listed]
        is_sampled = int(graph.counters[EVENTS]) % 16 == 0
        bits = [log2((int(graph.counters[EVENTS]) + 1) / max(int(n), 1)) for n in n_events]
        likeness = [
            len(one & other) / sqrt(len(one) * len(other)) if one & other else 0.0
            for one, other in combinations(nodes, 2)
        ]
        known = np.nonzero(graph.items["n_events"])[0]
        out = fold_all(state, [user], [rng.choice(known)], [int(graph.users[user]["last_time_ms"])])
        if not is_sampled:
            assert out.n_cold_listed[0] == out.listed[0].max() == -1
            assert np.isnan([out.novelty[0], out.similarity[0]]).all()
            continue
        assert out.listed[0].tolist() == listed.tolist()
        assert out.n_cold_listed[0] == (n_events < 5).sum()
        assert out.novelty[0] == pytest.approx(sum(bits) / N_LISTED, rel=1e-5)
        assert out.similarity[0] == pytest.approx(sum(likeness) / len(likeness), rel=1e-5)
        seen.append((set(likeness), set(n_events.tolist())))
    assert len(seen) >= 200 // 16
    counts = set.union(*(counts for _, counts in seen))
    assert min(counts) < 5
    assert 5 in counts
    assert len(set.union(*(values for values, _ in seen))) > 2  # none, some and all nodes shared


def _with_values(values):
    cands = new_candidates(1, 1, 1)
    n = len(values)
    cands.n[N_ALL] = n
    cands.row[:n] = np.arange(n)
    cands.mixed[:n] = values
    return cands


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_best", [1, 10, 200])
def test_choose_best_brings_all_of_the_true_best(seed, n_best):
    """What goes on contains the n best, all ties at their edge, no zeros, and not more than one bin too many."""
    rng = np.random.default_rng(seed)
    values = np.exp(rng.normal(0.0, 3.0 * seed, 1_500)).astype(np.float32) * (rng.random(1_500) > 0.2)
    values[rng.integers(0, 1_500, 100)] = 2.0
    cands = _with_values(values.astype(np.float32))
    choose_best(pipeline.new_state(SMALL).graph, cands, cands.mixed, n_best)
    chosen = cands.final[: cands.n[N_CHOSEN]]
    best = np.sort(values[values > 0.0])[::-1][:n_best]
    expected = {int(i) for i in np.nonzero((values > 0.0) & (values >= best[-1]))[0]}
    assert expected <= set(chosen.tolist())
    assert len(set(chosen.tolist())) == chosen.size
    assert (values[chosen] > 0.0).all()
    bins = values[chosen].astype(np.float32).view(np.int32) >> 19
    assert (bins > bins.min()).sum() <= n_best
    assert set(np.nonzero(cands.chosen)[0].tolist()) == set(chosen.tolist())


def test_what_is_unlistable_is_closed_to_every_path():
    """A retired item takes nobody's place: no path gives it a score, so it is not among the best of any."""
    state = world(LARGE, 300, 7, n_events=3_000)
    user_row = rows_of(state)[-1]
    n_closed = 0
    for item in range(len(state.ids.items)):
        state.graph.unlistable[item] = item % 2 == 0
    ranked(state, user_row, 20)
    scratch = state.scratch
    for index in range(scratch.n[N_ALL]):
        if scratch.row[index] % 2 == 0:
            n_closed += 1
            assert scratch.closed[index]
            assert not scratch.chosen[index]
            assert (scratch.score[: paths.N_EVIDENCE_PATHS, index] == 0.0).all()
    assert n_closed > 5


def test_the_widest_rows_leave_room_for_the_other_paths():
    """With the largest `n_neighbours` and a history whose neighbours are all different, popular items are still listed."""
    n_neighbours = 256
    n_items = DEPTH * n_neighbours + 100
    state = pipeline.new_state(SMALL._replace(max_items=n_items, n_neighbours=n_neighbours))
    for item in range(n_items):
        state.ids.items.admit(f"i{item}")
    popular = n_items - 1
    fold_all(state, [1] * 50 + [0] * DEPTH, [popular] * 50 + list(range(DEPTH)), range(50 + DEPTH))
    for owner in range(DEPTH):
        start = DEPTH + owner * n_neighbours
        state.graph.neighbour[owner] = np.arange(start, start + n_neighbours) + 1
        state.graph.evidence[owner] = 1.0
        state.graph.items["flags"][start : start + n_neighbours] |= KNOWN
    state.graph.damping[:] = 1.0
    ranked(state, 0)
    final = state.scratch.final[: state.scratch.n[N_PROPOSED]]
    assert popular in state.scratch.row[final]


@pytest.mark.parametrize("n_later", [300, 440, 480, 520, 900])
def test_what_is_left_of_a_clock_is_a_distribution(n_later):
    """Newcomers who all took the one popular item: what a clock has left for them never exceeds probability 1.

    Nearly all of the clock's mass is theirs, so what is left is a small difference of large numbers.
    """
    state = pipeline.new_state(SMALL._replace(max_users=1_024))
    fold_all(state, [0] * 3 + list(range(1, n_later + 1)), [0, 1, 2] + [0] * n_later, range(n_later + 3))
    ranking = ranked(state, n_later)
    final = state.scratch.final[: state.scratch.n[N_CHOSEN]]
    for number, name in enumerate(paths.NAMES):
        if state.scratch.mass[number] > 0.0:
            total = (state.scratch.score[number, final] / state.scratch.mass[number]).sum()
            assert total <= 1.0 + 1e-3, name
    assert ranking.scores[0].sum() <= 1.0 + 1e-3


def test_clocks_say_nothing_to_whoever_took_everything():
    """What is left then is the rounding of large sums, and no item has a part in it."""
    state, rng = pipeline.new_state(SMALL), np.random.default_rng(13)
    users = np.repeat(np.arange(8), 150)
    items = np.concatenate(
        [rng.permutation(np.append(np.arange(30), rng.integers(0, 30, 120))) for _ in users[::150]]
    )
    order = rng.permutation(users.size)
    learn_all(state.graph, users[order], items[order], range(users.size))
    for user in range(8):
        ranked(state, user)
        assert {name: of_path(state.scratch, name)[1] for name in CLOCKS} == dict.fromkeys(CLOCKS, 0.0)


@pytest.mark.parametrize("n_taken", [200, 300])
def test_what_a_user_took_is_left_out_of_every_clock(n_taken):
    """All of it; of a user with more than 256 items, what is on a clock's list and, each once, what is among his last items."""
    state = pipeline.new_state(LARGE)
    graph, others = state.graph, list(range(400, 400 + TOP)) * 6
    own = [*range(400, 410), *range(n_taken - 10), *[n_taken - 11] * 3]
    users = [1] * len(others) + [0] * len(own)
    learn_all(graph, users, others + own, range(len(users)))
    ranked(state, 0)
    taken, last = set(taken_of(graph, 0)), set(history_of(graph, 0))
    assert len(taken) == n_taken
    for clock in range(N_CLOCKS):
        top = set(graph.clocks.top[clock, : graph.clocks.n_top[clock]].tolist())
        assert clock != ALL_TIME or not last & top
        counted = taken if n_taken <= 256 else taken & (top | last)
        expected = sum(clock_weight_of(graph, clock, item) for item in counted)
        assert state.scratch.taken_weight[clock] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("k", [1, 3, 50, 200])
def test_top_k_breaks_ties_by_row(k):
    """Equal probabilities are listed by row, whatever the order in which the candidates came; zeros never are."""
    rng = np.random.default_rng(k)
    cands = _with_values((rng.integers(0, 6, 400) / 8.0).astype(np.float32))
    cands.row[:400] = rng.permutation(400)
    cands.final[:400] = rng.permutation(400)
    cands.n[N_PROPOSED] = 400
    order = np.zeros(200, np.int64)
    n = top_k(cands, order, k)
    expected = sorted(
        (-float(v), int(row)) for v, row in zip(cands.mixed[:400], cands.row[:400], strict=True) if v > 0
    )
    assert [(-float(cands.mixed[i]), int(cands.row[i])) for i in order[:n]] == expected[:k]


@pytest.mark.parametrize("k", [20, 200])
def test_a_list_of_any_length_is_filled_from_evidence_alone(k):
    """Where more items have evidence than the list is long, and no other path proposes any, no place stays empty."""
    settings = SMALL._replace(
        max_items=512,
        max_users=64,
        n_neighbours=64,
        without=(*(path.name for path in LIST_PATHS), "ranker", "vectors"),
    )
    rng = np.random.default_rng(3)
    log = [Interaction(f"u{n % 40}", f"i{rng.integers(400)}", "view", n) for n in range(4_000)]
    state, _ = pipeline.step(pipeline.new_state(settings), log)
    ranking = pipeline.rank_users(state, np.array([0], np.int32), k)
    scratch = state.scratch
    n_open = np.count_nonzero(~scratch.closed[: scratch.n[N_ALL]])
    assert n_open > 200
    assert (ranking.items >= 0).all()


@pytest.mark.parametrize("k", [0, 201, -1])
def test_lengths_out_of_range_are_refused(k):
    """A list length outside 1..200 is an error that says so."""
    state = pipeline.new_state(SMALL)
    with pytest.raises(ValueError, match=r"1 to 200"):
        pipeline.rank_users(state, np.array([-1], np.int32), k)


def test_a_ranker_that_is_sure_leaves_the_others_on_the_list():
    """Where softmax gives nothing but the first any probability, the others follow in the order of the mixture."""
    rng = np.random.default_rng(4)
    values = rng.permutation(np.float32(2.0) ** -np.arange(1.0, 41.0, dtype=np.float32)).astype(np.float32)
    cands, ranker = _with_values(values), new_ranker(N_FEATURES)
    cands.final[:40], cands.n[N_PROPOSED] = np.arange(40), 40
    ranker.n[SHORT], ranker.candidate[:40] = 40, rng.permutation(40)
    ranker.probability[:40] = 0.0
    ranker.probability[7] = 1.0
    first = int(ranker.candidate[7])
    deal_out(cands, ranker)
    order = np.zeros(40, np.int64)
    assert top_k(cands, order, 40) == 40
    assert order.tolist() == [first, *(n for n in np.argsort(-values).tolist() if n != first)]
    assert cands.mixed[first] == pytest.approx(1.0)
    assert cands.mixed[:40].sum() == pytest.approx(values.sum())


def test_what_softmax_can_tell_apart_is_dealt_out_as_the_ranker_says():
    """A trace of the mixture is far below any probability that says something."""
    cands, ranker = _with_values(np.array([0.5, 0.25, 0.125], np.float32)), new_ranker(N_FEATURES)
    ranker.n[SHORT], ranker.candidate[:3] = 3, [2, 0, 1]
    ranker.probability[:3] = 0.75, 0.25, 1e-20
    deal_out(cands, ranker)
    expected = np.array([0.25, 1e-20, 0.75], np.float32) * np.float32(0.875)
    assert cands.mixed[:3].tolist() == expected.tolist()
