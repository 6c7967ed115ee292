"""Slow twins of what lists say by features, text and vectors: sums over whole tables, in the order of their definitions.

They read the graph's tables and what the kernels chose for the last stage; what they compare with is worked out here.
"""

import math
from collections import defaultdict

import numpy as np
from entries import rates_of
from twins import history_of

from streamer import paths
from streamer.graph import content
from streamer.graph.scratch import DEPTH, N_CHOSEN
from streamer.graph.state import N_ARRIVED

_MASK = 2**64 - 1


def scrambled(seed):
    """splitmix64 in whole numbers (Steele et al. 2014)."""
    z = (seed + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def draws(seed, n, n_rows):
    """`n` rows below `n_rows`, one after the other from one seed."""
    drawn, rows = seed & _MASK, []
    for _ in range(n):
        drawn = scrambled(drawn)
        rows.append((drawn >> 33) % n_rows)
    return rows


def last_stage(scratch):
    """Item row -> index of the candidates of the last stage."""
    return {int(scratch.row[index]): int(index) for index in scratch.final[: scratch.n[N_CHOSEN]]}


def of_path(scratch, name):
    """(item row -> score, mass) of a path."""
    number = paths.NAMES.index(name)
    scores = {row: float(scratch.score[number, index]) for row, index in last_stage(scratch).items()}
    return scores, float(scratch.mass[number])


def nodes_of(graph, row):
    """An item's feature nodes."""
    return graph.items[row]["nodes"][: graph.items[row]["n_nodes"]].tolist()


def shares(graph, rows):
    """Item row -> its rate over the rate of all."""
    rows = np.array(sorted(rows), np.int64)
    rates, lifts = np.zeros(rows.size), np.zeros(rows.size)
    rates_of(graph, rows, rates, lifts)
    return dict(zip(rows.tolist(), (rates / graph.rates.total[0]).tolist(), strict=True))


class Interests:
    """A user's interest in every node, and how like it an item is: vectors over all nodes, and their cosine."""

    def __init__(self, graph, user):
        self.graph = graph
        self.history = history_of(graph, user)[:DEPTH] if user >= 0 else []
        carriers = defaultdict(int)
        n_described = 0
        for item in graph.items:
            n_described += item["n_nodes"] > 0
            for node in item["nodes"][: item["n_nodes"]].tolist():
                carriers[node] += 1
        self.idf = {node: math.log((1 + n_described) / (1 + n)) for node, n in carriers.items()}

    def likeness(self, row, column):
        """Cosine with the item, at most 1: its length, and those of the past items, may be of a smaller catalog."""
        interest = defaultdict(float)
        for k, owner in enumerate(self.history):
            for node in nodes_of(self.graph, owner):
                weight = float(content.DECAYS[k, column]) * self.idf[node]
                interest[node] += weight / float(self.graph.items[owner]["length"])
        norm = math.sqrt(sum(weight**2 for weight in interest.values()))
        if norm == 0.0 or not nodes_of(self.graph, row):
            return 0.0
        dot = sum(interest[node] * self.idf[node] for node in nodes_of(self.graph, row) if node in interest)
        return min(1.0, dot / norm / float(self.graph.items[row]["length"]))

    def of_any_item(self, user):
        """Mean square of the likeness of 16 items drawn by user and event number."""
        graph = self.graph
        n_arrived = int(graph.rates.n[N_ARRIVED])
        n_events = int(graph.users[user]["n_events"])
        rows = [int(graph.rates.arrived[at]) for at in draws(user * 1000003 + n_events + 1, 16, n_arrived)]
        return sum(self.likeness(row, content.SLOW) ** 2 for row in rows) / 16
