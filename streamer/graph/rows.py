"""Neighbour rows: for every item, a bounded hash table of items seen near it, with decayed evidence of four kinds.

    neighbour[item]            | 16 ids | 16 ids | ...          one bucket is one cache line
    evidence[item, slot]       | 4 f32 | 4 f32 | ...            SEQ, CO, LAG, SESSION: four slots a cache line

A neighbour lives in the bucket that its hash names; a full bucket gives up its weakest slot. Evidence is forgotten by the
owner's own events: an item bought once a day keeps its neighbours for as many of *its* events as one bought every second.
What is taken together, in any order, is remembered ten times as long as what follows what.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.state import CHANNELS, CO, LANES, SEQ

NEIGHBOUR_HALF_LIFE = 20.0  # events of the owner
TOGETHER_HALF_LIFE = 200.0  # the same, of CO
_GROWTH = np.float32(2.0 ** (1.0 / NEIGHBOUR_HALF_LIFE))
_TOGETHER_GROWTH = np.float32(2.0 ** (1.0 / TOGETHER_HALF_LIFE))
_RENORMALISE = np.float32(65536.0)


@kernel
def bucket_of(item_row, n_buckets):
    """First slot of a neighbour's bucket: Fibonacci hashing, masked since numba widens uint32 products."""
    mixed = (np.uint64(item_row) * np.uint64(2654435769)) & np.uint64(0xFFFFFFFF)
    return np.int64((mixed * np.uint64(n_buckets)) >> np.uint64(32)) * LANES


@kernel
def find_slot(graph, owner, item_row):
    """Slot of a neighbour in its owner's row; made, if need be, by giving up the weakest of its bucket."""
    ids = graph.neighbour[owner]
    start = bucket_of(item_row, ids.size // LANES)
    for slot in range(start, start + LANES):
        if ids[slot] == item_row + 1:
            return slot
    chosen, least = start, np.float32(np.inf)
    per_scale = np.float32(1.0) / graph.items[owner]["neighbour_scale"]
    per_together = np.float32(1.0) / graph.items[owner]["together_scale"]
    for slot in range(start, start + LANES):
        if ids[slot] == 0:
            chosen = slot
            break
        weight = graph.evidence[owner, slot, SEQ] * per_scale + graph.evidence[owner, slot, CO] * per_together
        if weight < least:
            chosen, least = slot, weight
    ids[chosen] = item_row + 1
    for channel in range(CHANNELS):
        graph.evidence[owner, chosen, channel] = 0.0
    return chosen


@kernel
def age_row(graph, owner):
    """One more event of the owner: from now on, evidence weighs a little more."""
    item = graph.items[owner]
    item["neighbour_scale"] *= _GROWTH
    item["together_scale"] *= _TOGETHER_GROWTH
    if item["neighbour_scale"] >= _RENORMALISE:
        item["neighbour_scale"] /= _RENORMALISE
        for slot in range(graph.neighbour.shape[1]):
            for channel in range(CHANNELS):
                if channel != CO:
                    graph.evidence[owner, slot, channel] /= _RENORMALISE
    if item["together_scale"] >= _RENORMALISE:
        item["together_scale"] /= _RENORMALISE
        for slot in range(graph.neighbour.shape[1]):
            graph.evidence[owner, slot, CO] /= _RENORMALISE
