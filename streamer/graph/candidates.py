"""Scratch space in which one list is made: candidates, with a column for every kind of evidence and every path.

    slot[hash]  -> index of a candidate + 1; 0 = free (open addressing)
    row[index], closed[index], evidence[index, :], score[path, index], mixed[index]
    final[: n_final] -> the indices that the last stage looks at

Only what was used is cleared, so a list of ten costs no more in a scratch for thousands.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.cachelines import bring, zeros
from streamer.compiled import kernel
from streamer.fastmath import log
from streamer.graph.clocks import clock_weight
from streamer.graph.histories import has_taken, history_length, past_item
from streamer.graph.rows import bring_evidence, bring_ids
from streamer.graph.state import (
    BACK,
    CO,
    DIM,
    HISTORY,
    ITEM_BYTES,
    LAG,
    MAX_NEIGHBOURS,
    N_CLOCKS,
    N_HEADS,
    N_NUMBERS,
    NODES,
    SEQ,
)

CAPACITY = 6144  # candidates at most: 20 rows of 256 neighbours, and what the lists propose
_SLOTS = 16384
DEPTH = 20  # how many of the user's last items are looked at
N_FINAL = 128  # candidates by evidence that survive to the last stage; more where a list is to be longer
MAX_K = 200  # longest list
_N_BINS = 4096
N_INTERESTS = 4  # columns of a user's interest in a node
CATEGORY = 3  # the last of them, see `graph.content`
MAX_DIM = 1024  # numbers of a text vector at most
N_DRAWN = 16  # items drawn to guess at those that nobody proposed
N_AFFINITIES = 8  # category nodes kept of the user

_PADDING = 48  # columns whose starts are a power of two apart would fight for the same cache lines
N_COLUMNS = 11  # evidence, gathered over the user's last items, k = 0 the newest
NEAR, FAR, TOGETHER, LAST = range(4)
# of sequence: in the last row, the one before, the most in any; rows that hold the candidate; sum of
# decay * log(1 + seen / SMOOTH); of its backward part: in the last row, decayed as NEAR
FIRST, SECOND, MOST, N_ROWS, BAYES, BACK_FIRST, BACK_NEAR = range(4, N_COLUMNS)
SMOOTH = 0.3  # events of evidence
_PER_SMOOTH = np.float32(1.0 / SMOOTH)
_DECAY = np.array([0.8, 0.95, 0.95])
_DECAYS = (_DECAY[:, None] ** np.arange(DEPTH)).astype(np.float32)  # of NEAR, FAR, TOGETHER: (3, DEPTH)
_BAYES_DECAYS = (0.9 ** np.arange(DEPTH)).astype(np.float32)
_CATEGORY_DECAYS = (0.9 ** np.arange(DEPTH)).astype(np.float32)

N_LENDING = 8  # candidates with the most evidence, which lend it to others

# indices of Candidates.n
N_ALL, N_CHOSEN, N_PROPOSED, N_AFFINE, N_HISTORY, N_INTERESTED, N_LENDERS = range(7)


class Candidates(NamedTuple):
    """See the picture above; `mass[path]` is what a path's scores add up to over *all* items, listed or not."""

    slot: NDArray[np.int32]
    row: NDArray[np.int32]
    closed: NDArray[np.bool_]  # may not be listed for this user
    chosen: NDArray[np.bool_]  # is in `final`
    evidence: NDArray[np.float32]  # (CAPACITY, 16) N_COLUMNS of a cache line
    score: NDArray[np.float32]  # (n_paths, CAPACITY + padding)
    mass: NDArray[np.float64]  # (n_paths,)
    mixed: NDArray[np.float32]  # (CAPACITY,)
    likeness: NDArray[
        np.float32
    ]  # (CAPACITY, N_INTERESTS) of an item's features to the user's, see `graph.content`, last stage only
    text: NDArray[np.float32]  # (CAPACITY,) nearness by text to the user's last items, last stage only
    current: NDArray[np.float32]  # (CAPACITY, N_CLOCKS) its weight on every clock, last stage only
    n_events: NDArray[np.int32]  # (CAPACITY,) of the item, last stage only
    rate: NDArray[np.float32]  # (CAPACITY,) its rate as a share of all items' rates, last stage only
    taken_weight: NDArray[np.float64]  # (N_CLOCKS,) of what the user cannot be listed any more
    final: NDArray[np.int32]
    n: NDArray[np.int64]
    row_mass: NDArray[np.float32]  # (DEPTH,) see `gather`
    back_mass: NDArray[np.float32]  # (DEPTH,) the same, of BACK
    row_bayes: NDArray[np.float32]  # (MAX_NEIGHBOURS,) scratch of `gather`
    together_mass: NDArray[np.float32]  # (DEPTH,) the same, of CO
    interest: NDArray[
        np.float32
    ]  # (max_nodes, N_INTERESTS) of the user in every feature node, see `graph.content`
    interested: NDArray[np.int32]  # (DEPTH * NODES,) the nodes in which it is not zero
    interest_norm: NDArray[np.float32]  # (N_INTERESTS,)
    drawn_likeness: NDArray[np.float32]  # (N_INTERESTS,)
    drawn: NDArray[np.int32]  # (N_DRAWN,) rows of items that stand for those nobody proposed
    unlisted: NDArray[
        np.float32
    ]  # (2,) of items that nobody proposed: mean squared likeness; nearness by text of all together
    proposing: NDArray[np.int32]  # (8,) nodes that propose items
    lending: NDArray[np.int32]  # (N_LENDING,) candidates with the most evidence
    gap_ms: NDArray[np.int64]  # (1,) since the user's last event
    affine: NDArray[
        np.float32
    ]  # (CAPACITY,) score by the attention network, -inf = no vector yet, last stage only
    has_vector: NDArray[np.bool_]  # (1,) whether `affine` was filled in for this list
    in_turn: NDArray[np.float32]  # (CAPACITY,) scratch: numbers of the last stage side by side
    h_u: NDArray[np.float32]  # (DIM,) the user's vector
    pooled: NDArray[np.float32]  # (N_HEADS, DIM) scratch of `user_vector`
    past_items: NDArray[np.int32]  # (HISTORY,) newest first
    past_gap_s: NDArray[np.float32]  # (HISTORY,)
    past_z: NDArray[np.float32]  # (HISTORY,)
    text_total: NDArray[np.float32]  # (MAX_DIM,) scratch
    text_recent: NDArray[np.int8]  # (MAX_DIM,) direction of the texts of the user's last items
    user_numbers: NDArray[np.float32]  # (2, N_NUMBERS) of the user's last item; mean of his last items
    node: NDArray[np.int32]  # (N_AFFINITIES,) the user's category nodes
    affinity: NDArray[np.float32]  # (N_AFFINITIES,) his share in each, sums to at most 1
    shared: NDArray[np.float64]  # (n_paths,) the mixture's weights over the paths that have anything to say
    bins: NDArray[np.int32]  # (4096,) histogram of `choose_best`
    waiting: NDArray[np.int32]  # (CAPACITY,) indices that may come on the ranker's short list
    order: NDArray[np.int64]  # (MAX_K,) indices of the best, best first


