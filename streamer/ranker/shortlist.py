"""The short list: which candidates the ranker puts in order, and what the mixture foretold of them.

The N_BEST most probable candidates, then the N_COLD most probable cold ones among the others, then, where there are fewer,
whatever is left. The mixture knows little of items with few events, and would keep most of them from the ranker (measured on
online-retail, cold items: .231 -> .243 with the same number of candidates; movietweetings .039 -> .043).
"""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.rates import COLD
from streamer.graph.scratch import N_PROPOSED
from streamer.ranker.state import N_BEST, N_RANKED, SHORT

_N_BINS = 2048  # of the leading bits of a probability
HALVED = 50.0  # foretold takes of an item above which old ones count half


@kernel
def shortlist(cands, ranker):
    """Fill `ranker.candidate`; among equals at an edge, those who wait in front."""
    waiting, n = cands.waiting, 0
    for at in range(cands.n[N_PROPOSED]):
        waiting[n] = cands.final[at]
        n += cands.mixed[cands.final[at]] > 0.0
    ranker.n[SHORT] = 0
    n = _take(cands, ranker, n, N_BEST)
    if n == 0:
        return
    # the cold ones to the front
    n_cold = 0
    for at in range(n):
        index = waiting[at]
        if cands.n_events[index] < COLD:
            waiting[at] = waiting[n_cold]
            waiting[n_cold] = index
            n_cold += 1
    if _take(cands, ranker, n_cold, N_RANKED) == 0:
        for at in range(n - n_cold):
            waiting[at] = waiting[n_cold + at]
        _take(cands, ranker, n - n_cold, N_RANKED)


@kernel
def _take(cands, ranker, n_waiting, n_most):
    """Lengthen the short list to at most n_most by the most probable of those who wait. Returns how many wait still.

    As `candidates.choose_best`: the edge is found in a histogram of the float's leading bits.
    """
    bits, bins, waiting = cands.mixed.view(np.int32), cands.bins, cands.waiting
    room = n_most - ranker.n[SHORT]
    edge, room_at_edge = np.int32(0), 0
    if n_waiting > room:
        bins[:_N_BINS] = 0
        for at in range(n_waiting):
            bins[bits[waiting[at]] >> 19] += 1
        edge, n_in = np.int32(_N_BINS), 0
        while edge > 0 and n_in + bins[edge - 1] <= room:
            edge -= 1
            n_in += bins[edge]
        room_at_edge = room - n_in
    n_left = 0
    for at in range(n_waiting):
        index = waiting[at]
        place = bits[index] >> 19
        if place >= edge or (place == edge - 1 and room_at_edge > 0):
            room_at_edge -= place < edge
            ranker.candidate[ranker.n[SHORT]] = index
            ranker.n[SHORT] += 1
        else:
            waiting[n_left] = index
            n_left += 1
    return n_left


@kernel
def calibrate(graph, cands, ranker, taken):
    """Hold what the mixture foretold of the short list against what was taken (`taken`: number in the short list, or -1)."""
    for c in range(ranker.n[SHORT]):
        item = graph.items[cands.row[ranker.candidate[c]]]
        item["expected"] += cands.mixed[ranker.candidate[c]]
        if c == taken:
            item["hits"] += np.float32(1.0)
        if item["expected"] > HALVED:
            item["expected"] *= np.float32(0.5)
            item["hits"] *= np.float32(0.5)


@kernel
def place_of(ranker, index):
    """Number of a candidate on the short list, -1 when it is not there."""
    for c in range(ranker.n[SHORT]):
        if ranker.candidate[c] == index:
            return c
    return -1
