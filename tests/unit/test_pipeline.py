"""The fold by small cases: what each kind of event does, what is refused, what is erased, what a hash covers."""

import numpy as np
import pytest

from streamer import paths, pipeline
from streamer.events import CatalogItem, Interaction, ItemRetired, Profile, UserErased
from streamer.graph import FoldSettings
from streamer.graph.state import N_FRESH, TOP
from streamer.outcomes import COLD_ITEM, COLD_USER, COUNTED, FIRST_EVENT, MEASURED, NEW_SESSION

SIZES = FoldSettings(max_items=64, max_users=16, max_nodes=8, max_taken=2_048, n_neighbours=16)


def view(user_id, item_id, time_ms=1_000):
    """An interaction."""
    return Interaction(user_id, item_id, "view", time_ms)


def item(item_id, available=True, **categorical):
    """A catalog record."""
    return CatalogItem(item_id=item_id, available=available, categorical=categorical, timestamp_ms=1)


def folded(*events, settings=SIZES):
    """State and info of one batch from nothing."""
    return pipeline.step(pipeline.new_state(settings), events)


def listed(state, user_id=None, k=20):
    """Ids on a user's list; the anonymous one without a user."""
    row = -1 if user_id is None else state.ids.users.row(user_id)
    ranking = pipeline.rank_users(state, np.array([row], np.int32), k)
    return [state.ids.items.id(row) for row in ranking.items[0].tolist() if row >= 0]


def test_every_kind_of_event_is_counted():
    """The info says how many of each kind there were, and whose lists may have changed."""
    state, info = folded(
        view("a", "x"),
        item("x"),
        Profile(user_id="a", timestamp_ms=1),
        view("b", "x"),
        ItemRetired("x"),
        UserErased("b"),
    )
    assert (info.n_interactions, info.n_catalog, info.n_profiles) == (2, 1, 1)
    assert (info.n_items_retired, info.n_users_erased, info.n_refused) == (1, 1, 0)
    assert info.touched_users.tolist() == [0, 1]
    assert info.retired_item_ids == ["x"]
    assert info.erased_user_ids == ["b"]
    assert (len(state.ids.users), len(state.ids.items)) == (1, 1)


def test_a_profile_may_change_its_user_s_list():
    """Of a user who did nothing yet, too; the same record once more changes nothing."""
    profile = Profile(user_id="b", categorical={"country": ["no"]}, timestamp_ms=0)
    state, info = folded(view("a", "x"), profile)
    assert info.touched_users.tolist() == [0, 1]
    _, info = pipeline.step(state, [profile])
    assert info.touched_users.tolist() == []


def test_an_empty_batch_does_nothing():
    """No events, no outcomes, the same state."""
    state, _ = folded(view("a", "x"))
    before = pipeline.state_hash(state)
    state, info = pipeline.step(state, [])
    assert pipeline.state_hash(state) == before
    assert info.outcomes.flags.size == info.touched_users.size == 0


def test_flags_say_what_was_known_before_the_event():
    """Counted from an item's second event on, cold below five events, first event only of announced items."""
    gap = SIZES.session_gap_s * 1000
    _, info = folded(
        item("x"),
        view("a", "x", 0),  # announced
        view("b", "x", 0),  # known by now
        view("b", "y", gap),  # new and unannounced; same session
        view("b", "x", 2 * gap + 1),  # taken before; new session
        view("c", "y", 5),
    )
    cold = COLD_ITEM | COLD_USER
    assert info.outcomes.flags.tolist() == [
        FIRST_EVENT | MEASURED | cold | NEW_SESSION,
        COUNTED | MEASURED | cold | NEW_SESSION,
        cold,
        cold | NEW_SESSION,
        COUNTED | MEASURED | cold | NEW_SESSION,
    ]


def test_five_events_are_no_longer_cold():
    """The sixth event of an item and of a user carries neither flag."""
    _, info = folded(*[view("a", "x", n) for n in range(6)], settings=SIZES._replace(repeats=True))
    assert [int(flags & (COLD_ITEM | COLD_USER)) for flags in info.outcomes.flags[4:]] == [
        COLD_ITEM | COLD_USER,
        0,
    ]


BY_HAND = (
    *[view("a", name) for name in ("x", "y", "z")],
    view("b", "x"),  # x y z tie: every other one ranks before it
    view("b", "y"),  # x is taken, y ties with z
    view("c", "x"),  # 2 2 1
    view("c", "z"),  # y 2, z 1; x is taken
)


def test_trending_ranks_by_hand():
    """The baselines rank by count before the event, ties against the item, what the user took left out."""
    _, info = folded(*BY_HAND)
    assert info.outcomes.rank_popularity.tolist() == [0, 0, 0, 3, 2, 2, 2]


