"""A full table of items: a thirty-second makes way, and afterwards nothing anywhere names their rows."""

import numpy as np
import pytest
from entries import has_taken, settle
from twins import clock_weight_of, empty_graph, history_of, learn_all, taken_of
from whole_model import MODEL, SETTINGS, DrawnTables, a_log, embedded

from streamer import checkpoint, pipeline
from streamer.adapters.memory import ManualClock, SystemClock
from streamer.config import Settings
from streamer.events import CatalogItem, Interaction, ItemRetired
from streamer.graph import removal
from streamer.graph.rates import ALL_ITEMS, COLD, _age_bin, _bin_of
from streamer.graph.state import (
    ALL_TIME,
    DESCRIBED,
    EVENTS,
    HISTORY,
    KNOWN,
    KNOWN_ITEMS,
    MEASURED_AT,
    N_AGES,
    N_ARRIVED,
    N_CLOCKS,
    N_COLD_ITEMS,
    N_COUNTS,
    POOLED,
    TOP,
)
from streamer.measure import Scoreboard
from streamer.pipeline import leaving
from streamer.pipeline.items import evict_items, is_used, reuse_row
from streamer.publish import ANONYMOUS_ROW, Publisher
from streamer.runner.figures import Figures
from streamer.runner.first_listing import FirstListings
from streamer.runner.model import Model
from streamer.runner.retirement import Retirement
from streamer.telemetry import Telemetry

SIZES = SETTINGS._replace(max_items=48, max_users=64)
PLAIN = SIZES._replace(text_model="none", without=("vectors", "ranker"))


def view(user_id, item_id, time_ms=1_000):
    """An interaction."""
    return Interaction(user_id, item_id, "view", time_ms)


def folded(log, size=50, settings=SIZES, state=None):
    """The state after these events in batches of a size, how many items were evicted, and events refused."""
    state, n_evicted, n_refused = state or pipeline.new_state(settings, DrawnTables()), 0, 0
    for begin in range(0, len(log), size):
        state, info = pipeline.step(state, log[begin : begin + size])
        n_evicted, n_refused = n_evicted + len(info.evicted_item_rows), n_refused + info.n_refused
    return state, n_evicted, n_refused


def full_state(seed=3, settings=SIZES, **kinds):
    """A state with everything in it, whose table of items is full."""
    log = a_log(seed, **{"n_views": 400, "n_items": 45} | kinds)
    log += [CatalogItem(item_id=f"i{n}", timestamp_ms=9) for n in range(60)]
    state = pipeline.new_state(settings, DrawnTables())
    for event in log:
        state, _ = pipeline.step(state, [event])
        if state.ids.items.is_full and state.graph.counters[EVENTS] > 250:
            return state
    raise AssertionError("the table is not full")


def let_go(state, rows):
    """Choose who leaves."""
    state.leaving.is_gone[np.array(rows) + 1] = True
    state.leaving.progress[:] = 0, state.ids.users.n_rows, state.graph.counters[EVENTS]


