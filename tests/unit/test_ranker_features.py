"""What the ranker sees of a candidate, against plain arithmetic over the rows of the user's last items."""

from math import exp, isnan, log

import numpy as np
import pytest
from twins import clock_weight_of, events_of, history_of, row_of
from whole_model import SETTINGS, a_log, drawn_tables, new_state, rows_of_users

from streamer import pipeline
from streamer.events import CatalogItem, Interaction
from streamer.graph import FoldSettings
from streamer.graph.learning import BACKWARD
from streamer.graph.state import ALL_TIME, BACK, CO, EVENTS, LAG, SEQ
from streamer.ranker.content import NUMBER_NAMES, TEXT_NAMES, VECTOR_NAMES
from streamer.ranker.evidence import EVIDENCE_NAMES, ORDER_NAMES
from streamer.ranker.features import FEATURES
from streamer.ranker.guard import IS_ON
from streamer.ranker.state import SHORT

SIZES = FoldSettings(
    max_items=64, max_users=32, max_nodes=64, max_taken=4_096, n_neighbours=32, explore_share=0.0
)
GAP_MS = 7_200_000


@pytest.fixture(scope="module")
def state():
    """Learned and never measured: nothing was foretold, and features are not scaled yet. Some items have numbers."""
    rng = np.random.default_rng(8)
    users, items, times = (column.tolist() for column in events_of(rng, 260, 12, 30))
    events = [
        CatalogItem(item_id=f"i{n}", numerical={"price": 2.0**n, "size": float(n % 5)}, timestamp_ms=0)
        for n in range(0, 36, 2)
    ]
    for user, item, time_ms in zip(users, items, times, strict=True):
        events.append(Interaction(f"u{user}", f"i{item}", "view", time_ms, float(item % 4)))
    for user, item in (("once", 1), ("twice", 2), ("twice", 1), ("thrice", 1), ("thrice", 0), ("thrice", 2)):
        events.append(Interaction(user, f"i{item}", "view", times[-1]))
    state, _ = pipeline.step(pipeline.new_state(SIZES), events, 0.0)
    state.ranker.guard[IS_ON] = 1.0
    return state