def test_ties_on_the_list_rank_against_it_too():
    """Where popularity is the only path, the list is popularity's: every item has the rank that it has on the baseline."""
    others = tuple(name for name in (*paths.NAMES, "ranker", "content") if name != "popularity")
    _, info = folded(*BY_HAND, settings=SIZES._replace(without=others))
    for ranks in (info.outcomes.rank, info.outcomes.rank_mixture):
        assert ranks.tolist() == info.outcomes.rank_popularity.tolist() == [0, 0, 0, 3, 2, 2, 2]


def test_no_interaction_of_unmeasured_users_is_ranked():
    """With share 0 nothing is measured but everything learned; with a share, the same users in every replay."""
    events = [view(f"u{n % 16}", f"i{n % 7}", n) for n in range(400)]
    _, none = pipeline.step(pipeline.new_state(SIZES._replace(repeats=True)), events, 0.0)
    assert not (none.outcomes.flags & MEASURED).any()
    assert (none.outcomes.flags & COUNTED).any()
    _, some = pipeline.step(pipeline.new_state(SIZES._replace(repeats=True)), events, 0.5)
    measured = (some.outcomes.flags & MEASURED) > 0
    counted = (some.outcomes.flags & COUNTED) > 0
    users = set(some.outcomes.user_row[measured].tolist())
    assert 0 < len(users) < 16
    assert (measured == (counted & np.isin(some.outcomes.user_row, list(users)))).all()


@pytest.mark.parametrize("gone", [ItemRetired("x"), item("x", available=False)])
def test_what_is_gone_is_not_listed_until_it_is_back(gone):
    """Tombstone and available=false take an item off every list at once; an available record brings it back."""
    state, _ = folded(view("a", "x"), view("a", "y"), view("b", "y"))
    assert "x" in listed(state)
    assert "x" in listed(state, "b")
    state, info = pipeline.step(state, [gone])
    assert info.retired_item_ids == ["x"]
    assert "x" not in listed(state) + listed(state, "b")
    state, _ = pipeline.step(state, [view("c", "x")])  # an event of a retired item does not bring it back
    assert "x" not in listed(state) + listed(state, "b")
    state, info = pipeline.step(state, [item("x")])
    assert (info.retired_item_ids, info.restored_item_ids) == ([], ["x"])
    assert "x" in listed(state)
    assert "x" in listed(state, "b")


def test_the_last_word_of_a_batch_counts():
    """Retired and restored in one batch is restored; the other way round retired; available all along is neither."""
    _, info = folded(view("a", "x"), item("y"), ItemRetired("x"), item("x"))
    assert (info.retired_item_ids, info.restored_item_ids) == ([], ["x"])
    _, info = folded(view("a", "x"), item("x", available=False), item("x"), ItemRetired("x"))
    assert (info.retired_item_ids, info.restored_item_ids) == (["x"], [])


def test_a_tombstone_holds_also_for_an_item_nobody_knew():
    """An item retired before its first event is not listed after it, and a catalog record says that it is back."""
    state, info = folded(view("a", "y"), ItemRetired("x"))
    assert info.retired_item_ids == ["x"]
    state, _ = pipeline.step(state, [view("b", "x")])
    assert "x" not in listed(state)
    state, info = pipeline.step(state, [item("x")])
    assert info.restored_item_ids == ["x"]
    assert "x" in listed(state)


def test_the_first_catalog_is_inventory_what_comes_later_is_news():
    """Records before the first interaction fill lists up; one after it is listed as fresh before anyone took it."""
    state, _ = folded(item("old"), view("a", "y"))
    assert listed(state) == ["y", "old"]
    state, _ = pipeline.step(state, [item("new"), item("hidden", available=False)])
    assert listed(state) == ["y", "new", "old"]
    state, _ = pipeline.step(state, [item(f"newer{n}") for n in range(N_FRESH)])
    assert "new" not in listed(state, k=60)
    state, _ = pipeline.step(state, [item("hidden")])
    assert "hidden" in listed(state, k=60)


def test_a_changed_record_of_the_inventory_is_no_news():
    """The nightly catalog with other prices names what was there before: only newcomers are fresh."""
    state, _ = folded(item("old"), view("a", "y"), item("new"))
    state, _ = pipeline.step(state, [item("old", price=["2"]), item("new", price=["2"])])
    fresh = [state.ids.items.id(row) for row in state.graph.fresh.tolist() if row >= 0]
    assert sorted(fresh) == ["new", "y"]


def test_what_cannot_be_had_hits_on_no_list():
    """Somebody looks at an item that is sold out: neither our list nor those it is compared with could have shown it."""
    state, _ = folded(*[view(user, name) for user in "ab" for name in "xyz"], item("x", available=False))
    state, info = pipeline.step(state, [view("c", "x"), view("d", "y")])
    for ranks in (info.outcomes.rank, info.outcomes.rank_trending, info.outcomes.rank_popularity):
        assert ranks[0] == 0
        assert ranks[1] > 0


