"""Published bytes against their schema, and what counts as served."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from streamer import __version__, paths, pipeline
from streamer.events import ANONYMOUS, Interaction, Profile, UserErased
from streamer.graph import FoldSettings
from streamer.pipeline import Ranking
from streamer.publish import ANONYMOUS_ROW, Publisher

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "recommendations.v1.schema.json").read_text())
SIZES = FoldSettings(max_items=64, max_users=8, max_nodes=8, max_taken=4_096, n_neighbours=16)
STRANGE = [
    'quo"te',
    "back\\slash",
    "æ漢字🎈",
    "tab\tnew\nline",
    "</script>",
    "'",
    "{}",
    "\u2028",
    "\x7f",
    "%s%b%d",
]


def folded(user_ids, item_ids):
    """A state in which every user took the first item and everyone together all of them."""
    events = [Interaction("first", item, "view", 1_000 + n) for n, item in enumerate(item_ids)]
    events += [Interaction(user, item_ids[0], "view", 2_000 + n) for n, user in enumerate(user_ids)]
    state, _ = pipeline.step(pipeline.new_state(SIZES), events)
    return state


def ranking_of(user_rows, items):
    """A ranking with made-up scores."""
    items = np.array(items, np.int32)
    scores = np.broadcast_to(np.linspace(0.5, 1e-9, items.shape[1], dtype=np.float32), items.shape)
    return Ranking(np.array(user_rows, np.int32), items, scores, np.where(items >= 0, 0, -1).astype(np.int8))


def outcomes_of(state, user_ids, item_ids):
    """Outcomes of more events of these users."""
    events = [Interaction(user, item, "view", 9_000) for user, item in zip(user_ids, item_ids, strict=True)]
    return pipeline.step(state, events)[1].outcomes


@pytest.mark.parametrize("strange", STRANGE)
def test_bytes_follow_the_schema_whatever_the_ids(strange):
    """Any id comes back from the JSON as it was, and the document follows recommendations.v1."""
    state = folded([strange], ["plain", strange, *STRANGE[:3]])
    rows = np.array([state.ids.users.row(strange), ANONYMOUS_ROW], np.int32)
    ranking = pipeline.rank_users(state, rows, 5)
    entries = Publisher(SIZES.max_users, 5).encode(state, ranking, 1_700_000_000_000, {"inter-actions-0": 7})
    assert [user_id for user_id, _ in entries] == [strange, ANONYMOUS]
    for at, (user_id, value) in enumerate(entries):
        document = json.loads(value)
        jsonschema.validate(document, SCHEMA)
        assert document["user_id"] == user_id
        listed = [state.ids.items.id(row) for row in ranking.items[at].tolist() if row >= 0]
        assert [item["id"] for item in document["items"]] == listed
    assert strange in [item["id"] for item in json.loads(entries[1][1])["items"]]


def test_fields_are_what_was_ranked():
    """Scores to six digits, path names, times, model and positions; an anonymous list has no event time."""
    state = folded(["ann"], ["a", "b", "c"])
    ann = state.ids.users.row("ann")
    entries = Publisher(SIZES.max_users, 3).encode(
        state, ranking_of([ann, ANONYMOUS_ROW], [[2, 1, -1], [0, 1, 2]]), 123, {"t-0": 4, "t-1": 0}
    )
    document = json.loads(entries[0][1])
    assert document == {
        "version": "recommendations.v1",
        "user_id": "ann",
        "items": [
            {"id": "c", "score": 0.5, "path": paths.NAMES[0]},
            {"id": "b", "score": pytest.approx(0.25, rel=1e-5), "path": paths.NAMES[0]},
        ],
        "generated_at": 123,
        "event_time": 2_000,
        "model": f"streamer-{__version__}+v0",
        "position": {"t-0": 4, "t-1": 0},
    }
    anonymous = json.loads(entries[1][1])
    assert anonymous["event_time"] is None
    assert anonymous["items"][2]["score"] == pytest.approx(1e-9)
    jsonschema.validate(anonymous, SCHEMA)


def test_an_empty_list_is_valid():
    """Before any event the anonymous list is an empty one that follows the schema."""
    state = pipeline.new_state(SIZES)
    ranking = pipeline.rank_users(state, np.array([ANONYMOUS_ROW], np.int32), 5)
    ((user_id, value),) = Publisher(SIZES.max_users, 5).encode(state, ranking, 1, {})
    jsonschema.validate(json.loads(value), SCHEMA)
    assert (user_id, json.loads(value)["items"]) == (ANONYMOUS, [])


def test_items_that_come_later_are_encoded_too():
    """A publisher that has encoded before knows the items admitted since."""
    state = folded([], ["a"])
    publisher = Publisher(SIZES.max_users, 2)
    publisher.encode(state, ranking_of([ANONYMOUS_ROW], [[0, -1]]), 1, {})
    state, _ = pipeline.step(state, [Interaction("first", 'new"', "view", 5)])
    ((_, value),) = publisher.encode(state, ranking_of([ANONYMOUS_ROW], [[1, 0]]), 1, {})
    assert [item["id"] for item in json.loads(value)["items"]] == ['new"', "a"]


def test_served_ranks_by_hand():
    """The rank is the place on the user's own list, 0 when it is not on it; without a list it is the anonymous one's."""
    state = folded(["ann", "bob"], ["a", "b", "c", "d"])
    ann = state.ids.users.row("ann")
    publisher = Publisher(SIZES.max_users, 3)
    publisher.encode(state, ranking_of([ann, ANONYMOUS_ROW], [[3, 1, -1], [1, 2, 0]]), 1, {})
    out = outcomes_of(state, ["ann", "ann", "ann", "bob", "bob", "new"], ["b", "d", "c", "c", "d", "b"])
    assert publisher.served(out).tolist() == [2, 1, 0, 2, 0, 1]


def test_a_list_that_has_expired_is_not_served():
    """Its user reads the anonymous one, which is renewed; to the second, as Redis has it."""
    state = folded(["ann", "bob"], ["a", "b", "c"])
    ann, bob = state.ids.users.row("ann"), state.ids.users.row("bob")
    publisher = Publisher(SIZES.max_users, 2)
    publisher.encode(state, ranking_of([ann], [[0, 1]]), 4_000, {})
    publisher.encode(state, ranking_of([bob, ANONYMOUS_ROW], [[0, 1], [2, -1]]), 5_000, {})
    out = outcomes_of(state, ["ann", "bob", "ann", "bob"], ["b", "b", "c", "c"])
    assert publisher.served(out).tolist() == publisher.served(out, 4_000).tolist() == [2, 2, 0, 0]
    assert publisher.served(out, 5_000).tolist() == [0, 2, 1, 0]
    assert publisher.served(out, 6_000).tolist() == [0, 0, 1, 1]


def test_old_lists_are_found():
    """Also empty ones, since there may be something for them by now; not of those who have none, or a list of unknown age."""
    users = [f"u{n}" for n in range(6)]
    state = folded(users, ["a"])
    rows = [state.ids.users.row(user) for user in users]
    publisher = Publisher(SIZES.max_users, 2)
    publisher.encode(state, ranking_of(rows[:5], [[0, -1]] * 4 + [[-1, -1]]), 10_000, {})
    publisher.encode(state, ranking_of(rows[1:2], [[0, -1]]), 20_000, {})
    publisher.forget(rows[2:3])
    publisher.inherit(np.array(rows[3:4], np.int32))
    assert publisher.stale(0, 6, 10_000).tolist() == []
    assert publisher.stale(0, 6, 11_000).tolist() == sorted([rows[0], rows[4]])
    assert publisher.stale(0, 6, 21_000).tolist() == sorted([rows[0], rows[1], rows[4]])
    assert publisher.stale(1, 2, 21_000).tolist() == [1]
    assert publisher.stale(0, 6, -5).tolist() == []


def test_before_anything_is_published_nothing_is_served():
    """No lists, no ranks: not even for the item of row 0."""
    state = folded(["ann"], ["a", "b"])
    publisher = Publisher(SIZES.max_users, 3)
    assert publisher.served(outcomes_of(state, ["ann", "first"], ["b", "a"])).tolist() == [0, 0]


def test_a_newer_list_replaces_the_older_one():
    """Only the last list counts as served, also when it is shorter."""
    state = folded(["ann"], ["a", "b", "c"])
    ann = state.ids.users.row("ann")
    publisher = Publisher(SIZES.max_users, 3)
    publisher.encode(state, ranking_of([ann], [[0, 1, 2]]), 1, {})
    publisher.encode(state, ranking_of([ann], [[2, -1, -1]]), 2, {})
    assert publisher.served(outcomes_of(state, ["ann"] * 3, ["a", "b", "c"])).tolist() == [0, 0, 1]


def test_a_forgotten_row_reads_the_anonymous_list():
    """After `forget` the row has no list of its own; other rows keep theirs."""
    state = folded(["ann", "bob"], ["a", "b", "c"])
    ann, bob = state.ids.users.row("ann"), state.ids.users.row("bob")
    publisher = Publisher(SIZES.max_users, 2)
    publisher.encode(state, ranking_of([ann, bob, ANONYMOUS_ROW], [[0, 1], [2, 1], [1, 2]]), 1, {})
    publisher.forget([ann])
    publisher.forget([])
    assert publisher.served(outcomes_of(state, ["ann", "bob"], ["c", "c"])).tolist() == [2, 1]


def test_rows_without_an_owner_are_neither_encoded_nor_served():
    """An erased user who is still among the rows to rank gets no entry, and leaves no list to whoever gets the row."""
    state = folded(["ann"], ["a", "b", "c"])
    ann = state.ids.users.row("ann")
    state, _ = pipeline.step(state, [UserErased("ann")])
    publisher = Publisher(SIZES.max_users, 2)
    assert publisher.encode(state, ranking_of([ann], [[2, 1]]), 1, {}) == []
    assert publisher.served(outcomes_of(state, ["new"], ["c"])).tolist() == [0]
    assert state.ids.users.row("new") == ann


def test_a_list_names_the_weights_it_was_ranked_with():
    """The version of the network's weights follows ours; the schema takes both spellings of the model, old and new."""
    state = folded(["ann"], ["a", "b"])
    state = state._replace(graph=state.graph._replace(vectors=state.graph.vectors._replace(version=17)))
    ranking = pipeline.rank_users(state, np.array([ANONYMOUS_ROW], np.int32), 3)
    ((_, value),) = Publisher(SIZES.max_users, 3).encode(state, ranking, 1, {})
    document = json.loads(value)
    assert document["model"] == f"streamer-{__version__}+v17"
    jsonschema.validate(document, SCHEMA)
    jsonschema.validate({**document, "model": "mixture-0.1.0"}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "model": "streamer 17"}, SCHEMA)