class Mentions:
    """The slow twin: every place of the state that can name an item, one by one. `where[row]` are the names of the places."""

    def __init__(self, state):
        self.where = {}
        self._of_items(state)
        self._of_users(state.graph, state.ids.users.n_rows)
        self._of_lists(state.graph, state.ids.nodes.n_rows)
        self._of_rounds(state.graph)

    def _of_items(self, state):
        graph = state.graph
        for owner in range(state.ids.items.n_rows):
            for neighbour in graph.neighbour[owner][graph.neighbour[owner] > 0]:
                self._add(neighbour - 1, "neighbour")
            if (graph.neighbour[owner] > 0).any() or graph.evidence[owner].any():
                self._add(owner, "owner")
            if state.contents.items[owner]:
                self._add(owner, "content")
            if graph.items[owner].tobytes().strip(b"\0") or graph.damping[owner]:
                self._add(owner, "record")
            if graph.company.sum[owner].any() or graph.company.code[owner].any():
                self._add(owner, "company")
        for row, key in state.texts.items():
            self._add(row, f"text {key}")

    def _of_users(self, graph, n_users):
        for user in range(n_users):
            for row in history_of(graph, user):
                self._add(row, "history")
            for row in taken_of(graph, user):
                self._add(row, "taken")

    def _of_lists(self, graph, n_nodes):
        for node in graph.nodes[:n_nodes]:
            for row in node["top"][: node["n_top"]]:
                self._add(row, "node.top")
            for row in node["recent"][: node["n_recent"]]:
                self._add(row, "node.recent")
        for clock in range(N_CLOCKS):
            for row in graph.clocks.top[clock][: graph.clocks.n_top[clock]]:
                self._add(row, "clock")
        for number in range(1, int(graph.counters[EVENTS]) + 1):
            row = graph.rates.ring[number]
            # that of row 0 is what an empty place holds; its record says that nothing happened then
            if row > 0:
                self._add(row, "rates.ring")
        for row in graph.rates.arrived[: graph.rates.n[N_ARRIVED]]:
            self._add(row, "arrived")
        for row in graph.fresh[graph.fresh >= 0]:
            self._add(row, "fresh")

    def _of_rounds(self, graph):
        for n in range(min(int(graph.takes.n[0]), len(graph.takes.target))):
            self._add(graph.takes.target[n], "takes")
            for row in graph.takes.items[n]:
                self._add(row, "takes")
        for row in np.flatnonzero(np.isfinite(graph.vectors.bias)):  # of the others nothing else is read
            self._add(row, "vectors")

    def _add(self, row, name):
        if row >= 0:
            self.where.setdefault(int(row), set()).add(name)


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("repeats", [False, True])
def test_nothing_names_a_row_that_was_given_up(seed, repeats):
    """The slow twin finds all kinds of mentions before, none after; and the others' are those there were."""
    state = full_state(seed, SIZES._replace(repeats=repeats, max_items=45))
    before = Mentions(state).where
    state, evicted = evict_items(state)
    rows = set(evicted.rows.tolist())
    assert len(rows) == 1 == 45 // leaving.ONE_IN
    kinds = set().union(*before.values())
    assert {"neighbour", "history", "taken", "clock", "arrived", "node.top", "vectors"} <= kinds
    assert any(before.get(row) for row in rows)
    after = Mentions(state).where
    assert not {row: names for row, names in after.items() if row in rows}
    assert after.keys() == before.keys() - rows
    assert state.evicted >= rows <= state.changed
    # what waits for its text to be taken out may not be listed meanwhile
    has_text = state.nearest.table.vector[: state.ids.items.n_rows].any(axis=1)
    assert {row for row in rows if state.graph.unlistable[row]} == {row for row in rows if has_text[row]}
    assert all(state.ids.items.id(row) is None for row in rows)


def test_rows_that_everything_names_go_from_everywhere():
    """Not the coldest, which few places name, but those with the most mentions of all: examples and the ring of events, too."""
    state = full_state(6, SIZES._replace(max_items=45, training_interval=512))
    before = Mentions(state).where
    rows = sorted(before, key=lambda row: -len(before[row]))[:6]
    kinds = set().union(*(before[row] for row in rows))
    assert {"takes", "rates.ring", "history", "taken", "clock", "arrived", "node.top", "node.recent"} <= kinds
    let_go(state, rows)
    state, _ = evict_items(state)
    after = Mentions(state).where
    assert not after.keys() & set(rows)
    assert {row for row in before if row not in rows} <= after.keys()


def kept_beside(state):
    """What stands beside each item of a history, its time and value, and of a segment's list, its weight."""
    graph, beside = state.graph, []
    for user in graph.users[: state.ids.users.n_rows]:
        n = int(user["n_events"])
        ats = [(n - 1 - k) % HISTORY for k in range(min(n, HISTORY))]
        beside.append([(user["ring"][at], user["ring_time"][at], user["ring_value"][at]) for at in ats])
    for node in graph.nodes[: state.ids.nodes.n_rows]:
        n = int(node["n_top"])
        beside.append(list(zip(node["top"][:n].tolist(), node["top_weight"][:n].tolist(), strict=True)))
    return beside