def new_candidates(n_paths: int, max_nodes: int) -> Candidates:
    """An empty scratch for this many paths and feature nodes, about a megabyte."""
    return Candidates(
        slot=np.zeros(_SLOTS, np.int32),
        row=np.zeros(CAPACITY, np.int32),
        closed=np.zeros(CAPACITY, np.bool_),
        chosen=np.zeros(CAPACITY, np.bool_),
        evidence=zeros((CAPACITY, 16), np.float32),
        score=np.zeros((n_paths, CAPACITY + _PADDING), np.float32),
        mass=np.zeros(n_paths),
        mixed=np.zeros(CAPACITY, np.float32),
        likeness=np.zeros((CAPACITY, N_INTERESTS), np.float32),
        text=np.zeros(CAPACITY, np.float32),
        current=np.zeros((CAPACITY, N_CLOCKS), np.float32),
        taken_weight=np.zeros(N_CLOCKS),
        n_events=np.zeros(CAPACITY, np.int32),
        rate=np.zeros(CAPACITY, np.float32),
        final=np.zeros(CAPACITY, np.int32),
        n=np.zeros(N_LENDERS + 1, np.int64),
        interest=np.zeros((max_nodes, N_INTERESTS), np.float32),
        interested=np.zeros(DEPTH * NODES, np.int32),
        interest_norm=np.zeros(N_INTERESTS, np.float32),
        drawn_likeness=np.zeros(N_INTERESTS, np.float32),
        drawn=np.zeros(N_DRAWN, np.int32),
        unlisted=np.zeros(2, np.float32),
        gap_ms=np.zeros(1, np.int64),
        affine=np.zeros(CAPACITY, np.float32),
        has_vector=np.zeros(1, np.bool_),
        in_turn=np.zeros(CAPACITY, np.float32),
        h_u=np.zeros(DIM, np.float32),
        pooled=np.zeros((N_HEADS, DIM), np.float32),
        past_items=np.zeros(HISTORY, np.int32),
        past_gap_s=np.zeros(HISTORY, np.float32),
        past_z=np.zeros(HISTORY, np.float32),
        text_total=np.zeros(MAX_DIM, np.float32),
        text_recent=np.zeros(MAX_DIM, np.int8),
        user_numbers=np.zeros((2, N_NUMBERS), np.float32),
        proposing=np.zeros(8, np.int32),
        lending=np.zeros(N_LENDING, np.int32),
        row_mass=np.zeros(DEPTH, np.float32),
        back_mass=np.zeros(DEPTH, np.float32),
        row_bayes=np.zeros(MAX_NEIGHBOURS, np.float32),
        together_mass=np.zeros(DEPTH, np.float32),
        node=np.zeros(N_AFFINITIES, np.int32),
        affinity=np.zeros(N_AFFINITIES, np.float32),
        shared=np.zeros(n_paths),
        bins=np.zeros(_N_BINS, np.int32),
        waiting=np.zeros(CAPACITY, np.int32),
        order=np.zeros(MAX_K, np.int64),
    )


