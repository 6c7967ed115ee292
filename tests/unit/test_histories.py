"""Histories against lists and sets: rings, sessions, exact sets of taken items, and the pool they live in."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from entries import copy_history, has_taken, is_new_session
from twins import empty_graph, events_of, history_of, learn_all, taken_of

from streamer import checkpoint, pipeline
from streamer.errors import CheckpointRefused
from streamer.events import Interaction
from streamer.graph import FoldSettings
from streamer.graph.catalog import erase_user
from streamer.graph.state import (
    HISTORY,
    MAX_TAKEN_CLASS,
    MIN_TAKEN_CLASS,
    N_SLOTS_USED,
    N_UNRECORDED,
    OVERFULL,
)
from streamer.measure import Scoreboard
from streamer.outcomes import COUNTED

SIZES = FoldSettings(
    max_items=900, max_users=16, max_nodes=4, max_taken=32_768, n_neighbours=16, pair_window=1
)


def test_rings_hold_the_last_items_newest_first():
    """A ring is the tail of the user's events, in order, and the number of events is right."""
    users, items, times = events_of(np.random.default_rng(1), 1_200, 12, 300)
    graph = empty_graph(SIZES)
    learn_all(graph, users, items, times)
    for user in range(12):
        own = items[users == user].tolist()
        assert graph.users[user]["n_events"] == len(own)
        assert history_of(graph, user) == own[::-1][:HISTORY]


@pytest.mark.parametrize("repeats", [False, True])
def test_taken_sets_are_exact_through_every_growth(repeats):
    """After every growth of its block a set holds what the user ever took; with repeats also how often, and when last."""
    users, items, times = events_of(np.random.default_rng(2), 4_000, 6, 900)
    graph = empty_graph(SIZES._replace(repeats=repeats))
    times_taken, last = defaultdict(int), {}
    n_of = defaultdict(int)
    for start in range(0, 4_000, 100):
        cut = slice(start, start + 100)
        learn_all(graph, users[cut], items[cut], times[cut])
        for user, item in zip(users[cut].tolist(), items[cut].tolist(), strict=True):
            n_of[user] += 1
            times_taken[user, item] += 1
            last[user, item] = n_of[user]
        for user in range(6):
            slots = taken_of(graph, user)
            expected = {item for owner, item in times_taken if owner == user}
            assert set(slots) == expected
            assert graph.users[user]["n_taken"] == len(expected)
            if repeats:
                assert all(graph.taken.times[slot] == times_taken[user, item] for item, slot in slots.items())
                assert all(graph.taken.last[slot] == last[user, item] for item, slot in slots.items())


def test_a_late_take_has_its_place_in_time():
    """Item 4 came fourth and happened second; that 3 was taken before, too, does not make its last take an older one."""
    graph = empty_graph(SIZES._replace(repeats=True))
    learn_all(graph, [0] * 4, [1, 2, 3, 4], [0, 10_000, 20_000, 5_000])
    assert {item: graph.taken.last[slot] for item, slot in taken_of(graph, 0).items()} == {
        1: 1,
        2: 2,
        3: 3,
        4: 2,
    }
    learn_all(graph, [0], [3], [0])
    slot = taken_of(graph, 0)[3]
    assert (graph.taken.times[slot], graph.taken.last[slot]) == (2, 3)


def test_gaps_to_past_items_are_seconds_and_never_negative():
    """Seen from ten seconds later, two items are 10 and 30 seconds away; from between them, 0 and 10."""
    graph = empty_graph(SIZES)
    learn_all(graph, [0, 0], [1, 2], [100_000, 120_000])
    items, gap_s, z_score = np.zeros(HISTORY, np.int32), *np.zeros((2, HISTORY), np.float32)
    for now_ms, expected in ((130_000, [10.0, 30.0]), (110_000, [0.0, 10.0])):
        copy_history(graph, 0, now_ms, items, gap_s, z_score)
        assert items[:3].tolist() == [2, 1, -1]
        assert gap_s[:2].tolist() == expected


def test_blocks_never_overlap():
    """No two users share a slot of the pool, also after erasures and reuse."""
    rng = np.random.default_rng(3)
    graph = empty_graph(SIZES)
    expected = defaultdict(set)
    for n in range(60):
        users, items, times = events_of(rng, 60, 10, 500)
        learn_all(graph, users, items, times + n)
        for user, item in zip(users.tolist(), items.tolist(), strict=True):
            expected[user].add(item)
        gone = int(rng.integers(0, 10))
        erase_user(graph, gone)
        expected[gone] = set()
        assert all(set(taken_of(graph, user)) == expected[user] for user in range(10))
        blocks = sorted(
            (int(row["taken_start"]), int(row["taken_start"]) + (1 << int(row["taken_class"])))
            for row in graph.users
            if row["taken_class"] > 0
        )
        assert all(end <= start for (_, end), (start, _) in pairwise(blocks))


