"""What the ranker sees of a candidate; one pass over the short list. `scaling` brings it to one size afterwards.

paths      each path's part: clip(log((p_path + 1e-6) / (p_mix + 1e-6)) / 2, -3, 3), 0 where it has nothing to say
item       the mixture's log-probability, then what the item has been through
user       what is equal for the whole list, for the hidden units to cross with the rest
others     `evidence`, `company`, `content`, `taste`: a file each
"""

import numpy as np

from streamer.compiled import kernel
from streamer.fastmath import log
from streamer.graph.candidates import N_HISTORY
from streamer.graph.clocks import clock_weight
from streamer.graph.histories import past_item
from streamer.graph.state import ALL_TIME, WITH_TIME
from streamer.paths import N_PATHS, NAMES
from streamer.ranker import company, content, evidence, taste
from streamer.ranker.company import compare_company, weigh_company
from streamer.ranker.content import (
    clip,
    describe_content,
    describe_numbers,
    describe_text,
    describe_vectors,
    weigh_content,
)
from streamer.ranker.evidence import describe_evidence, describe_order, weigh_rows
from streamer.ranker.state import SHORT
from streamer.ranker.taste import compare_taste, traits_of, weigh_taste

_ITEM_NAMES = ("log_probability", "log_events", "log_age", "log_idle", "mean_value", "calibration", "is_new")
_USER_NAMES = ("log_history", "log_gap")
_GROUPS = (
    NAMES,
    _ITEM_NAMES,
    _USER_NAMES,
    content.CONTENT_NAMES,
    content.TEXT_NAMES,
    content.NUMBER_NAMES,
    content.VECTOR_NAMES,
    evidence.EVIDENCE_NAMES,
    evidence.ORDER_NAMES,
    company.NAMES,
    taste.NAMES,
)
FEATURES = tuple(name for group in _GROUPS for name in group)
N_FEATURES = len(FEATURES)
# where each group begins
_, ITEM, USER, CONTENT, TEXT, NUMBERS, VECTORS, EVIDENCE, ORDER, COMPANY, TASTE = (
    sum(len(group) for group in _GROUPS[:n]) for n in range(len(_GROUPS))
)
_FLOOR = np.float32(1e-6)


@kernel
def describe(graph, cands, ranker, user_row, gap_ms):
    """Fill `ranker.base` and `ranker.x` for the short list."""
    n_history = cands.n[N_HISTORY] if user_row >= 0 else 0
    n_events = np.int64(graph.users[user_row]["n_events"]) if user_row >= 0 else np.int64(0)
    log_history = log(np.float32(n_events + 1)) / np.float32(4.0)
    gap_s = np.float32(gap_ms) / np.float32(1000.0) if graph.switches[WITH_TIME] else np.float32(0.0)
    log_gap = log(gap_s + np.float32(1.0)) / np.float32(15.0)
    last_row = past_item(graph, user_row, 0) if n_history > 0 else np.int64(-1)
    per_mass = np.float32(1.0 / max(graph.clocks.mass[ALL_TIME], 1.0))
    weigh_content(graph, cands, user_row, n_history)
    weigh_rows(cands, n_history, ranker.masses)
    weigh_taste(graph, ranker, user_row, n_history)
    weigh_company(graph, ranker, user_row, n_history)
    for c in range(ranker.n[SHORT]):
        index, x = ranker.candidate[c], ranker.x[c]
        row = cands.row[index]
        ranker.base[c] = log(cands.mixed[index] + np.float32(1e-12))
        _describe_paths(cands, index, x)
        traits_of(graph, row, ranker.traits)
        _describe_item(graph, row, ranker, ranker.base[c], x[ITEM:USER])
        x[USER] = log_history
        x[USER + 1] = log_gap
        describe_content(graph, cands, index, x[CONTENT:TEXT])
        describe_text(graph, cands, index, last_row, x[TEXT:NUMBERS])
        describe_numbers(graph, cands, index, x[NUMBERS:VECTORS])
        if n_history == 0:
            x[EVIDENCE:] = 0.0
            continue
        share = clock_weight(graph, ALL_TIME, row) * per_mass
        describe_evidence(cands, index, share, n_history, ranker.masses, x[EVIDENCE:ORDER])
        describe_order(cands, index, share, ranker.masses, x[ORDER:COMPANY])
        compare_company(graph, ranker, row, x[COMPANY:TASTE])
        compare_taste(ranker, x[TASTE:])
    describe_vectors(cands, ranker, VECTORS)


@kernel
def _describe_paths(cands, index, x):
    log_mixed = log(cands.mixed[index] + _FLOOR)
    for path in range(N_PATHS):
        if cands.mass[path] > 0.0:
            p = np.float32(cands.score[path, index] / cands.mass[path])
            x[path] = clip((log(p + _FLOOR) - log_mixed) * np.float32(0.5))
        else:
            x[path] = np.float32(0.0)


@kernel
def _describe_item(graph, row, ranker, log_probability, x):
    item, traits = graph.items[row], ranker.traits
    x[0] = log_probability / np.float32(8.0)
    x[1] = traits[taste.N_EVENTS] / np.float32(5.0)
    x[2] = traits[taste.AGE] / np.float32(10.0)
    x[3] = traits[taste.IDLE] / np.float32(10.0)
    x[4] = item["value_sum"] / np.float32(item["n_values"] + 5)
    x[5] = log((item["hits"] + np.float32(1.0)) / (item["expected"] + np.float32(1.0)))
    x[6] = np.float32(item["n_events"] == 0)
