"""Item rates: bins, exposures and lifts against a census that counts every item anew at every event."""

from bisect import bisect_right
from collections import defaultdict

import numpy as np
import pytest
from entries import rates_of, settle
from whole_model import record_of

from streamer import pipeline
from streamer.events import CatalogItem, Interaction, ItemRetired
from streamer.graph import FoldSettings, rates
from streamer.graph.state import EVENTS, N_AGES, N_COUNTS, POOLED
from streamer.pipeline import state_hash

SIZES = FoldSettings(
    max_items=64, max_users=16, max_nodes=96, max_taken=4_096, n_neighbours=16, without=("vectors",)
)
COLD = 5


class Census:
    """Items with their first and last event, looked at one by one whenever somebody asks."""

    def __init__(self):
        self.now = 0
        self.first, self.last, self.n_events = {}, {}, defaultdict(int)
        self.taken = np.zeros((N_COUNTS, N_AGES))
        self.exposed = np.zeros((N_COUNTS, N_AGES))

    def enter(self, item):
        """The item may be taken from the next event on."""
        self.first.setdefault(item, self.now)

    def bin_of(self, item):
        """Its number of events, and the events since the last one, or since it came: 1, 2-3, 4-7, 8-15, ..."""
        last = self.last.get(item, self.first[item])
        since = max(1, self.now + 1 - last)
        return bisect_right(rates._EDGES, self.n_events[item]), min(since.bit_length() - 1, N_AGES - 1)

    def alive(self):
        """How many items are in each bin now."""
        counted = np.zeros((N_COUNTS, N_AGES))
        for item in self.first:
            counted[self.bin_of(item)] += 1.0
        return counted

    def take(self, item):
        """One event: every item was exposed to it, one was taken."""
        self.enter(item)
        self.exposed += self.alive()
        self.taken[self.bin_of(item)] += 1.0
        self.now += 1
        self.last[item] = self.now
        self.n_events[item] += 1

    def hazard(self):
        """The table as it would be fitted now."""
        row = (self.taken.sum(1, keepdims=True) + 0.01) / (self.exposed.sum(1, keepdims=True) + 100.0)
        return (self.taken + rates._PRIOR) / (self.exposed + rates._PRIOR / row)


