"""Room is made ahead: who leaves is chosen before the table of items is full, and newcomers pay for the pass, a stretch each."""

import numpy as np
import pytest
from twins import history_of, taken_of
from whole_model import SETTINGS, DrawnTables, a_log

from streamer import checkpoint, pipeline
from streamer.errors import CheckpointRefused
from streamer.events import CatalogItem, Interaction, ItemRetired
from streamer.graph import removal
from streamer.measure import Scoreboard
from streamer.pipeline import items, leaving
from streamer.pipeline.state import N_PASSED, leaving_rows

# a pass begins at 5 free rows, and has as many stretches; 10 items go
SIZES = SETTINGS._replace(max_items=320, max_users=64, max_nodes=1_200, max_taken=32_768)
PLAIN = SIZES._replace(text_model="none", without=("vectors", "ranker"))
META = checkpoint.Meta({"k": "v"}, [("interactions", 0, 7)], 3, 1, 2, "test")


def view(user_id, item_id, time_ms):
    """An interaction."""
    return Interaction(user_id, item_id, "view", time_ms)


def folded(log, state, size=100):
    """The state after these events in batches of a size, and the rows that were evicted."""
    evicted = []
    for begin in range(0, len(log), size):
        state, info = pipeline.step(state, log[begin : begin + size])
        evicted += info.evicted_item_rows
    return state, evicted


def views(n_items, n_users=20, first=0):
    """Each item is viewed by three users, one after the other: the first items are the coldest."""
    times = range(3 * first, 3 * n_items)
    return [view(f"u{n * 7 % n_users}", f"i{n // 3}", 60_000 * n) for n in times]


def names(state, row):
    """The slow twin: where users and neighbour rows name an item."""
    graph, places = state.graph, []
    for user in range(state.ids.users.n_rows):
        places += [("history", user)] * (row in history_of(graph, user))
        places += [("taken", user)] * (row in taken_of(graph, user))
    owners = np.flatnonzero((graph.neighbour[: state.ids.items.n_rows] == row + 1).any(axis=1))
    return places + [("neighbour", owner) for owner in owners.tolist()]


def leaving_ids(state):
    """Names of the items that are leaving."""
    return {state.ids.items.id(row) for row in leaving_rows(state).tolist()}


@pytest.mark.parametrize("repeats", [False, True])
def test_a_pass_keeps_pace_with_newcomers(repeats):
    """A fifth for each of the last five: what was passed names none who leaves. When the table is full nothing is left."""
    state, _ = folded(views(315), pipeline.new_state(PLAIN._replace(repeats=repeats)))
    assert not leaving_rows(state).size
    n_before = sum(len(names(state, row)) for row in range(10))
    for n in range(315, 320):
        state, info = pipeline.step(state, [view("u0", f"i{n}", 99_000_000 + n)])
        rows, n_passed = leaving_rows(state), int(state.leaving.progress[N_PASSED])
        assert rows.tolist() == list(range(10))  # the coldest, ten of 320 rows
        assert n_passed == (n - 314) * (20 + 320) // 5
        for row in rows.tolist():
            for kind, place in names(state, row):
                assert kind == "neighbour" or place >= n_passed
                assert kind != "neighbour" or place + 20 >= n_passed
    assert n_before > 10 * 6
    assert not any(names(state, row) for row in range(10))
    assert state.ids.items.is_full
    assert info.evicted_item_rows == []
    state, info = pipeline.step(state, [view("u1", "new", 99_100_000)])
    assert sorted(info.evicted_item_rows) == list(range(10))
    assert not leaving_rows(state).size


def test_a_user_not_passed_yet_names_who_leaves_once_more():
    """His next event writes it into a neighbour row. Neighbour rows come after all users, so it goes from there, too."""
    state, _ = folded(views(315), pipeline.new_state(PLAIN))
    state, _ = folded([view("u0", "i315", 99_000_000)], state)
    state.leaving.progress[N_PASSED] = 19  # of 20 users: as if the first stretch ended before the last one
    state.graph.users["ring"][19][:3] = 4  # he took one of those who leave, lately
    state, _ = folded([view(state.ids.users.id(19), "i300", 99_000_001)], state)
    assert ("neighbour", 300) in names(state, 4)
    state, evicted = folded([view("u0", f"i{n}", 99_000_000 + n) for n in range(316, 321)], state, 1)
    assert 4 in evicted
    assert not names(state, 4)


