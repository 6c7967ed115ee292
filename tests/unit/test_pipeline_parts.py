"""What profiles, contexts, texts and values do to the state, by small cases; and what can be switched off."""

import itertools

import numpy as np
import pytest
from whole_model import MODEL, SETTINGS, a_log, embedded, new_state

from streamer import paths, pipeline
from streamer.errors import ConfigError
from streamer.events import CatalogItem, Interaction, Profile, TextDropped, TextEmbedded, UserErased
from streamer.graph.state import CONTEXT_NODES, NO_VALUE, NODES, PROFILE_NODES, VALUE_UNIT
from streamer.texts import content_key

PLAIN = SETTINGS._replace(without=("vectors",), explore_share=0.0)


def view(user_id, item_id, time_ms=1_000, value=None, **context):
    """An interaction."""
    return Interaction(user_id, item_id, "view", time_ms, value, context)


def titled(item_id, title, text=""):
    """A catalog record with a text."""
    return CatalogItem(item_id=item_id, title=title, text=text, timestamp_ms=1)


def folded(*events, settings=PLAIN):
    """The state after one batch."""
    return pipeline.step(pipeline.new_state(settings), events)[0]


def segments_of(state, user_id):
    """Names of the segments that a user is in: of his profile, of his context."""
    rows = state.graph.users[state.ids.users.row(user_id)]["nodes"]
    names = [state.ids.nodes.id(int(row) - 1) if row > 0 else None for row in rows]
    return names[:PROFILE_NODES], names[PROFILE_NODES:]


def test_a_profile_replaces_the_one_before():
    """The segments of a user are the values of his last profile; what that lacks is gone, erasing leaves none."""
    state = folded(Profile(user_id="a", categorical={"sex": ["f"], "land": ["se", "no"]}, timestamp_ms=0))
    assert {*segments_of(state, "a")[0]} == {"profile:sex=f", "profile:land=se", "profile:land=no", None}
    state, _ = pipeline.step(state, [Profile(user_id="a", categorical={"land": ["dk"]}, timestamp_ms=1)])
    assert "profile:land=dk" in segments_of(state, "a")[0]
    assert not {"profile:sex=f", "profile:land=se"} & {*segments_of(state, "a")[0]}
    row = state.ids.users.row("a")
    state, _ = pipeline.step(state, [UserErased("a")])
    assert not state.graph.users[row]["nodes"].any()


def test_more_values_than_places_are_left_out():
    """A user is in six segments at most, those that his profile names first; nothing spills into his context."""
    many = {f"field{n}": [str(n)] for n in range(12)}
    state = folded(Profile(user_id="a", categorical=many, timestamp_ms=0))
    assert segments_of(state, "a") == (
        [f"profile:field{n}={n}" for n in range(PROFILE_NODES)],
        [None] * CONTEXT_NODES,
    )


def test_a_context_counts_from_the_next_list_on():
    """The event that brings a context is not counted in its segment, nor listed by it; the user's next one is, by then."""
    state = folded(view("b", "y"), view("a", "x", device="phone"))
    node = state.ids.nodes.row("context:device=phone")
    assert segments_of(state, "a")[1][0] == "context:device=phone"
    assert state.graph.nodes[node]["mass"] == 0.0
    state, _ = pipeline.step(state, [view("a", "y")])
    assert state.graph.nodes[node]["mass"] == pytest.approx(1.0, rel=1e-2)
    assert state.graph.nodes[node]["top"][:1].tolist() == [state.ids.items.row("y")]
    state, _ = pipeline.step(state, [view("a", "z", device="desk", place="home")])
    assert segments_of(state, "a")[1] == ["context:device=desk", "context:place=home"]
    assert state.graph.nodes[node]["n_top"] == 2  # z came while it was the phone


def test_a_context_replaces_the_one_before():
    """All of it: what the last event does not say does not stay, and no value stands there twice."""
    state = folded(view("a", "x", place="home", device="phone"), view("a", "y", device="phone"))
    assert segments_of(state, "a")[1] == ["context:device=phone", None]
    state, _ = pipeline.step(state, [view("a", "z")])
    assert segments_of(state, "a")[1] == ["context:device=phone", None]  # it said nothing
    node = state.ids.nodes.row("context:device=phone")
    assert state.graph.nodes[node]["mass"] == pytest.approx(2.0, rel=1e-2)


def test_names_that_are_not_used_take_no_rows():
    """A row of the table of nodes is never given back: an item's nodes, and a user's, are cut before they get theirs."""
    title = " ".join(f"word{n}" for n in range(12))
    kinds = {"kind": [f"k{n}" for n in range(7)]}
    state = folded(
        *[CatalogItem(item_id="i", title=title, categorical=kinds, numerical={"p": 1.0}, timestamp_ms=1)],
        Profile(user_id="a", categorical={f"field{n}": ["v"] for n in range(9)}, timestamp_ms=1),
        view("a", "i", **{f"c{n}": "v" for n in range(4)}),
        settings=PLAIN._replace(max_users=64),
    )
    items, users = state.graph.items[:1], state.graph.users[: state.ids.users.n_rows]
    used = {
        *items["nodes"][0, : items["n_nodes"][0]].tolist(),
        *(users["nodes"][users["nodes"] > 0] - 1).tolist(),
    }
    assert used == set(range(state.ids.nodes.n_rows))
    assert items["n_nodes"][0] == NODES
    assert {state.ids.nodes.id(row) for row in state.segments} == {f"profile:field{n}=v" for n in range(6)}


