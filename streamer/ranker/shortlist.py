"""The short list: which candidates the ranker puts in order, and what the mixture foretold of them.

The N_BEST most probable candidates, then the N_COLD most probable cold ones among the others, then, where there are fewer,
whatever is left. The mixture knows little of items with few events, and would keep most of them from the ranker (measured on
online-retail, cold items: .231 -> .243 with the same number of candidates; movietweetings .039 -> .043).
"""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.candidates import N_PROPOSED
from streamer.graph.rates import COLD
from streamer.ranker.state import N_BEST, N_RANKED, SHORT

_N_BINS = 2048  # of the leading bits of a probability
HALVED = 50.0  # foretold takes of an item above which old ones count half


@kernel
def shortlist(graph, cands, ranker):
    """Fill `ranker.candidate`; among equals at an edge, those that came first."""
    ranker.n[SHORT] = 0
    for at in range(cands.n[N_PROPOSED]):
        cands.short[cands.final[at]] = False
    _take(graph, cands, ranker, N_BEST, False)
    if ranker.n[SHORT] == N_BEST:
        _take(graph, cands, ranker, N_RANKED, True)
        _take(graph, cands, ranker, N_RANKED, False)


@kernel
def _may_take(graph, cands, index, only_cold):
    if cands.short[index] or cands.mixed[index] <= 0.0:
        return False
    return not only_cold or graph.items[cands.row[index]]["n_events"] < COLD


@kernel
def _take(graph, cands, ranker, n_most, only_cold):
    """Lengthen the short list to at most n_most by the most probable candidates that are not on it yet.

    As `candidates.choose_best`: the edge is found in a histogram of the float's leading bits.
    """
    n_proposed, room = cands.n[N_PROPOSED], n_most - ranker.n[SHORT]
    if room == 0:
        return
    bits, bins = cands.mixed.view(np.int32), cands.bins
    bins[:_N_BINS] = 0
    for at in range(n_proposed):
        if _may_take(graph, cands, cands.final[at], only_cold):
            bins[bits[cands.final[at]] >> 19] += 1
    edge, n_in = np.int32(_N_BINS), 0
    while edge > 0 and n_in + bins[edge - 1] <= room:
        edge -= 1
        n_in += bins[edge]
    room_at_edge = room - n_in
    for at in range(n_proposed):
        index = cands.final[at]
        place = bits[index] >> 19
        if (
            place < edge - 1
            or (place < edge and room_at_edge == 0)
            or not _may_take(graph, cands, index, only_cold)
        ):
            continue
        room_at_edge -= place < edge
        cands.short[index] = True
        ranker.candidate[ranker.n[SHORT]] = index
        ranker.n[SHORT] += 1


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
