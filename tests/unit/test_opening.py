"""A shop that opens: from the first catalog record and the first event on, lists show what there is."""

import numpy as np
import pytest

from streamer import pipeline
from streamer.events import CatalogItem, Interaction, ItemRetired
from streamer.graph import FoldSettings
from streamer.paths import NAMES

SIZES = FoldSettings(
    max_items=512, max_users=16, max_nodes=256, max_taken=4_096, n_neighbours=16, without=("vectors",)
)
NOBODY = -1


def listed(state, user, k=10):
    """Ids, scores and paths of one list, without the places that are empty."""
    row = NOBODY if user is None else state.ids.users.row(user)
    ranking = pipeline.rank_users(state, np.array([row], np.int32), k)
    n = int(np.count_nonzero(ranking.items[0] >= 0))
    assert (ranking.items[0, n:] == -1).all()
    ids = [state.ids.items.id(row) for row in ranking.items[0, :n].tolist()]
    return ids, ranking.scores[0, :n].tolist(), [NAMES[path] for path in ranking.paths[0, :n].tolist()]


def catalog(n, **fields):
    """So many items, i0 first."""
    return [CatalogItem(item_id=f"i{at}", timestamp_ms=0, **fields) for at in range(n)]


def folded(*events, settings=SIZES):
    """The state after these events, one step each: how they come in batches makes no difference."""
    state = pipeline.new_state(settings)
    for event in events:
        state, _ = pipeline.step(state, [event], 0.0)
    return state


def test_before_any_event_the_catalog_is_listed():
    """Of its newest, each once and equally likely, who is known longest first; of an empty catalog, nothing."""
    assert listed(folded(), None) == ([], [], [])
    ids, scores, paths = listed(folded(*catalog(30)), None)
    assert ids == [f"i{at}" for at in range(10, 20)]
    assert min(scores) == max(scores) > 0.0
    assert set(paths) == {"rate"}
    assert listed(folded(*catalog(3)), None)[0] == ["i0", "i1", "i2"]


@pytest.mark.parametrize("n_events", [1, 2, 3, 5, 9, 20, 40])
def test_lists_are_full_from_the_first_event(n_events):
    """Of who took something and of who did not: ten items each, best first, none taken, none twice, scores above 0."""
    views = [Interaction(f"u{at % 3}", f"i{at * 7 % 30}", "view", 1_000 * at) for at in range(n_events)]
    state = folded(*catalog(60, title="red shoes"), *views)
    taken = {view.item_id for view in views if view.user_id == "u0"}
    for user in (None, "u0"):
        ids, scores, _ = listed(state, user)
        assert len(ids) == len(set(ids)) == 10
        assert scores == sorted(scores, reverse=True)
        assert scores[-1] > 0.0
        assert user is None or not taken & set(ids)


def test_the_first_buyer_sees_what_resembles_his_purchase():
    """One event, of a red item: red ones stand before the others, which are newer."""
    red = [CatalogItem(item_id=f"red{at}", categorical={"kind": ["red"]}, timestamp_ms=0) for at in range(4)]
    blue = [
        CatalogItem(item_id=f"blue{at}", categorical={"kind": ["blue"]}, timestamp_ms=0) for at in range(9)
    ]
    ids, _, _ = listed(folded(*red, *blue, Interaction("u", "red0", "view", 1_000)), "u")
    assert set(ids[:3]) == {"red1", "red2", "red3"}
    assert len(ids) == 10


def test_nothing_that_may_not_be_listed_fills_a_list():
    """Retired, not available, or taken: a list stays short where nothing else is there, and gets what was taken with repeats."""
    events = [
        *catalog(5),
        CatalogItem(item_id="i1", available=False, timestamp_ms=1),
        ItemRetired("i2"),
        Interaction("u", "i3", "view", 1_000),
    ]
    assert sorted(listed(folded(*events), "u")[0]) == ["i0", "i4"]
    assert sorted(listed(folded(*events, settings=SIZES._replace(repeats=True)), "u")[0]) == [
        "i0",
        "i3",
        "i4",
    ]


def test_a_large_catalog_is_not_read_for_it():
    """The newest 256 of 301 are looked at, i45 and later: who took all of these but one is shown that one."""
    views = [Interaction("u", f"i{at}", "view", 1_000 * at) for at in range(46, 301)]
    assert listed(folded(*catalog(301), *views), "u", k=50)[0] == ["i45"]
