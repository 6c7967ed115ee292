"""The protocol of the baselines against brute force and against the fold; the models on logs small enough to work out."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from baselines.classic import Als, ItemKnn, Popularity
from baselines.compare import found_ranks, of_model
from baselines.protocol import NO_CANDIDATE, Log, figures, ranks
from baselines.sasrec import MAX_LENGTH, Network, Sasrec, _windows

from streamer import pipeline
from streamer.events import Interaction
from streamer.graph import FoldSettings
from streamer.outcomes import COLD_ITEM, COLD_USER, COUNTED, NEW_SESSION

GAP_MS = 1_800_000
SMALL = FoldSettings(max_items=512, max_users=512, max_nodes=64, max_taken=65_536)


def random_events(n, seed, n_users=12, n_items=30):
    """(user, item, time): the low numbers are popular; pauses of minutes, some of hours."""
    rng = random.Random(seed)
    time_ms, events = 0, []
    for _ in range(n):
        time_ms += rng.choice([60_000, 300_000, 7_200_000])
        item = min(rng.randrange(n_items), rng.randrange(n_items))
        events.append((f"u{rng.randrange(n_users)}", f"i{item}", time_ms))
    return events


def log_of(events, *, repeats=False):
    """The log of these events."""
    users, items, times_ms = (list(column) for column in zip(*events, strict=True))
    return Log.of(users, items, times_ms, repeats=repeats, session_gap_ms=GAP_MS)


def told_nobody(what, share):
    """No progress bar."""


@pytest.mark.parametrize("repeats", [False, True])
def test_flags_and_ranks_equal_brute_force(repeats):
    """200 events, told by sets and sorting: which count, in which slices, and the rank of each by scores with many ties."""
    events = random_events(200, seed=1)
    log = log_of(events, repeats=repeats)
    scores = np.random.default_rng(2).integers(0, 6, (200, log.n_items)).astype(np.float32)
    row_of = {item: row for (_, item, _), row in zip(events, log.item.tolist(), strict=True)}
    expected_flags, expected_ranks = [], {}
    for n, (user, item, time_ms) in enumerate(events):
        past = events[:n]
        own = [(i, t) for u, i, t in past if u == user]
        known, taken = {i for _, i, _ in past}, {i for i, _ in own}
        counts = item in known and (repeats or item not in taken)
        expected_flags.append(
            (
                counts,
                sum(i == item for _, i, _ in past) < 5,
                len(own) < 5,
                not own or time_ms - own[-1][1] > GAP_MS,
            )
        )
        if counts:
            rivals = (known if repeats else known - taken) - {item}
            own_score = scores[n, row_of[item]]
            expected_ranks[n] = 1 + sum(scores[n, row_of[rival]] >= own_score for rival in rivals)
    bits = (COUNTED, COLD_ITEM, COLD_USER, NEW_SESSION)
    assert [tuple(bool(flags & bit) for bit in bits) for flags in log.flags.tolist()] == expected_flags
    counted = log.counted(0, 200)
    assert counted.tolist() == list(expected_ranks)
    assert ranks(log, counted, scores[counted]).tolist() == list(expected_ranks.values())


@pytest.mark.parametrize("repeats", [False, True])
def test_the_fold_counts_and_ranks_the_same(repeats):
    """Flags of all events, and ranks on the list of plain popularity, are those that the fold gives."""
    events = random_events(1_500, seed=3, n_users=60, n_items=90)
    log = log_of(events, repeats=repeats)
    interactions = [Interaction(u, i, "view", t) for u, i, t in events]
    _, info = pipeline.step(pipeline.new_state(SMALL._replace(repeats=repeats)), interactions)
    assert np.array_equal(info.outcomes.flags, log.flags)
    counted = log.counted(0, 1_500)
    live = np.stack([np.bincount(log.item[:n], minlength=log.n_items) for n in counted.tolist()])
    found = ranks(log, counted, live.astype(np.float32))
    assert np.array_equal(found, info.outcomes.rank_popularity[counted])
    assert 0 < figures(log, counted, found)["all"]["hit_ratio"] < 1


def test_what_was_not_scored_is_not_listed():
    """An item without a score has no rank, whatever its rivals have; one without rivals is first."""
    log = log_of([("a", "x", 1), ("b", "x", 2), ("b", "y", 3), ("a", "y", 4)])
    scores = np.array([[NO_CANDIDATE, 0.0], [1.0, 0.5]], np.float32)
    assert log.counted(0, 4).tolist() == [1, 3]
    assert ranks(log, log.counted(0, 4), scores).tolist() == [0, 1]


def test_histories_by_hand():
    """A history ends before its event, in log order; matrices hold ones, or counts where repeats are on."""
    events = [("a", "x", 1), ("b", "y", 2), ("a", "y", 3), ("a", "x", 4), ("a", "z", 5)]
    log, counting = log_of(events), log_of(events, repeats=True)
    assert [log.history(n).tolist() for n in range(5)] == [[], [], [0], [0, 1], [0, 1, 0]]
    assert log.histories(np.array([4, 0])).toarray().tolist() == [[1, 1, 0], [0, 0, 0]]
    assert counting.histories(np.array([4])).toarray().tolist() == [[2, 1, 0]]
    assert log.taken(4).toarray().tolist() == [[1, 1, 0], [0, 1, 0]]
    assert counting.taken(4).toarray().tolist() == [[2, 1, 0], [0, 1, 0]]
    assert [log.n_trained(stop) for stop in (0, 1, 2, 4, 5)] == [0, 1, 2, 2, 3]
    assert log.is_target.tolist() == [True, True, True, False, True]


def test_item_knn_is_a_sum_of_cosines():
    """With fewer items than neighbours kept, scores are the user's history times the matrix of cosines."""
    log = log_of(random_events(150, seed=4, n_items=15))
    model = ItemKnn("cosine")
    model.fit(log, 100)
    taken = log.taken(100).toarray()
    norms = np.maximum(np.linalg.norm(taken, axis=0), 1e-9)
    events = log.counted(100, 150)
    expected = log.histories(events).toarray() @ (taken.T @ taken / np.outer(norms, norms))
    assert model.scores(log, events) == pytest.approx(expected, abs=1e-5)


