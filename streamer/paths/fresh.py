"""Fresh: what arrived in the catalog lately, the newest first."""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.candidates import choose, find
from streamer.graph.state import ARRIVALS, N_FRESH

_DECAY = np.float32(0.9)  # an arrival


@kernel
def propose(graph, cands, user_row, path):
    """The last arrivals."""
    for age in range(min(graph.counters[ARRIVALS], N_FRESH)):
        item_row = graph.fresh[(graph.counters[ARRIVALS] - 1 - age) % N_FRESH]
        if item_row >= 0:
            choose(graph, cands, user_row, np.int64(item_row))


@kernel
def score(graph, cands, user_row, path):
    """Geometric in the age, counted in arrivals."""
    weight, mass = np.float32(1.0), 0.0
    for age in range(min(graph.counters[ARRIVALS], N_FRESH)):
        item_row = graph.fresh[(graph.counters[ARRIVALS] - 1 - age) % N_FRESH]
        index = find(cands, np.int64(item_row)) if item_row >= 0 else np.int64(-1)
        if index >= 0 and cands.chosen[index]:
            cands.score[path, index] = weight
            mass += weight
        weight *= _DECAY
    cands.mass[path] = mass
