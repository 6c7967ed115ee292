"""Properties of the fold over arbitrary logs: cuts, replays, no look ahead, who may be listed, bounded memory."""

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whole_model import MODEL, embedded, new_state

from streamer import pipeline
from streamer.events import CatalogItem, Interaction, ItemRetired, Profile, UserErased
from streamer.graph import FoldSettings
from streamer.measure import Scoreboard
from streamer.pipeline.state import _used_tables

SIZES = FoldSettings(
    max_items=12,
    max_users=5,
    max_nodes=12,
    max_taken=64,
    n_neighbours=16,
    session_gap_s=60,
    explore_share=0.2,
    training_interval=2,  # logs are short
    text_model=MODEL,
)
USERS = [f"u{n}" for n in range(7)]  # more than there is room for
ITEMS = [f"i{n}" for n in range(14)]

slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

user_ids, item_ids = st.sampled_from(USERS), st.sampled_from(ITEMS)
times = st.integers(0, 400_000) | st.sampled_from([0, 60_000, 60_001, 7_258_118_399_999])
numbers = st.floats(allow_nan=False, allow_infinity=False)
contexts = st.dictionaries(
    st.sampled_from(["device", "hour"]), st.sampled_from(["phone", "desk", 7.0, 1e300]), max_size=2
)
views = st.builds(
    Interaction, user_ids, item_ids, st.just("view"), times, st.none() | st.none() | numbers, contexts
)
kinds = st.dictionaries(st.just("kind"), st.lists(st.sampled_from("abcd"), max_size=3), max_size=1)
prices = st.dictionaries(st.just("price"), numbers, max_size=1)
titles = st.sampled_from(["", "red", "red cup", "old lamp"])
others = st.one_of(
    st.builds(
        CatalogItem,
        item_id=item_ids,
        title=titles,
        available=st.booleans(),
        categorical=kinds,
        numerical=prices,
        timestamp_ms=times,
    ),
    st.builds(ItemRetired, item_ids),
    st.builds(UserErased, user_ids),
    st.builds(Profile, user_id=user_ids, categorical=kinds, numerical=prices, timestamp_ms=times),
    st.builds(embedded, titles.filter(bool)),
)
# Runs of views, with some of everything else between them: drawn one by one, events would hardly ever make a run, nor a log.
runs = st.tuples(st.lists(views, min_size=1, max_size=8), st.lists(others, max_size=2))
logs = st.lists(runs, max_size=8).map(
    lambda drawn: [event for run in drawn for part in run for event in part]
)
cuts = st.lists(st.integers(0, 60), max_size=6)
fold_settings = st.builds(SIZES._replace, repeats=st.booleans())


def batches(log, at):
    """The log cut at these places."""
    edges = [0, *sorted(min(place, len(log)) for place in at), len(log)]
    return [log[start:stop] for start, stop in pairwise(edges)]


def played(parts, sizes):
    """State, all infos and the scoreboard after these batches."""
    state, board, infos = new_state(sizes), Scoreboard(), []
    for part in parts:
        state, info = pipeline.step(state, part)
        board.update(info.outcomes)
        infos.append(info)
    return state, infos, board


def bytes_of(infos):
    """All outcomes of a log, one string of bytes a column."""
    return [
        b"".join(column.tobytes() for column in columns)
        for columns in zip(*(i.outcomes for i in infos), strict=True)
    ]


def known_ids(state):
    """Which users and items the state knows, by row."""
    return list(state.ids.users.items()), list(state.ids.items.items())


@slow
@given(log=logs, at=cuts, sizes=fold_settings)
def test_no_cut_of_the_log_changes_anything(log, at, sizes):
    """One by one, in one batch or cut anywhere: the same state, outcomes, figures and counts."""
    whole, one_by_one, cut = (
        played(parts, sizes) for parts in ([log], [[event] for event in log] or [[]], batches(log, at))
    )
    for state, infos, board in (one_by_one, cut):
        assert pipeline.state_hash(state) == pipeline.state_hash(whole[0])
        assert bytes_of(infos) == bytes_of(whole[1])
        assert board.lists() == whole[2].lists()
        assert known_ids(state) == known_ids(whole[0])
        for name in (
            "n_interactions",
            "n_catalog",
            "n_profiles",
            "n_items_retired",
            "n_users_erased",
        ):
            assert sum(getattr(info, name) for info in infos) == getattr(whole[1][0], name), name
        assert sum((info.n_skipped for info in infos), Counter()) == whole[1][0].n_skipped
        touched = set().union(*(info.touched_users.tolist() for info in infos))
        assert touched == set(whole[1][0].touched_users.tolist())


@slow
@given(log=logs, sizes=fold_settings)
def test_the_same_log_gives_the_same_state(log, sizes):
    """A replay ends with the same hash, outcomes and lists."""
    (one, infos, _), (other, infos_again, _) = played([log], sizes), played([list(log)], sizes)
    assert pipeline.state_hash(one) == pipeline.state_hash(other)
    assert bytes_of(infos) == bytes_of(infos_again)
    everyone = np.arange(-1, sizes.max_users, dtype=np.int32)
    for mine, theirs in zip(*(pipeline.rank_users(s, everyone, 20) for s in (one, other)), strict=True):
        assert mine.tobytes() == theirs.tobytes()


@slow
@given(past=logs, future=logs, other_future=logs, sizes=fold_settings)
def test_no_event_sees_the_future(past, future, other_future, sizes):
    """In one batch, what follows an event changes nothing of its outcome."""
    _, (one,), _ = played([past + future], sizes)
    _, (other,), _ = played([past + other_future], sizes)
    _, (alone,), _ = played([past], sizes)
    n = alone.outcomes.flags.size
    for column, column_other, column_alone in zip(one.outcomes, other.outcomes, alone.outcomes, strict=True):
        assert column[:n].tobytes() == column_other[:n].tobytes() == column_alone.tobytes()


