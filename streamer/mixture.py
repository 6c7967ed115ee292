"""The mixture: p(item | user) = sum over paths m of pi_m(context) p_m(item | user), its weights learned online by EM.

The context is how long the user's history is and how long his last event is ago. One update an event: the responsibility
`rho_m = pi_m p_m(taken) / p(taken)` is added to a slowly forgetting sum R, and `pi = R / sum R` (Cappe and Moulines 2009,
online EM, in its forgetting form; measured in research/prototype.md).
"""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.candidates import choose, choose_best, clear, gather, read_clocks
from streamer.graph.content import compare, compare_texts, weigh_interests
from streamer.graph.rates import arrived, n_newest
from streamer.graph.scratch import N_ALL, N_CHOSEN, N_PROPOSED
from streamer.graph.state import WITH_CONTENT, WITH_TIME
from streamer.paths import (
    N_EVIDENCE_PATHS,
    N_PATHS,
    NAMES,
    propose_lists,
    score_evidence_paths,
    score_list_paths,
)
from streamer.paths.trending import bring_taken, weigh_taken

_LENGTHS = (1, 3, 10, 40)  # history length buckets: 0, 1-2, 3-9, 10-39, 40+
_GAPS_MS = (60_000, 1_800_000)  # up to a minute, up to half an hour, longer
N_GAPS = len(_GAPS_MS) + 1
N_CONTEXTS = (len(_LENGTHS) + 1) * N_GAPS
FORGETTING = 0.9998  # of the responsibilities, an event
_ENOUGH = 20  # candidates; where paths propose fewer, as in a shop that opens, the newest items are listed by their rate alone
_RATE = NAMES.index("rate")
LEAST = 0.01  # of 5,000 in the long run: a path that was silent for a year can come back


@kernel
def context_of(n_events, gap_ms):
    """Row of `graph.weights` for a user with this many events whose last one is `gap_ms` ago."""
    length = 0
    for edge in _LENGTHS:
        length += n_events >= edge
    gap = 0
    for edge in _GAPS_MS:
        gap += gap_ms > edge
    return length * N_GAPS + gap


@kernel
def _mix(cands, weights, first, last, indices_from_final):
    """mixed[index] += sum of weight * score / mass over paths first..last-1."""
    for path in range(first, last):
        if cands.mass[path] <= 0.0:
            continue
        factor = np.float32(weights[path] / cands.mass[path])
        if indices_from_final:
            for at in range(cands.n[N_CHOSEN]):
                index = cands.final[at]
                cands.mixed[index] += factor * cands.score[path, index]
        else:
            for index in range(cands.n[N_ALL]):
                cands.mixed[index] += factor * cands.score[path, index]


@kernel
def _share(cands, weights):
    """`cands.shared`: the weights, scaled so that those of paths which have anything to say sum to one."""
    total = 0.0
    for path in range(N_PATHS):
        total += weights[path] if cands.mass[path] > 0.0 else 0.0
    for path in range(N_PATHS):
        cands.shared[path] = weights[path] / total if weights[path] > 0.0 and cands.mass[path] > 0.0 else 0.0


@kernel
def _propose_newest(graph, cands, user_row):
    for age in range(n_newest(graph) if graph.has_path[_RATE] else 0):
        if cands.n[N_CHOSEN] >= _ENOUGH:
            return
        choose(graph, cands, user_row, arrived(graph, age))


@kernel
def mix(graph, cands, user_row, gap_ms, target, n_best):
    """Fill the last stage with candidates and their probabilities.

    Args:
        user_row: -1 for a user nobody knows.
        target: Row of an item that is scored too, without counting as proposed; -1 for none.
        n_best: Candidates by evidence that survive to the last stage, beside those that lists propose.

    Returns:
        The context: row of `graph.weights`. Afterwards `cands.final[:n[N_PROPOSED]]` are the candidates for the list,
        `cands.mixed` their probabilities, `cands.shared` the weights they were mixed with.
    """
    clear(cands)
    cands.gap_ms[0] = gap_ms
    n_events = np.int64(graph.users[user_row]["n_events"]) if user_row >= 0 else np.int64(0)
    context = context_of(n_events, gap_ms if graph.switches[WITH_TIME] else np.int64(0))
    weights = graph.weights[context]
    if n_events > 0:
        gather(graph, cands, user_row)
        score_evidence_paths(graph, cands, user_row)
        cands.mixed[: cands.n[N_ALL]] = 0.0
        _mix(cands, weights, 0, N_EVIDENCE_PATHS, False)
        choose_best(graph, cands, cands.mixed, n_best)
    n_gathered = cands.n[N_ALL]
    if user_row >= 0 and graph.switches[WITH_CONTENT]:
        weigh_interests(graph, cands, user_row)
    propose_lists(graph, cands, user_row)
    _propose_newest(graph, cands, user_row)
    cands.n[N_PROPOSED] = cands.n[N_CHOSEN]
    if target >= 0:
        choose(graph, cands, user_row, target)
    cands.score[:N_EVIDENCE_PATHS, n_gathered : cands.n[N_ALL]] = 0.0  # they were scored without these
    cands.score[N_EVIDENCE_PATHS:, : cands.n[N_ALL]] = 0.0
    bring_taken(graph, user_row)
    compare(graph, cands, user_row)
    compare_texts(graph, cands, user_row)  # also for the ranker, who knows no switch for it
    read_clocks(graph, cands)
    weigh_taken(graph, cands, user_row)
    score_list_paths(graph, cands, user_row)
    _share(cands, weights)
    for at in range(cands.n[N_CHOSEN]):
        cands.mixed[cands.final[at]] = 0.0
    _mix(cands, cands.shared, 0, N_PATHS, True)
    return context


@kernel
def learn_weights(graph, cands, context, index):
    """One EM step towards the paths that saw the taken item coming. Returns the most responsible path, or -1."""
    total = cands.mixed[index]
    if total <= 0.0:
        return -1
    best, most = -1, 0.0
    for path in range(N_PATHS):
        graph.weights[context, path] = max(graph.weights[context, path] * FORGETTING, LEAST)
        if cands.mass[path] > 0.0:
            responsibility = cands.shared[path] * cands.score[path, index] / cands.mass[path] / total
            graph.weights[context, path] += responsibility
            if responsibility > most:
                best, most = path, responsibility
    return best


@kernel
def main_path(cands, index):
    """The path most responsible for a candidate."""
    best, most = 0, -1.0
    for path in range(N_PATHS):
        if cands.mass[path] > 0.0:
            part = cands.shared[path] * cands.score[path, index] / cands.mass[path]
            if part > most:
                best, most = path, part
    return best