class Twin:
    """The features of an item for a user, by name."""

    def __init__(self, graph, user):
        self.graph, self.history = graph, history_of(graph, user)
        self.rows = [row_of(graph, owner) for owner in self.history]
        self.masses = [np.sum(list(row.values()), axis=0, dtype=np.float64) for row in self.rows]

    def seen(self, item, channel):
        """Evidence for the item in the row of each of the user's last items, the newest first."""
        return [float(row[item][channel]) if item in row else 0.0 for row in self.rows]

    def faded(self, numbers, kept):
        """Their sum, the newest in full."""
        return sum(kept**k * number for k, number in enumerate(numbers))

    def mass(self, channel):
        """Of all items together, row by row."""
        return [float(mass[channel]) for mass in self.masses]

    def share(self, item):
        """Of all events."""
        return clock_weight_of(self.graph, ALL_TIME, item) / float(self.graph.clocks.mass[ALL_TIME])

    def lift(self, item, seen, mass):
        """Half the logarithm of what was seen over what chance would bring, both smoothed."""
        return log((seen + 0.3) / (self.share(item) * mass + 0.3)) / 2

    def evidence(self, item):
        """What was taken near what the user took."""
        seq, together, n_rows = self.seen(item, SEQ), self.seen(item, CO), sum(item in r for r in self.rows)
        mass, share = self.mass(SEQ), self.share(item)
        surprise = self.faded(
            [log(1 + s / 0.3) - log(1 + share * m / 0.3) for s, m in zip(seq, mass, strict=True)], 0.9
        )
        return (
            self.lift(item, seq[0], mass[0]),
            self.lift(item, seq[1], mass[1]) if len(seq) > 1 else 0.0,
            max(0.0, self.lift(item, max(seq), max(mass))),
            self.lift(item, self.faded(seq, 0.8), self.faded(mass, 0.8)),
            self.lift(item, self.faded(seq, 0.95), self.faded(mass, 0.95)),
            self.lift(item, self.faded(together, 0.95), self.faded(self.mass(CO), 0.95)),
            surprise / 4,
            n_rows / 10,
        )

    def order(self, item):
        """Whether it follows the last item, or that one follows it."""
        back, mass = self.seen(item, BACK), self.mass(BACK)
        ahead = max(0.0, self.seen(item, SEQ)[0] - BACKWARD * back[0])
        return (
            log(1 + self.seen(item, LAG)[0]) / 2,
            self.lift(item, ahead, max(0.0, self.mass(SEQ)[0] - BACKWARD * mass[0])),
            self.lift(item, back[0], mass[0]),
            self.lift(item, self.faded(back, 0.8), self.faded(mass, 0.8)),
        )

    def item(self, item):
        """What it has been through."""
        record, now = self.graph.items[item], int(self.graph.counters[EVENTS])
        return {
            "log_events": log(record["n_events"] + 1) / 5,
            "log_age": log(now - int(record["first_event"]) + 1) / 10,
            "log_idle": log(now - int(record["last_event"]) + 1) / 10,
            "mean_value": float(record["value_sum"]) / (int(record["n_values"]) + 5),
            "calibration": 0.0,  # nothing was foretold
            "is_new": float(record["n_events"] == 0),
        }

    def numbers(self, item):
        """Each number, and how far it is from that of the last item, and from the mean of those that have one."""
        found = []
        for n in range(2):
            own = float(self.graph.items[item]["number"][n])
            past = [float(self.graph.items[other]["number"][n]) for other in self.history]
            there = [number for number in past if not isnan(number)]
            mean = sum(there) / len(there) if there else float("nan")
            apart = [0.0 if isnan(own - other) else min(3.0, abs(own - other)) for other in (past[0], mean)]
            found += [0.0 if isnan(own) else own / 2, *apart]
        return found


def test_features_are_plain_arithmetic(state):
    """Of every user's short list, every feature of evidence, order, item, user and numbers; each differs somewhere."""
    seen = {name: set() for name in (*EVIDENCE_NAMES, *ORDER_NAMES, *NUMBER_NAMES)}
    for user in range(state.ids.users.n_rows):
        pipeline.rank_users(state, np.array([user], np.int32), 20, np.array([GAP_MS], np.int64))
        twin, n = Twin(state.graph, user), int(state.ranker.n[SHORT])
        for c, item in enumerate(state.ranker.row[:n].tolist()):
            expected = dict(zip(EVIDENCE_NAMES, twin.evidence(item), strict=True))
            expected |= zip(ORDER_NAMES, twin.order(item), strict=True)
            expected |= zip(NUMBER_NAMES, twin.numbers(item), strict=True)
            expected |= twin.item(item)
            expected["log_history"] = log(int(state.graph.users[user]["n_events"]) + 1) / 4
            expected["log_gap"] = log(GAP_MS / 1000 + 1) / 15
            for name, value in expected.items():
                got = float(state.ranker.x[FEATURES.index(name), c])
                assert got == pytest.approx(value, abs=2e-3), (name, user, item)
                if name in seen:
                    seen[name].add(round(value, 2))
    assert min(len(values) for values in seen.values()) > 3


@pytest.mark.parametrize("without", [(), ("time",)])
def test_the_gap_is_a_feature_unless_time_is_switched_off(without):
    """Two hours since the last event are log(7201) / 15, for the whole list; without time they are none."""
    views = [Interaction(f"u{n % 3}", f"i{n % 7}", "view", n * 1_000) for n in range(30)]
    state, _ = pipeline.step(pipeline.new_state(SIZES._replace(repeats=True, without=without)), views, 0.0)
    state.ranker.guard[IS_ON] = 1.0
    pipeline.rank_users(state, np.array([0], np.int32), 5, np.array([GAP_MS], np.int64))
    got = state.ranker.x[FEATURES.index("log_gap"), : state.ranker.n[SHORT]]
    assert got.size > 5
    assert got == pytest.approx(0.0 if without else log(7_201) / 15, abs=1e-4)