@kernel
def may_list(graph, user_row, item_row):
    """Whether an item may be on this user's list: there, available, and not taken before where repeats are off."""
    if graph.unlistable[item_row]:
        return False
    return graph.repeats or user_row < 0 or not has_taken(graph, user_row, item_row)


@kernel
def _slot_of(cands, item_row):
    mixed = (np.uint64(item_row) * np.uint64(2654435769)) & np.uint64(0xFFFFFFFF)
    at = np.int64(mixed >> np.uint64(18))  # 14 bits: _SLOTS
    while cands.slot[at] != 0 and cands.row[cands.slot[at] - 1] != item_row:
        at = (at + 1) & (_SLOTS - 1)
    return at


@kernel
def find(cands, item_row):
    """Index of a candidate, or -1."""
    return np.int64(cands.slot[_slot_of(cands, item_row)]) - 1


@kernel
def admit(graph, cands, item_row):
    """Index of the candidate, new or not; -1 when the scratch is full. Closed where it is unlistable for everyone."""
    at = _slot_of(cands, item_row)
    if cands.slot[at] != 0:
        return np.int64(cands.slot[at]) - 1
    index = cands.n[N_ALL]
    if index == CAPACITY:
        return np.int64(-1)
    cands.n[N_ALL] += 1
    cands.slot[at] = index + 1
    cands.row[index] = item_row
    cands.closed[index] = graph.unlistable[item_row]
    cands.chosen[index] = False
    for column in range(N_COLUMNS):
        cands.evidence[index, column] = 0.0
    return index


@kernel
def _bring_to_last_stage(graph, cands, index):
    cands.chosen[index] = True
    cands.final[cands.n[N_CHOSEN]] = index
    cands.n[N_CHOSEN] += 1
    bring(graph.items, np.int64(cands.row[index]), ITEM_BYTES)  # read once all are chosen


@kernel
def choose(graph, cands, user_row, item_row):
    """Bring an item to the last stage, if it may be listed. Returns its index, or -1."""
    n_before = cands.n[N_ALL]
    index = admit(graph, cands, item_row)
    if index == n_before:
        cands.closed[index] = not may_list(graph, user_row, item_row)
    if index < 0 or cands.closed[index]:
        return np.int64(-1)
    if not cands.chosen[index]:
        _bring_to_last_stage(graph, cands, index)
    return index


@kernel
def clear(cands):
    """Forget the candidates of the last list; costs as much as there were."""
    if cands.n[N_ALL] > _SLOTS // 16:
        cands.slot[:] = 0
    else:
        # emptied from the newest to the oldest, so that every probe still finds its own way
        for index in range(cands.n[N_ALL] - 1, -1, -1):
            cands.slot[_slot_of(cands, cands.row[index])] = 0
    for at in range(cands.n[N_INTERESTED]):
        for column in range(N_INTERESTS):
            cands.interest[cands.interested[at], column] = 0.0
    for at in range(cands.n[N_AFFINE]):
        cands.interest[cands.node[at], CATEGORY] = 0.0
    cands.n[:] = 0
    cands.mass[:] = 0.0
    cands.has_vector[0] = False


@kernel
def _weigh_bayes(evidence, per_smooth, decay, weights):
    """weights[slot] = decay * log(1 + seen / SMOOTH), for a whole row at once, and gathered first: so it vectorises."""
    for slot in range(evidence.shape[0]):
        weights[slot] = evidence[slot, SEQ]
    for slot in range(evidence.shape[0]):
        weights[slot] = decay * log(np.float32(1.0) + weights[slot] * per_smooth)


