"""Neighbour rows against dicts of evidence: every channel, decay, and the rule of a full bucket."""

import numpy as np
import pytest
from twins import RowsTwin, empty_graph, events_of, learn_all, row_of

from streamer.graph import FoldSettings
from streamer.graph.rows import NEIGHBOUR_HALF_LIFE
from streamer.graph.state import BACK, CO, LAG, LANES, SEQ

SIZES = FoldSettings(
    max_items=64, max_users=16, max_nodes=4, max_taken=4_096, n_neighbours=LANES, pair_window=6
)


def both(users, items, times, settings=SIZES):
    """The kernels' graph and the twin after the same events."""
    graph = empty_graph(settings)
    learn_all(graph, users, items, times)
    twin = RowsTwin(settings.pair_window)
    for user, item in zip(users, items, strict=True):
        twin.learn(int(user), int(item))
    return graph, twin


def assert_equal_rows(graph, twin, n_items):
    """The same neighbours with the same evidence, to the last bits of float32."""
    for owner in range(n_items):
        got, expected = row_of(graph, owner), twin.row(owner)
        assert set(got) == set(expected), owner
        for item, channels in expected.items():
            np.testing.assert_allclose(got[item], channels, rtol=1e-6, err_msg=f"{owner} -> {item}")


def test_one_pair_by_hand():
    """Two events of one user: the first item gets the second as follower, the second the first, backwards at half."""
    graph, _ = both([0, 0], [3, 5], [1_000, 2_000])
    aged = 2.0 ** (1.0 / NEIGHBOUR_HALF_LIFE)
    assert graph.items[3]["neighbour_scale"] == pytest.approx(aged)
    forward, back = row_of(graph, 3)[5], row_of(graph, 5)[3]
    assert forward[[SEQ, CO, LAG, BACK]].tolist() == [1.0, 1.0, 1.0, 0.0]
    assert back[[SEQ, CO, LAG, BACK]].tolist() == [0.5, 1.0, 0.0, 1.0]


def test_an_item_is_no_neighbour_of_itself():
    """Taking an item again pairs it with the other items of the history, never with itself."""
    graph, twin = both([0] * 4, [3, 3, 5, 3], [0, 1, 2, 3])
    assert set(row_of(graph, 3)) == {5}
    assert_equal_rows(graph, twin, 8)


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_are_not_full_hold_all_evidence(seed):
    """With fewer items than slots nothing is ever given up: rows equal dicts of decayed counts, on all channels."""
    users, items, times = events_of(np.random.default_rng(seed), 2_000, 12, LANES)
    graph, twin = both(users, items, times)
    assert_equal_rows(graph, twin, LANES)


@pytest.mark.parametrize("seed", range(3))
def test_a_full_bucket_gives_up_its_weakest_neighbour(seed):
    """A newcomer to a full bucket takes the slot with the least sequence and co-occurrence evidence, and only that."""
    users, items, times = events_of(np.random.default_rng(10 + seed), 1_500, 12, 60)
    graph, twin = both(users, items, times)
    assert max(len(twin.rows[owner]) for owner in range(60)) == LANES
    assert_equal_rows(graph, twin, 60)


def test_pairs_reach_as_far_as_the_window():
    """The item `pair_window` events ago is paired, the one before it is not."""
    graph, _ = both([0] * 8, list(range(8)), list(range(8)))
    assert set(row_of(graph, 7)) == {1, 2, 3, 4, 5, 6}


def test_evidence_survives_renormalisation():
    """After more events of the owner than its unit can grow, evidence is what plain decay says."""
    n = int(NEIGHBOUR_HALF_LIFE * 17)  # the unit doubles every half-life and is cut at 2 ** 16
    users, items = [0, 0] + [1] * n, [3, 5] + [3] * n
    graph, _ = both([0, 0], [3, 5], [0, 1])
    learn_all(graph, users[2:], items[2:], range(2, n + 2))
    assert graph.items[3]["neighbour_scale"] < 65_536
    assert row_of(graph, 3)[5][CO] == pytest.approx(2.0**-17, rel=1e-2)


def test_more_buckets_keep_more_neighbours():
    """With eight buckets a row keeps more than one bucket's neighbours, each in its own bucket and none twice."""
    users, items, times = events_of(np.random.default_rng(5), 1_000, 12, 60)
    graph = empty_graph(SIZES._replace(n_neighbours=8 * LANES))
    learn_all(graph, users, items, times)
    assert max(len(row_of(graph, owner)) for owner in range(60)) > LANES
    bucket_of = {}
    for ids in graph.neighbour:
        slots = np.nonzero(ids)[0]
        assert len(set(ids[slots].tolist())) == slots.size
        for slot in slots.tolist():
            assert bucket_of.setdefault(int(ids[slot]), slot // LANES) == slot // LANES
    assert len(set(bucket_of.values())) == 8