@pytest.fixture(scope="module")
def whole():
    """Learned and never measured, with texts and a network; the last items have no vector, two others have the same one."""
    settings = SETTINGS._replace(explore_share=0.0, repeats=True)
    state, _ = pipeline.step(new_state(settings), a_log(7), 0.0)
    tables = drawn_tables(7, state.ids.items.n_rows - 6)
    tables.h[1::2], tables.bias[1::2] = (
        tables.h[: tables.h.shape[0] // 2 * 2 : 2],
        tables.bias[: tables.bias.size // 2 * 2 : 2],
    )
    state.ranker.guard[IS_ON] = 1.0
    return state._replace(graph=state.graph._replace(vectors=tables))


def described(state, user):
    """(index among the candidates, item row, name -> feature) of everything on the user's short list."""
    pipeline.rank_users(state, np.array([user], np.int32), 20)
    ranker = state.ranker
    for c in range(int(ranker.n[SHORT])):
        yield (
            int(ranker.candidate[c]),
            int(ranker.row[c]),
            dict(zip(FEATURES, ranker.x[:, c].tolist(), strict=False)),
        )


def test_texts_are_compared_with_those_of_the_last_items(whole):
    """Nearness as the paths have it, twice the cosine with the last item's text, and with the last five, fading by .8."""
    codes, seen = whole.graph.near.vector / 127.0, {name: set() for name in TEXT_NAMES}
    for user in rows_of_users(whole):
        past = history_of(whole.graph, user)
        recent = sum((0.8**k * codes[row] for k, row in enumerate(past[:5])), np.zeros(codes.shape[1]))
        recent = np.trunc(127 * recent / max(float(np.linalg.norm(recent)), 1e-9)) / 127
        for index, row, features in described(whole, user) if past else ():
            near = float(whole.scratch.text[index])
            expected = (
                log(near + 0.01) / 4 + 1,
                *(2 * min(1.0, codes[row] @ text) for text in (codes[past[0]], recent)),
            )
            for name, value in zip(TEXT_NAMES, expected, strict=True):
                assert features[name] == pytest.approx(value, abs=5e-3), (name, user, row)
                seen[name].add(round(float(value), 1))
    assert min(len(values) for values in seen.values()) > 3


def test_vectors_are_compared_within_the_short_list(whole):
    """Log-probability among those that have a vector, how much it is over the mixture's among the same, and the place: equals
    share the better one. Whoever has no vector says nothing."""
    n_tied = n_without = 0
    for user in rows_of_users(whole):
        listed = list(described(whole, user)) if history_of(whole.graph, user) else []
        logit = {index: float(whole.scratch.logit[index]) for index, _, _ in listed}
        mixed = {index: float(whole.scratch.mixed[index]) for index, _, _ in listed}
        there = [index for index, value in logit.items() if value > -np.inf]
        mass, mass_mixed = sum(exp(logit[i]) for i in there), sum(mixed[i] for i in there)
        for index, _, features in listed:
            got = [features[name] for name in VECTOR_NAMES]
            if index not in there:
                assert got == [0.0] * 3
                n_without += 1
                continue
            n_better = sum(logit[i] > logit[index] for i in there)
            n_tied += sum(logit[i] == logit[index] for i in there) > 1
            log_p = logit[index] - log(mass)
            part = (log_p - log(mixed[index] / mass_mixed)) / 2
            expected = [log_p / 4 + 1, max(-3.0, min(3.0, part)), 1 - log(n_better + 1) / 2]
            assert got == pytest.approx(expected, abs=2e-3)
    assert min(n_tied, n_without) > 8