def test_who_is_left_keeps_what_stood_beside_him():
    """Rows are thinned in place: times and values of a history, and weights of a segment, move up with their items."""
    state = full_state(6, SIZES._replace(max_items=45))
    before, mentions = kept_beside(state), Mentions(state).where
    rows = set(sorted(mentions, key=lambda row: -len(mentions[row]))[:6])
    let_go(state, list(rows))
    state, _ = evict_items(state)
    after = kept_beside(state)
    assert after == [[entry for entry in entries if entry[0] not in rows] for entries in before]
    assert sum(map(len, after)) < sum(map(len, before))


@pytest.mark.parametrize("n_events", [COLD - 1, COLD])
def test_who_leaves_at_the_edge_of_the_cold_is_counted_out_once(n_events):
    """An item with four events was one of the cold ones, one with five was not any more: counts are of those who are left."""
    state = full_state(5, PLAIN._replace(max_items=45))
    graph = state.graph
    rows = np.flatnonzero((graph.items["n_events"] == n_events) & (graph.items["n_nodes"] > 0))
    assert rows.size
    let_go(state, rows)
    state, evicted = evict_items(state)
    assert evicted.rows.tolist() == rows.tolist()
    is_cold = (graph.items["flags"] & POOLED > 0) & (graph.items["n_events"] < COLD)
    assert graph.rates.n[N_COLD_ITEMS] == np.count_nonzero(is_cold)
    expected = np.zeros(len(graph.nodes), int)
    for item in graph.items[is_cold]:
        expected[item["nodes"][: item["n_nodes"]]] += 1
    assert graph.nodes["n_cold"].tolist() == expected.tolist()


def test_sums_are_those_of_who_is_left():
    """Rates, nodes, clocks, counters, histories and sets, counted anew from the records that are left."""
    state = full_state(5, SIZES._replace(repeats=True, max_items=45))
    graph = state.graph
    n_users = state.ids.users.n_rows
    histories = {user: history_of(graph, user) for user in range(n_users)}
    taken = {user: taken_of(graph, user) for user in range(n_users)}
    numbers = {
        (user, row): (
            int(graph.taken.times[slot]),
            int(graph.users["n_events"][user] - graph.taken.last[slot]),
        )
        for user, slots in taken.items()
        for row, slot in slots.items()
    }
    graph.counters[MEASURED_AT] = graph.counters[DESCRIBED]
    rows = set()
    for _ in range(4):
        state, evicted = evict_items(state)
        rows |= set(evicted.rows.tolist())
    assert len(rows) == 4
    graph = state.graph
    items, now = graph.items[:45], int(graph.counters[EVENTS])
    alive = np.zeros((N_COUNTS, N_AGES))
    pooled = [row for row in range(45) if items["flags"][row] & POOLED]
    for row in pooled:
        last = items["last_event"][row] if items["n_events"][row] else items["first_event"][row]
        alive[_bin_of.py_func(items["n_events"][row]), _age_bin.py_func(max(1, now + 1 - last))] += 1
    assert graph.rates.alive.tolist() == alive.tolist()
    assert sorted(graph.rates.arrived[: graph.rates.n[N_ARRIVED]].tolist()) == pooled
    cold = [row for row in pooled if items["n_events"][row] < COLD]
    assert graph.rates.n[N_COLD_ITEMS] == len(cold)
    for b in range(1, N_AGES):
        order = graph.rates.arrived[: graph.rates.n[N_ARRIVED]]
        assert graph.rates.passed[b] == np.count_nonzero(items["first_event"][order] <= now + 1 - (1 << b))
    carry = {row: items["nodes"][row][: items["n_nodes"][row]].tolist() for row in range(45)}
    for node in range(state.ids.nodes.n_rows):
        carriers = [row for row, nodes in carry.items() if node in nodes]
        assert graph.node_items[node] == len(carriers)
        assert graph.nodes["n_cold"][node] == len(set(carriers) & set(cold))
    assert graph.counters[DESCRIBED] == np.count_nonzero(items["n_nodes"])
    assert graph.counters[MEASURED_AT] == graph.counters[DESCRIBED]  # a sixteenth more than are left
    assert graph.rates.total[ALL_ITEMS] == pytest.approx((graph.rates.hazard * alive).sum(), rel=1e-5)
    assert graph.counters[KNOWN_ITEMS] == np.count_nonzero(items["flags"] & KNOWN)
    for clock in range(N_CLOCKS):
        weights = {row: clock_weight_of(graph, clock, row) for row in range(45) if items["n_events"][row]}
        # some clocks count some events only
        weights = {row: weight for row, weight in weights.items() if weight > 0.0}
        top = graph.clocks.top[clock][: graph.clocks.n_top[clock]].tolist()
        listed = {row: weight for row, weight in weights.items() if not graph.unlistable[row]}
        assert sorted(top) == sorted(listed)
        assert [weights[row] for row in top] == sorted(listed.values(), reverse=True)
        assert items["position"][top, clock].tolist() == list(range(1, len(top) + 1))
        assert graph.clocks.mass[clock] == pytest.approx(sum(weights.values()), rel=1e-4)
    for user in range(n_users):
        left = [row for row in histories[user] if row not in rows]
        assert history_of(graph, user) == left
        assert set(taken_of(graph, user)) == set(taken[user]) - rows
        assert graph.users["n_taken"][user] == len(taken_of(graph, user))
        for row, slot in taken_of(graph, user).items():
            assert has_taken(graph, user, row)
            age = int(graph.users["n_events"][user] - graph.taken.last[slot])
            assert (int(graph.taken.times[slot]), age) == numbers[user, row]
    assert any(len(history_of(graph, user)) < len(histories[user]) for user in range(n_users))


