"""What a user's last items have in common, over feature nodes: his interest in every node, and how like it an item is.

Interest is `sum over the last items k of decay**k * idf(node) / |item k|`, at three decays; likeness is the cosine of that vector
with an item's own `idf(node)` over its nodes. idf = log((1 + items) / (1 + items that carry the node)). The fourth column is the
category path's: his share in a node over the weight of its items, summed over the item's nodes as it is.

Nearness by text is read off the table of neighbours, in the same way for all paths and for the ranker.
"""

import numpy as np

from streamer.cachelines import LINE, bring
from streamer.compiled import kernel
from streamer.fastmath import exp, log, scramble
from streamer.graph.candidates import find
from streamer.graph.histories import history_length, past_item
from streamer.graph.rates import ALL_ITEMS, COLD, rate_of
from streamer.graph.scratch import CATEGORY, DEPTH, N_CHOSEN, N_DRAWN, N_INTERESTED, N_INTERESTS, N_LIKED
from streamer.graph.state import DESCRIBED, ITEM_BYTES, N_ARRIVED, WITH_CONTENT
from streamer.nearest.table import BANDWIDTH, N_NEAR

_N_TEXTS = 10  # of the user's last items, whose texts count
_TEXT_DECAYS = (0.8 ** np.arange(_N_TEXTS)).astype(np.float32)
_PER_BANDWIDTH = np.float32(1.0 / BANDWIDTH)
LIKENESS, NEARNESS = range(2)  # indices of Candidates.unlisted
FAST, SLOW, NEWEST = range(3)  # columns of interest, beside CATEGORY
# of the user's last items; company fades as interest does
DECAYS = np.zeros((DEPTH, N_INTERESTS), np.float32)
DECAYS[:, FAST] = 0.7 ** np.arange(DEPTH)
DECAYS[:, SLOW] = 0.95 ** np.arange(DEPTH)
DECAYS[0, NEWEST] = 1.0


@kernel
def idf_of(graph, node_row):
    return log(np.float32(1 + graph.counters[DESCRIBED]) / np.float32(1 + graph.node_items[node_row]))


@kernel
def length_of(graph, item):
    """Length of an item's feature vector."""
    total = np.float32(1e-6)
    for q in range(item["n_nodes"]):
        idf = idf_of(graph, item["nodes"][q])
        total += idf * idf
    return np.sqrt(total)


@kernel
def weigh_interests(graph, cands, user_row):
    """Fill `cands.interest` for the nodes of the user's last items, and `interested`.

    What is kept is interest times idf over the length of the whole, so that a likeness is a sum over an item's nodes,
    divided by the item's own length.
    """
    n = 0
    for k in range(min(history_length(graph, user_row), DEPTH)):
        item = graph.items[past_item(graph, user_row, k)]
        if item["n_nodes"] == 0:
            continue
        per_length = np.float32(1.0) / item["length"]
        for q in range(item["n_nodes"]):
            node_row = item["nodes"][q]
            interest = cands.interest[node_row]
            if interest[SLOW] == 0.0:
                cands.interested[n] = node_row
                n += 1
            for column in range(N_INTERESTS):
                interest[column] += DECAYS[k, column] * per_length
    cands.n[N_INTERESTED] = n
    square = cands.interest_norm
    square[:] = 1e-9
    for at in range(n):
        interest = cands.interest[cands.interested[at]]
        idf = idf_of(graph, cands.interested[at])
        for column in range(N_INTERESTS):
            interest[column] *= idf
            square[column] += interest[column] * interest[column]
            interest[column] *= idf
    for column in range(N_INTERESTS):
        square[column] = np.float32(1.0) / np.sqrt(square[column])
    for at in range(n):
        for column in range(N_INTERESTS):
            cands.interest[cands.interested[at], column] *= square[column]


