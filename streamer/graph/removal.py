"""Items leave the graph: whatever counts them forgets them, and every mention of their rows goes, so that the rows are as new.

One pass over all tables takes many items out at once: who names an item is not stored, and a pass costs the same for one
item as for thousands. Users and neighbours, where most of the work is, are passed a stretch of rows at a time.

    is_gone[row + 1]      what all kernels here look up: most tables hold rows + 1, and 0 is nobody

Rows of users, neighbours and feature nodes are thinned in place; what is left keeps its order. A history without holes is
shorter, so its user counts as many events as it holds, and the numbers in his set of taken items move along.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.compiled import entry_kernel, kernel
from streamer.graph.categories import leave_node
from streamer.graph.clocks import clock_weight, is_cut, refill
from streamer.graph.histories import n_slots, probe
from streamer.graph.rates import COLD, fit, leave_pool, settle_node
from streamer.graph.state import (
    CHANNELS,
    DESCRIBED,
    HISTORY,
    KNOWN,
    KNOWN_ITEMS,
    MAX_TAKEN_CLASS,
    MEASURED_AT,
    N_CLOCKS,
    N_RECENT,
    NODE_TOP,
    POOLED,
    TOP,
)


class Scratch(NamedTuple):
    """Where a row is kept while it is written anew."""

    items: NDArray[np.int32]
    times: NDArray[np.int64]
    values: NDArray[np.int64]


def new_scratch() -> Scratch:
    """For the largest set of taken items."""
    n = 1 << MAX_TAKEN_CLASS
    return Scratch(np.zeros(n, np.int32), np.zeros(n, np.int64), np.zeros(n, np.int64))


@entry_kernel
def leave_counts(graph, rows):
    """Take items out of the sums that hold them: clocks, rates, feature nodes. Their records still stand.

    Args:
        rows: (n,) int64, no row twice.
    """
    # first all of them: what a node was to expect is a share of the cold items that there were until now
    for row in rows:
        item = graph.items[row]
        if item["flags"] & POOLED and item["n_events"] < COLD:
            for q in range(item["n_nodes"]):
                settle_node(graph, item["nodes"][q])
    for row in rows:
        _leave_nodes(graph, row)
        leave_pool(graph, row)
        for clock in range(N_CLOCKS):
            rest = graph.clocks.mass[clock] - np.float64(clock_weight(graph, clock, row))
            graph.clocks.mass[clock] = max(0.0, rest)
        if graph.items[row]["flags"] & KNOWN:
            graph.counters[KNOWN_ITEMS] -= 1
    # lengths are measured anew once the catalog has grown by a sixteenth from here
    graph.counters[MEASURED_AT] = min(graph.counters[MEASURED_AT], graph.counters[DESCRIBED])
    fit(graph.rates)


@kernel
def _leave_nodes(graph, row):
    item = graph.items[row]
    is_cold = item["flags"] & POOLED and item["n_events"] < COLD
    for q in range(item["n_nodes"]):
        node_row = item["nodes"][q]
        leave_node(graph, node_row, row)
        graph.node_items[node_row] -= 1
        if is_cold:
            graph.nodes[node_row]["n_cold"] -= 1
    graph.counters[DESCRIBED] -= item["n_nodes"] > 0


@entry_kernel
def leave_neighbours(graph, is_gone, begin, end):
    """Clear the slots of items that go in the neighbour rows `begin` to `end`."""
    ids, evidence = graph.neighbour, graph.evidence
    for owner in range(begin, end):
        for slot in range(ids.shape[1]):
            if is_gone[np.uint32(ids[owner, slot])]:
                ids[owner, slot] = 0
                for channel in range(CHANNELS):
                    evidence[owner, slot, channel] = 0.0


@entry_kernel
def clear_neighbours(graph, rows):
    """Clear the neighbour rows of items that go themselves."""
    ids, evidence = graph.neighbour, graph.evidence
    for owner in rows:
        for slot in range(ids.shape[1]):
            if ids[owner, slot] != 0:  # the others are clear: to write there would take memory for nothing
                ids[owner, slot] = 0
                for channel in range(CHANNELS):
                    evidence[owner, slot, channel] = 0.0


@entry_kernel
def leave_users(graph, is_gone, begin, end, scratch):
    """Take items that go out of the histories and sets of the users `begin` to `end`."""
    for user_row in range(begin, end):
        n_moved = _thin_history(graph, user_row, is_gone, scratch)
        if n_slots(graph.users[user_row]) > 0:
            _thin_taken(graph, user_row, is_gone, n_moved, scratch)


@kernel
def _thin_history(graph, user_row, is_gone, scratch):
    """Returns by how much the number of the user's events fell."""
    user = graph.users[user_row]
    n_events = np.int64(user["n_events"])
    length = min(n_events, HISTORY)
    any_gone = np.uint8(0)  # gathered without a branch or a sign: most of the time of a pass is spent here
    for at in range(length):  # of a ring that is not full, these are the places in use
        any_gone |= np.uint8(is_gone[np.uint32(user["ring"][at]) + np.uint32(1)])
    if not any_gone:
        return np.int64(0)
    n_kept = 0
    at = (n_events - length) % HISTORY  # the oldest first
    for _ in range(length):
        if not is_gone[user["ring"][at] + 1]:
            scratch.items[n_kept] = user["ring"][at]
            scratch.times[n_kept] = user["ring_time"][at]
            scratch.values[n_kept] = user["ring_value"][at]
            n_kept += 1
        at = at + 1 if at + 1 < HISTORY else 0
    for at in range(HISTORY):
        user["ring"][at] = scratch.items[at] if at < n_kept else 0
        user["ring_time"][at] = np.uint32(scratch.times[at]) if at < n_kept else np.uint32(0)
        user["ring_value"][at] = np.int8(scratch.values[at]) if at < n_kept else np.int8(0)
    user["n_events"] = n_kept
    return n_events - n_kept


