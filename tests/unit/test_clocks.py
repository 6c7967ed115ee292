"""Popularity clocks against exact decayed counts and full sorts."""

import numpy as np
import pytest
from entries import clock_weight
from twins import ClockTwin, empty_graph, events_of, learn_all

from streamer.graph import FoldSettings
from streamer.graph.clocks import RENORMALISE
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