def test_sessions_end_after_a_gap():
    """A session begins with the first event, and after a gap longer than a session's; time that runs backwards ends none."""
    gap = SIZES.session_gap_s * 1000
    graph = empty_graph(SIZES)
    begins = []
    for time_ms in (10, 10 + gap, 11 + 2 * gap, 5, 11 + 2 * gap, 12 + 3 * gap):
        begins.append(bool(is_new_session(graph, 0, time_ms)))
        learn_all(graph, [0], [1], [time_ms])
    assert begins == [True, False, True, False, False, True]
    assert graph.users[0]["last_time_ms"] == 12 + 3 * gap


def test_an_erased_user_leaves_an_empty_row():
    """Erasing clears every byte of the row, and no other user's."""
    graph = empty_graph(SIZES)
    users, items, times = events_of(np.random.default_rng(4), 300, 4, 200)
    learn_all(graph, users, items, times)
    before = [graph.users[user].tobytes() for user in range(4)]
    erase_user(graph, 2)
    assert graph.users[2].tobytes() == bytes(graph.users.dtype.itemsize)
    assert all(graph.users[user].tobytes() == before[user] for user in (0, 1, 3))


@pytest.mark.parametrize("repeats", [False, True])
def test_freed_blocks_are_handed_on(repeats):
    """User after user through the same row needs no more of the pool than the largest of them, and finds no counts in it."""
    graph = empty_graph(SIZES._replace(repeats=repeats))
    used = []
    for n in range(20):
        learn_all(graph, [0] * 50, range(n, n + 50), range(50))
        erase_user(graph, 0)
        used.append(int(graph.taken.used[N_SLOTS_USED]))
    assert used[0] == sum(
        1 << size for size in range(MIN_TAKEN_CLASS, 8)
    )  # 50 items: 8, 16, 32, 64 and 128 slots
    assert used[-1] == used[0]
    assert not graph.taken.times.any()
    assert not graph.taken.last.any()


def test_a_full_pool_is_counted_and_what_was_known_stays_exact():
    """Items that find no room are counted, not recorded; nothing crashes, and the other users' sets are untouched."""
    graph = empty_graph(SIZES._replace(max_taken=16))
    learn_all(graph, [0] * 6 + [1] * 6, [0, 1, 2, 3, 4, 5] * 2, range(12))
    learn_all(graph, [2] * 3 + [0] * 3, [0, 1, 0, 6, 7, 8], range(12, 18))
    assert set(taken_of(graph, 0)) == set(taken_of(graph, 1)) == {0, 1, 2, 3, 4, 5}
    assert taken_of(graph, 2) == {}
    assert graph.taken.used.tolist() == [16, 6]
    assert history_of(graph, 2) == [0, 1, 0]
    erase_user(graph, 1)
    learn_all(graph, [2], [9], [20])
    assert set(taken_of(graph, 2)) == {9}


def test_a_user_of_the_largest_class_stops_growing():
    """A user who fills the largest block keeps the items he has; later ones are counted as not recorded."""
    n_most = 3 * (1 << MAX_TAKEN_CLASS) // 4
    graph = empty_graph(SIZES._replace(max_items=n_most + 10))
    learn_all(graph, [0] * (n_most + 10), range(n_most + 10), range(n_most + 10))
    assert set(taken_of(graph, 0)) == set(range(n_most))
    assert graph.taken.used[N_UNRECORDED] == 10


@pytest.mark.parametrize("repeats", [False, True])
def test_larger_free_blocks_are_halved_when_the_pool_is_used_up(repeats):
    """One who took 24 items leaves blocks of 8, 16 and 32 slots, of 64: room for eight who take three, and for no ninth."""
    graph = empty_graph(SIZES._replace(max_taken=64, repeats=repeats))
    learn_all(graph, [0] * 24, range(24), range(24))
    erase_user(graph, 0)
    for user in range(9):
        learn_all(graph, [user] * 3, range(user, user + 3), range(3))
        assert [set(taken_of(graph, other)) for other in range(min(user + 1, 8))] == [
            {other, other + 1, other + 2} for other in range(min(user + 1, 8))
        ]
        assert graph.taken.used.tolist() == [56 if user == 0 else 64, 0 if user < 8 else 3]
    assert sorted(graph.users["taken_start"][:8].tolist()) == list(range(0, 64, 8))
    erase_user(graph, 3)
    learn_all(graph, [9] * 6, range(6), range(6))
    assert set(taken_of(graph, 9)) == set(range(6))


