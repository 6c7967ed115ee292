"""Taste: distances of an item's traits from those of the user's last items, against plain arithmetic."""

from math import log

import numpy as np
from entries import clock_weight, compare_taste, weigh_taste, weigh_traits
from twins import learn_all

from streamer.graph import FoldSettings, new_graph
from streamer.graph.state import EVENTS, TRENDING
from streamer.ranker import new_ranker
from streamer.ranker.state import SHORT, WIDTH
from streamer.ranker.taste import NAMES

SIZES = FoldSettings(max_items=16, max_users=8, max_nodes=4, max_taken=1_024, n_neighbours=16)


def traits_by_hand(graph, row):
    """log of events + 1, of age + 1, of share of the trending clock, of idle events + 1."""
    item, now = graph.items[row], int(graph.counters[EVENTS])
    share = float(clock_weight(graph, TRENDING, row)) / float(graph.clocks.mass[TRENDING])
    ages = now - int(item["first_event"]), now - int(item["last_event"])
    return [log(item["n_events"] + 1), log(ages[0] + 1), log(share + 1e-5), log(ages[1] + 1)]


def test_features_are_distances_from_the_mean_and_from_the_last_item():
    """Three items by one user, a candidate by others: every feature equals |trait - mean| or |trait - last|, scaled."""
    graph = new_graph(SIZES, 1, ["one"])
    users, items = [1, 2, 3, 0, 4, 0, 5, 0], [5, 5, 1, 1, 5, 2, 2, 3]
    learn_all(graph, users, items, range(len(users)))
    ranker, x = new_ranker(8), np.zeros((len(NAMES), WIDTH), np.float32)
    weigh_taste(graph, ranker, 0, 3)
    ranker.row[0], ranker.n[SHORT] = 5, 1
    weigh_traits(graph, ranker)
    compare_taste(ranker, x)
    past = [traits_by_hand(graph, row) for row in (3, 2, 1)]  # newest first
    weights = [0.95**k for k in range(3)]
    mean = [sum(w * p[t] for w, p in zip(weights, past, strict=True)) / sum(weights) for t in range(4)]
    own = traits_by_hand(graph, 5)
    by_mean = [abs(own[t] - mean[t]) * scale for t, scale in enumerate((0.5, 0.5, 0.5, 0.25))]
    by_last = [abs(own[t] - past[0][t]) * 0.5 for t in range(3)]
    np.testing.assert_allclose(x[:, 0], by_mean + by_last, atol=1e-4)
