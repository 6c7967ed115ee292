"""Popularity clocks against exact decayed counts and full sorts."""

import numpy as np
import pytest
from entries import clock_weight
from twins import ClockTwin, empty_graph, events_of, learn_all

from streamer import checkpoint, pipeline
from streamer.events import CatalogItem, Interaction, ItemRetired
from streamer.graph import FoldSettings
from streamer.graph.catalog import offer_again, withdraw
from streamer.graph.clocks import BEHIND, REFILL, RENORMALISE
from streamer.graph.removal import leave_clocks
from streamer.graph.state import (
    ALL_TIME,
    AUDIENCES,
    EVERYONE,
    HALF_LIVES,
    N_CLOCKS,
    NEWCOMERS,
    STARTERS,
    TOP,
)
from streamer.measure import Scoreboard
from streamer.outcomes import COUNTED

SIZES = FoldSettings(
    max_items=600, max_users=1_000, max_nodes=4, max_taken=65_536, n_neighbours=16, pair_window=1
)


@pytest.fixture(scope="module")
def after_many_events():
    """A graph and one twin a clock after 9,000 events on 600 items: 18 epochs of the fastest clock."""
    users, items, times = events_of(np.random.default_rng(11), 9_000, 1_000, 600, max_gap_ms=4_000)
    items[4_500:] = items[4_500:] // 2  # half of the items are never seen again: older than every epoch kept
    graph = empty_graph(SIZES)
    learn_all(graph, users, items, times)
    twins = [ClockTwin(half_life) for half_life in HALF_LIVES]
    n_before, time_before = [0] * 1_000, [0] * 1_000
    for user, item, time_ms in zip(users.tolist(), items.tolist(), np.asarray(times).tolist(), strict=True):
        counts = {
            EVERYONE: True,
            STARTERS: n_before[user] == 0 or time_ms - time_before[user] > SIZES.session_gap_s * 1000,
            NEWCOMERS: n_before[user] < 5,
        }
        for twin, audience in zip(twins, AUDIENCES, strict=True):
            if counts[audience]:
                twin.tick(item)
        n_before[user] += 1
        time_before[user] = max(time_ms, time_before[user])
    return graph, twins


@pytest.mark.parametrize("clock", range(N_CLOCKS))
def test_weights_are_the_decayed_counts(after_many_events, clock):
    """An item's weight is the exact decayed count, to the last bit, however many epochs went by; too old is zero."""
    graph, twins = after_many_events
    epoch = int(graph.clocks.epoch[clock])
    for item, expected in twins[clock].weight.items():
        n_behind = epoch - int(graph.items[item]["epoch"][clock])
        got = float(graph.items[item]["weight"][clock]) * RENORMALISE ** -float(n_behind)
        assert got == expected / RENORMALISE ** float(epoch)


def test_what_was_written_eight_epochs_ago_weighs_nothing(after_many_events):
    """Before that, what plain halving says."""
    graph, _ = after_many_events
    n_behind = int(graph.clocks.epoch[0]) - graph.items["epoch"][:, 0].astype(int)
    assert {0, 7, 8} <= set(n_behind.tolist())
    for item, n in enumerate(n_behind.tolist()):
        expected = float(graph.items["weight"][item, 0]) * RENORMALISE ** -float(n) if n < 8 else 0.0
        assert clock_weight(graph, 0, item) == np.float32(expected)


@pytest.mark.parametrize("clock", range(N_CLOCKS))
def test_ordered_list_equals_a_full_sort(after_many_events, clock):
    """The list of a clock is the first TOP of a full sort: heaviest first, ties in the order the weight was reached."""
    graph, twins = after_many_events
    assert len(twins[clock].weight) > TOP
    assert graph.clocks.top[clock, : graph.clocks.n_top[clock]].tolist() == twins[clock].top()


@pytest.mark.parametrize("clock", range(N_CLOCKS))
def test_positions_name_the_places_of_the_list(after_many_events, clock):
    """An item knows its place in the list, and an item outside of it knows that too."""
    graph, _ = after_many_events
    places = {int(item): place + 1 for place, item in enumerate(graph.clocks.top[clock])}
    assert [places.get(item, 0) for item in range(600)] == graph.items["position"][:, clock].tolist()


@pytest.mark.parametrize("clock", range(N_CLOCKS))
def test_mass_is_the_weight_of_all_items(after_many_events, clock):
    """The mass of a clock is what all events together weigh now."""
    graph, twins = after_many_events
    epoch = int(graph.clocks.epoch[clock])
    assert graph.clocks.mass[clock] == pytest.approx(
        twins[clock].mass / RENORMALISE ** float(epoch), rel=1e-9
    )


def test_the_stream_went_through_more_epochs_than_are_kept(after_many_events):
    """The test above means something: the fastest clock renormalised more often than old weights are read."""
    graph, _ = after_many_events
    assert graph.clocks.epoch[0] > 8
    assert graph.clocks.epoch[ALL_TIME] == 0