@kernel
def _thin_taken(graph, user_row, is_gone, n_moved, scratch):
    """Write the user's set anew without the items that go, in a block of the same size."""
    user, taken = graph.users[user_row], graph.taken
    start, size = user["taken_start"], n_slots(user)
    any_gone = np.uint8(0)
    for slot in range(start, start + size):
        any_gone |= np.uint8(is_gone[np.uint32(taken.item[slot])])
    if not any_gone and (n_moved == 0 or not graph.repeats):
        return
    n_kept = 0
    for slot in range(start, start + size):
        if taken.item[slot] != 0 and not is_gone[taken.item[slot]]:
            scratch.items[n_kept] = taken.item[slot]
            if graph.repeats:
                scratch.times[n_kept] = taken.times[slot]
                scratch.values[n_kept] = taken.last[slot]
            n_kept += 1
        taken.item[slot] = 0
        if graph.repeats:
            taken.times[slot] = 0
            taken.last[slot] = 0
    for n in range(n_kept):
        slot = probe(graph, start, size, scratch.items[n] - 1)
        taken.item[slot] = scratch.items[n]
        if graph.repeats:
            taken.times[slot] = scratch.times[n]
            taken.last[slot] = scratch.values[n] - n_moved  # its age, in the user's own events, stays
    user["n_taken"] = n_kept


@entry_kernel
def leave_nodes(graph, is_gone, n_nodes, scratch):
    """Take items that go out of the lists of the first feature nodes and segments."""
    for node_row in range(n_nodes):
        node = graph.nodes[node_row]
        kept = 0
        for place in range(node["n_top"]):
            if not is_gone[node["top"][place] + 1]:
                node["top"][kept] = node["top"][place]
                node["top_weight"][kept] = node["top_weight"][place]
                kept += 1
        node["n_top"] = kept
        for place in range(kept, NODE_TOP):
            node["top"][place] = 0
            node["top_weight"][place] = 0.0
        _thin_recent(node, is_gone, scratch)


@kernel
def _thin_recent(node, is_gone, scratch):
    n_recent = np.int64(node["n_recent"])
    n_kept, length = 0, min(n_recent, N_RECENT)
    for age in range(length - 1, -1, -1):
        row = node["recent"][(n_recent - 1 - age) % N_RECENT]
        if not is_gone[row + 1]:
            scratch.items[n_kept] = row
            n_kept += 1
    if n_kept == length:
        return
    for at in range(N_RECENT):
        node["recent"][at] = scratch.items[at] if at < n_kept else 0
    node["n_recent"] = n_kept


@entry_kernel
def leave_clocks(graph, is_gone):
    """Take items that go out of the clocks' ordered lists; the heaviest of the others, ties by row, come up from behind.

    Args:
        is_gone: (max_items + 1,) by row + 1. They may not be listed by now, so none of them comes up.
    """
    for clock in range(N_CLOCKS):
        top, n_before = graph.clocks.top[clock], graph.clocks.n_top[clock]
        was_cut = is_cut(graph, clock)
        kept = 0
        for place in range(n_before):
            if not is_gone[top[place] + 1]:
                top[kept] = top[place]
                graph.items[top[kept]]["position"][clock] = kept + 1
                kept += 1
        if kept == n_before:
            continue
        graph.clocks.n_top[clock] = kept
        for place in range(kept, TOP):
            top[place] = 0
        if was_cut:  # a list that is complete has nobody behind it
            refill(graph, clock, is_gone.size - 1)