@kernel
def gather(graph, cands, user_row):
    """Sum the evidence of the neighbour rows of the user's last items, decayed by how many events ago he took each.

    `cands.row_mass[k]` is all the sequence evidence of the row of the item k events ago, in the same units.
    """
    n_neighbours = graph.neighbour.shape[1]
    n_history = min(history_length(graph, user_row), DEPTH)
    for k in range(n_history):  # each row is asked for while the one before is summed
        bring_ids(graph, past_item(graph, user_row, k))
    bring_evidence(graph, past_item(graph, user_row, 0))
    for k in range(n_history):
        owner = past_item(graph, user_row, k)
        if k + 1 < n_history:
            bring_evidence(graph, past_item(graph, user_row, k + 1))
        unit = np.float32(1.0) / graph.items[owner]["neighbour_scale"]
        near = unit * _DECAYS[NEAR, k]
        far = unit * _DECAYS[FAR, k]
        together = unit * _DECAYS[TOGETHER, k]
        ids, evidence = graph.neighbour[owner], graph.evidence[owner]
        _weigh_bayes(evidence, unit * _PER_SMOOTH, _BAYES_DECAYS[k], cands.row_bayes)
        mass, back_mass, together_mass = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for slot in range(n_neighbours):
            if ids[slot] == 0:
                continue
            seq = evidence[slot, SEQ]
            mass += seq
            back_mass += evidence[slot, BACK]
            together_mass += evidence[slot, CO]
            index = admit(graph, cands, np.int64(ids[slot]) - 1)
            if index < 0:
                continue  # no room
            own = cands.evidence[index]
            own[NEAR] += near * seq
            own[FAR] += far * seq
            own[BACK_NEAR] += near * evidence[slot, BACK]
            own[TOGETHER] += together * evidence[slot, CO]
            own[MOST] = max(own[MOST], unit * seq)
            own[N_ROWS] += np.float32(1.0)
            own[BAYES] += cands.row_bayes[slot]
            if k == 0:
                own[LAST] = unit * evidence[slot, LAG]
                own[FIRST] = unit * seq
                own[BACK_FIRST] = unit * evidence[slot, BACK]
            elif k == 1:
                own[SECOND] = unit * seq
        cands.row_mass[k] = mass * unit
        cands.back_mass[k] = back_mass * unit
        cands.together_mass[k] = together_mass * unit
        cands.n[N_HISTORY] = k + 1
    if not graph.repeats:
        _close_taken(graph, cands, user_row)


@kernel
def _close_taken(graph, cands, user_row):
    """Close what the user took: the smaller of both sets is looked up in the other."""
    user = graph.users[user_row]
    if user["taken_class"] == 0:
        return
    n_slots = 1 << np.int64(user["taken_class"])
    if n_slots > cands.n[N_ALL]:
        for index in range(cands.n[N_ALL]):
            cands.closed[index] |= has_taken(graph, user_row, cands.row[index])
        return
    for slot in range(user["taken_start"], user["taken_start"] + n_slots):
        if graph.taken.item[slot] != 0:
            index = find(cands, np.int64(graph.taken.item[slot]) - 1)
            if index >= 0:
                cands.closed[index] = True


@kernel
def read_clocks(graph, cands):
    """Events of the last stage, and weights on every clock, in one pass: an item's record is far away, and read once."""
    for at in range(cands.n[N_CHOSEN]):
        index = cands.final[at]
        cands.n_events[index] = graph.items[cands.row[index]]["n_events"]
        for clock in range(N_CLOCKS):
            cands.current[index, clock] = clock_weight(graph, clock, cands.row[index])


@kernel
def weigh_categories(graph, cands, user_row):
    """The user's category nodes, by how often and how lately his last items carried them."""
    total = np.float32(0.0)
    for k in range(min(history_length(graph, user_row), DEPTH)):
        item = graph.items[past_item(graph, user_row, k)]
        for n in range(item["n_categories"]):
            weight = _CATEGORY_DECAYS[k] / np.float32(item["n_categories"])
            total += weight
            for at in range(N_AFFINITIES):
                if at == cands.n[N_AFFINE]:
                    cands.node[at] = item["nodes"][n]
                    cands.affinity[at] = np.float32(0.0)
                    cands.n[N_AFFINE] += 1
                if cands.node[at] == item["nodes"][n]:
                    cands.affinity[at] += weight
                    break
    for at in range(cands.n[N_AFFINE]):
        cands.affinity[at] /= total


@kernel
def choose_best(graph, cands, value, n_best):
    """Bring the candidates with the largest `value` (>= 0) to the last stage; ties at the edge all come.

    The edge is found in a histogram of the float's leading bits (sign, exponent, four of the mantissa), so this is two
    passes and no sort; what shares the last bin comes, too.
    """
    bits = value.view(np.int32)
    bins = cands.bins
    bins[:] = 0
    for index in range(cands.n[N_ALL]):
        bins[bits[index] >> 19] += 1
    edge, n_in = _N_BINS, 0
    while edge > 0 and n_in < n_best:
        edge -= 1
        n_in += bins[edge]
    for index in range(cands.n[N_ALL]):
        if value[index] > 0.0 and bits[index] >> 19 >= edge:
            _bring_to_last_stage(graph, cands, index)
