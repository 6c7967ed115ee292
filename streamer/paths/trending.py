"""Trending: what users took lately, at one half-life a path; without forgetting it is popularity.

Beside what everyone takes stands what sessions begin with, and what users begin with: in a shop the first item of a basket is
not a typical one, and who rates his first films rates those that others rate first.
"""

from collections.abc import Callable
from math import isinf
from typing import Any

import numpy as np

from streamer.cachelines import LINE, bring
from streamer.compiled import kernel, kernel_named
from streamer.graph.candidates import choose
from streamer.graph.clocks import clock_weight
from streamer.graph.histories import has_taken, history_length, n_slots, past_item
from streamer.graph.scratch import N_CHOSEN
from streamer.graph.state import EVERYONE, N_CLOCKS, NEWCOMERS, STARTERS

N_PROPOSED = 50  # items that each clock proposes: enough for a list of twenty and what the mixture adds
# Clocks of a part of the events resemble the others: with a full share from the start they dilute the rest of the mixture
# (stackexchange-beer, 3,775 events, the mixture's hit ratio: .7033 with 1, .7049 with .3, .7065 without them).
FIRST_WEIGHT = {EVERYONE: 1.0, STARTERS: 0.3, NEWCOMERS: 0.3}
_ROUNDING = 1e-5  # share of the whole mass that float32 loses: a smaller rest says nothing
# taken items; of a user with more, only the head of the list and his last items are subtracted
_N_EXACT = 256


def name(half_life: float, audience: int) -> str:
    """`trending_<events>`, or `popularity` for the clock that never forgets; `starting_`, `newcomers_` by who is counted."""
    if isinf(half_life):
        return "popularity"
    kind = {STARTERS: "starting", NEWCOMERS: "newcomers"}.get(audience, "trending")
    return f"{kind}_{half_life:.0f}"


@kernel
def bring_taken(graph, user_row):
    """Ask for what `weigh_taken` will read of the items that the user took: their weights, the first line of a record."""
    if graph.repeats or user_row < 0 or graph.users[user_row]["n_taken"] > _N_EXACT:
        return
    user = graph.users[user_row]
    for slot in range(user["taken_start"], user["taken_start"] + n_slots(user)):
        if graph.taken.item[slot] != 0:
            bring(graph.items, np.int64(graph.taken.item[slot]) - 1, LINE)


@kernel
def weigh_taken(graph, cands, user_row):
    """`cands.taken_weight`: weight on each clock of what this user cannot be listed any more, grown units."""
    total = cands.taken_weight
    total[:] = 0.0
    if graph.repeats or user_row < 0 or graph.users[user_row]["n_taken"] == 0:
        return
    user = graph.users[user_row]
    if user["n_taken"] <= _N_EXACT:
        for slot in range(user["taken_start"], user["taken_start"] + n_slots(user)):
            if graph.taken.item[slot] != 0:
                for clock in range(N_CLOCKS):
                    total[clock] += clock_weight(graph, clock, graph.taken.item[slot] - 1)
        return
    for clock in range(N_CLOCKS):
        for place in range(graph.clocks.n_top[clock]):
            item_row = graph.clocks.top[clock, place]
            if has_taken(graph, user_row, item_row):
                total[clock] += clock_weight(graph, clock, item_row)
        for k in range(history_length(graph, user_row)):
            item_row = past_item(graph, user_row, k)
            if graph.items[item_row]["position"][clock] == 0 and not _came_later(graph, user_row, k):
                total[clock] += clock_weight(graph, clock, item_row)


@kernel
def _came_later(graph, user_row, k):
    """Whether the item of k events ago was taken again since."""
    n_later = 0
    for later in range(k):
        n_later += past_item(graph, user_row, later) == past_item(graph, user_row, k)
    return n_later > 0


def kernels(clock: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`score` and `propose` of one popularity clock."""

    @kernel_named(f"score_clock_{clock}")
    def score(graph, cands, user_row, path):
        mass = graph.clocks.mass[clock] - cands.taken_weight[clock]
        if mass <= _ROUNDING * graph.clocks.mass[clock]:
            return
        listed = 0.0
        for at in range(cands.n[N_CHOSEN]):
            index = cands.final[at]
            cands.score[path, index] = cands.current[index, clock]
            listed += cands.score[path, index]
        cands.mass[path] = max(mass, listed)  # the difference of large numbers may be a little too small

    @kernel_named(f"propose_clock_{clock}")
    def propose(graph, cands, user_row, path):
        n_proposed = 0
        for place in range(graph.clocks.n_top[clock]):
            if choose(graph, cands, user_row, np.int64(graph.clocks.top[clock, place])) >= 0:
                n_proposed += 1
                if n_proposed == N_PROPOSED:
                    break

    return score, propose
