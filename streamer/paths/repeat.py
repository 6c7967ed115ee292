"""Repeat: what the user took before, by how often and how long ago. Silent where repeats are off.

Measured on complete-journey: a second path for what he took lately (half-way age 10) takes half of this one's weight and
costs .002 of the hit ratio, so there is one.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.candidates import choose, find
from streamer.graph.histories import n_slots

_N_PROPOSED = 400  # at most: an item is proposed when it has this share of the mass
_POWER = 2.0  # of the count: habits beat accidents
_HALF = 400.0  # the user's own events after which a take counts half


@kernel
def _worth(graph, user_row, slot):
    since = graph.users[user_row]["n_events"] - graph.taken.last[slot]
    return np.float32(graph.taken.times[slot] ** _POWER / (1.0 + since / _HALF))


@kernel
def propose(graph, cands, user_row, path):
    """The items with a share of the mass worth looking at."""
    if not graph.repeats or user_row < 0:
        return
    user = graph.users[user_row]
    slots = range(user["taken_start"], user["taken_start"] + n_slots(user))
    mass = 0.0
    for slot in slots:
        if graph.taken.item[slot] != 0:
            mass += _worth(graph, user_row, slot)
    cands.mass[path] = mass
    for slot in slots:
        if graph.taken.item[slot] != 0 and _worth(graph, user_row, slot) * _N_PROPOSED >= mass:
            choose(graph, cands, user_row, np.int64(graph.taken.item[slot] - 1))


@kernel
def score(graph, cands, user_row, path):
    """Count squared over hyperbolic age, in the user's own events."""
    if cands.mass[path] == 0.0:
        return
    user = graph.users[user_row]
    for slot in range(user["taken_start"], user["taken_start"] + n_slots(user)):
        if graph.taken.item[slot] != 0:
            index = find(cands, np.int64(graph.taken.item[slot] - 1))
            if index >= 0 and cands.chosen[index]:
                cands.score[path, index] = _worth(graph, user_row, slot)
