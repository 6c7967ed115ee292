"""Taste: what kind of items the user takes, where kind is how many events an item has, how old, how current and how idle it is.

A trait is a logarithm, as an item stands now. The ranker sees how far a candidate's traits are from those of the user's last
item and from their mean over his last items: one user takes what everyone knows, another what came yesterday.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.fastmath import log
from streamer.graph.clocks import clock_weight
from streamer.graph.histories import past_item
from streamer.graph.scratch import DEPTH
from streamer.graph.state import EVENTS, TRENDING
from streamer.ranker.state import LAST_TAKEN, MEAN, N_TRAITS, SHORT

N_EVENTS, AGE, CURRENCY, IDLE = range(N_TRAITS)
NAMES = (
    "count_from_mean",
    "age_from_mean",
    "currency_from_mean",
    "idle_from_mean",
    "count_from_last",
    "age_from_last",
    "currency_from_last",
)
_DECAYS = (0.95 ** np.arange(DEPTH)).astype(np.float32)
_FLOOR = np.float32(1e-5)  # share of the trending clock that an item out of fashion has


@kernel
def traits_of(graph, item_row, traits, c):
    """Write an item's traits into `traits[:, c]`, but for the logarithm; ages count events of the stream."""
    item = graph.items[item_row]
    now = graph.counters[EVENTS]
    per_mass = np.float32(1.0 / max(graph.clocks.mass[TRENDING], 1.0))
    traits[N_EVENTS, c] = np.float32(item["n_events"] + 1)
    traits[AGE, c] = np.float32(now - item["first_event"] + 1)
    traits[CURRENCY, c] = clock_weight(graph, TRENDING, item_row) * per_mass + _FLOOR
    traits[IDLE, c] = np.float32(now - item["last_event"] + 1)


@kernel
def _take_logs(traits, n):
    for t in range(N_TRAITS):
        trait = traits[t]
        for c in range(n):
            trait[c] = log(trait[c])


@kernel
def weigh_taste(graph, ranker, user_row, n_history):
    """Fill `ranker.taste` from the user's last items."""
    taste, traits, decays = ranker.taste, ranker.traits, np.float32(1e-6)
    taste[:] = 0.0
    for k in range(n_history):
        traits_of(graph, past_item(graph, user_row, k), traits, k)
    _take_logs(traits, n_history)
    for k in range(n_history):
        decays += _DECAYS[k]
    for t in range(N_TRAITS):
        for k in range(n_history):
            taste[MEAN, t] += _DECAYS[k] * traits[t, k]
        taste[MEAN, t] /= decays
        taste[LAST_TAKEN, t] = traits[t, 0] if n_history > 0 else np.float32(0.0)


@kernel
def weigh_traits(graph, ranker):
    """Fill `ranker.traits` for the short list."""
    n = ranker.n[SHORT]
    for c in range(n):
        traits_of(graph, ranker.row[c], ranker.traits, c)
    _take_logs(ranker.traits, n)


@kernel
def compare_taste(ranker, x):
    """Write the features of the short list, whose traits are in `ranker.traits`, into x[: len(NAMES)]."""
    taste, n = ranker.taste, ranker.n[SHORT]
    for t in range(N_TRAITS):
        own, from_mean, mean = ranker.traits[t], x[t], taste[MEAN, t]
        unit = np.float32(0.25 if t == IDLE else 0.5)
        for c in range(n):
            from_mean[c] = abs(own[c] - mean) * unit
    for t in range(IDLE):  # the last item was idle for no event at all: that says nothing
        own, from_last, last = ranker.traits[t], x[N_TRAITS + t], taste[LAST_TAKEN, t]
        for c in range(n):
            from_last[c] = abs(own[c] - last) * np.float32(0.5)