def test_repeats_decide_whether_taken_items_come_again():
    """With repeats off a taken item never comes again, with repeats on it may."""
    events = [view(user, name, n) for n, name in enumerate("xyz") for user in "ab"]
    assert listed(folded(*events)[0], "a") == []
    assert set(listed(folded(*events, settings=SIZES._replace(repeats=True))[0], "a")) == set("xyz")


def test_an_erased_user_leaves_an_empty_row_for_the_next():
    """Nothing of him is left in the row or the ids; the next newcomer gets the row and starts as new."""
    state, _ = folded(*[view("a", f"i{n}", n) for n in range(9)], view("b", "i0"))
    state, info = pipeline.step(state, [UserErased("a")])
    assert info.erased_user_rows == [0]
    assert state.ids.users.row("a") == -1
    assert state.ids.users.id(0) is None
    assert state.graph.users[0].tobytes() == bytes(state.graph.users.dtype.itemsize)
    state, info = pipeline.step(state, [view("c", "i1", 99)])
    assert state.ids.users.row("c") == 0
    assert state.graph.users[0]["n_events"] == 1
    assert info.outcomes.flags[0] & COUNTED  # he never took it
    assert "i5" in listed(state, "c")


def test_erasing_someone_unknown_is_passed_on_and_changes_nothing():
    """His list in Redis may be older than this log: the id is passed on, the state stays."""
    state, _ = folded(view("a", "x"))
    before = pipeline.state_hash(state)
    state, info = pipeline.step(state, [UserErased("nobody")])
    assert (info.erased_user_ids, info.erased_user_rows) == (["nobody"], [])
    assert pipeline.state_hash(state) == before


def test_erased_and_back_in_one_batch():
    """Events before the erasure are forgotten, events after it count, also within a batch."""
    state, _ = folded(view("a", "x"), view("a", "y"), UserErased("a"), view("a", "z"))
    row = state.graph.users[state.ids.users.row("a")]
    assert (row["n_events"], row["n_taken"]) == (1, 1)


def test_full_tables_make_room_and_go_on():
    """Beyond the tables, users and items take the rows of the coldest, and every event is learned."""
    state, info = folded(
        view("a", "x"), view("b", "y"), view("c", "x"), view("a", "z"), item("w"), view("b", "x"),
        settings=SIZES._replace(max_users=2, max_items=2),
    )  # fmt: skip
    assert (info.n_interactions, info.n_refused) == (5, 0)
    # at equal times the first row is the coldest: c took that of a, who took it back; b stayed
    assert info.erased_user_rows == [0, 0]
    assert info.erased_user_ids == []  # nobody asked for a list to be deleted
    assert {user: state.ids.users.row(user) for user in "abc"} == {"a": 0, "b": 1, "c": -1}
    # the item of the last event stays: y went for z, x for w, and w, which nobody took, for x
    assert info.evicted_item_rows == [1, 0, 0]
    assert {item_id: state.ids.items.row(item_id) for item_id in "wxyz"} == {"w": -1, "x": 0, "y": -1, "z": 1}


def test_a_refused_interaction_takes_no_row():
    """A known user's event with an item that finds no room, and the other way round, leaves the tables as they are."""
    state, _ = folded(view("a", "x"), settings=SIZES._replace(max_users=2, max_items=1))
    before = pipeline.state_hash(state)
    state, info = pipeline.step(state, [view("newcomer", "no room")])
    assert info.n_refused == 1
    assert pipeline.state_hash(state) == before
    assert len(state.ids.users) == 1


def test_more_categories_than_nodes():
    """Category values beyond the node table are left out; the item keeps the ones that found room."""
    state, info = folded(
        view("a", "x"),
        item("x", kind=["1", "2"]),
        item("y", kind=["2", "3", "2"]),
        settings=SIZES._replace(max_nodes=2),
    )
    assert info.n_catalog == 2
    assert state.graph.items[0]["n_nodes"] == 2
    assert state.graph.items[1]["nodes"][: state.graph.items[1]["n_nodes"]].tolist() == [1]


def test_new_words_and_contexts_leave_room_for_categories():
    """Numbers of models in titles, and sessions in contexts, are new in every record and would fill the table for good."""
    titled = [CatalogItem(item_id=f"t{n}", title=f"Drill mk{n}x", timestamp_ms=1) for n in range(40)]
    visits = [Interaction("a", "t0", "view", n, None, {"session": f"s{n // 2}"}) for n in range(80)]
    state, _ = folded(*titled, *visits, item("x", kind=["tool"]), settings=SIZES._replace(max_nodes=40))
    names = [name for name, _ in state.ids.nodes.items()]
    assert sum(name.startswith("word~") for name in names) == 20
    assert sum(name.startswith("context:") for name in names) == 10
    assert state.graph.items[state.ids.items.row("x")]["n_nodes"] == 1
    assert state.ids.nodes.n_refused > 0