def test_users_without_events_have_no_event_time():
    """A profile alone is no event: null, as the schema has it, and not the year 1970."""
    state = folded([], ["a", "b"])
    state, _ = pipeline.step(state, [Profile(user_id="ann", timestamp_ms=5)])
    rows = np.array([state.ids.users.row("ann")], np.int32)
    entries = Publisher(SIZES.max_users, 3).encode(state, pipeline.rank_users(state, rows, 3), 1, {})
    assert json.loads(entries[0][1])["event_time"] is None


def test_holders_are_those_whose_list_has_one_of_the_items():
    """By brute force over random lists; empty places are no item, and a list that is forgotten or made anew counts no more."""
    rng = np.random.default_rng(3)
    state = folded([f"u{n}" for n in range(6)], [f"i{n}" for n in range(20)])
    publisher = Publisher(SIZES.max_users, 4)
    rows = np.arange(-1, state.ids.users.n_rows, dtype=np.int32)
    lists = np.where(rng.random((rows.size, 4)) < 0.2, -1, rng.integers(0, 20, (rows.size, 4)))
    publisher.encode(state, ranking_of(rows, lists), 1, {})
    for wanted in ([0], [3, 7], [19], [], list(range(20)), [63]):
        by_hand = [row for row, items in zip(rows, lists, strict=True) if set(items.tolist()) & set(wanted)]
        found = publisher.holders(np.array(wanted, np.int32), state.ids.users.n_rows)
        assert found.tolist() == by_hand
    publisher.forget([2])
    publisher.encode(state, ranking_of([3], [[5, -1, -1, -1]]), 2, {})
    found = publisher.holders(np.arange(20, dtype=np.int32), state.ids.users.n_rows)
    assert (2 in found, 3 in found) == (False, True)
    assert 3 not in publisher.holders(np.delete(np.arange(20), 5).astype(np.int32), state.ids.users.n_rows)
