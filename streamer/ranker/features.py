"""What the ranker sees of a candidate. Fixed scaling, no running statistics; one pass over the short list.

A path's part in a candidate is `clip(log((p_path + 1e-6) / (p_mix + 1e-6)) / 2, -3, 3)`, 0 where the path has nothing to say.
A lift is `log((seen + 0.3) / (expected + 0.3))`: evidence against what the item's popularity alone would bring.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.fastmath import exp, log
from streamer.graph.candidates import (
    BACK_FIRST,
    BACK_NEAR,
    BAYES,
    FAR,
    FIRST,
    LAST,
    MOST,
    N_HISTORY,
    N_PROPOSED,
    N_ROWS,
    NEAR,
    SECOND,
    SMOOTH,
    TOGETHER,
)
from streamer.graph.clocks import clock_weight
from streamer.graph.content import FAST, NEWEST, SLOW
from streamer.graph.histories import past_item
from streamer.graph.learning import BACKWARD
from streamer.graph.state import ALL_TIME, N_NUMBERS, WITH_CONTENT, WITH_TIME
from streamer.nearest.table import ONE, UNIT, dot_of, similarity
from streamer.paths import N_PATHS, NAMES
from streamer.ranker import taste
from streamer.ranker.state import N_RANKED, SHORT
from streamer.ranker.taste import compare_taste, traits_of, weigh_taste

_OWN = (
    "log_probability",
    "lift_first",
    "lift_second",
    "lift_most",
    "lift_near",
    "lift_far",
    "n_rows",
    "log_events",
    "log_age",
    "log_idle",
    "mean_value",
    "calibration",
    "log_history",
    "log_gap",
    "likeness_fast",
    "likeness_slow",
    "likeness_last",
    "log_rate",
    "is_new",
    "lift_together",
    "bayes",
    "text_near",
    "text_last",
    "text_recent",
    "vector_log_probability",
    "vector_part",
    "vector_place",
    *(f"{name}_{n}" for n in range(N_NUMBERS) for name in ("number", "from_last", "from_mean")),
    "log_lag_one",
    "lift_ahead",
    "lift_back",
    "lift_back_near",
    *taste.NAMES,
)
FEATURES = (*NAMES, *_OWN)
N_FEATURES = len(FEATURES)
_ORDER = FEATURES.index("log_lag_one")  # first of the features that are built from which came first
_TASTE = _ORDER + 4

_SMOOTH, _PER_SMOOTH = np.float32(SMOOTH), np.float32(1.0 / SMOOTH)
_FLOOR = np.float32(1e-6)
_N_BINS = 4096
NEAR_DECAYS = (0.8 ** np.arange(32)).astype(np.float32)
FAR_DECAYS = (0.95 ** np.arange(32)).astype(np.float32)
BAYES_DECAYS = (0.9 ** np.arange(32)).astype(np.float32)
_N_TEXTS = 5  # of the user's last items whose texts are averaged
HALVED = 50.0  # foretold takes of an item above which old ones count half


@kernel
def _clip(x):
    return max(np.float32(-3.0), min(np.float32(3.0), x))


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
            ranker.index[n] = index
            n += 1
    ranker.n[SHORT] = n


@kernel
def describe(graph, cands, ranker, user_row, gap_ms):
    """Fill `ranker.base` and `ranker.x` for the short list."""
    n_history = cands.n[N_HISTORY] if user_row >= 0 else 0
    near_mass, far_mass, most_mass = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    together_mass, back_mass = np.float32(0.0), np.float32(0.0)
    for k in range(n_history):
        near_mass += NEAR_DECAYS[k] * cands.row_mass[k]
        far_mass += FAR_DECAYS[k] * cands.row_mass[k]
        together_mass += FAR_DECAYS[k] * cands.together_mass[k]
        back_mass += NEAR_DECAYS[k] * cands.back_mass[k]
        most_mass = max(most_mass, cands.row_mass[k])
    n_events = np.int64(graph.users[user_row]["n_events"]) if user_row >= 0 else np.int64(0)
    log_history = log(np.float32(n_events + 1)) / np.float32(4.0)
    gap_ms = gap_ms if graph.switches[WITH_TIME] else np.int64(0)
    log_gap = log(np.float32(gap_ms) / np.float32(1000.0) + np.float32(1.0)) / np.float32(15.0)
    with_text = n_history > 0 and graph.near.item.shape[0] > 0
    last_row = past_item(graph, user_row, 0) if n_history > 0 else np.int64(0)
    if with_text:
        _average_texts(graph, cands, user_row, n_history)
    user_numbers = cands.user_numbers
    _average_numbers(graph, user_row, n_history, user_numbers)
    per_mass = np.float32(1.0 / max(graph.clocks.mass[ALL_TIME], 1.0))
    weigh_taste(graph, ranker, user_row, n_history)
    traits = ranker.traits
    for c in range(ranker.n[SHORT]):
        index = ranker.index[c]
        x = ranker.x[c]
        mixed = cands.mixed[index]
        ranker.base[c] = log(mixed + np.float32(1e-12))
        log_floored = log(mixed + _FLOOR)
        for path in range(N_PATHS):
            if cands.mass[path] > 0.0:
                p = np.float32(cands.score[path, index] / cands.mass[path])
                x[path] = _clip((log(p + _FLOOR) - log_floored) * np.float32(0.5))
            else:
                x[path] = np.float32(0.0)
        row = cands.row[index]
        item = graph.items[row]
        traits_of(graph, row, traits)
        share = clock_weight(graph, ALL_TIME, row) * per_mass
        evidence = cands.evidence[index]
        at = N_PATHS
        x[at] = ranker.base[c] / np.float32(8.0)
        x[at + 1] = x[at + 2] = x[at + 3] = x[at + 4] = x[at + 5] = np.float32(0.0)
        if n_history > 0:
            x[at + 1] = _lift(evidence[FIRST], share * cands.row_mass[0])
            x[at + 3] = max(np.float32(0.0), _lift(evidence[MOST], share * most_mass))
            x[at + 4] = _lift(evidence[NEAR], share * near_mass)
            x[at + 5] = _lift(evidence[FAR], share * far_mass)
        if n_history > 1:
            x[at + 2] = _lift(evidence[SECOND], share * cands.row_mass[1])
        x[at + 6] = evidence[N_ROWS] / np.float32(10.0)
        x[at + 7] = traits[taste.N_EVENTS] / np.float32(5.0)
        x[at + 8] = traits[taste.AGE] / np.float32(10.0)
        x[at + 9] = traits[taste.IDLE] / np.float32(10.0)
        x[at + 10] = item["value_sum"] / np.float32(item["n_values"] + 5)
        x[at + 11] = log((item["hits"] + np.float32(1.0)) / (item["expected"] + np.float32(1.0)))
        x[at + 12] = log_history
        x[at + 13] = log_gap
        if graph.switches[WITH_CONTENT]:
            likeness = cands.likeness[index]
            x[at + 14] = np.float32(2.0) * likeness[FAST]
            x[at + 15] = np.float32(2.0) * likeness[SLOW]
            x[at + 16] = np.float32(2.0) * likeness[NEWEST]
            x[at + 17] = (log(cands.rate[index] + np.float32(1e-8)) + np.float32(8.0)) / np.float32(4.0)
        else:
            x[at + 14] = x[at + 15] = x[at + 16] = x[at + 17] = np.float32(0.0)
        if n_history > 0:
            x[at + 19] = _lift(evidence[TOGETHER], share * together_mass)
            x[at + 20] = (evidence[BAYES] - _expected(cands, share, n_history)) * np.float32(0.25)
            _compare_order(cands, evidence, share, back_mass, x[_ORDER:_TASTE])
            compare_taste(ranker, x[_TASTE:])
        else:
            x[at + 19] = x[at + 20] = np.float32(0.0)
            x[_ORDER:] = 0.0
        if with_text:
            x[at + 21] = log(cands.text[index] + np.float32(0.01)) * np.float32(0.25) + np.float32(1.0)
            x[at + 22] = np.float32(2.0) * similarity(graph.near, last_row, row)
            x[at + 23] = np.float32(dot_of(graph.near.vector, row, cands.text_recent)) * np.float32(2.0 / ONE)
        else:
            x[at + 21] = x[at + 22] = x[at + 23] = np.float32(0.0)
        for n in range(N_NUMBERS):
            number = item["number"][n]
            known = number == number  # nan is not
            x[at + 27 + 3 * n] = number * np.float32(0.5) if known else np.float32(0.0)
            x[at + 28 + 3 * n] = _apart(number, user_numbers[0, n]) if known else np.float32(0.0)
            x[at + 29 + 3 * n] = _apart(number, user_numbers[1, n]) if known else np.float32(0.0)
        x[at + 18] = np.float32(item["n_events"] == 0)
    _place_by_vectors(cands, ranker, N_PATHS + 24)


@kernel
def _expected(cands, share, n_history):
    """What `evidence[BAYES]` would be, were the item seen in each row as often as its share of all events says."""
    total = np.float32(0.0)
    for k in range(n_history):
        total += BAYES_DECAYS[k] * log(np.float32(1.0) + share * cands.row_mass[k] * _PER_SMOOTH)
    return total


@kernel
def _compare_order(cands, evidence, share, back_mass, x):
    """Write four features of which came first: a candidate may follow the last item, or be what it follows."""
    back = np.float32(BACKWARD)  # what SEQ counts of it
    x[0] = log(np.float32(1.0) + evidence[LAST]) * np.float32(0.5)
    seen = max(np.float32(0.0), evidence[FIRST] - back * evidence[BACK_FIRST])
    x[1] = _lift(seen, share * max(np.float32(0.0), cands.row_mass[0] - back * cands.back_mass[0]))
    x[2] = _lift(evidence[BACK_FIRST], share * cands.back_mass[0])
    x[3] = _lift(evidence[BACK_NEAR], share * back_mass)


@kernel
def _average_numbers(graph, user_row, n_history, user_numbers):
    """Numbers of the user's last item, and their mean over his last items; nan where he has none."""
    for n in range(N_NUMBERS):
        total, count = np.float32(0.0), 0
        user_numbers[0, n] = np.float32(np.nan)
        for k in range(n_history):
            number = graph.items[past_item(graph, user_row, k)]["number"][n]
            if number == number:
                total += number
                count += 1
                if k == 0:
                    user_numbers[0, n] = number
        user_numbers[1, n] = total / np.float32(count) if count > 0 else np.float32(np.nan)


