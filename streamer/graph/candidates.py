"""The candidates of one list: found, admitted, given their evidence; the best of them brought to the last stage."""

import numpy as np

from streamer.cachelines import bring
from streamer.compiled import kernel
from streamer.fastmath import log
from streamer.graph.clocks import clock_weight
from streamer.graph.histories import has_taken, history_length, is_overfull, n_slots, past_item
from streamer.graph.rows import bring_evidence, bring_ids
from streamer.graph.scratch import (
    BACK_FIRST,
    BACK_NEAR,
    BAYES,
    CAPACITY,
    CATEGORY,
    DEPTH,
    FAR,
    FIRST,
    LAST,
    MOST,
    N_AFFINITIES,
    N_ALL,
    N_BINS,
    N_CHOSEN,
    N_COLUMNS,
    N_HISTORY,
    N_INTERESTED,
    N_INTERESTS,
    N_LIKED,
    N_ROWS,
    N_SLOTS,
    NEAR,
    SECOND,
    TOGETHER,
)
from streamer.graph.state import BACK, CO, ITEM_BYTES, LAG, N_CLOCKS, SEQ

SMOOTH = 0.3  # events of evidence
_PER_SMOOTH = np.float32(1.0 / SMOOTH)
_DECAY = np.array([0.8, 0.95, 0.95])
DECAYS = (_DECAY[:, None] ** np.arange(DEPTH)).astype(np.float32)  # of NEAR, FAR, TOGETHER: (3, DEPTH)
BAYES_DECAYS = (0.9 ** np.arange(DEPTH)).astype(np.float32)
_CATEGORY_DECAYS = (0.9 ** np.arange(DEPTH)).astype(np.float32)


@kernel
def may_list(graph, user_row, item_row):
    """Whether an item may be on this user's list: there, available, and not taken before where repeats are off."""
    if graph.unlistable[item_row]:
        return False
    return graph.repeats or user_row < 0 or not has_taken(graph, user_row, item_row)


@kernel
def _slot_of(cands, item_row):
    mixed = (np.uint64(item_row) * np.uint64(2654435769)) & np.uint64(0xFFFFFFFF)
    at = np.int64(mixed >> np.uint64(18))  # 14 bits: N_SLOTS
    while cands.slot[at] != 0 and cands.row[cands.slot[at] - 1] != item_row:
        at = (at + 1) & (N_SLOTS - 1)
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
    if cands.n[N_ALL] > N_SLOTS // 16:
        cands.slot[:] = 0
    else:
        # emptied from the newest to the oldest, so that every probe still finds its own way
        for index in range(cands.n[N_ALL] - 1, -1, -1):
            cands.slot[_slot_of(cands, cands.row[index])] = 0
    for at in range(cands.n[N_INTERESTED]):
        for column in range(N_INTERESTS):
            cands.interest[cands.interested[at], column] = 0.0
    for at in range(cands.n[N_LIKED]):
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
        near = unit * DECAYS[NEAR, k]
        far = unit * DECAYS[FAR, k]
        together = unit * DECAYS[TOGETHER, k]
        ids, evidence = graph.neighbour[owner], graph.evidence[owner]
        _weigh_bayes(evidence, unit * _PER_SMOOTH, BAYES_DECAYS[k], cands.row_bayes)
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
    size = n_slots(user)
    if size > cands.n[N_ALL]:
        for index in range(cands.n[N_ALL]):
            cands.closed[index] |= has_taken(graph, user_row, cands.row[index])
        return
    for slot in range(user["taken_start"], user["taken_start"] + size):
        if graph.taken.item[slot] != 0:
            _close(cands, np.int64(graph.taken.item[slot]) - 1)
    if is_overfull(user):
        for k in range(history_length(graph, user_row)):
            _close(cands, past_item(graph, user_row, k))


@kernel
def _close(cands, item_row):
    index = find(cands, item_row)
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
                if at == cands.n[N_LIKED]:
                    cands.node[at] = item["nodes"][n]
                    cands.affinity[at] = np.float32(0.0)
                    cands.n[N_LIKED] += 1
                if cands.node[at] == item["nodes"][n]:
                    cands.affinity[at] += weight
                    break
    for at in range(cands.n[N_LIKED]):
        cands.affinity[at] /= total


@kernel
def place_best(best, n, n_most, index, values):
    """Put an index among the n best ones, the largest value first, at most n_most; who came earlier stands before his equals.

    Returns:
        How many there are now.
    """
    if n == n_most and values[index] <= values[best[n - 1]]:
        return n
    place = n if n < n_most else n - 1
    while place > 0 and values[index] > values[best[place - 1]]:
        best[place] = best[place - 1]
        place -= 1
    best[place] = index
    return min(n + 1, n_most)


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
    edge, n_in = N_BINS, 0
    while edge > 0 and n_in < n_best:
        edge -= 1
        n_in += bins[edge]
    for index in range(cands.n[N_ALL]):
        if value[index] > 0.0 and bits[index] >> 19 >= edge:
            _bring_to_last_stage(graph, cands, index)
