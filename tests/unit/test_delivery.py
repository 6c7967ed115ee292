"""At least once becomes once: duplicates, late events and what erased users did before, through the fold."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from twins import empty_graph, history_of, learn_all, row_of

from streamer import checkpoint, pipeline
from streamer.events import CatalogItem, Interaction, ItemRetired, Profile, UserErased
from streamer.graph import FoldSettings
from streamer.graph.state import CO, HISTORY, LAG, SEQ, TICK_MS
from streamer.measure import Scoreboard
from streamer.outcomes import LATE, NEW_SESSION

SIZES = FoldSettings(max_items=64, max_users=16, max_nodes=16, max_taken=2_048, n_neighbours=16)
DAY_MS = 86_400_000


def view(user_id, item_id, time_ms=0, event_id="", **context):
    """An interaction."""
    return Interaction(user_id, item_id, "view", time_ms, None, context, event_id)


def folded(log, settings=SIZES, log_ms=None, cuts=()):
    """State and infos of a log, cut at these places."""
    state, infos = pipeline.new_state(settings), []
    for begin, end in pairwise([0, *cuts, len(log)]):
        state, info = pipeline.step(state, log[begin:end], 1.0, log_ms and log_ms[begin:end])
        infos.append(info)
    return state, infos


# --- duplicates ---


def test_a_duplicate_is_neither_learned_nor_measured():
    """The state, and every figure, are those of the log without it; it is counted, wherever the batches end."""
    log = [view(f"u{n % 5}", f"i{n * 3 % 11}", n, f"e{n}") for n in range(60)]
    with_some = [event for n, event in enumerate(log) for event in (event, log[n // 2])]
    once, (info_once,) = folded(log)
    for cuts in ((), range(1, len(with_some)), (7, 50)):
        twice, infos = folded(with_some, cuts=cuts)
        assert pipeline.state_hash(twice) == pipeline.state_hash(once)
        assert sum(info.n_interactions for info in infos) == info_once.n_interactions == 60
        assert sum(info.n_skipped["interactions", "duplicate"] for info in infos) == 60
        flags = np.concatenate([info.outcomes.flags for info in infos])
        assert flags.tolist() == info_once.outcomes.flags.tolist()


def test_what_an_id_is_attached_to_does_not_matter():
    """Another partition or producer sends it with another user, item or time: it is the same event."""
    _, (info,) = folded([view("ann", "x", 5, "e"), view("bob", "y", 9, "e"), view("bob", "y", 9)])
    assert info.outcomes.user_row.size == 2
    assert info.n_skipped == {("interactions", "duplicate"): 1}


def test_a_duplicate_admits_nobody():
    """Its user may have been erased meanwhile: no row comes back to life."""
    state, _ = folded([view("ann", "x", 5, "e"), UserErased("ann"), view("ann", "x", 5, "e")])
    assert state.ids.users.row("ann") == -1


def test_an_id_beyond_the_window_is_forgotten():
    """The window is as long as the setting says; with 0 there is none."""
    log = [view("ann", f"i{n}", n, f"e{n}") for n in range(5)]
    for size, expected in ((0, 0), (4, 0), (5, 1)):
        _, (info,) = folded([*log, log[0]], SIZES._replace(dedup_window=size))
        assert info.n_skipped["interactions", "duplicate"] == expected, size


def test_duplicates_are_recognised_after_a_restart():
    """The window, the erased and the contents of records are in the checkpoint: what came before it does nothing after it."""
    log = [
        *(view("ann", f"i{n}", n, f"e{n}") for n in range(20)),
        UserErased("bob"),
        CatalogItem(item_id="i1", categorical={"kind": ["a"]}, timestamp_ms=1),
        Profile(user_id="ann", categorical={"country": ["FR"]}, timestamp_ms=1),
    ]
    sizes = SIZES._replace(dedup_window=16)
    state, _ = folded(log, sizes, list(range(len(log))))
    meta = checkpoint.Meta({}, [], 0, 0, 0, "test")
    written = checkpoint.written(meta, checkpoint.freeze(state, Scoreboard())())
    reader = checkpoint.Reader(written)
    again = checkpoint.restore(checkpoint.read_header(reader), reader, sizes, None).state
    assert pipeline.state_hash(again) == pipeline.state_hash(state)
    again, info = pipeline.step(again, [*log[5:], view("bob", "x", 3)], 1.0, [99] * 18 + [20])
    assert info.n_skipped == {
        ("interactions", "duplicate"): 15,
        ("interactions", "erased"): 1,
        ("catalog", "duplicate"): 1,
        ("profiles", "duplicate"): 1,
    }
    assert again.ids.users.row("bob") == -1


@pytest.mark.parametrize("record", ["catalog", "profile"])
def test_a_record_sent_again_changes_nothing(record):
    """Catalog and profiles have no event id: the same content for the same item or user is the same record, by state hash."""

    def some(colour):
        fields = {"categorical": {"colour": [colour]}, "numerical": {"size": 5.0}, "timestamp_ms": 7}
        return (
            CatalogItem(item_id="x", title="a red cup", **fields)
            if record == "catalog"
            else Profile(user_id="ann", **fields)
        )

    before = [view("ann", "x"), view("bob", "y")]
    once, _ = folded([*before, some("red")])
    twice, (info,) = folded([*before, some("red"), some("red")])
    assert pipeline.state_hash(once) == pipeline.state_hash(twice)
    kind = "catalog" if record == "catalog" else "profiles"
    assert info.n_skipped == {(kind, "duplicate"): 1}
    changed, (info,) = folded([*before, some("red"), some("blue")])
    assert pipeline.state_hash(changed) != pipeline.state_hash(once)
    assert not info.n_skipped


def test_a_record_brings_back_what_a_null_value_took():
    """After a tombstone the same record is news: the item is listed again, the user has his profile again."""
    item = CatalogItem(item_id="x", timestamp_ms=1)
    profile = Profile(user_id="ann", categorical={"country": ["FR"]}, timestamp_ms=1)
    state, (info,) = folded(
        [view("bob", "x"), item, ItemRetired("x"), item, profile, UserErased("ann"), profile]
    )
    assert not state.graph.unlistable[state.ids.items.row("x")]
    assert state.graph.users["nodes"][state.ids.users.row("ann")].any()
    assert not info.n_skipped


# --- late events ---


def sorted_history(items, times):
    """Brute force: the last items in the order of ticks, ties in that of the log; newest first."""
    order = sorted(range(len(items)), key=lambda n: (times[n] // TICK_MS, n))
    return [items[n] for n in order][::-1][:HISTORY]


@pytest.mark.parametrize("seed", range(4))
def test_histories_are_in_the_order_of_event_time(seed):
    """Shuffled a little or altogether, with ties: after every event the ring is the tail of all events sorted by time."""
    rng = np.random.default_rng(seed)
    n = 150
    times = (np.arange(n) * 3_000 + rng.integers(0, [1, 20_000, 200_000, 10**6][seed], n)).tolist()
    items = rng.integers(0, 60, n).tolist()
    graph = empty_graph(SIZES)
    for at in range(n):
        learn_all(graph, [3], [items[at]], [times[at]])
        assert history_of(graph, 3) == sorted_history(items[: at + 1], times[: at + 1])
        user = graph.users[3]
        # age k lies at n_events - 1 - k
        ticks = [int(user["ring_time"][(at - k) % HISTORY]) for k in range(min(at + 1, HISTORY))]
        assert ticks == sorted(ticks, reverse=True)
        assert (user["n_events"], user["last_time_ms"]) == (at + 1, max(times[: at + 1]))


def test_an_event_older_than_all_that_is_kept_is_learned_all_the_same():
    """It counts, and its item is taken; the history stays as it was."""
    log = [view("ann", f"i{n}", (n + 1) * DAY_MS) for n in range(HISTORY + 3)]
    state, _ = folded(log)
    before = history_of(state.graph, 0)
    state, info = pipeline.step(state, [view("ann", "old", 0)])
    row = state.ids.items.row("old")
    assert (info.n_late, state.graph.items["n_events"][row]) == (1, 1)
    assert history_of(state.graph, 0) == before
    user = state.graph.users[0]
    assert (user["n_events"], user["n_taken"]) == (HISTORY + 4, HISTORY + 4)
    assert not any(row in row_of(state.graph, item) for item in range(HISTORY + 3))
    listed = pipeline.rank_users(state, np.array([0], np.int32), 20).items
    assert row not in listed


def channels(graph, owner, item):
    """Evidence of a neighbour, in events of its owner: (SEQ, CO, LAG)."""
    found = row_of(graph, owner)[item]
    return [round(float(found[channel]), 5) for channel in (SEQ, CO, LAG)]


def test_a_late_event_is_paired_with_its_neighbours_in_time():
    """B happened between A and C and came last: A -> B and B -> C are pairs of neighbours, and C -> B is none."""
    a, b, c = 1, 2, 3
    graph = empty_graph(SIZES)
    learn_all(graph, [0, 0, 0], [a, c, b], [0, 20_000, 10_000])
    assert channels(graph, a, b) == channels(graph, b, c) == [1.0, 1.0, 1.0]
    assert channels(graph, c, b) == [0.5, 1.0, 0.0]
    assert channels(graph, b, a) == [0.5, 1.0, 0.0]


def test_a_late_event_reaches_as_far_as_the_window_both_ways():
    """Of two items before it and two after it, a late one is paired with the next on each side where the window is one."""
    graph = empty_graph(SIZES._replace(pair_window=1))
    learn_all(graph, [0] * 5, [1, 2, 4, 5, 3], [0, 10_000, 30_000, 40_000, 20_000])
    assert set(row_of(graph, 3)) == {2, 4}
    assert channels(graph, 2, 3) == channels(graph, 3, 4) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_neighbours_in_time_are_found_in_any_order(order):
    """Three events of one user: who follows whom at once does not depend on who came first."""
    graph = empty_graph(SIZES)
    learn_all(graph, [0] * 3, [n + 1 for n in order], [n * 10_000 for n in order])
    assert channels(graph, 1, 2)[:2] == channels(graph, 2, 3)[:2] == [1.0, 1.0]


def test_late_is_said_of_who_was_overtaken():
    """By a millisecond, and only by events of the same user; a late event begins no session."""
    _, (info,) = folded(
        [view("ann", "x", 10_000), view("bob", "x", 5), view("ann", "y", 9_999), view("ann", "z", 10_000)]
    )
    assert info.n_late == 1
    assert [bool(flags & LATE) for flags in info.outcomes.flags] == [False, False, True, False]
    assert not info.outcomes.flags[2] & NEW_SESSION


def test_the_context_of_a_late_event_is_not_the_user_s_last_one():
    """He is on his desk now, although the message from his phone came after that."""
    first, second = view("ann", "x", 9_000, device="desk"), view("ann", "y", 1_000, device="phone")
    state, _ = folded([first, second])
    device = state.ids.nodes.id(int(state.graph.users["nodes"][0].max()) - 1)
    assert device == "context:device=desk"


# --- erased users ---


@pytest.mark.parametrize("cuts", [(), (1, 2, 3, 4, 5)])
def test_what_an_erased_user_did_before_is_not_learned(cuts):
    """On a rebuild profiles come first: what was on the log by the tombstone is left out, what came later is not."""
    log = [
        view("bob", "x"),
        UserErased("ann"),
        view("ann", "y"),
        Profile(user_id="ann", categorical={"country": ["FR"]}, timestamp_ms=1),
        view("ann", "z"),
        view("bob", "y"),
    ]
    state, infos = folded(log, log_ms=[10, 100, 100, 99, 101, 50], cuts=cuts)
    clean, _ = folded([log[0], log[1], log[4], log[5]], log_ms=[10, 100, 101, 50])
    assert pipeline.state_hash(state) == pipeline.state_hash(clean)
    skipped = {key: n for info in infos for key, n in info.n_skipped.items()}
    assert skipped == {("interactions", "erased"): 1, ("profiles", "erased"): 1}


def test_without_times_of_the_log_nothing_is_left_out():
    """A data set from a file has none: a user who was erased, and is there again, is a new one."""
    log = [UserErased("ann"), view("ann", "y")]
    for log_ms in (None, [-1, -1]):
        state, (info,) = folded(log, log_ms=log_ms)
        assert (len(state.erased), info.n_interactions) == (0, 1)


def test_times_without_events_are_refused():
    """Each event has its own."""
    with pytest.raises(ValueError, match="log_ms: expected 1 times, one an event, got 2"):
        pipeline.step(pipeline.new_state(SIZES), [view("ann", "y")], log_ms=[1, 2])
