"""What the ranker sees of the short list, feature by feature; `scaling` brings it to one size afterwards.

What lies scattered is gathered first; logarithms are then taken of a whole row, and vectorise.

paths      each path's part: clip(log((p_path + 1e-6) / (p_mix + 1e-6)) / 2, -3, 3), 0 where it has nothing to say
item       the mixture's log-probability, then what the item has been through
user       what is equal for the whole list, for the hidden units to cross with the rest
others     `evidence`, `company`, `content`, `taste`: a file each
"""

import numpy as np

from streamer.cachelines import bring
from streamer.compiled import kernel
from streamer.fastmath import log
from streamer.graph.histories import past_item
from streamer.graph.scratch import N_HISTORY
from streamer.graph.state import ALL_TIME, WITH_TIME
from streamer.graph.state import COMPANY as COMPANY_BYTES
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
from streamer.ranker.taste import compare_taste, weigh_taste, weigh_traits

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
    n, x = ranker.n[SHORT], ranker.x
    n_history = cands.n[N_HISTORY] if user_row >= 0 else 0
    last_row = past_item(graph, user_row, 0) if n_history > 0 else np.int64(-1)
    _look_up(graph, cands, ranker)
    _describe_paths(cands, ranker)
    weigh_taste(graph, ranker, user_row, n_history)
    weigh_traits(graph, ranker)
    _describe_item(graph, ranker, x[ITEM:])
    _describe_user(graph, ranker, user_row, gap_ms, x[USER:])
    weigh_content(graph, cands, user_row, n_history)
    describe_content(graph, cands, ranker, x[CONTENT:])
    describe_text(graph, cands, ranker, last_row, x[TEXT:])
    describe_numbers(graph, cands, ranker, x[NUMBERS:])
    describe_vectors(cands, ranker, x[VECTORS:])
    if n_history == 0:
        x[EVIDENCE:, :n] = 0.0
        return
    weigh_rows(cands, n_history, ranker.masses)
    describe_evidence(cands, ranker, n_history, x[EVIDENCE:])
    describe_order(cands, ranker, x[ORDER:])
    weigh_company(graph, ranker, user_row, n_history)
    compare_company(graph, ranker, x[COMPANY:])
    compare_taste(ranker, x[TASTE:])


@kernel
def _look_up(graph, cands, ranker):
    """Fill row, share and base of the short list, and ask for what is read later of items."""
    n, base, has_texts = ranker.n[SHORT], ranker.base, graph.near.item.shape[0] > 0
    per_mass = np.float32(1.0 / max(graph.clocks.mass[ALL_TIME], 1.0))
    for c in range(n):
        index = ranker.candidate[c]
        ranker.row[c] = cands.row[index]
        ranker.share[c] = cands.current[index, ALL_TIME] * per_mass
        base[c] = cands.mixed[index] + np.float32(1e-12)
        bring(graph.company.code, ranker.row[c], COMPANY_BYTES)
        if has_texts:
            bring(graph.near.vector, ranker.row[c], graph.near.vector.shape[1])
    for c in range(n):
        base[c] = log(base[c])


@kernel
def _describe_paths(cands, ranker):
    n, log_mixed = ranker.n[SHORT], ranker.score  # which nobody needs yet
    for c in range(n):
        log_mixed[c] = cands.mixed[ranker.candidate[c]] + _FLOOR
    for c in range(n):
        log_mixed[c] = log(log_mixed[c])
    for path in range(N_PATHS):
        x = ranker.x[path]
        if cands.mass[path] <= 0.0:
            x[:n] = 0.0
            continue
        score, per_mass = cands.score[path], np.float32(1.0 / cands.mass[path])
        for c in range(n):
            x[c] = score[ranker.candidate[c]]
        for c in range(n):
            x[c] = clip((log(x[c] * per_mass + _FLOOR) - log_mixed[c]) * np.float32(0.5))


@kernel
def _describe_item(graph, ranker, x):
    n, traits, calibration = ranker.n[SHORT], ranker.traits, x[5]
    for c in range(n):
        item = graph.items[ranker.row[c]]
        x[4, c] = item["value_sum"] / np.float32(item["n_values"] + 5)
        calibration[c] = (item["hits"] + np.float32(1.0)) / (item["expected"] + np.float32(1.0))
        x[6, c] = np.float32(item["n_events"] == 0)
    for c in range(n):
        x[0, c] = ranker.base[c] / np.float32(8.0)
        x[1, c] = traits[taste.N_EVENTS, c] / np.float32(5.0)
        x[2, c] = traits[taste.AGE, c] / np.float32(10.0)
        x[3, c] = traits[taste.IDLE, c] / np.float32(10.0)
        calibration[c] = log(calibration[c])


@kernel
def _describe_user(graph, ranker, user_row, gap_ms, x):
    n_events = np.int64(graph.users[user_row]["n_events"]) if user_row >= 0 else np.int64(0)
    gap_s = np.float32(gap_ms) / np.float32(1000.0) if graph.switches[WITH_TIME] else np.float32(0.0)
    x[0, : ranker.n[SHORT]] = log(np.float32(n_events + 1)) / np.float32(4.0)
    x[1, : ranker.n[SHORT]] = log(gap_s + np.float32(1.0)) / np.float32(15.0)