def test_reading_leaves_the_state_as_it_is():
    """Ranking everyone, known or not, changes neither the hash nor what the next event gives."""
    events = [view(f"u{n % 9}", f"i{n * n % 23}", n * 1_000) for n in range(300)]
    state, _ = folded(*events)
    silent, _ = folded(*events)
    before = pipeline.state_hash(state)
    pipeline.rank_users(state, np.arange(-1, 9, dtype=np.int32), 200)
    pipeline.table_bytes(state), pipeline.path_weights(state)
    assert pipeline.state_hash(state) == before
    _, read = pipeline.step(state, events[:50])
    _, unread = pipeline.step(silent, events[:50])
    assert all(a.tobytes() == b.tobytes() for a, b in zip(read.outcomes, unread.outcomes, strict=True))


@pytest.mark.parametrize(
    "other",
    [
        [view("a", "x"), view("b", "y")],
        [view("b", "y"), view("a", "x")],
        [view("a", "x"), view("b", "x")],
        [view("a", "x", 999), view("b", "y")],
        [view("a", "x"), view("b", "y"), item("x")],
        [view("a", "x"), view("b", "y"), item("x", kind=["1"])],
        [view("a", "x"), view("b", "y"), ItemRetired("x")],
        [view("a", "x"), view("b", "y"), UserErased("b")],
        [view("a", "x"), view("c", "y")],
    ],
)
def test_the_hash_sees_every_difference(other):
    """Equal logs have equal hashes; another order, time, id, record, tombstone or erasure has another one."""
    plain = [view("a", "x"), view("b", "y")]
    equal = pipeline.state_hash(folded(*plain)[0]) == pipeline.state_hash(folded(*other)[0])
    assert equal == (plain == other)


def test_the_hash_sees_the_settings():
    """The same log under other settings is another state."""
    hashes = {
        pipeline.state_hash(pipeline.new_state(settings))
        for settings in (SIZES, SIZES._replace(repeats=True), SIZES._replace(session_gap_s=60))
    }
    assert len(hashes) == 3


def test_equal_hashes_mean_equal_futures():
    """States that will give the next newcomers different rows have different hashes."""
    nine = [view("a", f"i{n}", n) for n in range(9)]  # a block of another size than b's
    before = [*nine, view("b", "i0")]
    one, _ = folded(*before, UserErased("a"), UserErased("b"))
    other, _ = folded(*before, UserErased("b"), UserErased("a"))
    equal = pipeline.state_hash(one) == pipeline.state_hash(other)
    one, _ = pipeline.step(one, [view("c", "i0")])
    other, _ = pipeline.step(other, [view("c", "i0")])
    assert equal == (one.ids.users.row("c") == other.ids.users.row("c"))


def test_path_weights_name_every_path():
    """Weights are by name, of all paths, and sum to one, also before the first event."""
    for state in (pipeline.new_state(SIZES), folded(*[view("a", "x"), view("b", "x")])[0]):
        weights = pipeline.path_weights(state)
        assert tuple(weights) == paths.NAMES
        assert sum(weights.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "wrong",
    [{"n_neighbours": 17}, {"n_neighbours": 0}, {"pair_window": 0}, {"max_items": 0}, {"session_gap_s": 0}],
)
def test_settings_out_of_range_are_refused(wrong):
    """Sizes that the kernels cannot work with are an error that names the setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pipeline.new_state(SIZES._replace(**wrong))


def test_a_heavy_user_gets_proper_popularity():
    """The mass of a clock never falls below what is free for the user, though he took more than is added up exactly.

    Here his last items are one and the same, outside the ordered list: it must not be taken off the mass more than once.
    """
    n_users, n_popular = 45, TOP
    settings = SIZES._replace(max_items=n_popular + 300, max_users=64, max_taken=131_072)
    crowd = [view(f"u{user}", f"i{n}", n) for user in range(n_users) for n in range(n_popular)]
    heavy = [view("heavy", f"i{n}", n) for n in range(n_popular, n_popular + 300)]
    again = [view("heavy", f"i{n_popular}", 1_000 + n) for n in range(30)]
    state, _ = pipeline.step(pipeline.new_state(settings), [*crowd, *heavy, *again], 0.0)
    pipeline.rank_users(state, np.array([state.ids.users.row("heavy")], np.int32), 20)
    assert state.scratch.mass[paths.NAMES.index("popularity")] >= n_users * n_popular