def test_what_a_node_was_to_expect_counts_those_who_leave():
    """Until now they had their part in it: a node that waited ends where one does that was brought up to the present before."""
    ends = []
    for is_settled in (False, True):
        state = full_state(5, PLAIN._replace(max_items=45))
        items = state.graph.items.copy()
        for node in range(state.ids.nodes.n_rows if is_settled else 0):
            settle(state.graph, node)
        state, evicted = evict_items(state)
        (row,) = evicted.rows.tolist()
        assert items["n_events"][row] < COLD
        nodes = items["nodes"][row][: items["n_nodes"][row]]
        assert nodes.size
        ends.append(
            [state.graph.nodes[name][nodes] for name in ("cold_event", "cold_taken", "cold_expected")]
        )
    for waited, settled in zip(*ends, strict=True):
        np.testing.assert_allclose(waited, settled, rtol=1e-4)


def test_ages_stay_though_the_one_who_goes_was_never_recorded():
    """A user's set had no room for his last item: when that leaves his history, the others keep their ages, in his events."""
    graph = empty_graph(PLAIN._replace(max_taken=16, repeats=True))
    learn_all(graph, [0] * 6 + [1] * 6 + [0], [*range(6), *range(6), 7], range(13))
    assert set(taken_of(graph, 0)) == set(range(6))

    def ages():
        return {
            item: graph.users["n_events"][0] - graph.taken.last[slot]
            for item, slot in taken_of(graph, 0).items()
        }

    before, is_gone = ages(), np.zeros(PLAIN.max_items + 1, np.bool_)
    is_gone[7 + 1] = True
    removal.leave_users(graph, is_gone, 0, 2, removal.new_scratch())
    assert history_of(graph, 0) == [5, 4, 3, 2, 1, 0]
    assert ages() == before


def test_the_heaviest_come_up_from_behind():
    """A clock's list was full when one of its items went: the heaviest that was not on it is the last one now."""
    settings = PLAIN._replace(max_items=300, max_users=4)
    log = [view("u", f"i{n}", 1_000 * n) for n in range(300) for _ in range(1 + (n == 290) + (n < 20))]
    state = pipeline.new_state(settings)
    state, _ = pipeline.step(state, log)
    before = state.graph.clocks.top[ALL_TIME].tolist()
    state, evicted = evict_items(state)
    state, others = evict_items(state)
    assert {*evicted.rows.tolist(), *others.rows.tolist()} == set(range(18))
    top = state.graph.clocks.top[ALL_TIME].tolist()
    assert state.graph.clocks.n_top[ALL_TIME] == TOP
    kept = [row for row in before if row >= 18]
    assert top[: len(kept)] == kept
    # all weigh one: by row
    assert set(top[len(kept) :]) == set(sorted(set(range(18, 300)) - set(before))[:18])
    assert [int(state.graph.items["position"][row, ALL_TIME]) for row in top] == list(range(1, TOP + 1))