def test_a_context_belongs_to_its_own_event():
    """In a batch of several users and events, with and without contexts, everyone ends in the segments of his last one."""
    state = folded(view("a", "x", device="d1"), view("b", "x"), view("c", "x", device="d3"), view("a", "y"))
    assert segments_of(state, "a")[1][0] == "context:device=d1"
    assert segments_of(state, "b")[1] == [None, None]
    assert segments_of(state, "c")[1][0] == "context:device=d3"


def code_of(state, item_id):
    """An item's vector as the table has it; zeros when it has none."""
    if state.nearest is None:
        return [0] * 8
    return state.nearest.table.vector[state.ids.items.row(item_id)].tolist()


def code(content):
    """What the table makes of a text's vector."""
    vector = np.frombuffer(embedded(content).vector, "<f2").astype(np.float64)
    return np.rint(127.0 * vector / np.linalg.norm(vector)).astype(int).tolist()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_text_s_vector_may_come_before_or_after_its_items(order):
    """Two items share a text; whenever its vector comes, both have it in the end, and the same."""
    events = [titled("a", "red cup"), titled("b", " red cup "), embedded("red cup")]
    state = folded(view("u", "a"), *(events[n] for n in order))
    assert code_of(state, "a") == code_of(state, "b") == code("red cup")


def test_an_item_that_shares_a_text_gets_its_vector_at_once():
    """The third item with a text that is known needs no message of its own, and its vector is the same to the last digit."""
    state = folded(
        titled("a", "old lamp"), embedded("old lamp"), titled("b", "old lamp"), titled("c", "old lamp")
    )
    assert code_of(state, "a") == code_of(state, "b") == code_of(state, "c") == code("old lamp")


def test_a_changed_text_drops_the_old_vector_until_the_new_one_comes():
    """A vector never stands for a text that the item has no more; the same text again changes nothing."""
    state = folded(titled("a", "red cup"), titled("b", "red cup"), embedded("red cup"))
    state, _ = pipeline.step(state, [titled("a", "iron box")])
    assert code_of(state, "a") == [0] * 8
    assert code_of(state, "b") == code("red cup")
    state, _ = pipeline.step(state, [embedded("iron box"), titled("a", "iron box")])
    assert code_of(state, "a") == code("iron box")
    state, _ = pipeline.step(state, [titled("a", " ")])
    assert code_of(state, "a") == [0] * 8
    state, _ = pipeline.step(state, [titled("a", "red cup")])
    assert code_of(state, "a") == code("red cup")


def test_a_text_that_comes_back_has_its_vector_still():
    """A vector is sent once: an item that changes its text and changes it back, or another that gets it, has it all the same."""
    state = folded(titled("a", "red cup"), embedded("red cup"), titled("a", "iron box"), embedded("iron box"))
    state, _ = pipeline.step(state, [titled("b", "red cup"), titled("a", "red cup"), titled("c", "iron box")])
    assert code_of(state, "a") == code_of(state, "b") == code("red cup")
    assert code_of(state, "c") == code("iron box")


def test_vectors_of_others_are_left_alone():
    """Another model's vector of the same text, one of another width, and a dropped message touch nothing."""
    state = folded(titled("a", "red cup"), embedded("red cup"))
    other = embedded("red cup", model="other")
    wide = TextEmbedded(content_key(MODEL, "red cup"), MODEL, np.ones(4, "<f2").tobytes())
    state, _ = pipeline.step(state, [other, wide, TextDropped(content_key(MODEL, "red cup"))])
    assert code_of(state, "a") == code("red cup")


def test_vectors_of_another_model_push_none_of_ours_out():
    """However many wait on the log: ours is there when its item comes. They are counted, not kept, as without any model."""
    ours, others = embedded("red cup"), [embedded(f"text {n}", model="other") for n in range(200)]
    state = folded(ours)
    state, info = pipeline.step(state, others)
    assert info.n_skipped == {("texts", "other_model"): 200}
    assert list(state.texts.early_keys()) == [ours.key]
    state, _ = pipeline.step(state, [titled("a", "red cup")])
    assert code_of(state, "a") == code("red cup")
    assert list(folded(ours, settings=PLAIN._replace(text_model="none")).texts.early_keys()) == []


def test_without_a_text_model_vectors_are_not_taken():
    """A fold that is told of no text model has no table of texts, whatever the log holds."""
    events = titled("a", "red cup"), embedded("red cup")
    for settings in (PLAIN._replace(text_model="none"), PLAIN._replace(without=("vectors", "text"))):
        assert folded(*events, settings=settings).nearest is None


