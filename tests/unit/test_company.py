"""Company: sketches against sums of random directions by hand, and that they tell who keeps the same company."""

import numpy as np
import pytest
from entries import company_of
from twins import events_of, history_of, learn_all

from streamer.graph import FoldSettings, new_graph
from streamer.graph.state import COMPANY, WITH_RANKER
from streamer.ranker import new_ranker
from streamer.ranker.company import NAMES

SIZES = FoldSettings(max_items=64, max_users=256, max_nodes=4, max_taken=8_192, n_neighbours=16)
MASK = 2**64 - 1


def direction(row):
    """+1 or -1 for each bit of splitmix64(row), written down once more."""
    z = (row + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    z ^= z >> 31
    return np.array([1.0 - 2.0 * ((z >> d) & 1) for d in range(COMPANY)])


def test_a_sketch_is_the_fading_sum_of_what_came_before():
    """Two takes of item 3: after 1, 2 by one user, after 2 by another; earlier items weigh less, older takes fade."""
    graph = new_graph(SIZES, 1, ["one"])
    learn_all(graph, [0, 0, 0, 1, 1], [1, 2, 3, 2, 3], range(5))
    by_hand = 0.999 * (direction(2) + 0.9 * direction(1)) + direction(2)
    np.testing.assert_allclose(graph.company.sum[3], by_hand, rtol=1e-5)
    unit = by_hand / np.linalg.norm(by_hand)
    np.testing.assert_allclose(graph.company.code[3] / 127.0, unit, atol=1.0 / 127.0)
    assert not graph.company.sum[1].any()  # nothing was taken before it


def test_an_item_keeps_no_company_with_itself():
    """Taken once more after 1, item 2 has 1 two steps before it, and not itself."""
    graph = new_graph(SIZES, 1, ["one"])
    learn_all(graph, [0, 0, 0], [1, 2, 2], range(3))
    by_hand = 0.999 * direction(1) + 0.9 * direction(1)
    np.testing.assert_allclose(graph.company.sum[2], by_hand, rtol=1e-5)


@pytest.mark.parametrize("pair_window", [1, 10])
def test_a_late_item_keeps_company_with_what_came_before_it_in_time(pair_window):
    """Item 4 came last, and happened between 2 and 3: 3 is not in its company, 2 in full, and 1 where the window reaches."""
    graph = new_graph(SIZES._replace(pair_window=pair_window), 1, ["one"])
    learn_all(graph, [0] * 4, [1, 2, 3, 4], [0, 10_000, 30_000, 20_000])
    by_hand = direction(2) + (0.9 * direction(1) if pair_window > 1 else 0.0)
    np.testing.assert_allclose(graph.company.sum[4], by_hand, rtol=1e-5)


def test_without_the_ranker_nobody_pays_for_it():
    """A switched-off ranker leaves every sketch empty."""
    graph = new_graph(SIZES._replace(without=("ranker",)), 1, ["one"])
    assert not graph.switches[WITH_RANKER]
    learn_all(graph, [0, 0], [1, 2], range(2))
    assert not graph.company.sum.any()


def test_items_that_keep_the_same_company_are_alike_though_nobody_took_both():
    """5 and 6 are taken after 1 to 4, by different users; 15 after 11 to 14. Whoever has taken 5 finds 6 alike, not 15."""
    graph, users, items = new_graph(SIZES, 1, ["one"]), [], []
    for user in range(60):
        start, last = ((1, 5), (1, 6), (11, 15))[user % 3]
        users += [user] * 5
        items += [*range(start, start + 4), last]
    learn_all(graph, users, items, range(len(users)))
    x = np.zeros((len(NAMES), 2), np.float32)
    company_of(graph, new_ranker(8), 0, 1, np.array([6, 15]), x)  # user 0 took 5 last
    assert (x[:, 0] > 0.9).all()
    assert (np.abs(x[:, 1]) < 0.5).all()


def test_an_item_without_company_is_like_nothing():
    """Neither as a candidate nor as what the user took."""
    graph = new_graph(SIZES, 1, ["one"])
    learn_all(graph, [0, 1, 1], [1, 2, 3], range(3))
    x = np.ones((len(NAMES), 1), np.float32)
    company_of(graph, new_ranker(8), 0, 1, np.array([3]), x)
    assert not x.any()
    company_of(graph, new_ranker(8), 1, 2, np.array([1]), x)
    assert not x.any()


def test_the_company_of_a_user_is_that_of_his_last_items():
    """Fading by .7, by .95, and of the last item alone: an item's features are its cosines with the three sums."""
    graph = new_graph(SIZES._replace(without=("vectors",)), 1, ["one"])
    users, items, times = events_of(np.random.default_rng(3), 900, 6, 60)
    learn_all(graph, users, items, times)
    code, rows, x = graph.company.code / 127.0, np.arange(60), np.zeros((len(NAMES), 60), np.float32)
    for user in range(6):
        past = history_of(graph, user)
        company_of(graph, new_ranker(8), user, len(past), rows, x)
        for got, kept in zip(x, (0.7, 0.95, 0.0), strict=True):
            total = sum(kept**k * code[row] for k, row in enumerate(past))
            unit = np.trunc(127.0 * total / np.linalg.norm(total)) / 127.0
            np.testing.assert_allclose(got, np.minimum(code[rows] @ unit, 1.0), atol=0.01)
    assert x.std() > 0.1