@kernel
def _average_texts(graph, cands, user_row, n_history):
    """`cands.text_recent`: the direction of the texts of the user's last items, in the code of the table of texts."""
    vector, total = graph.near.vector, cands.text_total
    dim = vector.shape[1]
    total[:dim] = 0.0
    for k in range(min(n_history, _N_TEXTS)):
        own = vector[past_item(graph, user_row, k)]
        for d in range(dim):
            total[d] += NEAR_DECAYS[k] * np.float32(own[d])
    square = np.float32(1e-6)
    for d in range(dim):
        square += total[d] * total[d]
    per_length = np.float32(UNIT) / np.sqrt(square)
    for d in range(dim):
        cands.text_recent[d] = np.int8(total[d] * per_length)


@kernel
def _apart(number, other):
    return min(np.float32(3.0), abs(number - other)) if other == other else np.float32(0.0)


@kernel
def _place_by_vectors(cands, ranker, at):
    """Features of the attention network: log-probability among the short list, over the mixture's, and place."""
    n = ranker.n[SHORT]
    if not cands.has_vector[0]:
        for c in range(n):
            for column in range(at, at + 3):
                ranker.x[c, column] = np.float32(0.0)
        return
    most = np.float32(-np.inf)
    for c in range(n):
        most = max(most, cands.affine[ranker.index[c]])
    mass, mixed = np.float32(1e-9), np.float32(1e-9)
    for c in range(n):
        if cands.affine[ranker.index[c]] > -np.inf:
            mass += exp(cands.affine[ranker.index[c]] - most)
            mixed += cands.mixed[ranker.index[c]]
    log_mass, log_mixed = log(mass), log(mixed)
    for c in range(n):
        x, affine = ranker.x[c], cands.affine[ranker.index[c]]
        if affine == -np.inf:
            for column in range(at, at + 3):
                x[column] = np.float32(0.0)
            continue
        n_better = 0
        for other in range(n):
            n_better += cands.affine[ranker.index[other]] > affine
        log_p = max(np.float32(-16.0), affine - most - log_mass)
        x[at] = log_p * np.float32(0.25) + np.float32(1.0)
        x[at + 1] = _clip((log_p - ranker.base[c] + log_mixed) * np.float32(0.5))
        x[at + 2] = np.float32(1.0) - log(np.float32(n_better + 1)) * np.float32(0.5)


@kernel
def _lift(seen, expected):
    return log((seen + _SMOOTH) / (expected + _SMOOTH)) * np.float32(0.5)


@kernel
def calibrate(graph, cands, ranker, taken):
    """Hold what the mixture foretold of the short list against what was taken (`taken`: number in the short list, or -1)."""
    for c in range(ranker.n[SHORT]):
        item = graph.items[cands.row[ranker.index[c]]]
        item["expected"] += cands.mixed[ranker.index[c]]
        if c == taken:
            item["hits"] += np.float32(1.0)
        if item["expected"] > HALVED:
            item["expected"] *= np.float32(0.5)
            item["hits"] *= np.float32(0.5)