def test_each_audience_is_a_part_of_the_stream(after_many_events):
    """The tests above mean something: clocks of sessions' beginnings and of newcomers count some events, not all."""
    _, twins = after_many_events
    n_ticks = {audience: twin.n_ticks for audience, twin in zip(AUDIENCES, twins, strict=True)}
    assert n_ticks[EVERYONE] == 9_000
    assert 2_000 < n_ticks[STARTERS] < 8_000
    assert 2_000 < n_ticks[NEWCOMERS] < 8_000


def test_ties_keep_the_order_of_first_arrival():
    """Items with equal counts are listed in the order in which they reached that count."""
    graph = empty_graph(SIZES)
    learn_all(graph, [0, 1, 2, 3, 4], [9, 4, 7, 4, 9], [1, 2, 3, 4, 5])
    assert graph.clocks.top[ALL_TIME, :3].tolist() == [4, 9, 7]


def test_a_forgotten_hit_falls_behind_on_the_fast_clock_only():
    """Ten old events outweigh one new event where nothing is forgotten; at the shortest half-life the new one wins."""
    graph = empty_graph(SIZES)
    items = [0] * 10 + list(range(10, 310)) + [1]
    learn_all(graph, [0] * len(items), items, range(len(items)))
    fast = graph.clocks.top[0].tolist()
    assert fast[0] == 1
    assert 0 not in fast[:100]
    assert graph.clocks.top[ALL_TIME, 0] == 0


def test_plain_popularity_goes_on_where_float32_stops():
    """An item with more events than float32 can count by ones rises on, and past one that was as popular."""
    graph = empty_graph(SIZES)
    learn_all(graph, np.array([0, 1]), np.array([0, 1]), [0, 0])
    graph.items["n_events"][:2] = 2**24
    graph.items["weight"][:2, ALL_TIME] = 2.0**24
    learn_all(graph, np.arange(2, 12), np.ones(10, int), list(range(10)))
    assert graph.items["weight"][1, ALL_TIME] == pytest.approx(2**24 + 10, abs=1)
    assert graph.clocks.top[ALL_TIME, :2].tolist() == [1, 0]


def check_lists(graph, n_items):
    """Each list against a look at all items: heaviest first, nobody heavier behind it, places known, nobody who is gone.

    Returns:
        How many of the lists are cut.
    """
    n_cut = 0
    for clock in range(N_CLOCKS):
        n_top = int(graph.clocks.n_top[clock])
        top, tail = graph.clocks.top[clock, :n_top].tolist(), graph.clocks.top[clock, n_top:].tolist()
        n_behind = graph.clocks.epoch[clock] - graph.items["epoch"][:n_items, clock].astype(int)
        exact = graph.items["weight"][:n_items, clock] * RENORMALISE ** -np.minimum(n_behind, 8.0)
        weights = np.where(n_behind < 8, exact, 0.0).astype(np.float32).tolist()
        listed = [weights[row] for row in top]
        behind = [weights[row] for row in range(n_items) if row not in top and not graph.unlistable[row]]
        places = {row: place + 1 for place, row in enumerate(top)}
        assert listed == sorted(listed, reverse=True)
        assert [places.get(row, 0) for row in range(n_items)] == graph.items["position"][
            :n_items, clock
        ].tolist()
        assert not graph.unlistable[top].any()
        if n_top == TOP or tail[-1] == BEHIND:
            assert n_top >= REFILL
            assert max(behind, default=0.0) <= listed[-1]
            n_cut += n_top < TOP
        else:  # complete: the others were never counted on this clock, or came back when all of it was forgotten
            assert not any(behind)
        assert not any(tail[:-1])
    return n_cut