def test_who_is_taken_meanwhile_stays():
    """Also who was retired and comes back to the catalog. To the users passed before they are items that they never took."""
    log = [*views(315), ItemRetired("i100"), ItemRetired("i101"), ItemRetired("i102")]
    state, _ = folded(log, pipeline.new_state(PLAIN))
    state, _ = folded([view("u0", "i315", 99_000_000)], state)
    assert leaving_ids(state) == {*(f"i{n}" for n in range(7)), "i100", "i101", "i102"}
    rows = {item_id: state.ids.items.row(item_id) for item_id in ("i3", "i100", "i101", "i102")}
    meanwhile = [
        view("u5", "i3", 99_000_100),
        CatalogItem(item_id="i100", timestamp_ms=9),
        CatalogItem(item_id="i101", available=False, timestamp_ms=9),
        CatalogItem(item_id="i2", timestamp_ms=9),  # it could be listed before: news of it is no event
    ]
    newcomers = [view("u0", f"i{n}", 99_000_000 + n) for n in (*range(316, 320), 1_000)]
    state, evicted = folded([*meanwhile, *newcomers], state, 1)
    assert len(evicted) == 8
    assert {item_id: state.ids.items.row(item_id) for item_id in rows} == {**rows, "i101": -1, "i102": -1}
    assert state.ids.items.row("i2") < 0
    assert state.graph.items["n_events"][rows["i3"]] == 4
    assert ("taken", state.ids.users.row("u5")) in names(state, rows["i3"])


def test_who_comes_back_is_taken_from_nobody_who_is_passed_later():
    """The last of 400 users takes one that is leaving before the pass has come to him: he keeps it, and so do neighbour rows."""
    sizes = PLAIN._replace(max_users=1_024)
    state, _ = folded(views(315, n_users=400), pipeline.new_state(sizes))
    state, _ = folded([view("u0", "i315", 99_000_000)], state)
    assert int(state.leaving.progress[N_PASSED]) == (400 + 320) // 5
    user_id, row = state.ids.users.id(399), state.ids.items.row("i3")
    assert "i3" in leaving_ids(state)
    state, _ = folded([view(user_id, "i3", 99_000_001), view(user_id, "i300", 99_000_002)], state)
    state, evicted = folded([view("u0", f"i{n}", 99_000_000 + n) for n in range(316, 321)], state, 1)
    assert evicted
    assert row not in evicted
    assert {("history", 399), ("taken", 399), ("neighbour", 300)} <= set(names(state, row))


def test_where_all_came_back_others_go():
    """Nobody is left when the table is full: others are chosen, and the whole pass is made at once."""
    state, _ = folded(views(315), pipeline.new_state(PLAIN))
    state, _ = folded([view("u0", f"i{n}", 99_000_000 + n) for n in range(315, 320)], state, 1)
    assert leaving_ids(state) == {f"i{n}" for n in range(10)}
    state, evicted = folded([view("u1", f"i{n}", 99_100_000 + n) for n in range(10)], state, 3)
    assert evicted == []
    others = [state.ids.items.row(f"i{n}") for n in range(10, 20)]
    assert any(names(state, row) for row in others)
    state, evicted = folded([view("u2", "new", 99_200_000)], state)
    assert sorted(evicted) == others
    assert [row for row in others if names(state, row)] == [state.ids.items.row("new")]
    assert all(state.ids.items.row(f"i{n}") >= 0 for n in range(10))


def restored(state, settings, trainer):
    """The state as it comes back from a checkpoint."""
    data = b"".join(checkpoint.written(META, checkpoint.freeze(state, Scoreboard())()))
    reader = checkpoint.Reader([data])
    return checkpoint.restore(checkpoint.read_header(reader), reader, settings, trainer).state


def a_long_log(seed):
    """Events of every kind, with many more items than there is room for."""
    log = a_log(seed, n_views=240, n_items=120)
    for n in range(330):
        log.insert(30 + n, CatalogItem(item_id=f"c{n}", timestamp_ms=9 + n))
    return log + a_log(seed + 1, n_views=200, n_items=150)


