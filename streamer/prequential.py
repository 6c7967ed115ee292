"""Test, then learn: every interaction is looked up in the list ranked right before it, then learned (Vinagre et al. 2014).

One kernel call a batch, but event by event inside: whatever the batch size, an event sees all that the log held before it and
nothing after.
"""

import numpy as np

from streamer.compiled import entry_kernel, kernel
from streamer.graph.candidates import find, may_list
from streamer.graph.clocks import clock_weight
from streamer.graph.histories import has_taken, is_new_session, is_overfull
from streamer.graph.learning import learn
from streamer.graph.scratch import N_FINAL, N_PROPOSED
from streamer.graph.state import (
    ALL_TIME,
    CATALOGUED,
    CONTEXT_NODES,
    EVENTS,
    PROFILE_NODES,
    TRENDING,
    WITH_RANKER,
    WITH_VECTORS,
    Graph,
)
from streamer.mixture import learn_weights, mix
from streamer.outcomes import (
    COLD,
    COLD_ITEM,
    COLD_USER,
    COUNTED,
    FIRST_EVENT,
    LATE,
    MEASURED,
    N_LISTED,
    NEW_SESSION,
)
from streamer.rank import EXPLORED_PLACE, deal_out, draw_unshown, order_shortlist, top_k
from streamer.ranker.guard import is_on, watch
from streamer.ranker.memory import keep, learn_again
from streamer.ranker.network import learn as learn_order
from streamer.ranker.scaling import watch_features
from streamer.ranker.shortlist import calibrate, place_of
from streamer.ranker.state import SHORT

SAMPLED = 16  # one event in so many has its list looked at


@kernel
def _rank_among(cands, target):
    """Rank of the taken item among the proposed candidates; ties rank against us; 0 when it was not proposed."""
    index = find(cands, target)
    if index < 0 or not cands.chosen[index] or cands.mixed[index] <= 0.0:
        return 0
    proposed, rank = False, 0
    for at in range(cands.n[N_PROPOSED]):
        proposed |= cands.final[at] == index
        rank += cands.mixed[cands.final[at]] >= cands.mixed[index]
    return rank if proposed else 0


@kernel
def _rank_on_clock(graph, clock, user_row, target):
    """Rank of an item on the list that one popularity clock makes for this user; ties rank against it.

    0 when it lies beyond the items that the clock keeps in order, or cannot be had: no list holds it, the model's neither.
    """
    if graph.items[target]["position"][clock] == 0 or graph.unlistable[target]:
        return 0
    weight = clock_weight(graph, clock, target)
    rank, seen = 1, False
    for place in range(graph.clocks.n_top[clock]):
        item_row = np.int64(graph.clocks.top[clock, place])
        if item_row == target:
            seen = True
        elif clock_weight(graph, clock, item_row) < weight:
            break
        elif may_list(graph, user_row, item_row):
            rank += 1
    return rank if seen else 0


@kernel
def _describe(graph, user_row, item_row, time_ms):
    """Flags of an event, before it is learned."""
    item = graph.items[item_row]
    flags = 0
    if item["n_events"] > 0:
        # which items are new to a user whose set is overfull nobody knows: what he took before would be a hit without end
        if graph.repeats or not (is_overfull(graph.users[user_row]) or has_taken(graph, user_row, item_row)):
            flags |= COUNTED
    elif item["flags"] & CATALOGUED:
        flags |= FIRST_EVENT
    if item["n_events"] < COLD:
        flags |= COLD_ITEM
    if graph.users[user_row]["n_events"] < COLD:
        flags |= COLD_USER
    if is_new_session(graph, user_row, time_ms):
        flags |= NEW_SESSION
    if time_ms < graph.users[user_row]["last_time_ms"]:
        flags |= LATE
    return flags


@kernel
def _test(graph, cands, ranker, out, n, is_counted):
    """Rank the list that the event's user has right now, look the taken item up, and learn from what was foretold."""
    user_row, item_row, time_ms = np.int64(out.user_row[n]), np.int64(out.item_row[n]), out.time_ms[n]
    user = graph.users[user_row]
    # nobody's first event comes after a gap: the anonymous list is ranked with what it teaches
    gap_ms = max(np.int64(0), time_ms - user["last_time_ms"]) if user["n_events"] > 0 else np.int64(0)
    context = mix(graph, cands, user_row, gap_ms, item_row, N_FINAL)
    out.rank_mixture[n] = _rank_among(cands, item_row)
    index = find(cands, item_row)
    if index >= 0 and cands.chosen[index]:
        out.path[n] = learn_weights(graph, cands, context, index)
    out.rank[n] = out.rank_mixture[n]
    was_on = is_on(ranker)
    is_sampled = graph.counters[EVENTS] % SAMPLED == 0
    if not was_on:
        if is_sampled:
            _look_at_list(graph, cands, out, n)
        _explore(graph, cands, out, n)
    if graph.switches[WITH_RANKER]:
        order_shortlist(graph, cands, ranker, user_row, gap_ms)
        taken = place_of(ranker, index)
        if is_counted:
            calibrate(graph, cands, ranker, taken)
        deal_out(cands, ranker)
        by_ranker = _rank_among(cands, item_row)
        if was_on:
            out.rank[n] = by_ranker
            if is_sampled:
                _look_at_list(graph, cands, out, n)
            _explore(graph, cands, out, n)
        watch_features(ranker)
        if taken >= 0:
            learn_order(ranker, ranker.x, ranker.n[SHORT], taken)
            keep(ranker, taken)
            learn_again(ranker)
        if is_counted:
            watch(ranker, by_ranker, out.rank_mixture[n])
    if is_counted:
        out.rank_trending[n] = _rank_on_clock(graph, TRENDING, user_row, item_row)
        out.rank_popularity[n] = _rank_on_clock(graph, ALL_TIME, user_row, item_row)