class Ledger:
    """Who took what and what is gone, in plain sets: the truth that lists are held against."""

    def __init__(self):
        self.known_items = set()
        self.gone = set()
        self.taken = {}

    def take(self, event, state):
        """One event, after the state has folded it."""
        if isinstance(event, Interaction):
            if state.ids.users.row(event.user_id) >= 0 and state.ids.items.row(event.item_id) >= 0:
                self.known_items.add(event.item_id)
                self.taken.setdefault(event.user_id, set()).add(event.item_id)
        elif isinstance(event, CatalogItem):
            self.known_items.add(event.item_id)
            (self.gone.discard if event.available else self.gone.add)(event.item_id)
        elif isinstance(event, ItemRetired) and event.item_id in self.known_items:
            self.gone.add(event.item_id)  # of an unknown one: see test_pipeline
        # erased, or evicted from a full table: who comes back is a newcomer
        self.known_items = {item for item in self.known_items if state.ids.items.row(item) >= 0}
        self.gone &= self.known_items
        self.taken = {
            user: took & self.known_items
            for user, took in self.taken.items()
            if state.ids.users.row(user) >= 0
        }


@slow
@given(log=logs, sizes=fold_settings)
def test_nobody_is_listed_what_must_not_be(log, sizes):
    """After every event: no list holds what is retired or unavailable, nor, with repeats off, what the user took."""
    # with a full pool what a user took may be forgotten; that is counted
    sizes = sizes._replace(max_taken=1_024)
    state, ledger = new_state(sizes), Ledger()
    everyone = np.arange(-1, sizes.max_users, dtype=np.int32)
    for event in log:
        state, _ = pipeline.step(state, [event])
        ledger.take(event, state)
        ranking = pipeline.rank_users(state, everyone, 20)
        for user_row, rows in zip(everyone.tolist(), ranking.items.tolist(), strict=True):
            listed = [state.ids.items.id(row) for row in rows if row >= 0]
            assert len(set(listed)) == len(listed)
            assert not set(listed) & ledger.gone
            user_id = state.ids.users.id(user_row)
            if user_id is not None and not sizes.repeats:
                assert not set(listed) & ledger.taken.get(user_id, set())


@slow
@given(log=logs, sizes=fold_settings)
def test_reading_is_not_learning(log, sizes):
    """Ranking everyone after every event changes no bit of what the log gives."""
    silent, infos_silent, _ = played([[event] for event in log], sizes)
    state, infos = new_state(sizes), []
    everyone = np.arange(-1, sizes.max_users, dtype=np.int32)
    for event in log:
        state, info = pipeline.step(state, [event])
        infos.append(info)
        before = pipeline.state_hash(state)
        pipeline.rank_users(state, everyone, 200)
        assert pipeline.state_hash(state) == before
    assert pipeline.state_hash(state) == pipeline.state_hash(silent)
    if log:
        assert bytes_of(infos) == bytes_of(infos_silent)


@slow
@given(log=logs, sizes=fold_settings, gone=user_ids)
def test_an_erased_user_leaves_no_trace_in_his_row(log, sizes, gone):
    """His row is all zeros, his ids are gone, his taken items are free, and everyone else's are as they were."""
    state, _ = pipeline.step(new_state(sizes), log)
    row = state.ids.users.row(gone)
    others = [other for name, other in state.ids.users.items() if name != gone]
    before = [state.graph.users[other].tobytes() for other in others]
    state, info = pipeline.step(state, [UserErased(gone)])
    assert info.erased_user_ids == [gone]
    assert info.erased_user_rows == ([row] if row >= 0 else [])
    assert state.ids.users.row(gone) == -1
    assert [state.graph.users[other].tobytes() for other in others] == before
    if row >= 0:
        assert state.graph.users[row].tobytes() == bytes(state.graph.users.dtype.itemsize)
        state, _ = pipeline.step(state, [Interaction("newcomer", ITEMS[0], "view", 1)])
        assert state.ids.users.row("newcomer") in (row, -1)


@slow
@given(log=logs, sizes=fold_settings)
def test_memory_is_bounded_and_refusals_are_counted(log, sizes):
    """Tables never use more than their caps, and every interaction was either learned or counted as refused."""
    state, infos, board = played([log], sizes)
    full = new_state(sizes)
    fixed = _used_tables(full)  # of the ranker: as large before the first event
    for name, table in _used_tables(state).items():
        caps = {"users": full.graph.users, "items": full.graph.items, "neighbours": full.graph.neighbour}
        most = caps[name].nbytes if name in caps else max(200_000, fixed[name].nbytes)
        assert table.nbytes <= most, name
    assert len(state.ids.users) <= state.ids.users.n_rows <= sizes.max_users
    assert len(state.ids.items) <= state.ids.items.n_rows <= sizes.max_items
    n_views = sum(isinstance(event, Interaction) for event in log)
    of_views = [n for (kind, _), n in infos[0].n_skipped.items() if kind == "interactions"]
    assert infos[0].n_interactions + sum(of_views) == n_views
    assert board.n_events == infos[0].n_interactions
    assert np.isfinite(state.graph.weights).all()


@slow
@given(log=logs)
def test_inputs_are_neither_changed_nor_kept(log):
    """The events of a batch are as they were, and emptying the list afterwards changes no state."""
    copy = list(log)
    state, _ = pipeline.step(new_state(SIZES), log)
    assert log == copy
    before = pipeline.state_hash(state)
    log.clear()
    assert pipeline.state_hash(state) == before
