"""One event moves every table it touches. The order matters: pairs see the history from before the event."""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.categories import touch_nodes
from streamer.graph.clocks import tick
from streamer.graph.company import keep_company
from streamer.graph.histories import (
    count_later,
    has_taken,
    history_length,
    insert,
    is_new_session,
    past_item,
    record_take,
)
from streamer.graph.rates import count_take, enter_pool, grow_older
from streamer.graph.rows import age_row, find_slot
from streamer.graph.segments import count_in_segments
from streamer.graph.state import (
    ARRIVALS,
    BACK,
    CATALOGUED,
    CO,
    EVENTS,
    HISTORY,
    KNOWN,
    KNOWN_ITEMS,
    LAG,
    N_FRESH,
    N_NEWCOMER,
    SEQ,
    V_COUNT,
    V_SQUARES,
    V_SUM,
    WITH_RANKER,
    WITH_VECTORS,
)

STEP_DECAY = 0.8  # of sequence evidence, a step between the two items of a pair
_STEP_DECAYS = (STEP_DECAY ** np.arange(HISTORY)).astype(np.float32)  # a table: powers cost more than pairs
BACKWARD = 0.5  # sequence evidence that the earlier item follows the later one
DAMPING = -0.4  # power of (events + 5)


@kernel
def arrive(graph, item_row):
    """The item enters the catalog that lists are made from: by its first event, or as news (`pipeline`)."""
    item = graph.items[item_row]
    if not item["flags"] & CATALOGUED:
        item["number"][:] = np.nan
    item["flags"] |= KNOWN
    item["neighbour_scale"] = 1.0
    graph.damping[item_row] = 5.0**DAMPING
    graph.fresh[graph.counters[ARRIVALS] % N_FRESH] = item_row
    graph.counters[ARRIVALS] += 1
    graph.counters[KNOWN_ITEMS] += 1


@kernel
def _pair(graph, earlier, later, k):
    """Evidence between the item k events before (0: the last one) and the item of this event, both ways."""
    decayed = _STEP_DECAYS[k]
    slot = find_slot(graph, earlier, later)
    scale = graph.items[earlier]["neighbour_scale"]
    graph.evidence[earlier, slot, SEQ] += scale * decayed
    graph.evidence[earlier, slot, CO] += scale
    if k == 0:
        graph.evidence[earlier, slot, LAG] += scale
    slot = find_slot(graph, later, earlier)
    scale = graph.items[later]["neighbour_scale"]
    graph.evidence[later, slot, SEQ] += scale * decayed * np.float32(BACKWARD)
    graph.evidence[later, slot, CO] += scale
    graph.evidence[later, slot, BACK] += scale * decayed


@kernel
def _pair_in_time(graph, user_row, item_row, n_later):
    """Pair the item with those before it at its event time and, where it comes late, with those after it."""
    length, window = history_length(graph, user_row), graph.pair_window
    for k in range(n_later, min(length, n_later + window)):
        earlier = past_item(graph, user_row, k)
        if earlier != item_row:
            _pair(graph, earlier, item_row, k - n_later)
    if n_later == HISTORY:
        return  # what happened between the event and the items kept is not known any more
    for k in range(max(0, n_later - window), n_later):
        later = past_item(graph, user_row, k)
        if later != item_row:
            _pair(graph, item_row, later, n_later - 1 - k)


@kernel
def _learn_value(graph, item, value):
    """Count a value; returns it standardised by what was seen before it, nan where there is none."""
    if np.isnan(value):
        return np.float64(np.nan)
    squashed = np.sign(value) * np.log1p(np.abs(value))  # quantities have heavy tails; order is kept
    values = graph.values
    standardised = 0.0
    if values[V_COUNT] > 1.0:
        mean = values[V_SUM] / values[V_COUNT]
        variance = values[V_SQUARES] / values[V_COUNT] - mean * mean
        standardised = (squashed - mean) / np.sqrt(variance) if variance > 1e-9 else 0.0
    standardised = max(-3.0, min(3.0, standardised))
    values[V_COUNT] += 1.0
    values[V_SUM] += squashed
    values[V_SQUARES] += squashed * squashed
    item["value_sum"] += np.float32(standardised)
    item["n_values"] += 1
    return standardised


@kernel
def learn(graph, user_row, item_row, time_ms, value):
    """Fold one interaction. Cost does not depend on how many items or users there are.

    One that comes late counts now, since popularity is in the order of the log, and goes into its user's history at its time.
    It is no example for the network: the history it came after is not there any more.

    Args:
        value: Its value as the event gave it, float32; nan = none.
    """
    if not graph.items[item_row]["flags"] & KNOWN:
        arrive(graph, item_row)
    enter_pool(graph, item_row)
    n_later = count_later(graph, user_row, time_ms)
    if (
        graph.switches[WITH_VECTORS]
        and n_later == 0
        and graph.users[user_row]["n_events"] > 0
        and not has_taken(graph, user_row, item_row)
    ):
        record_take(graph, user_row, item_row, time_ms)
    graph.counters[EVENTS] += 1
    count_take(graph, item_row)
    is_newcomer = graph.users[user_row]["n_events"] < N_NEWCOMER
    tick(graph, item_row, is_new_session(graph, user_row, time_ms), is_newcomer)
    touch_nodes(graph, item_row)
    count_in_segments(graph, user_row, item_row)
    age_row(graph, item_row)
    item = graph.items[item_row]
    item["n_events"] += 1
    item["last_event"] = graph.counters[EVENTS]
    graph.damping[item_row] = (item["n_events"] + 5.0) ** DAMPING
    grow_older(graph)
    _pair_in_time(graph, user_row, item_row, n_later)
    if graph.switches[WITH_RANKER]:
        keep_company(graph, user_row, item_row, n_later)
    insert(graph, user_row, item_row, time_ms, _learn_value(graph, item, value), n_later)
