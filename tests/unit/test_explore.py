"""The explored share of lists: which lists, which items, the tenth place, and what it does to the rank of what was taken."""

import numpy as np
import pytest
from entries import draw_unshown
from twins import paths_but, taken_of
from whole_model import SETTINGS, a_log, new_state, rows_of_users

from streamer import paths, pipeline
from streamer.events import CatalogItem, Interaction
from streamer.graph.state import EVENTS
from streamer.rank import EXPLORED_PATH, EXPLORED_PLACE

PLACE = EXPLORED_PLACE - 1


def world(share, seed=51, repeats=True):
    """A state in which all lists are longer than ten, and some items were hardly taken."""
    settings = SETTINGS._replace(explore_share=share, repeats=repeats)
    state, _ = pipeline.step(new_state(settings), a_log(seed, n_views=400))
    news = [CatalogItem(item_id=f"new{n}", title="red", timestamp_ms=0) for n in range(12)]
    return pipeline.step(state, news)[0]


def ranked(state, user, k=10):
    """One list."""
    return pipeline.rank_users(state, np.array([user], np.int32), k)


def plain(state, user, k=10):
    """The list as it would be without exploring."""
    return ranked(state._replace(graph=state.graph._replace(explore_share=0.0)), user, k)


def test_the_share_is_kept_and_repeats_itself():
    """With a share of 0 no list is explored, with 1 every one that can be, in between about so many, and always the same."""
    n_explored = {}
    for share in (0.0, 0.3, 1.0):
        state, n_lists = world(share), 0
        for n_events in range(10_000, 10_040):
            state.graph.counters[EVENTS] = n_events
            for user in rows_of_users(state):
                lists, again, without = ranked(state, user), ranked(state, user), plain(state, user)
                assert lists.items.tobytes() == again.items.tobytes()
                n_explored[share] = n_explored.get(share, 0) + (lists.items != without.items).any()
                n_lists += 1
        n_explored[share] /= n_lists
    assert n_explored[0.0] == 0.0
    assert n_explored[1.0] > 0.8  # the others had the drawn item on their list already
    assert n_explored[0.3] == pytest.approx(0.3 * n_explored[1.0], abs=0.06)


def test_it_takes_the_tenth_place_alone():
    """The other places stay as they were; the item has fewer than five events, may be listed, and is called fresh."""
    state, n_explored, n_scored = world(1.0, repeats=False), 0, 0
    for user in rows_of_users(state):
        for k in (10, 25):
            lists, without = ranked(state, user, k), plain(state, user, k)
            differing = np.nonzero(lists.items[0] != without.items[0])[0].tolist()
            assert differing in ([], [PLACE])
            row = int(lists.items[0, PLACE])
            if not differing:
                assert (lists.scores == without.scores).all()
                continue
            n_explored += 1
            others = np.arange(k) != PLACE
            assert (lists.scores == without.scores)[0, others].all()
            score, longest = lists.scores[0, PLACE], plain(state, user, 200)
            assert score < lists.scores[0, PLACE - 1]  # its own: not that of the item that made way
            assert score == longest.scores[0][longest.items[0] == row].sum()
            n_scored += score > 0.0
            assert lists.paths[0, PLACE] == EXPLORED_PATH
            assert paths.NAMES[EXPLORED_PATH] == "fresh"
            assert state.graph.items[row]["n_events"] < 5
            assert not state.graph.unlistable[row]
            assert row not in taken_of(state.graph, user)
            assert len(set(lists.items[0].tolist())) == k
    assert n_explored > 8
    assert n_scored > 0


def test_short_lists_and_the_unknown_user_are_left_alone():
    """A list of fewer than ten has no place to give away, and the anonymous list is everybody's."""
    state = world(1.0)
    for user in rows_of_users(state):
        assert ranked(state, user, 9).items.tobytes() == plain(state, user, 9).items.tobytes()
    assert ranked(state, -1).items.tobytes() == plain(state, -1).items.tobytes()
    few = [Interaction(f"u{n % 3}", f"i{n % 5}", "view", n) for n in range(12)]
    state, _ = pipeline.step(new_state(SETTINGS._replace(explore_share=1.0, repeats=True)), few)
    for user in rows_of_users(state):
        assert ranked(state, user).items.tobytes() == plain(state, user).items.tobytes()


@pytest.mark.parametrize("is_on", [0.0, 1.0])
def test_measured_ranks_are_places_on_the_explored_list(is_on):
    """What is measured is what was shown: the rank of every item is its place on the list that its user would have got."""
    log, n_explored = a_log(52, n_views=400), 0
    settings = SETTINGS._replace(explore_share=1.0, repeats=True)
    state, _ = pipeline.step(new_state(settings), log)
    state, _ = pipeline.step(
        state, [CatalogItem(item_id=f"new{n}", title="red", timestamp_ms=0) for n in range(12)]
    )
    rng = np.random.default_rng(52)
    for _ in range(150):
        user = int(rng.choice(rows_of_users(state)))
        state.ranker.guard[3] = is_on
        lists, without = ranked(state, user, 10).items[0], plain(state, user, 200)
        was_explored = lists[PLACE] != without.items[0, PLACE]
        row = int(lists[PLACE]) if rng.random() < 0.3 else int(rng.integers(0, state.ids.items.n_rows))
        time_ms = max(0, int(state.graph.users[user]["last_time_ms"]))
        event = Interaction(state.ids.users.id(user), state.ids.items.id(row), "view", time_ms)
        unlisted = without.items[0].tolist().count(row) == 0
        state, info = pipeline.step(state, [event])
        rank = int(info.outcomes.rank[0])
        if row in lists[:PLACE] and not _is_tied(without, row):
            assert rank == lists.tolist().index(row) + 1
        elif was_explored and row == lists[PLACE]:
            assert rank == EXPLORED_PLACE
            n_explored += 1
        elif was_explored and row == without.items[0, PLACE] and not _is_tied(without, row):
            assert rank == 0  # it made way
        elif unlisted:
            assert rank == 0
    assert n_explored > 10


@pytest.mark.parametrize(("path", "n_items"), [("fresh", 12), ("popularity", 12), ("popularity", 5)])
def test_an_item_that_may_be_explored_has_the_rank_that_was_shown(path, n_items):
    """One of nine that nobody took: where they head the list it stays there, else it is the tenth, or none of a short list."""
    others = (*paths_but(path), "ranker", "content")
    views = [Interaction(f"u{n % 3}", f"i{n % n_items}", "view", n) for n in range(6 * n_items)]
    news = [CatalogItem(item_id=f"new{n}", timestamp_ms=0) for n in range(9)]
    settings = SETTINGS._replace(explore_share=1.0, repeats=True, without=others)
    state, _ = pipeline.step(new_state(settings), [*views, *news])
    drawn = {user: int(draw_unshown(state.graph, user)) for user in range(3)}
    user, row = next((user, row) for user, row in drawn.items() if row >= 0)
    place = plain(state, user, 200).items[0].tolist().index(row) + 1 if path == "fresh" else 0
    expected = place or (EXPLORED_PLACE if n_items > EXPLORED_PLACE else 0)
    event = Interaction(state.ids.users.id(user), state.ids.items.id(row), "view", 1_000)
    state, info = pipeline.step(state, [event])
    assert info.outcomes.rank.tolist() == [expected]
    assert place < EXPLORED_PLACE


def _is_tied(ranking, row):
    scores = ranking.scores[0]
    return (scores == scores[ranking.items[0].tolist().index(row)]).sum() > 1
