"""Slow twins of the kernels: dicts, lists and full sorts, small enough to be seen to be right.

They share no code with the kernels. Constants that are a matter of tuning are imported, never copied. Where the kernels
work in float32 with a growing unit, so do the twins, but without ever renormalising: the powers of two that the kernels
divide by change no other bit.
"""

import math
from collections import defaultdict

import numpy as np

from streamer import mixture, paths
from streamer.graph import candidates, learning, new_graph, rows, scratch
from streamer.graph.state import (
    ARRIVALS,
    AUDIENCES,
    BACK,
    CO,
    HALF_LIVES,
    HISTORY,
    KNOWN,
    LAG,
    LANES,
    N_FRESH,
    SEQ,
    TAKEN_CLASS,
    TOP,
    TRENDING,
)
from streamer.outcomes import new_outcomes
from streamer.paths import fresh as fresh_path
from streamer.paths import repeat as repeat_path
from streamer.paths import trending
from streamer.prequential import fold, fold_only

f32 = np.float32


def events_of(rng, n, n_users, n_items, max_gap_ms=900_000):
    """(n,) users, items and times of a stream in which some items are far more popular than others."""
    users = rng.integers(0, n_users, n)
    items = np.minimum(rng.geometric(3.0 / n_items, n) - 1, n_items - 1)
    times = 1_000_000 + np.cumsum(rng.integers(0, max_gap_ms, n))
    return users, items, times


def outcomes_of(users, items, times):
    """What `fold` and `fold_only` take."""
    return new_outcomes(np.array(users, np.int32), np.array(items, np.int32), np.array(times, np.int64))


def empty_graph(settings):
    """A graph that learns, without a network that wants examples."""
    return new_graph(settings._replace(without=("vectors",)), mixture.N_CONTEXTS, paths.NAMES)


def learn_all(graph, users, items, times):
    """Fold without measuring."""
    out = outcomes_of(users, items, times)
    assert fold_only(graph, out, 0) == out.user_row.size


def fold_all(state, users, items, times):
    """Measure, then learn, every event; gives the outcomes."""
    out = outcomes_of(users, items, times)
    measured = np.ones(out.user_row.size, np.bool_)
    assert fold(state.graph, state.scratch, state.ranker, measured, out, 0) == out.user_row.size
    return out


def round_to_f32(x):
    """As float32 would round, with an exponent that never runs out."""
    mantissa, exponent = math.frexp(x)
    return math.ldexp(float(f32(mantissa)), exponent)


class ClockTwin:
    """Popularity at one half-life: an event weighs growth ** (events before it), nothing is ever renormalised."""

    def __init__(self, half_life):
        self.growth = float(2.0 ** (1.0 / np.float64(half_life)))
        self.scale, self.n_ticks = 1.0, 0
        self.weight = {}
        self.reached = {}  # item -> tick at which it got its present weight
        self.mass = 0.0

    def tick(self, item):
        """Count one event."""
        self.n_ticks += 1
        self.scale *= self.growth
        self.weight[item] = round_to_f32(self.weight.get(item, 0.0) + self.scale)
        self.reached[item] = self.n_ticks
        self.mass += self.scale

    def top(self, n=TOP):
        """Full sort: heaviest first, ties in the order in which the weight was reached."""
        return sorted(self.weight, key=lambda item: (-self.weight[item], self.reached[item]))[:n]


