"""The short list: which candidates the ranker puts in order, and what the mixture foretold of them."""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.candidates import N_PROPOSED
from streamer.ranker.state import N_RANKED, SHORT

_N_BINS = 4096
HALVED = 50.0  # foretold takes of an item above which old ones count half


@kernel
def shortlist(cands, ranker):
    """Take the N_RANKED most probable proposed candidates; among equals at the edge, those that came first."""
    n_proposed = cands.n[N_PROPOSED]
    bits = cands.mixed.view(np.int32)
    edge = np.int32(0)
    if n_proposed > N_RANKED:
        bins = cands.bins
        bins[:] = 0
        for at in range(n_proposed):
            bins[bits[cands.final[at]] >> 19] += 1
        edge = np.int32(_N_BINS)
        n_in = 0
        while edge > 0 and n_in + bins[edge - 1] <= N_RANKED:
            edge -= 1
            n_in += bins[edge]
        room = N_RANKED - n_in
    else:
        room = 0
    n = 0
    for at in range(n_proposed):
        index = cands.final[at]
        place = bits[index] >> 19
        if cands.mixed[index] > 0.0 and (place >= edge or (place == edge - 1 and room > 0)):
            room -= place < edge
            ranker.candidate[n] = index
            n += 1
    ranker.n[SHORT] = n


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