@kernel
def compare(graph, cands, user_row):
    """Likeness of every candidate of the last stage; with content its rate, too, and `unlisted[LIKENESS]`."""
    has_content = graph.switches[WITH_CONTENT]
    if has_content:
        _draw_unlisted(graph, cands, user_row)
    for at in range(cands.n[N_CHOSEN]):
        index = cands.final[at]
        _compare_one(graph, cands, cands.row[index], cands.likeness[index])
        if has_content:
            _bring_nodes(graph, cands.row[index])
    if not has_content:
        return
    per_total = np.float32(1.0 / max(graph.rates.total[ALL_ITEMS], 1e-30))
    for at in range(cands.n[N_CHOSEN]):
        index = cands.final[at]
        cands.rate[index] = rate_of(graph, cands.row[index]) * per_total
    total = np.float32(0.0)
    for n in range(N_DRAWN):
        _compare_one(graph, cands, np.int64(cands.drawn[n]), cands.drawn_likeness)
        total += cands.drawn_likeness[SLOW] ** 2
    cands.unlisted[LIKENESS] = total / np.float32(N_DRAWN)


@kernel
def _draw_unlisted(graph, cands, user_row):
    """Fill `cands.drawn` with items that stand for those nobody proposed: by the user's own numbers, the same in every replay."""
    n_arrived = min(graph.rates.n[N_ARRIVED], graph.rates.arrived.size)
    n_events = np.int64(graph.users[user_row]["n_events"]) if user_row >= 0 else np.int64(0)
    drawn = np.uint64(user_row * 1000003 + n_events + 1)
    for n in range(N_DRAWN):
        drawn = scramble(drawn)
        cands.drawn[n] = graph.rates.arrived[
            np.int64((drawn >> np.uint64(33)) % np.uint64(max(n_arrived, 1)))
        ]
    for n in range(N_DRAWN):
        bring(graph.items, np.int64(cands.drawn[n]), ITEM_BYTES)


@kernel
def _bring_nodes(graph, item_row):
    """Ask for what `rate_of` will read of a cold item's nodes."""
    item = graph.items[item_row]
    if item["n_events"] < COLD:
        for q in range(item["n_nodes"]):
            bring(graph.nodes, np.int64(item["nodes"][q]), LINE)


@kernel
def compare_texts(graph, cands, user_row):
    """`cands.text` of the last stage, sum of .8**k exp((cosine - 1) / .12) over the user's last 10 items, and what is not listed.

    The table holds the neighbours of each item and the sum over all others, so nothing is compared here.
    """
    near = graph.near
    for at in range(cands.n[N_CHOSEN]):
        cands.text[cands.final[at]] = 0.0
    cands.unlisted[NEARNESS] = 0.0
    if user_row < 0 or near.item.shape[0] == 0:
        return
    everyone, n_texts = np.float32(0.0), 0
    for k in range(min(history_length(graph, user_row), _N_TEXTS)):
        owner = past_item(graph, user_row, k)
        decay = _TEXT_DECAYS[k]
        everyone += decay * near.mass[owner]
        n_texts += near.mass[owner] > 0.0
        for slot in range(N_NEAR):
            if near.item[owner, slot] == 0:
                continue
            index = find(cands, np.int64(near.item[owner, slot] - 1))
            if index >= 0 and cands.chosen[index]:
                weight = decay * exp((near.similarity[owner, slot] - np.float32(1.0)) * _PER_BANDWIDTH)
                cands.text[index] += weight
                everyone -= weight
    if n_texts > 0:  # a path that knows no text of the user is silent
        cands.unlisted[NEARNESS] = max(np.float32(1e-9), everyone)


@kernel
def _compare_one(graph, cands, item_row, likeness):
    """Likeness of one item, (N_INTERESTS,), written."""
    likeness[:] = 0.0
    if cands.n[N_INTERESTED] == 0 and cands.n[N_LIKED] == 0:
        return
    item = graph.items[item_row]
    if item["n_nodes"] == 0:
        return
    fast = slow = newest = category = np.float32(0.0)
    for q in range(item["n_nodes"]):
        interest = cands.interest[item["nodes"][q]]
        fast += interest[FAST]
        slow += interest[SLOW]
        newest += interest[NEWEST]
        category += interest[CATEGORY]
    per_length = np.float32(1.0) / item["length"]
    # at most one: its length may be of long ago
    likeness[FAST] = min(np.float32(1.0), fast * per_length)
    likeness[SLOW] = min(np.float32(1.0), slow * per_length)
    likeness[NEWEST] = min(np.float32(1.0), newest * per_length)
    likeness[CATEGORY] = category