class RowsTwin:
    """Neighbour rows of one bucket, for one run of events: owner -> list of [item, four channels]."""

    def __init__(self, pair_window):
        self.pair_window = pair_window
        self.rows = defaultdict(list)
        self.scale = defaultdict(lambda: f32(1.0))
        self.history = defaultdict(list)
        self.growth = f32(2.0 ** (1.0 / rows.NEIGHBOUR_HALF_LIFE))

    def _slot(self, owner, item):
        row = self.rows[owner]
        for slot in row:
            if slot[0] == item:
                return slot[1]
        fresh = [item, np.zeros(4, f32)]
        if len(row) < LANES:
            row.append(fresh)
        else:
            strengths = [slot[1][SEQ] + slot[1][CO] for slot in row]
            row[strengths.index(min(strengths))] = fresh
        return fresh[1]

    def learn(self, user, item):
        """One event: the owner's evidence ages, then every pair with the user's last items is counted both ways."""
        history = self.history[user]
        self.scale[item] = self.scale[item] * self.growth
        for k, earlier in enumerate(history[::-1][: min(self.pair_window, HISTORY)]):
            if earlier == item:
                continue
            decayed = f32(learning.STEP_DECAY**k)
            forward = self._slot(earlier, item)
            forward[SEQ] += self.scale[earlier] * decayed
            forward[CO] += self.scale[earlier]
            forward[LAG] += self.scale[earlier] if k == 0 else f32(0.0)
            back = self._slot(item, earlier)
            back[SEQ] += self.scale[item] * decayed * f32(learning.BACKWARD)
            back[CO] += self.scale[item]
            back[BACK] += self.scale[item] * decayed
        history.append(item)

    def row(self, owner):
        """item -> the four channels, one event of the owner now weighing 1."""
        return {item: channels / self.scale[owner] for item, channels in self.rows[owner]}


def row_of(graph, owner):
    """The kernels' neighbour row in the units of `RowsTwin.row`."""
    scale = graph.items[owner]["neighbour_scale"]
    return {
        int(item) - 1: graph.evidence[owner, slot] / scale
        for slot, item in enumerate(graph.neighbour[owner])
        if item != 0
    }


def taken_of(graph, user):
    """item -> slot of the pool, of one user."""
    row = graph.users[user]
    if row["taken_class"] & TAKEN_CLASS == 0:
        return {}
    start, size = int(row["taken_start"]), 1 << (int(row["taken_class"]) & TAKEN_CLASS)
    return {
        int(graph.taken.item[slot]) - 1: slot for slot in range(start, start + size) if graph.taken.item[slot]
    }


def history_of(graph, user):
    """A user's last items, the newest first."""
    row = graph.users[user]
    n = int(row["n_events"])
    return [int(row["ring"][(n - 1 - k) % HISTORY]) for k in range(min(n, HISTORY))]


def clock_weight_of(graph, clock, item):
    """Decayed count in the clock's present unit, as a plain float."""
    n_behind = int(graph.clocks.epoch[clock]) - int(graph.items[item]["epoch"][clock])
    return float(graph.items[item]["weight"][clock]) * 2.0 ** (-16 * n_behind)


# path -> its popularity clock
CLOCKS = {
    trending.name(half_life, audience): clock
    for clock, (half_life, audience) in enumerate(zip(HALF_LIVES, AUDIENCES, strict=True))
}


def paths_but(*names):
    """Every path but these, to be switched off."""
    return tuple(name for name in paths.NAMES if name not in names)


# The paths that count events, which `DensePaths` knows; the others have twins in tests of their own.
COUNTING = (
    *(path.name for path in paths.EVIDENCE_PATHS),
    *CLOCKS,
    *("fresh", "category", "repeat"),
)
NOT_COUNTING = (*paths_but(*COUNTING), "ranker", "content")

# Evidence paths: (column, damped by popularity, sharpened).
EVIDENCE = {
    "sequence": (scratch.NEAR, True, False),
    "sequence_sharp": (scratch.NEAR, True, True),
    "sequence_far": (scratch.FAR, True, False),
    "lag_one": (scratch.LAST, False, False),
    "cooccurrence": (scratch.TOGETHER, True, False),
    "cooccurrence_sharp": (scratch.TOGETHER, True, True),
}
_CHANNEL = {scratch.NEAR: SEQ, scratch.FAR: SEQ, scratch.TOGETHER: CO}


