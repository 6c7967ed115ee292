"""Neighbour rows: for every item, a bounded hash table of items seen near it, with decayed evidence of four kinds.

    neighbour[item]            | 16 ids | 16 ids | ...          one bucket is one cache line
    evidence[item, slot]       | 4 f32 | 4 f32 | ...            SEQ, CO, LAG, BACK: four slots a cache line

A neighbour lives in the bucket that its hash names; a full bucket gives up its weakest slot. Evidence is forgotten by the
owner's own events: an item bought once a day keeps its neighbours for as many of *its* events as one bought every second.
"""

import numpy as np

from streamer.cachelines import bring
from streamer.compiled import kernel
from streamer.graph.state import CHANNELS, CO, ITEM_BYTES, LANES, SEQ

NEIGHBOUR_HALF_LIFE = 20.0  # events of the owner
_GROWTH = np.float32(2.0 ** (1.0 / NEIGHBOUR_HALF_LIFE))
_RENORMALISE = np.float32(65536.0)
_ID_BYTES, _SLOT_BYTES = 4, 4 * CHANNELS  # of a slot: in `neighbour`, in `evidence`


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
    for slot in range(start, start + LANES):
        if ids[slot] == 0:
            chosen = slot
            break
        weight = graph.evidence[owner, slot, SEQ] + graph.evidence[owner, slot, CO]
        if weight < least:
            chosen, least = slot, weight
    ids[chosen] = item_row + 1
    for channel in range(CHANNELS):
        graph.evidence[owner, chosen, channel] = 0.0
    return chosen


@kernel
def age_row(graph, owner):
    """One more event of the owner: from now on, evidence weighs a little more."""
    scale = graph.items[owner]["neighbour_scale"] * _GROWTH
    if scale >= _RENORMALISE:
        scale /= _RENORMALISE
        for channel in range(CHANNELS):
            for slot in range(graph.neighbour.shape[1]):
                graph.evidence[owner, slot, channel] /= _RENORMALISE
    graph.items[owner]["neighbour_scale"] = scale


@kernel
def bring_ids(graph, owner):
    """Ask for the ids of a row, and for the record of its owner, which holds their scale."""
    bring(graph.items, owner, ITEM_BYTES)
    bring(graph.neighbour, owner, graph.neighbour.shape[1] * _ID_BYTES)


@kernel
def bring_evidence(graph, owner):
    """Ask for the evidence of a row: 32 lines of 128 neighbours, more than a processor asks for by itself in time."""
    bring(graph.evidence, owner, graph.neighbour.shape[1] * _SLOT_BYTES)
