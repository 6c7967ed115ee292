"""Test, then learn: every interaction is looked up in the list ranked right before it, then learned (Vinagre et al. 2014).

One kernel call a batch, but event by event inside: whatever the batch size, an event sees all that the log held before it and
nothing after.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.compiled import entry_kernel, kernel
from streamer.graph.candidates import find, may_list
from streamer.graph.clocks import clock_weight
from streamer.graph.histories import has_taken, is_new_session
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
)
from streamer.mixture import learn_weights, mix
from streamer.rank import EXPLORED_PLACE, deal_out, draw_unshown, order_shortlist, top_k
from streamer.ranker.guard import is_on, watch
from streamer.ranker.memory import keep, learn_again
from streamer.ranker.network import learn as learn_order
from streamer.ranker.scaling import watch_features
from streamer.ranker.shortlist import calibrate, place_of
from streamer.ranker.state import SHORT

# Bits of Outcomes.flags.
COUNTED, MEASURED, COLD_ITEM, COLD_USER, NEW_SESSION, FIRST_EVENT, LATE = (1 << n for n in range(7))
COLD = 5  # events: an item or user with fewer is cold
SAMPLED = 16  # one event in so many has its list looked at
N_LISTED = 10  # items kept of a sampled list


class Outcomes(NamedTuple):
    """What became of every interaction of a batch, in log order; ranks are from 1, 0 = not listed.

    An event is COUNTED when its item was known by an event before it and, with repeats off, not taken by
    this user yet. MEASURED events were ranked; FIRST_EVENT marks the first of an item that the catalog had
    announced (never COUNTED); a LATE one happened before an event of its user that was folded before it.

    The last four columns are filled in for a sample of the MEASURED events, chosen by event number, and say what the list
    was like (see `beyond`).
    """

    user_row: NDArray[np.int32]
    item_row: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float32]  # as the events gave it; nan = none
    context: NDArray[np.int32]  # (n, CONTEXT_NODES) segment rows + 1 of the event's context; 0 = none
    flags: NDArray[np.uint8]
    rank: NDArray[np.int32]  # in the list ranked right before the event
    rank_mixture: NDArray[np.int32]  # as it would be without the ranker
    rank_trending: NDArray[np.int32]
    rank_popularity: NDArray[np.int32]
    path: NDArray[np.int8]  # most responsible for the taken item; -1 = nothing saw it coming
    listed: NDArray[
        np.int32
    ]  # (n, N_LISTED) item rows, best first; -1 where the list ends, or was not sampled
    novelty: NDArray[
        np.float32
    ]  # mean -log2 of the items' shares of all events, bits; nan = not sampled, or no items
    similarity: NDArray[
        np.float32
    ]  # mean cosine of feature-node sets over pairs; nan = not sampled, or no pairs
    n_cold_listed: NDArray[np.int8]  # items with fewer than COLD events among `listed`; -1 = not sampled


def new_outcomes(
    user_row: NDArray[np.int32],
    item_row: NDArray[np.int32],
    time_ms: NDArray[np.int64],
    value: NDArray[np.float32] | None = None,
    context: NDArray[np.int32] | None = None,
) -> Outcomes:
    """Outcomes to be filled by `fold`, one a row."""
    n = user_row.size
    return Outcomes(
        user_row,
        item_row,
        time_ms,
        np.full(n, np.nan, np.float32) if value is None else value,
        np.zeros((n, CONTEXT_NODES), np.int32) if context is None else context,
        flags=np.zeros(n, np.uint8),
        rank=np.zeros(n, np.int32),
        rank_mixture=np.zeros(n, np.int32),
        rank_trending=np.zeros(n, np.int32),
        rank_popularity=np.zeros(n, np.int32),
        path=np.full(n, -1, np.int8),
        listed=np.full((n, N_LISTED), -1, np.int32),
        novelty=np.full(n, np.nan, np.float32),
        similarity=np.full(n, np.nan, np.float32),
        n_cold_listed=np.full(n, -1, np.int8),
    )


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
        if graph.repeats or not has_taken(graph, user_row, item_row):
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


@kernel
def _ends_round(graph):
    """Whether a round of training begins, and one ends, right after the event that was learned last."""
    return graph.switches[WITH_VECTORS] and graph.counters[EVENTS] % graph.training_interval == 0


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