def a_stream(rng, n):
    """Views with gaps, so that items grow old; records before the first view and later; retirements."""
    items = np.minimum(rng.geometric(0.12, n) - 1, 39)
    items[n // 2 :] //= 2  # half of them are left alone
    events = [record_of(rng, item, 0) for item in range(30, 36)]
    for at, item in enumerate(items.tolist()):
        events.append(Interaction(f"u{at % 11}", f"i{item}", "view", at * 1_000))
        if at % 13 == 5:
            events.append(record_of(rng, int(rng.integers(0, 50)), at))
        if at % 50 == 49:
            events.append(ItemRetired(f"i{item}"))
    return events


@pytest.mark.parametrize("seed", range(2))
def test_bins_and_exposures_equal_a_census(seed):
    """After every event, each bin holds as many items as counting all of them gives, and exposures are the sum of these.

    What enters is what was taken, what the catalog announces as news, and what it held before the first event; what is not
    available has not come, and what is retired stays counted.
    """
    state, census = pipeline.new_state(SIZES), Census()
    for event in a_stream(np.random.default_rng(seed), 500):
        state, _ = pipeline.step(state, [event], 0.0)
        if isinstance(event, Interaction):
            census.take(event.item_id)
        elif isinstance(event, CatalogItem) and event.available:
            census.enter(event.item_id)
        table = state.graph.rates
        np.testing.assert_array_equal(table.alive, census.alive())
        assert table.n.tolist() == [len(census.first), sum(census.n_events[i] < COLD for i in census.first)]
    np.testing.assert_array_equal(table.taken, census.taken)
    np.testing.assert_array_equal(table.exposed, census.exposed)
    assert (census.alive().sum(0) > 0).sum() > 6  # old and young items were there


def test_hazards_are_takes_by_exposures_shrunk_to_their_row():
    """(takes + 3) / (exposures + 3 / rate of the row), and totals over all items, cold ones, new ones.

    At every 32nd event, and before the first of these at each power of two.
    """
    state, census = pipeline.new_state(SIZES), Census()
    views = [event for event in a_stream(np.random.default_rng(5), 500) if isinstance(event, Interaction)]
    n_fitted = 0
    for event in views:
        state, _ = pipeline.step(state, [event], 0.0)
        census.take(event.item_id)
        if (census.now + 1) % rates._FIT_EVERY == 0 or census.now + 1 in (2, 4, 8, 16):
            hazard, alive = census.hazard(), census.alive()
            np.testing.assert_allclose(state.graph.rates.hazard, hazard, rtol=1e-6)
            expected = [(hazard * alive)[:n_rows].sum() for n_rows in (N_COUNTS, COLD, 1)]
            np.testing.assert_allclose(state.graph.rates.total, expected, rtol=1e-9)
            n_fitted += 1
    assert n_fitted == 4 + 15


def test_rates_of_warm_items_are_those_of_their_bins():
    """From five events on an item's rate is the hazard of its bin, whatever its features: at every edge of every bin."""
    state, census, n_five = pipeline.new_state(SIZES), Census(), 0
    for event in a_stream(np.random.default_rng(6), 400):
        state, _ = pipeline.step(state, [event], 0.0)
        if not isinstance(event, Interaction):
            continue
        census.take(event.item_id)
        warm = [item for item in census.last if census.n_events[item] >= COLD]
        if warm and census.now > 2 * rates._FIT_EVERY:
            expected = [state.graph.rates.hazard[census.bin_of(item)] for item in warm]
            assert read(state, *warm)[0].tolist() == expected
            n_five += sum(census.n_events[item] == COLD for item in warm)
    assert n_five > 50


def test_cold_items_of_a_node_equal_a_count():
    """`n_cold` is how many items of the pool carry the node and have fewer than five events, whatever moved where and when."""
    state = pipeline.new_state(SIZES)
    for event in a_stream(np.random.default_rng(9), 400):
        state, _ = pipeline.step(state, [event], 0.0)
        cold = [item for item in state.graph.items if item["flags"] & POOLED and item["n_events"] < COLD]
        expected = np.zeros(SIZES.max_nodes, int)
        for item in cold:
            expected[item["nodes"][: item["n_nodes"]]] += 1
        assert state.graph.nodes["n_cold"].tolist() == expected.tolist()
    assert expected.max() > 5


def kinds(**kind_of):
    """A catalog of items with one category each."""
    return [
        CatalogItem(item_id=item, categorical={"kind": kind}, timestamp_ms=0)
        for item, kind in kind_of.items()
    ]


def read(state, *item_ids):
    """(rates, logarithms of lifts) of these items."""
    rows = np.array([state.ids.items.row(item_id) for item_id in item_ids], np.int64)
    found = np.zeros(rows.size), np.zeros(rows.size)
    rates_of(state.graph, rows, *found)
    return found


def test_lifts_by_hand():
    """Of four cold items two are of kind k; one of those is taken twice in a row.

    Chance gives kind k half of what cold items take. After the first take it has seen 1 and expected 1/2, after the
    second .999 + 1 and .999 / 2 + 1/2; kind z has seen nothing. An item with both has the sum over 2**.7.
    """
    state, _ = pipeline.step(pipeline.new_state(SIZES), kinds(a=["k"], b=["k"], c=["z"], d=["z"]), 0.0)
    state, _ = pipeline.step(state, [Interaction("u", "a", "view", 1)], 0.0)
    np.testing.assert_allclose(read(state, "b", "c")[1], np.log([3.0 / 2.5, 2.0 / 2.5]), atol=1e-3)
    state, _ = pipeline.step(state, [Interaction("v", "a", "view", 2)], 0.0)
    seen, by_chance = 1.999, 0.5 * 1.999
    expected = np.log([(seen + 2.0) / (by_chance + 2.0), 2.0 / (by_chance + 2.0)])
    np.testing.assert_allclose(read(state, "b", "c")[1], expected, atol=1e-3)
    state, _ = pipeline.step(state, kinds(e=["k", "z"]), 0.0)
    assert read(state, "e")[1][0] == pytest.approx(expected.sum() / 2**0.7, abs=1e-3)


def test_lifts_are_bounded():
    """However much more or less than by chance the items of a node are taken: the logarithm stays within 3."""
    state, _ = pipeline.step(pipeline.new_state(SIZES), kinds(a=["k"], b=["z"]), 0.0)
    of_k, of_z = (state.graph.nodes[state.graph.items[row]["nodes"][0]] for row in range(2))
    of_k["cold_taken"] = of_z["cold_expected"] = 1_000.0
    assert read(state, "a", "b")[1].tolist() == [3.0, -3.0]


def test_only_cold_items_inherit():
    """The rate is hazard times lift below five events, from five on the hazard alone; both take from the table what is theirs."""
    state, _ = pipeline.step(pipeline.new_state(SIZES), kinds(a=["k"], b=["k"], c=["z"]), 0.0)
    views = [Interaction(f"u{n % 8}", "a" if n < 4 else "c", "view", n) for n in range(64)]
    state, _ = pipeline.step(state, views, 0.0)
    hazard = state.graph.rates.hazard
    got, lifts = read(state, "a", "b", "c")
    assert abs(lifts).min() > 0.1
    # events since: a's last is the 4th, b came before the first, c's last is the 64th, the present one
    expected = [hazard[4, 5] * np.exp(lifts[0]), hazard[0, 6] * np.exp(lifts[1]), hazard[_bin(60), 0]]
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def _bin(n_events):
    return bisect_right(rates._EDGES, n_events)


def test_settling_in_any_order_equals_settling_once():
    """A node brought up to date after every event, in turns with another, ends where one that waited does."""
    events = [*kinds(a=["k"], b=["k"], c=["z"], d=["w"]), Interaction("u", "a", "view", 1)]
    often, once = (pipeline.step(pipeline.new_state(SIZES), events, 0.0)[0].graph for _ in range(2))
    for _ in range(60):
        often.rates.cold_events[0] += 1
        for node in ((0, 1), (1, 0))[int(often.rates.cold_events[0]) % 2]:
            settle(often, node)
    once.rates.cold_events[0] += 60
    for node in (1, 0):
        settle(once, node)
        for name in ("cold_taken", "cold_expected"):
            assert often.nodes[node][name] == pytest.approx(float(once.nodes[node][name]), rel=3e-3)
    # by hand: k had seen 1 and expected 1/2 (of four items two); 60 events fade that, and add 1/2 each, fading
    kept = 0.999**60
    assert once.nodes[0]["cold_taken"] == pytest.approx(kept, rel=1e-3)
    assert once.nodes[0]["cold_expected"] == pytest.approx(0.5 * kept + 0.5 * (1 - kept) / 0.001, rel=1e-3)


def test_reading_rates_changes_nothing():
    """Rates are read for every candidate of every list, settled or not: the state stays as it is, to the last bit."""
    state, _ = pipeline.step(pipeline.new_state(SIZES), a_stream(np.random.default_rng(3), 300), 0.0)
    before = state_hash(state)
    got = read(state, *[f"i{n}" for n in range(40) if state.ids.items.row(f"i{n}") >= 0])
    again = read(state, *[f"i{n}" for n in range(40) if state.ids.items.row(f"i{n}") >= 0])
    assert state_hash(state) == before
    assert np.array_equal(got, again)
    assert state.graph.counters[EVENTS] == 300