def test_who_goes_makes_room_and_who_comes_back_has_his_place():
    """After any retirements and returns the lists are those of the others: popular ones go and come, and all but a few go."""
    rng = np.random.default_rng(12)
    graph, n_cut, n_filled_up, n_before = empty_graph(SIZES), 0, 0, np.zeros(N_CLOCKS, int)
    for n in range(60):
        users, items, times = events_of(rng, 150, 1_000, 600, max_gap_ms=4_000)
        learn_all(graph, users, items, times + n)  # of who is gone, too: its weights grow
        gone = np.flatnonzero(graph.unlistable)
        for row in rng.choice(gone, gone.size // (2 if n < 40 else 20), replace=False).tolist():
            offer_again(graph, row)
        there = graph.clocks.top[ALL_TIME, : graph.clocks.n_top[ALL_TIME]]
        n_going = min(50 if n % 3 else 3, there.size)
        for row in rng.choice(there, n_going, replace=False).tolist():
            withdraw(graph, row, 600)
            n_filled_up += np.count_nonzero(graph.clocks.n_top > n_before)
            n_before = graph.clocks.n_top.copy()
        n_cut += check_lists(graph, 600)
        n_before = graph.clocks.n_top.copy()
    assert n_cut > 20
    assert n_filled_up > 5
    assert graph.clocks.n_top[ALL_TIME] < REFILL  # in the end it is complete, and short


def test_lists_that_were_cut_are_filled_up_when_items_are_evicted():
    """Whoever gives up his row leaves a list that somebody left before; the heaviest of all who are there come up."""
    graph = empty_graph(SIZES)
    learn_all(graph, *events_of(np.random.default_rng(13), 6_000, 1_000, 600, max_gap_ms=4_000))
    for row in graph.clocks.top[ALL_TIME, :20].tolist():
        withdraw(graph, row, 600)
    assert check_lists(graph, 600) > 1
    assert graph.clocks.n_top[ALL_TIME] == TOP - 20
    is_gone = np.zeros(601, np.bool_)
    leave_clocks(graph, is_gone)  # nobody on a list: nothing moves, and what was cut is known to be
    assert check_lists(graph, 600) > 1
    rows = np.unique(graph.clocks.top[:, :10])
    is_gone[rows + 1] = True
    graph.unlistable[rows] = True
    leave_clocks(graph, is_gone)
    graph.items["position"][rows] = 0  # as their records are cleared
    assert check_lists(graph, 600) == 0
    assert graph.clocks.n_top[ALL_TIME] == TOP


PLAIN = SIZES._replace(
    max_nodes=16, without=("vectors", "ranker"), text_model="none", dedup_window=0, explore_share=0.0
)


def a_day(day, n_events=200, n_items=90):
    """Views of the day's news, of which some are far more popular than others, each by a user of his own."""
    rng = np.random.default_rng(day)
    share = 1.0 / np.arange(1, n_items + 1) ** 0.7
    items = [*range(n_items), *rng.choice(n_items, n_events - n_items, p=share / share.sum())]
    n_before = day * n_events
    return [
        Interaction(f"u{n % 900}", f"d{day}-{item}", "view", 60_000 * n)
        for n, item in enumerate(items, n_before)
    ]


def test_yesterdays_news_does_not_stand_in_the_way_of_todays():
    """The popularity baseline is that of what can be had: as many hits as plain counting of today's items gives."""
    state = pipeline.new_state(PLAIN)
    for day in range(4):  # 360 items: more than a list has places
        state, _ = pipeline.step(state, a_day(day), 0.0)
        state, _ = pipeline.step(state, [ItemRetired(f"d{day}-{item}") for item in range(90)])
    today = a_day(4, 400)
    state, info = pipeline.step(state, today)
    ranks, counted = info.outcomes.rank_popularity, info.outcomes.flags & COUNTED > 0
    counts, expected = dict[str, int](), []
    for event in today:
        own = counts.get(event.item_id, 0)
        expected.append(sum(count >= own for count in counts.values()) if own else 0)
        counts[event.item_id] = own + 1
    assert np.count_nonzero(counted) > 250
    assert ranks[counted].tolist() == np.array(expected)[counted].tolist()


@pytest.mark.parametrize("size", [1, 37])
def test_any_cut_of_a_log_with_retirements_fills_up_alike(size):
    """One by one, in batches, all at once: the same state, though lists were cut and filled up meanwhile."""
    rng, log = np.random.default_rng(14), []
    for n in range(900):
        log.append(
            Interaction(f"u{n % 700}", f"i{n % 450 if n < 450 else rng.integers(450)}", "view", 60_000 * n)
        )
        if n > 450:
            item_id = f"i{rng.integers(450)}"
            log.append(ItemRetired(item_id))
            if n % 3 == 0:
                log.append(CatalogItem(item_id=f"i{rng.integers(450)}", timestamp_ms=n, available=n % 2 == 0))
    whole, _ = pipeline.step(pipeline.new_state(PLAIN), log, 0.0)
    assert check_lists(whole.graph, whole.ids.items.n_rows) + whole.graph.unlistable.sum() > 100
    state = pipeline.new_state(PLAIN)
    for begin in range(0, len(log), size):
        state, _ = pipeline.step(state, log[begin : begin + size], 0.0)
    assert pipeline.state_hash(state) == pipeline.state_hash(whole)


def test_a_checkpoint_with_retired_items_on_its_lists_is_mended():
    """Earlier versions left them there. Whoever starts from one has them on no list."""
    state, _ = pipeline.step(pipeline.new_state(PLAIN), [*a_day(0), *a_day(1)], 0.0)
    state.graph.unlistable[:40] = True  # as it was done before
    arrays = checkpoint.freeze(state, Scoreboard())()
    meta = checkpoint.Meta({"k": "v"}, [("interactions", 0, 7)], 3, 1, 2, "test")
    reader = checkpoint.Reader([b"".join(checkpoint.written(meta, arrays))])
    again = checkpoint.restore(checkpoint.read_header(reader), reader, PLAIN, None).state
    check_lists(again.graph, again.ids.items.n_rows)
    assert again.graph.clocks.n_top[ALL_TIME] == 180 - 40