def test_any_cut_and_any_checkpoint_of_a_pass_ends_alike():
    """One by one, in sevens, all at once, and from a checkpoint after each event of a pass: the same state, eviction or not."""
    settings, log = SIZES, a_long_log(5)
    state, passing = pipeline.new_state(settings, DrawnTables()), []
    n_evicted = 0
    for n, event in enumerate(log):
        state, info = pipeline.step(state, [event])
        n_evicted += len(info.evicted_item_rows)
        if leaving_rows(state).size:
            passing.append(n + 1)
            assert None not in leaving_ids(state)  # a row that is free already
    whole = pipeline.state_hash(state)
    assert n_evicted > 20
    assert len(passing) > 10
    for size in (7, len(log)):
        again, evicted = folded(log, pipeline.new_state(settings, DrawnTables()), size)
        assert (pipeline.state_hash(again), len(evicted)) == (whole, n_evicted)
    half, at = pipeline.new_state(settings, DrawnTables()), 0
    for cut in passing[: 4 * len(passing) // 5 : len(passing) // 5]:
        half, _ = folded(log[at:cut], half)
        at = cut
        again = restored(half, settings, DrawnTables())
        assert leaving_rows(again).tolist() == leaving_rows(half).tolist()
        assert pipeline.state_hash(again) == pipeline.state_hash(half)
        assert pipeline.state_hash(folded(log[cut:], again)[0]) == whole


@pytest.mark.parametrize("size", [7, 100, 2_000])
def test_a_run_of_views_stops_where_a_stretch_is_due(size):
    """Newcomers are let in by the batch while there is room; a batch that reaches a stretch is let in one by one."""
    log = views(400)
    whole, evicted = folded(log, pipeline.new_state(PLAIN), 1)
    again, evicted_again = folded(log, pipeline.new_state(PLAIN), size)
    assert pipeline.state_hash(again) == pipeline.state_hash(whole)
    assert evicted_again == evicted
    assert len(evicted) == 80


def test_equal_hashes_are_equal_passes():
    """Who leaves, how far the pass has come and when it began are part of the state."""
    state, _ = folded(views(316), pipeline.new_state(PLAIN))
    hashes = {pipeline.state_hash(state)}
    state.leaving.is_gone[300] = True
    hashes.add(pipeline.state_hash(state))
    for at in range(3):
        state.leaving.progress[at] += 1
        hashes.add(pipeline.state_hash(state))
    assert len(hashes) == 5


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("leaving.rows", [-1]),
        ("leaving.rows", [320]),
        ("leaving.rows", [300]),  # a row that nobody ever had
        ("leaving.progress", [0, 21, 0]),
        ("leaving.progress", [341, 20, 0]),
        ("leaving.progress", [0, 0, 10**9]),
    ],
)
def test_a_checkpoint_of_a_pass_that_cannot_be_is_refused(name, array):
    """Rows and numbers that kernels go by are those of the tables."""
    state, _ = folded(views(40), pipeline.new_state(PLAIN))
    arrays = checkpoint.freeze(state, Scoreboard())()
    arrays[name] = np.array(array)
    reader = checkpoint.Reader([b"".join(checkpoint.written(META, arrays))])
    with pytest.raises(CheckpointRefused, match=r"leaving|index 321"):
        checkpoint.restore(checkpoint.read_header(reader), reader, PLAIN, None)


def test_stretches_are_short():
    """At the default caps a pass has hundreds of them, and begins before the last sixty-fourth of the rows is given."""
    settings = pipeline.new_state(PLAIN).settings._replace(max_items=500_000)
    n_ahead, pace = leaving._pace(pipeline.new_state(PLAIN)._replace(settings=settings))
    assert n_ahead == 7_812
    assert n_ahead // pace >= leaving.N_STRETCHES


def test_no_eviction_waits_for_the_compiler(monkeypatch):
    """What a worker calls before its first event calls each of these kernels, with the types that an eviction has."""
    kernels = [(module, name) for module in (leaving, items) for name in vars(module)]
    kernels = [(module, name) for module, name in kernels if name.startswith(("leave_", "clear_"))]
    assert len(kernels) == 6
    called = set()
    for module, name in kernels:
        kernel = getattr(module, name)

        def spy(*given, name=name, kernel=kernel):
            called.add(name)
            return kernel(*given)

        monkeypatch.setattr(module, name, spy)
    pipeline.warm_up(SIZES, 1.0, 10)
    assert called == {name for _, name in kernels}
    known = {name: list(getattr(removal, name).signatures) for _, name in kernels}
    _, evicted = folded(a_long_log(5), pipeline.new_state(SIZES, DrawnTables()))
    assert evicted
    assert {name: list(getattr(removal, name).signatures) for name in known} == known
