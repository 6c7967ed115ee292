"""Item rates: how likely an item is to be the next event's, for every item, with events or without: hazard times lift.

The hazard is a running table over how many events the item has (11 bins) and how many events of the stream ago its last one
is (powers of two): `takes seen in the bin / exposures in the bin`, shrunk to the rate of its row. How many items are in each bin
is kept exactly, without sweeps: an item enters bin b when its last event is 2**b events old, and a ring of the last events
says which item that is.

The lift says what an item without a record inherits from its features: among cold items (fewer than 5 events), how much
more often the items of a node are taken than an item drawn at random: `exp(sum_q log((n_q + 2) / (e_q + 2)) / m**0.7)` over its m
nodes (research/cold-start.md; there the expectation is the hazard's, over all items).
"""

import numpy as np

from streamer.compiled import kernel
from streamer.fastmath import exp, log
from streamer.graph.state import EVENTS, N_AGES, N_ARRIVED, N_COLD_ITEMS, N_COUNTS, NODES, POOLED, RING

COLD = 5  # events: an item with fewer is cold
ALL_ITEMS, COLD_ITEMS, NEW_ITEMS = range(3)  # indices of rates.total; NEW_ITEMS: nobody took them yet
_EDGES = (1, 2, 3, 4, 5, 8, 13, 21, 41, 101)  # first number of events of each bin but the first
# Events between two fits of the table. Before that many it is fitted at powers of two, and before the first event with each
# doubling of the catalog: a shop that opens has lists at once.
_FIT_EVERY = 32
_N_NEWEST = 256  # arrivals that are looked through
_PRIOR = 3.0  # takes that a bin borrows from its row
_LIFT_PRIOR = np.float32(2.0)
_LIFT_KEPT = 0.999  # of what a node has seen, an event of a cold item
# After so many events. A table, since what is lost is a small difference: an approximate exponential is off by percents of it.
_KEPT = (_LIFT_KEPT ** np.arange(8192.0)).astype(np.float32)
_PER_NODES = (np.maximum(np.arange(NODES + 1), 1) ** -0.7).astype(np.float32)  # m**-0.7, by number of nodes
_MOST_LIFT = np.float32(3.0)  # of its logarithm


@kernel
def _bin_of(n_events):
    at = 0
    for edge in _EDGES:
        at += n_events >= edge
    return at


@kernel
def _age_bin(since):
    # exponent of the float: log2 of a positive whole number, rounded down
    return min((np.float64(since).view(np.int64) >> 52) - 1023, N_AGES - 1)


@kernel
def _is_power_of_two(n):
    return n & (n - 1) == 0


@kernel
def _since(graph, item):
    """Events of the stream since the item's last one, or since it came."""
    last = item["last_event"] if item["n_events"] > 0 else item["first_event"]
    return max(np.int64(1), graph.counters[EVENTS] + 1 - last)


@kernel
def enter_pool(graph, item_row):
    """Count an item among those that may be taken next."""
    item = graph.items[item_row]
    if item["flags"] & POOLED:
        return
    item["flags"] |= POOLED
    item["first_event"] = graph.counters[EVENTS]
    rates = graph.rates
    rates.arrived[rates.n[N_ARRIVED] % rates.arrived.size] = item_row
    rates.n[N_ARRIVED] += 1
    rates.alive[0, 0] += 1.0
    for q in range(item["n_nodes"]):
        settle_node(graph, item["nodes"][q])
        graph.nodes[item["nodes"][q]]["n_cold"] += 1
    rates.n[N_COLD_ITEMS] += 1  # after its nodes were settled: it had no part in what was taken so far
    if graph.counters[EVENTS] == 0 and _is_power_of_two(rates.n[N_ARRIVED]):
        fit(rates)


@kernel
def n_newest(graph):
    """How many of the last arrivals may be looked through for a list."""
    return min(graph.rates.n[N_ARRIVED], graph.rates.arrived.size, _N_NEWEST)


@kernel
def arrived(graph, age):
    """Row of the item that came, to the catalog or by an event, `age` arrivals before the last one."""
    rates = graph.rates
    return np.int64(rates.arrived[(rates.n[N_ARRIVED] - 1 - age) % rates.arrived.size])


@kernel
def _kept_after(n_events):
    return _KEPT[min(n_events, _KEPT.size - 1)]


@kernel
def settle_node(graph, node_row):
    """Bring what a node's cold items were expected to take up to the present."""
    node = graph.nodes[node_row]
    now = graph.rates.cold_events[0]
    if node["cold_event"] == now:
        return
    kept = _kept_after(now - node["cold_event"])
    per_event = np.float32(node["n_cold"]) / np.float32(max(graph.rates.n[N_COLD_ITEMS], 1))
    node["cold_expected"] = node["cold_expected"] * kept + per_event * (np.float32(1.0) - kept) / np.float32(
        1.0 - _LIFT_KEPT
    )
    node["cold_taken"] *= kept
    node["cold_event"] = now


