"""What is read off a state beside rankings: histories and vectors of users, places given to new items."""

import numpy as np
import pytest
import twins
from entries import copy_history

from streamer import pipeline
from streamer.events import CatalogItem, Interaction, Profile
from streamer.graph import FoldSettings
from streamer.graph.state import EVENTS, HISTORY
from streamer.pipeline import Ranking
from streamer.rank import EXPLORED_PATH, EXPLORED_PLACE

SIZES = FoldSettings(max_items=256, max_users=64, max_nodes=64, max_taken=8_192, n_neighbours=16)


def folded(*events, settings=SIZES):
    """The state after these events."""
    return pipeline.step(pipeline.new_state(settings), events)[0]


def test_histories_are_those_of_the_kernel():
    """Whatever their length: the same items, gaps to the last event, and values as `copy_history` gives the network."""
    rng = np.random.default_rng(5)
    users, items, times = twins.events_of(rng, 300, 20, 100)
    values = rng.normal(3.0, 1.0, 300)
    values[rng.random(300) < 0.3] = np.nan
    events = [
        Interaction(f"u{u}", f"i{i}", "rating", int(t), value=None if np.isnan(v) else float(v))
        for u, i, t, v in zip(users, items, times, values, strict=True)
    ]
    state = folded(*events, Profile(user_id="no events", timestamp_ms=1))
    rows = rng.permutation(state.ids.users.n_rows).astype(np.int32)
    n_events = state.graph.users["n_events"][rows]
    assert n_events.min() == 0
    assert n_events.max() > HISTORY
    got = pipeline.user_histories(state, rows)
    assert [column.dtype for column in got] == [np.int32, np.float32, np.float32]
    for n, row in enumerate(rows.tolist()):
        wanted = np.zeros(HISTORY, np.int32), np.zeros(HISTORY, np.float32), np.zeros(HISTORY, np.float32)
        copy_history(state.graph, row, int(state.graph.users["last_time_ms"][row]), *wanted)
        for column, expected in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(column[n], expected)


def test_a_history_by_hand():
    """Newest first; gaps from each event to the last one, in steps of two seconds."""
    state = folded(Interaction("u", "a", "view", 10_000), Interaction("u", "b", "view", 30_000))
    got = pipeline.user_histories(state, np.array([0], np.int32))
    a, b = state.ids.items.row("a"), state.ids.items.row("b")
    assert got.items[0].tolist() == [b, a] + [-1] * (HISTORY - 2)
    assert got.gap_s[0].tolist() == [0.0, 20.0] + [0.0] * (HISTORY - 2)
    assert np.isnan(got.z_score).all()


def test_vectors_of_users_without_a_history_are_the_same():
    """h_0 of the tables, for each; nobody asked for gives an empty array."""
    state = folded(Profile(user_id="u", timestamp_ms=1), Profile(user_id="v", timestamp_ms=1))
    tables = state.graph.vectors
    tables.h_0[:] = np.arange(tables.h_0.size)
    got = pipeline.user_vectors(state, np.array([1, 0], np.int32))
    np.testing.assert_array_equal(got, np.tile(tables.h_0, (2, 1)))
    assert pipeline.user_vectors(state, np.empty(0, np.int32)).shape == (0, tables.h_0.size)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1)])
def test_one_gap_a_user_is_asked_for(shape):
    """Kernels look at no bounds: fewer gaps than users would be read beyond their end."""
    state = folded(Profile(user_id="u", timestamp_ms=1))
    with pytest.raises(ValueError, match=r"gaps_ms: expected \(2,\), got \("):
        pipeline.rank_users(state, np.array([0, -1], np.int32), 5, np.zeros(shape, np.int64))


def test_explored_places_are_counted():
    """With a share of 1 every list shows a new item at the tenth place; with 0 the same lists count none."""
    events = [Interaction(f"u{n % 20}", f"i{n % 30}", "view", 1_000 * n) for n in range(400)]
    new = [CatalogItem(item_id=f"new{n}", title="", timestamp_ms=1) for n in range(20)]
    state = folded(*events, *new, settings=SIZES._replace(explore_share=1.0))
    rows = np.append(np.arange(20), -1).astype(np.int32)
    ranking = pipeline.rank_users(state, rows, EXPLORED_PLACE + 2)
    tenth = ranking.items[:, EXPLORED_PLACE - 1]
    ids = [state.ids.items.id(row) or "" for row in tenth.tolist()]
    is_new = np.array([name.startswith("new") for name in ids]) & (
        ranking.paths[:, EXPLORED_PLACE - 1] == EXPLORED_PATH
    )
    assert pipeline.n_explored(state, ranking) == np.count_nonzero(is_new[:-1]) > 0
    never = state._replace(graph=state.graph._replace(explore_share=0.0))
    assert pipeline.n_explored(never, ranking) == 0
    short = Ranking(rows, ranking.items[:, :5], ranking.scores[:, :5], ranking.paths[:, :5])
    assert pipeline.n_explored(state, short) == 0


def test_the_share_is_drawn_as_the_ranking_draws_it():
    """Of two rankings at one event, with and without exploring, exactly the lists that differ are counted."""
    settings = SIZES._replace(explore_share=0.3)
    events = [Interaction(f"u{n % 40}", f"i{n % 30}", "view", 1_000 * n) for n in range(400)]
    new = [CatalogItem(item_id=f"new{n}", title="", timestamp_ms=1) for n in range(20)]
    state = folded(*events, *new, settings=settings)
    assert state.graph.counters[EVENTS] == 400
    rows = np.arange(40, dtype=np.int32)
    explored = pipeline.rank_users(state, rows, EXPLORED_PLACE)
    plain = pipeline.rank_users(
        state._replace(graph=state.graph._replace(explore_share=0.0)), rows, EXPLORED_PLACE
    )
    n_different = int((explored.items != plain.items).any(axis=1).sum())
    assert 4 <= n_different <= 20
    assert pipeline.n_explored(state, explored) == n_different