def test_values_are_standardised_by_what_came_before():
    """log(1 + |v|) with its sign, over mean and deviation of all values before, cut at 3: in units of 1/32 in the history."""
    values = [3.0, 1.0, None, 0.0, -2.0, 1e308]
    state = folded(*(view("u", f"i{n}", n, value) for n, value in enumerate(values)))
    ring = state.graph.users[0]["ring_value"][:6].tolist()
    seen, expected, of_items = [], [], []
    for value in values:
        if value is None:
            expected.append(NO_VALUE)
            of_items.append(0.0)
            continue
        squashed = np.sign(value) * np.log1p(min(abs(value), 1e30))
        standard = (squashed - np.mean(seen)) / np.std(seen) if len(seen) > 1 else 0.0
        of_items.append(np.clip(standard, -3.0, 3.0))
        expected.append(int(of_items[-1] * VALUE_UNIT))
        seen.append(squashed)
    assert ring == pytest.approx(expected, abs=1)
    assert ring[5] == 3 * VALUE_UNIT
    assert state.graph.items["value_sum"][:6] == pytest.approx(of_items, rel=1e-4, abs=1e-6)
    assert state.graph.values == pytest.approx([5, np.sum(seen), np.sum(np.square(seen))], rel=1e-5)
    assert np.isfinite(state.graph.items["value_sum"]).all()


def test_an_item_that_the_catalog_did_not_name_has_no_numbers():
    """No number is not zero, which would be near other numbers; those of a record stay when the first event comes."""
    record = CatalogItem(item_id="named", numerical={"price": 3.0}, timestamp_ms=1)
    state = folded(record, view("a", "unnamed"))
    numbers = [state.graph.items["number"][state.ids.items.row(item)].copy() for item in ("unnamed", "named")]
    assert np.isnan(numbers[0]).all()
    state, _ = pipeline.step(state, [view("a", "named")])
    np.testing.assert_array_equal(state.graph.items["number"][state.ids.items.row("named")], numbers[1])
    assert not np.isnan(numbers[1]).all()


def test_without_ratings_values_are_as_if_they_had_not_come():
    """With "rating" switched off, a log with values gives what the log without them gives."""
    settings = PLAIN._replace(without=("vectors", "rating"))
    with_values = [view(f"u{n % 3}", f"i{n % 5}", n, float(n)) for n in range(40)]
    without = [view(f"u{n % 3}", f"i{n % 5}", n) for n in range(40)]
    hashes = {pipeline.state_hash(folded(*log, settings=settings)) for log in (with_values, without)}
    assert len(hashes) == 1


@pytest.mark.parametrize("wrong", ["sequense", "", "Text", "trending"])
def test_names_that_nothing_has_are_refused(wrong):
    """`without` names paths and kinds of evidence; anything else is an error that says what there is."""
    with pytest.raises(ConfigError, match=r"without: expected some of sequence, .* vectors.*; got "):
        pipeline.new_state(PLAIN._replace(without=("vectors", wrong)))


LOG = a_log(77, n_views=150)


@pytest.mark.parametrize("name", pipeline.switchable())
def test_everything_can_be_switched_off_alone(name):
    """What is switched off has nothing to say in any list; the others go on, and lists stay proper."""
    state, info = pipeline.step(new_state(SETTINGS._replace(without=(name,), explore_share=0.0)), LOG)
    assert info.n_interactions == 150
    for user in [-1, *(row for _, row in state.ids.users.items())]:
        ranking = pipeline.rank_users(state, np.array([user], np.int32), 20)
        assert 0.0 < ranking.scores.sum() <= 1.0 + 1e-4
        if name in paths.NAMES:
            assert state.scratch.mass[paths.NAMES.index(name)] == 0.0
            assert paths.NAMES.index(name) not in ranking.paths[0].tolist()
    assert (state.ranker.n_updates[0] == 0) == (name == "ranker")
    assert (state.graph.vectors.version == 0) == (name == "vectors")
    assert (state.nearest is None) == (name == "text")


def test_the_order_of_texts_before_the_first_event_cannot_be_seen():
    """How fast a model was with which text of the inventory is its whim: after the first event the states are equal."""
    titles = [f"{first} {second}" for first in ("red", "old", "iron") for second in ("cup", "lamp", "box")]
    items = [titled(f"i{n}", title) for n, title in enumerate(titles)]
    vectors = [embedded(title) for title in titles]
    orders = vectors, vectors[::-1], vectors[4:] + vectors[:4]
    assert len({pipeline.state_hash(folded(*items, *order, view("u", "i0"))) for order in orders}) == 1


def test_the_last_event_is_in_the_ring_that_is_kept():
    """Events count from 1, and the ring has a place for each: of three, all but place 0 hold the item of their event."""
    state = folded(*(view("u", f"i{n}", n) for n in (0, 1, 1)))
    assert pipeline.tables(state)["rates_ring"].used.tolist() == [0, 0, 1, 1]
