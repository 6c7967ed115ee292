"""Features of what an item is: likeness, text, numbers, vectors, each beside the user's last items."""

import numpy as np

from streamer.compiled import kernel
from streamer.fastmath import exp, log
from streamer.graph.company import point
from streamer.graph.content import FAST, NEWEST, SLOW
from streamer.graph.histories import past_item
from streamer.graph.state import N_NUMBERS, WITH_CONTENT
from streamer.nearest.table import ONE, dot_of
from streamer.ranker.state import SHORT

CONTENT_NAMES = ("likeness_fast", "likeness_slow", "likeness_last", "log_rate")
TEXT_NAMES = ("text_near", "text_last", "text_recent")
NUMBER_NAMES = tuple(f"{name}_{n}" for n in range(N_NUMBERS) for name in ("number", "from_last", "from_mean"))
VECTOR_NAMES = ("vector_log_probability", "vector_part", "vector_place")

_N_TEXTS = 5  # of the user's last items whose texts are averaged
_TEXT_DECAYS = (0.8 ** np.arange(_N_TEXTS)).astype(np.float32)


@kernel
def clip(x):
    """Within +-3."""
    return max(np.float32(-3.0), min(np.float32(3.0), x))


@kernel
def weigh_content(graph, cands, user_row, n_history):
    """Sum the user's last items up: their texts and their numbers."""
    if n_history > 0 and graph.near.item.shape[0] > 0:
        _average_texts(graph, cands, user_row, n_history)
    _average_numbers(graph, user_row, n_history, cands.user_numbers)


@kernel
def describe_content(graph, cands, ranker, x):
    """Write CONTENT_NAMES of the short list into x[:4]."""
    n = ranker.n[SHORT]
    if not graph.switches[WITH_CONTENT]:
        x[:4, :n] = 0.0
        return
    for c in range(n):
        likeness = cands.likeness[ranker.candidate[c]]
        x[0, c] = np.float32(2.0) * likeness[FAST]
        x[1, c] = np.float32(2.0) * likeness[SLOW]
        x[2, c] = np.float32(2.0) * likeness[NEWEST]
        x[3, c] = cands.rate[ranker.candidate[c]] + np.float32(1e-8)
    rate = x[3]
    for c in range(n):
        rate[c] = (log(rate[c]) + np.float32(8.0)) / np.float32(4.0)


@kernel
def describe_text(graph, cands, ranker, last_row, x):
    """Write TEXT_NAMES of the short list into x[:3]; `last_row` is the user's last item, -1 = none."""
    n, vectors = ranker.n[SHORT], graph.near.vector
    if last_row < 0 or graph.near.item.shape[0] == 0:
        x[:3, :n] = 0.0
        return
    last = vectors[last_row]
    for c in range(n):
        x[0, c] = cands.text[ranker.candidate[c]] + np.float32(0.01)
        x[1, c] = np.float32(dot_of(vectors, ranker.row[c], last)) * np.float32(2.0 / ONE)
        x[2, c] = np.float32(dot_of(vectors, ranker.row[c], cands.text_recent)) * np.float32(2.0 / ONE)
    near = x[0]
    for c in range(n):
        near[c] = log(near[c]) * np.float32(0.25) + np.float32(1.0)


@kernel
def describe_numbers(graph, cands, ranker, x):
    """Write NUMBER_NAMES of the short list: each number, and how far it is from those of the user's last items."""
    for c in range(ranker.n[SHORT]):
        item = graph.items[ranker.row[c]]
        for n in range(N_NUMBERS):
            number = item["number"][n]
            is_there = not np.isnan(number)
            x[3 * n, c] = number * np.float32(0.5) if is_there else np.float32(0.0)
            x[3 * n + 1, c] = _apart(number, cands.user_numbers[0, n]) if is_there else np.float32(0.0)
            x[3 * n + 2, c] = _apart(number, cands.user_numbers[1, n]) if is_there else np.float32(0.0)


@kernel
def describe_vectors(cands, ranker, x):
    """Write VECTOR_NAMES of the short list into x[:3]: log-probability by the network, over the mixture's, and place."""
    n = ranker.n[SHORT]
    if not cands.has_vector[0]:
        x[:3, :n] = 0.0
        return
    logits, most = ranker.logit, np.float32(-np.inf)
    for c in range(n):
        logits[c] = cands.logit[ranker.candidate[c]]
        most = max(most, logits[c])
    mass, mixed = np.float32(1e-9), np.float32(1e-9)
    for c in range(n):
        if logits[c] > -np.inf:
            mass += exp(logits[c] - most)
            mixed += cands.mixed[ranker.candidate[c]]
    log_mass, log_mixed = log(mass), log(mixed)
    for c in range(n):
        logit = logits[c]
        if logit == -np.inf:
            x[0, c] = x[1, c] = x[2, c] = np.float32(0.0)
            continue
        n_better = np.int32(0)
        for other in range(n):
            n_better += np.int32(logits[other] > logit)
        log_p = max(np.float32(-16.0), logit - most - log_mass)
        x[0, c] = log_p * np.float32(0.25) + np.float32(1.0)
        x[1, c] = clip((log_p - ranker.base[c] + log_mixed) * np.float32(0.5))
        x[2, c] = np.float32(1.0) - log(np.float32(n_better + 1)) * np.float32(0.5)


@kernel
def _average_numbers(graph, user_row, n_history, user_numbers):
    """Numbers of the user's last item, and their mean over his last items; nan where he has none."""
    for n in range(N_NUMBERS):
        total, count = np.float32(0.0), 0
        user_numbers[0, n] = np.float32(np.nan)
        for k in range(n_history):
            number = graph.items[past_item(graph, user_row, k)]["number"][n]
            if not np.isnan(number):
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
            total[d] += _TEXT_DECAYS[k] * np.float32(own[d])
    point(total[:dim], cands.text_recent[:dim])


@kernel
def _apart(number, other):
    return min(np.float32(3.0), abs(number - other)) if not np.isnan(other) else np.float32(0.0)