def test_who_goes_first():
    """Of 32: the retired one, though it is new; then the coldest; not the item of the last event, though it is retired."""
    settings = PLAIN._replace(max_items=32)
    log = [view(f"u{n % 3}", f"i{n}", 1_000 * n) for n in range(31)]
    log += [view("u1", f"i{n}", 50_000 + n) for n in (0, 1, 3, *range(5, 31))]  # i2 and i4 are the coldest
    log += [CatalogItem(item_id="i31", timestamp_ms=1), ItemRetired("i31"), ItemRetired("i30")]
    state, _, _ = folded(log, settings=settings)
    state, info = pipeline.step(state, [view("u0", "new", 99_000), view("u0", "newer", 99_001)])
    assert {f"i{n}" for n in range(32) if state.ids.items.row(f"i{n}") < 0} == {"i31", "i2"}
    assert [state.ids.items.id(row) for row in info.evicted_item_rows] == ["new", "newer"]
    assert [state.ids.items.id(row) for row in info.evicted_retired_rows] == ["new"]


@pytest.mark.parametrize("kind", ["everything", "plain"])
def test_any_cut_of_the_log_evicts_the_same(kind):
    """One by one, in sevens, all at once: the same state."""
    settings = {"everything": SIZES._replace(max_items=20), "plain": PLAIN._replace(max_items=20)}[kind]
    log = a_log(7, n_views=350, n_items=150)
    found = [folded(log, size, settings) for size in (1, 7, len(log))]
    assert len({pipeline.state_hash(state) for state, _, _ in found}) == 1
    assert found[0][1] > 60  # evicted
    assert found[0][2] == 0  # refused


META = checkpoint.Meta({"k": "v"}, [("interactions", 0, 7)], 3, 1, 2, "test")


def restored(state, settings, trainer):
    """The state as it comes back from a checkpoint."""
    data = b"".join(checkpoint.written(META, checkpoint.freeze(state, Scoreboard())()))
    reader = checkpoint.Reader([data])
    return checkpoint.restore(checkpoint.read_header(reader), reader, settings, trainer).state


def test_a_checkpoint_right_before_and_right_after():
    """The state that goes on from a checkpoint, at every event round an eviction, is the one that never stopped."""
    settings, log = SIZES._replace(max_items=20), a_log(8, n_views=250, n_items=110)
    state, cuts = pipeline.new_state(settings, DrawnTables()), []
    for n, event in enumerate(log):
        state, info = pipeline.step(state, [event])
        if info.evicted_item_rows:
            cuts += [n, n + 1]
    whole = pipeline.state_hash(state)
    assert len(cuts) > 20
    for cut in cuts[10:14]:
        half, _, _ = folded(log[:cut], settings=settings)
        again = restored(half, settings, DrawnTables())
        assert pipeline.state_hash(again) == pipeline.state_hash(half)
        assert pipeline.state_hash(folded(log[cut:], state=again)[0]) == whole