@kernel
def _is_long(cands):
    """Whether the list has a tenth place to give away."""
    n_listed = 0
    for at in range(cands.n[N_PROPOSED]):
        n_listed += cands.mixed[cands.final[at]] > 0.0
    return n_listed >= EXPLORED_PLACE


@kernel
def _explore(graph, cands, out, n):
    """What the explored share of lists costs, or brings: an item that was hardly shown takes the place of the tenth.

    The scratch holds the list as its user would get it, before it is learned which order was the better one.
    """
    explored = draw_unshown(graph, np.int64(out.user_row[n]))
    if explored < 0 or not _is_long(cands) or 1 <= _rank_among(cands, explored) <= EXPLORED_PLACE:
        return
    if explored == out.item_row[n]:
        out.rank[n] = EXPLORED_PLACE
    elif out.rank[n] == EXPLORED_PLACE:
        out.rank[n] = 0


@kernel
def _look_at_list(graph, cands, out, n):
    """Write down what the head of the present list is like, see `beyond`."""
    n_listed = top_k(cands, cands.order, N_LISTED)
    novelty, n_cold, likeness, n_pairs = 0.0, 0, 0.0, 0
    for place in range(n_listed):
        row = cands.row[cands.order[place]]
        out.listed[n, place] = row
        n_events = graph.items[row]["n_events"]
        novelty += np.log2((graph.counters[EVENTS] + 1.0) / max(n_events, 1))
        n_cold += n_events < COLD
        for other in range(place):
            likeness += _set_cosine(graph, row, cands.row[cands.order[other]])
            n_pairs += 1
    if n_listed > 0:
        out.novelty[n] = novelty / n_listed
    if n_pairs > 0:
        out.similarity[n] = likeness / n_pairs
    out.n_cold_listed[n] = n_cold


@kernel
def _set_cosine(graph, row, other_row):
    """Cosine of two items' sets of feature nodes; 0 when one has none."""
    item, other = graph.items[row], graph.items[other_row]
    n_shared = 0
    for q in range(item["n_nodes"]):
        for r in range(other["n_nodes"]):
            n_shared += item["nodes"][q] == other["nodes"][r]
    if n_shared == 0:
        return 0.0
    return n_shared / np.sqrt(np.float64(item["n_nodes"]) * np.float64(other["n_nodes"]))


@kernel
def _learn(graph, out, n):
    """Learn an event, and then what came with it: the context counts for what comes after, unless it is an older one's."""
    user_row = np.int64(out.user_row[n])
    learn(graph, user_row, np.int64(out.item_row[n]), out.time_ms[n], out.value[n])
    if out.context[n, 0] > 0 and not out.flags[n] & LATE:
        for at in range(CONTEXT_NODES):
            graph.users[user_row]["nodes"][PROFILE_NODES + at] = out.context[n, at]


def ends_round(graph: Graph) -> bool:
    """Whether a round of training begins, and one ends, right after the event that was learned last."""
    return bool(graph.switches[WITH_VECTORS] and graph.counters[EVENTS] % graph.training_interval == 0)


_ends_round = kernel(ends_round)  # for kernels


@entry_kernel
def fold(graph, cands, ranker, measured, out, start):
    """Measure, learn the mixture's weights and the ranker's, learn the event: for each interaction in turn.

    Args:
        measured: (n,) bool; False skips ranking (and the weights) for the event.
        out: `Outcomes` with user_row, item_row, time_ms, value and context filled in; the rest is written.
        start: The first event to fold.

    Returns:
        The event to go on with: after the one that ends a round of training, or the end.
    """
    for n in range(start, out.user_row.size):
        user_row, item_row, time_ms = np.int64(out.user_row[n]), np.int64(out.item_row[n]), out.time_ms[n]
        flags = _describe(graph, user_row, item_row, time_ms)
        if measured[n] and flags & (COUNTED | FIRST_EVENT):
            flags |= MEASURED
            _test(graph, cands, ranker, out, n, flags & COUNTED != 0)
        out.flags[n] = flags
        _learn(graph, out, n)
        if _ends_round(graph):
            return n + 1
    return out.user_row.size


@entry_kernel
def fold_only(graph, out, start):
    """As `fold`, without measuring: for the bench, and where the share of measured users is 0."""
    for n in range(start, out.user_row.size):
        out.flags[n] = _describe(graph, np.int64(out.user_row[n]), np.int64(out.item_row[n]), out.time_ms[n])
        _learn(graph, out, n)
        if _ends_round(graph):
            return n + 1
    return out.user_row.size