class DensePaths:
    """Every path's probability of every item, for one user, from the tables: no candidates, no hashing, no cuts."""

    def __init__(self, graph, user):
        self.graph, self.user = graph, user
        self.known = [item for item in range(graph.items.size) if graph.items[item]["flags"] & KNOWN]
        self.taken = taken_of(graph, user) if user >= 0 else {}
        self.history = history_of(graph, user)[: scratch.DEPTH] if user >= 0 else []

    def may_list(self, item):
        """Available, and not taken where repeats are off."""
        return not self.graph.unlistable[item] and (self.graph.repeats or item not in self.taken)

    def path(self, name):
        """item -> probability; empty where the path has nothing to say."""
        if not self.graph.has_path[paths.NAMES.index(name)]:
            return {}
        if name in EVIDENCE:
            return self._evidence(*EVIDENCE[name])
        if name in CLOCKS:
            return self._trending(CLOCKS[name])
        return {"fresh": self._fresh, "category": self._category, "repeat": self._repeat}[name]()

    def _evidence(self, column, damped, sharp):
        values = defaultdict(float)
        for k, owner in enumerate(self.history):
            for item, channels in row_of(self.graph, owner).items():
                if not self.may_list(item):
                    continue
                if column == scratch.LAST:
                    values[item] += float(channels[LAG]) if k == 0 else 0.0
                else:
                    values[item] += float(candidates._DECAY[column]) ** k * float(channels[_CHANNEL[column]])
        if damped:
            values = {
                item: value * (float(self.graph.items[item]["n_events"]) + 5.0) ** learning.DAMPING
                for item, value in values.items()
            }
        return normal({item: value**1.5 if sharp else value for item, value in values.items()})

    def _trending(self, clock):
        return normal(
            {
                item: clock_weight_of(self.graph, clock, item)
                for item in self.known
                if self.graph.repeats or item not in self.taken
            }
        )

    def _fresh(self):
        n = int(self.graph.counters[ARRIVALS])
        arrivals = [int(self.graph.fresh[(n - 1 - age) % N_FRESH]) for age in range(min(n, N_FRESH))]
        return normal(
            {
                item: float(fresh_path._DECAY) ** age
                for age, item in enumerate(arrivals)
                if self.may_list(item)
            }
        )

    def _category(self):
        share, total = defaultdict(float), 0.0
        for k, owner in enumerate(self.history):
            nodes = self.nodes(owner)[: int(self.graph.items[owner]["n_categories"])]
            for node in nodes:
                weight = 0.9**k / len(nodes)
                total += weight
                if node in share or len(share) < scratch.N_AFFINITIES:
                    share[node] += weight
        chances = defaultdict(float)
        for node, weight in share.items():
            within = normal(
                {
                    item: clock_weight_of(self.graph, TRENDING, item)
                    for item in self.known
                    if node in self.nodes(item)
                }
            )
            for item, chance in within.items():
                chances[item] += weight / total * chance
        return dict(chances)

    def nodes(self, item):
        """An item's feature nodes, categories first."""
        row = self.graph.items[item]
        return row["nodes"][: row["n_nodes"]].tolist()

    def _repeat(self):
        if not self.graph.repeats:
            return {}
        n_events = int(self.graph.users[self.user]["n_events"]) if self.user >= 0 else 0
        worth = {}
        for item, slot in self.taken.items():
            since = n_events - int(self.graph.taken.last[slot])
            worth[item] = int(self.graph.taken.times[slot]) ** repeat_path._POWER / (
                1.0 + since / repeat_path._HALF
            )
        return normal(worth)


def normal(weights):
    """Scaled to sum to one; empty when there is nothing."""
    total = sum(weights.values())
    return {item: weight / total for item, weight in weights.items()} if total > 0.0 else {}


def dense_mixture(graph, weights, user):
    """(item -> probability, path name -> item -> probability) over all items that may be listed; a full sort is a list."""
    dense = DensePaths(graph, user)
    by_path = {name: dense.path(name) for name in paths.NAMES}
    speaking = {name: weights[n] for n, name in enumerate(paths.NAMES) if by_path[name]}
    total = sum(speaking.values())
    mixed = {
        item: sum(weight / total * by_path[name].get(item, 0.0) for name, weight in speaking.items())
        for item in dense.known
        if dense.may_list(item)
    }
    return {item: chance for item, chance in mixed.items() if chance > 0.0}, by_path