def test_last_items_count_as_taken_though_there_was_no_room():
    """Of a user whose set is overfull, as far back as his history goes; what is in the set stays there, and is found."""
    graph = empty_graph(SIZES._replace(max_taken=8))
    learn_all(graph, [0] * 30, range(30), range(30))
    assert set(taken_of(graph, 0)) == set(range(6))
    assert [row for row in range(40) if has_taken(graph, 0, row)] == [*range(6), *range(10, 30)]
    learn_all(graph, [1] * 25, range(25), range(25))  # nothing of his is recorded
    assert [row for row in range(40) if has_taken(graph, 1, row)] == list(range(5, 25))
    assert graph.users["taken_class"][:3].tolist() == [MIN_TAKEN_CLASS | OVERFULL, OVERFULL, 0]
    erase_user(graph, 1)
    assert not has_taken(graph, 1, 24)


def test_a_set_that_was_overfull_grows_when_there_is_room_again():
    """It holds what is taken from then on. What was taken before is not known any more, so it stays marked."""
    graph = empty_graph(SIZES._replace(max_taken=32))
    learn_all(graph, [0] * 3 + [1] * 8, [0, 1, 2, *range(8)], range(11))
    assert graph.users["taken_class"][1] == MIN_TAKEN_CLASS + 1
    learn_all(graph, [0] * 4, [3, 4, 5, 6], range(20, 24))
    assert set(taken_of(graph, 0)) == set(range(6))
    erase_user(graph, 1)
    learn_all(graph, [0] * 2, [7, 8], [30, 31])
    assert set(taken_of(graph, 0)) == {*range(6), 7, 8}
    assert graph.users["taken_class"][0] == MIN_TAKEN_CLASS + 1 | OVERFULL
    assert graph.taken.used[N_UNRECORDED] == 1


def test_events_of_overfull_users_are_not_counted():
    """What he took before would be a first take again and again, and a hit. Lists leave out his last items all the same."""
    sizes = SIZES._replace(max_taken=256, max_users=128, without=("vectors", "ranker"), explore_share=0.0)
    log = [Interaction(f"u{n % 100}", f"i{n // 100 % 4}", "view", 60_000 * n) for n in range(2_000)]
    state, info = pipeline.step(pipeline.new_state(sizes), log)
    assert state.graph.taken.used[N_UNRECORDED] > 1_000
    first, seen = [], set[tuple[str, str]]()
    for event in log:
        first.append((event.user_id, event.item_id) not in seen)
        seen.add((event.user_id, event.item_id))
    counted = info.outcomes.flags & COUNTED > 0
    assert np.count_nonzero(counted) > 100
    assert not (counted & ~np.array(first)).any()
    ranking = pipeline.rank_users(state, np.arange(100, dtype=np.int32), 10)
    assert (ranking.items == -1).all()  # everybody took all four


def test_with_repeats_overfull_sets_hide_nothing():
    """Any item may be listed, and any event is counted."""
    sizes = SIZES._replace(max_taken=8, repeats=True, without=("vectors", "ranker"), explore_share=0.0)
    log = [Interaction("u", f"i{n % 20}", "view", 60_000 * n) for n in range(60)]
    state, info = pipeline.step(pipeline.new_state(sizes), log)
    assert np.count_nonzero(info.outcomes.flags & COUNTED) == 40
    (items,) = pipeline.rank_users(state, np.zeros(1, np.int32), 20).items.tolist()
    assert sorted(items) == list(range(20))


@pytest.mark.parametrize(
    ("taken_class", "is_sound"),
    [(OVERFULL | 3, True), (OVERFULL, True), (14, False), (30, False), (35, False)],
)
def test_a_checkpoint_knows_who_is_overfull(taken_class, is_sound):
    """The mark comes back; a size that no block has is refused, with it or without."""
    sizes = SIZES._replace(max_taken=16, without=("vectors", "ranker"))
    state, _ = pipeline.step(pipeline.new_state(sizes), [Interaction("u", "i", "view", 1)], 0.0)
    state.graph.users["taken_class"][0] = taken_class
    if taken_class == OVERFULL:
        state.graph.users["n_taken"][0] = 0
    meta = checkpoint.Meta({"k": "v"}, [("interactions", 0, 7)], 3, 1, 2, "test")
    arrays = checkpoint.freeze(state, Scoreboard())()
    reader = checkpoint.Reader([b"".join(checkpoint.written(meta, arrays))])
    header = checkpoint.read_header(reader)
    if is_sound:
        restored = checkpoint.restore(header, reader, sizes, None).state
        assert pipeline.state_hash(restored) == pipeline.state_hash(state)
    else:
        with pytest.raises(CheckpointRefused, match="taken_class"):
            checkpoint.restore(header, reader, sizes, None)