def test_users_without_a_history_get_what_was_popular():
    """Their rank is the one by counts of the part that was trained on, whatever the model."""
    known = [("a", "x", 1), ("b", "x", 2), ("a", "y", 3), ("b", "z", 4), ("c", "x", 5), ("c", "y", 6)]
    log = log_of([*known, ("new", "y", 7), ("newer", "z", 8)])
    assert found_ranks(log, ItemKnn("BM25"), 0, 6, 6, None).size == 0
    model = ItemKnn("BM25")
    model.fit(log, 6)
    assert found_ranks(log, model, 6, 6, 8, None).tolist() == [2, 3]


def trained_everywhere():
    """One of each model, small enough for a test."""
    return [Popularity(), ItemKnn("cosine"), ItemKnn("BM25"), Als(), Sasrec(n_steps=1)]


@pytest.mark.parametrize("at", range(5))
def test_nothing_of_the_future_reaches_a_rank(at):
    """Another end of the log changes no figure of the events before it, frozen or trained again."""
    events = random_events(400, seed=5)
    # the last tenth, other way round: the same items, so that tables keep their sizes
    other = events[:360] + [(u, events[759 - n][1], t) for n, (u, _, t) in enumerate(events[360:], start=360)]
    found = []
    for story in (events, other):
        log, model = log_of(story), trained_everywhere()[at]
        model.fit(log, 200)
        parts = [found_ranks(log, model, 200, 200, 280, None)]
        model.fit(log, 280)
        found.append(np.concatenate([*parts, found_ranks(log, model, 280, 280, 360, None)]))
    assert np.array_equal(found[0], found[1])
    assert found[0].any()


def test_rows_are_of_the_second_half():
    """Both rows count the same events, all of the second half; trained again is not the same as frozen."""
    log = log_of(random_events(3_000, seed=6, n_users=200, n_items=300))
    rows = of_model(log, Popularity(), told_nobody)
    assert [row["training"] for row in rows] == ["first half, then frozen", "again every 150 events"]
    assert {row["slices"]["all"]["n"] for row in rows} == {log.counted(1_500, 3_000).size}
    assert rows[0]["slices"]["all"] != rows[1]["slices"]["all"]


def test_windows_hold_every_target_once():
    """Wherever users are cut into windows, each event but a user's first is the next of another exactly once."""
    log = log_of(random_events(900, seed=7, n_users=5))
    windows = _windows(log, 800, np.random.default_rng(8))
    assert windows.shape[1] == MAX_LENGTH + 1
    pairs = [(a, b) for row in windows.tolist() for a, b in pairwise(row) if a >= 0 and b >= 0]
    last_of: dict[int, int] = {}
    expected = []
    for n, user in enumerate(log.user[:800].tolist()):
        if user in last_of:
            expected.append((last_of[user], n))
        last_of[user] = n
    assert sorted(pairs) == sorted(expected)
    assert all(-1 not in row[: np.count_nonzero(np.array(row) >= 0)] for row in windows.tolist())


def test_the_network_is_causal():
    """States do not change with what stands on their right: later items, or padding."""
    torch.manual_seed(9)
    network = Network(20).eval()
    items = torch.randint(0, 20, (3, 10))
    other = items.clone()
    other[:, 6:] = 20
    with torch.no_grad():
        states, others, short = network(items), network(other), network(items[:, :6])
    assert torch.allclose(states[:, :6], others[:, :6], atol=1e-5)
    assert torch.allclose(states[:, :6], short, atol=1e-5)
    assert not torch.allclose(states[:, 6:], others[:, 6:], atol=1e-2)


def test_sasrec_learns_an_order_that_popularity_cannot():
    """Users who walk round a circle of 40 items: the next is on nine lists of ten, by counts on a quarter of them."""
    rng = random.Random(10)
    at = {f"u{n}": rng.randrange(40) for n in range(60)}
    events = []
    for n in range(3_000):
        user = rng.choice(list(at))
        at[user] = (at[user] + 1) % 40
        events.append((user, f"i{at[user]}", n))
    log = log_of(events, repeats=True)
    ratios = []
    for model in (Sasrec(n_steps=400), Popularity()):
        model.fit(log, 2_000)
        found = found_ranks(log, model, 2_000, 2_000, 3_000, None)
        ratios.append(float(np.mean((found >= 1) & (found <= 10))))
    assert ratios[0] > 0.9
    assert ratios[1] < 0.5