@kernel
def count_take(graph, item_row):
    """Count one event of an item, whose record still shows what was before it; `counters[EVENTS]` counts the event already."""
    rates = graph.rates
    now = graph.counters[EVENTS]
    for own in range(N_COUNTS):
        for age in range(N_AGES):
            rates.exposed[own, age] += rates.alive[own, age]
    item = graph.items[item_row]
    n_before = np.int64(item["n_events"])
    own, age = (
        _bin_of(n_before),
        _age_bin(max(np.int64(1), now - (item["last_event"] if n_before > 0 else item["first_event"]))),
    )
    rates.taken[own, age] += 1.0
    rates.alive[own, age] -= 1.0
    rates.alive[_bin_of(n_before + 1), 0] += 1.0
    if n_before < COLD:
        rates.cold_events[0] += 1
        for q in range(item["n_nodes"]):
            settle_node(graph, item["nodes"][q])
            node = graph.nodes[item["nodes"][q]]
            node["cold_taken"] += np.float32(1.0)
            node["n_cold"] -= n_before + 1 == COLD
        rates.n[N_COLD_ITEMS] -= n_before + 1 == COLD
    rates.ring[now % RING] = item_row


@kernel
def grow_older(graph):
    """Move the items whose last event became 2**b events old with the present one."""
    rates = graph.rates
    now = graph.counters[EVENTS] + 1  # of the event to come: `since` is counted from there
    for b in range(1, N_AGES):
        then = now - (1 << b)
        if then > 0 and now - then < RING:
            item_row = rates.ring[then % RING]
            item = graph.items[item_row]
            if item["last_event"] == then and item["n_events"] > 0:
                own = _bin_of(np.int64(item["n_events"]))
                rates.alive[own, b - 1] -= 1.0
                rates.alive[own, b] += 1.0
        while rates.passed[b] < rates.n[N_ARRIVED]:
            item = graph.items[rates.arrived[rates.passed[b] % rates.arrived.size]]
            if item["first_event"] > then:
                break
            if item["n_events"] == 0:
                rates.alive[0, b - 1] -= 1.0
                rates.alive[0, b] += 1.0
            rates.passed[b] += 1
    if now % _FIT_EVERY == 0 or (now < _FIT_EVERY and _is_power_of_two(now)):
        fit(rates)


@kernel
def leave_pool(graph, item_row):
    """Take an item out of the pool. The caller removes it from `rates.arrived`."""
    item = graph.items[item_row]
    if not item["flags"] & POOLED:
        return
    n_events = np.int64(item["n_events"])
    graph.rates.alive[_bin_of(n_events), _age_bin(_since(graph, item))] -= 1.0
    graph.rates.n[N_COLD_ITEMS] -= n_events < COLD


@kernel
def fit(rates):
    """The table of hazards, and what all items together add up to."""
    total = 0.0
    for own in range(rates.taken.shape[0]):
        taken, exposed = 0.0, 0.0
        for age in range(N_AGES):
            taken += rates.taken[own, age]
            exposed += rates.exposed[own, age]
        row = (taken + 0.01) / (exposed + 100.0)
        for age in range(N_AGES):
            hazard = (rates.taken[own, age] + _PRIOR) / (rates.exposed[own, age] + _PRIOR / row)
            rates.hazard[own, age] = np.float32(hazard)
            total += hazard * rates.alive[own, age]
        if own == 0:
            rates.total[NEW_ITEMS] = total
        if own == COLD - 1:  # bins 0 to 4 hold one number of events each
            rates.total[COLD_ITEMS] = total
    rates.total[ALL_ITEMS] = total


@kernel
def share_of(graph, pool):
    """Share of all items' rates that a pool has: ALL_ITEMS, COLD_ITEMS, NEW_ITEMS."""
    return graph.rates.total[pool] / max(graph.rates.total[ALL_ITEMS], 1e-30)


@kernel
def rate_of(graph, item_row):
    """Hazard times lift of an item; divide it by `rates.total[ALL_ITEMS]` for a probability."""
    item = graph.items[item_row]
    hazard = graph.rates.hazard[_bin_of(np.int64(item["n_events"])), _age_bin(_since(graph, item))]
    if item["n_events"] >= COLD or item["n_nodes"] == 0:
        return hazard
    return hazard * exp(log_lift(graph, item))


@kernel
def log_lift(graph, item):
    """Logarithm of what a cold item inherits from its nodes, within +-3."""
    n_cold_all = np.float32(max(graph.rates.n[N_COLD_ITEMS], 1))
    now = graph.rates.cold_events[0]
    seen, foreseen = 1.0, 1.0  # products, so that one logarithm is enough
    for q in range(item["n_nodes"]):
        node = graph.nodes[item["nodes"][q]]
        taken, expected = node["cold_taken"], node["cold_expected"]
        if node["cold_event"] != now:  # as `settle_node`, without writing: lists leave the state as it is
            kept = _kept_after(now - node["cold_event"])
            share = np.float32(node["n_cold"]) / n_cold_all
            expected = expected * kept + share * (np.float32(1.0) - kept) / np.float32(1.0 - _LIFT_KEPT)
            taken *= kept
        seen *= taken + _LIFT_PRIOR
        foreseen *= expected + _LIFT_PRIOR
    total = log(np.float32(min(max(seen / foreseen, 1e-12), 1e12))) * _PER_NODES[item["n_nodes"]]
    return max(-_MOST_LIFT, min(_MOST_LIFT, total))