def test_ten_times_as_many_as_there_is_room_for():
    """All are learned in turn, those that came last are on the list that everyone reads, and the tables keep their size."""
    settings = PLAIN._replace(max_items=24, max_users=16)
    log = [view(f"u{n % 9}", f"i{n // 4}", 1_000 * n) for n in range(4 * 240)]
    half, _, _ = folded(log[: len(log) // 2], 100, settings)
    state, n_evicted, n_refused = folded(log, 100, settings)
    assert (n_refused, len(state.ids.items)) == (0, 24)
    assert n_evicted == 240 - 24
    ranking = pipeline.rank_users(state, np.array([ANONYMOUS_ROW], np.int32), 5)
    listed = {state.ids.items.id(row) for row in ranking.items[0].tolist()}
    assert listed <= {f"i{n}" for n in range(216, 240)}
    assert "i239" in listed
    same = ("items", "neighbours", "evidence", "users", "nodes", "damping")
    sizes, sizes_half = pipeline.table_bytes(state), pipeline.table_bytes(half)
    assert {name: sizes[name] for name in same} == {name: sizes_half[name] for name in same}


def test_who_comes_back_is_a_new_one():
    """An evicted item that is taken again has one event, no neighbours but those of now, and no place in old histories."""
    settings = PLAIN._replace(max_items=16)
    log = [view("u", "old"), view("u", "other"), *(view("v", f"i{n}", 1_000 * n) for n in range(40))]
    state, _, _ = folded(log, settings=settings)
    assert state.ids.items.row("old") < 0
    state, _, _ = folded([view("w", "old", 90_000)], state=state)
    row, user = state.ids.items.row("old"), state.ids.users.row("u")
    assert (state.graph.items["n_events"][row], state.graph.items["first_event"][row]) == (1, 42)
    assert not state.graph.neighbour[row].any()
    assert not has_taken(state.graph, user, row)
    assert history_of(state.graph, user) == []


def test_items_that_left_no_trace_change_no_list():
    """Tombstones of items that nobody knows fill a table: evicted, or not since there is room, lists are the same."""
    events = [view(f"u{n % 5}", f"i{(n * n + n // 7) % 13}", 60_000 * n) for n in range(120)]
    gone = [ItemRetired(f"gone{n}") for n in range(240)]
    log = [event for n, event in enumerate(events) for event in (event, *gone[2 * n : 2 * n + 2])]
    lists = []
    for max_items in (32, 512):
        state, n_evicted, _ = folded(log, settings=PLAIN._replace(max_items=max_items))
        assert (n_evicted > 0) == (max_items == 32)
        users = [f"u{n}" for n in range(5)]
        rows = np.array([-1, *(state.ids.users.row(user) for user in users)], np.int32)
        ranking = pipeline.rank_users(state, rows, 10)
        names = [[state.ids.items.id(row) for row in listed] for listed in ranking.items.tolist()]
        lists.append((names, ranking.scores))
    assert lists[0][0] == lists[1][0]
    assert any(lists[0][0])
    np.testing.assert_allclose(lists[0][1], lists[1][1], rtol=1e-4)


def test_nobody_goes_where_all_were_taken_just_now():
    """A table of one item: the newcomer is refused, as before."""
    state, n_evicted, n_refused = folded(
        [view("u", "x"), view("u", "y")], settings=PLAIN._replace(max_items=1)
    )
    assert (n_evicted, n_refused) == (0, 1)
    assert state.ids.items.row("x") == 0


def record(item_id, title, time_ms=1):
    """A catalog record with a text."""
    return CatalogItem(item_id=item_id, title=title, timestamp_ms=time_ms)


def test_texts_of_evicted_items():
    """A row that is used again is near nothing that its item before was; who has the text next has its vector."""
    settings = SIZES._replace(max_items=16, without=("vectors",))
    log = [record(f"i{n}", f"title {n % 4} {n}") for n in range(16)]
    log += [embedded(f"title {n % 4} {n}") for n in range(16)]
    log += [view("u", f"i{n}", 1_000 * n) for n in (*range(1, 16), 0)]
    state, n_evicted, _ = folded(log, settings=settings)
    assert n_evicted == 0
    row = state.ids.items.row("i1")  # the coldest
    assert (state.nearest.table.item[: state.ids.items.n_rows] == row + 1).any()
    state, n_evicted, _ = folded([view("u", "new", 99_000)], state=state)
    assert (n_evicted, state.ids.items.row("new")) == (1, row)
    assert not state.nearest.table.vector[row].any()
    assert not (state.nearest.table.item[: state.ids.items.n_rows] == row + 1).any()
    assert not state.graph.unlistable[row]
    state, n_evicted, _ = folded([record("again", "title 1 1", 5)], state=state)
    again = state.ids.items.row("again")
    assert n_evicted == 1
    expected = np.frombuffer(embedded("title 1 1", MODEL).vector, "<f2").astype(np.float32)
    cosine = state.nearest.table.vector[again].astype(np.float32) @ expected / 127.0
    assert cosine == pytest.approx(1.0, abs=0.02)


def test_a_row_with_another_text_is_told_to_the_network():
    """Between two rounds the row of an evicted item gets a newcomer without a text: the next round hears that it has none."""
    state = full_state()
    state, evicted = evict_items(state)
    row = state.ids.items.next_row
    assert is_used(state, row)
    state.changed.clear()  # a round has begun
    reuse_row(state, row)
    assert state.changed == {row}
    assert not state.graph.near.vector[row].any()
    assert not is_used(state, row)
    assert row in evicted.rows


def test_an_item_that_came_and_went_in_one_batch_was_not_described():
    """The catalog fills the table, and a newcomer that nobody described gets the row of one of them."""
    log = [record(f"i{n}", "") for n in range(SIZES.max_items)]
    state, info = pipeline.step(pipeline.new_state(PLAIN), [*log, view("u", "new")])
    assert info.evicted_item_rows
    assert not set(info.described_item_rows.tolist()) & set(info.evicted_item_rows)
    assert state.ids.items.row("new") in info.evicted_item_rows


def test_what_is_described_while_room_is_made_is_told():
    """Each of the records of a batch that fills the table, and goes on: those that left again are left out, and nobody else."""
    log = [record(f"i{n}", "") for n in range(2 * SIZES.max_items)]
    state, info = pipeline.step(pipeline.new_state(PLAIN), log)
    assert info.evicted_item_rows
    rows = {row for item_id, row in state.ids.items.items() if int(item_id[1:]) < len(log)}
    assert set(info.described_item_rows.tolist()) == rows


def test_who_was_retired_and_evicted_may_be_listed_again():
    """Readers leave a retired item out until they are told: a newcomer that the catalog brings to a table once full is told."""
    settings = PLAIN._replace(max_items=16)
    log = [view("u", f"i{n}", 1_000 * n) for n in range(15)]
    state, _, _ = folded(
        [*log, CatalogItem(item_id="x", timestamp_ms=1), ItemRetired("x")], settings=settings
    )
    state, n_evicted, _ = folded([view("u", "new", 50_000)], state=state)
    assert (n_evicted, state.ids.items.row("x")) == (1, -1)
    state, info = pipeline.step(state, [CatalogItem(item_id="x", timestamp_ms=2)])
    assert info.restored_item_ids == ["x"]
    assert state.ids.items.row("x") >= 0


def test_a_list_that_holds_an_evicted_item_does_not_count_for_its_successor():
    """It was shown before; whoever has its row now was not. The next list is written with the newcomer's id."""
    settings = PLAIN._replace(max_items=16)
    state, _, _ = folded([view(f"u{n % 4}", f"i{n}", 1_000 * n) for n in range(16)], settings=settings)
    publisher = Publisher(settings.max_users, 16)
    rows = np.array([ANONYMOUS_ROW, 0, 1], np.int32)
    publisher.encode(state, pipeline.rank_users(state, rows, 16), 1, {})
    old = state.ids.items.row("i0")
    # u0 took it himself
    assert publisher.holders(np.array([old], np.int32), 4).tolist() == [ANONYMOUS_ROW, 1]
    state, info = pipeline.step(state, [view("u1", "new", 99_000)])
    assert info.evicted_item_rows == [old] == [state.ids.items.row("new")]
    assert publisher.served(info.outcomes).tolist() != [0]
    wrong = publisher.forget_items(info.evicted_item_rows, info.evicted_item_rows, 4)
    assert wrong.tolist() == [ANONYMOUS_ROW, 1]
    assert publisher.forget_items(info.evicted_item_rows, [], 4).tolist() == []
    assert publisher.served(info.outcomes).tolist() == [0]
    assert publisher.holders(np.array([old], np.int32), 4).tolist() == []
    entries = dict(publisher.encode(state, pipeline.rank_users(state, rows, 16), 1, {}))
    assert b'"new"' in entries["u0"]
    assert b'"i0"' not in entries["u0"]


def test_lists_with_an_item_that_was_retired_and_evicted_are_made_again():
    """They wait with those of other retired items, each once, the one that all read first."""
    clock = ManualClock()
    retirement = Retirement(lambda rows: rows[:0], clock, Telemetry(clock), n_at_once=10)
    retirement.make_again(np.array([ANONYMOUS_ROW, 5], np.int32))
    retirement.make_again(np.array([5, 7], np.int32))
    assert retirement.is_waiting
    retirement.look()
    assert retirement.take().tolist() == [ANONYMOUS_ROW, 5, 7]


def test_metrics_count_what_went():
    """`streamer_evicted_total` of items."""
    telemetry = Telemetry(SystemClock())
    figures = Figures(SystemClock(), telemetry)
    log = [view("u", f"i{n}", n) for n in range(40)]
    _, info = pipeline.step(pipeline.new_state(PLAIN._replace(max_items=32)), log)
    figures.folded(info, 0.0, is_serving=False, is_live=False)
    assert telemetry.registry.get_sample_value("streamer_evicted_total", {"table": "items"}) == 8.0
    assert telemetry.registry.get_sample_value("streamer_refused_total") == 0.0


def test_coverage_is_a_share_however_items_come_and_go():
    """A catalog drifts through a small table, all in one batch: who left was listed, and counts no more."""
    rng = np.random.default_rng(0)
    log = [view(f"u{rng.integers(40)}", f"i{n // 8 + int(rng.integers(40))}", n) for n in range(3_000)]
    sizes = {"max_items": 128, "max_users": 64, "max_nodes": 256, "max_taken": 40_000}
    model = Model(Settings(**sizes, text_model="none", without=("vectors",)))
    model.fold(log, 3_000, is_serving=False)
    coverage = model.scoreboard.beyond(len(model.state.ids.items))["coverage"]
    assert 0.3 < coverage <= 1.0


def test_a_newcomer_on_a_used_row_is_timed():
    """The item before was listed long ago; the one that has its row now waits for its first list."""
    clock = ManualClock()
    listings = FirstListings(clock)
    row = np.array([2], np.int32)
    listings.catalogued(row, clock.monotonic_s())
    assert len(listings.listed(row[None])) == 1
    listings.forget([2, 5_000])
    listings.catalogued(row, clock.monotonic_s())
    assert listings.n_waiting == 1
    assert len(listings.listed(row[None])) == 1


def test_what_is_in_flight_when_rows_change_hands():
    """Weights of a round that began before know a row as its old item's: the newcomer gets none, and the trainer is told."""
    trainer = DrawnTables()
    settings = SIZES._replace(max_items=16, text_model="none", training_interval=16)
    log = [view(f"u{n % 4}", f"i{n % 16}", 1_000 * n) for n in range(32)]  # a round after 16, and 32
    state, _, _ = folded(log, state=pipeline.new_state(settings, trainer))
    row = state.ids.items.row("i0")
    assert np.isfinite(state.graph.vectors.bias[row])
    version = state.graph.vectors.version
    state, n_evicted, _ = folded([view("u", "new", 90_000)], state=state)
    assert (n_evicted, state.ids.items.row("new")) == (1, row)
    assert state.graph.vectors.bias[row] == -np.inf
    others = [view("u", f"i{n}", 91_000 + n) for n in range(1, 16)]
    state, _, _ = folded(others, state=state)  # the third round: tables of the second come in
    assert state.graph.vectors.version > version
    assert state.graph.vectors.bias[row] == -np.inf
    assert np.isfinite(np.delete(state.graph.vectors.bias, row)).all()
    assert trainer.rounds[-1].evicted.tolist() == [row]
    assert row in trainer.rounds[-1].rows
    assert not state.evicted
    state, _, _ = folded([view("v", f"i{n}", 99_000 + n) for n in range(1, 16)] * 2, state=state)
    assert np.isfinite(state.graph.vectors.bias).all()
