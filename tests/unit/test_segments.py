"""Lists for those of whom only one value of a profile is known: whose there are, and what they show."""

from itertools import pairwise

import numpy as np

from streamer import pipeline
from streamer.config import Settings
from streamer.events import ANONYMOUS, Interaction, Profile, UserErased, segment_list_id
from streamer.graph import FoldSettings
from streamer.pipeline import segments
from streamer.publish import Publisher
from streamer.runner.model import Model

SIZES = FoldSettings(max_items=64, max_users=64, max_nodes=64, max_taken=2_048, n_neighbours=16)


def profile(user_id, numerical=None, **categorical):
    """A profile event."""
    return Profile(user_id=user_id, categorical=categorical, numerical=numerical or {}, timestamp_ms=1)


def folded(*events, settings=SIZES):
    """The state after these events."""
    return pipeline.step(pipeline.new_state(settings), events)[0]


def owners(state):
    """Ids of those who stand for segments, in the order of their admission."""
    return [state.ids.users.id(row) for row in state.segments.values()]


def test_each_value_has_one_user_who_stands_for_it():
    """However many users have the value, and however often they say so; other values have their own."""
    state = folded(
        profile("ann", country=["FR"], age=["30-39", "40-49"]),
        profile("bob", country=["FR"]),
        profile("ann", country=["FR"]),
        profile("cyd", country=["NO"]),
    )
    names = ("profile:country=FR", "profile:age=30-39", "profile:age=40-49", "profile:country=NO")
    assert set(owners(state)) == {segment_list_id(name) for name in names}
    assert len(state.segments) == 4
    assert len(state.ids.users) == 3 + 4
    for node_row, user_row in state.segments.items():
        assert state.graph.users["nodes"][user_row].tolist() == [node_row + 1, 0, 0, 0, 0, 0, 0, 0]
        assert state.graph.users["n_events"][user_row] == 0


def test_only_values_that_readers_can_name():
    """Bins of numbers, and the pools of rare and missing values, are nodes of a profile and no segments."""
    state = folded(
        *[profile(f"u{n}", numerical={"income": float(n)}, note=["a#b=c", "__x"]) for n in range(40)]
    )
    names = [name for name, _ in state.ids.nodes.items()]
    assert any(name.startswith("profile:income#") for name in names)
    assert set(owners(state)) == {segment_list_id(n) for n in ("profile:note=a#b=c", "profile:note=%__x")}
    others = ["profile:income#2", "profile:country=__rare__", "profile:country=__missing__", "category=x"]
    assert not any(segments._is_value(name) for name in others)


def test_there_are_at_most_so_many(monkeypatch):
    """Values that come later go without, and so do those for whom the table of users has no room."""
    monkeypatch.setattr(segments, "MAX_SEGMENTS", 3)
    state = folded(*[profile("ann", country=[f"c{n}"]) for n in range(5)])
    assert len(state.segments) == 3
    full = folded(
        *[Interaction(f"u{n}", "i", "view", n) for n in range(7)],
        *[profile("u1", country=[f"c{n}"]) for n in range(5)],
        settings=SIZES._replace(max_users=8),
    )
    assert len(full.segments) == 1
    assert len(full.ids.users) == 8


def test_segments_leave_room_for_users():
    """A segment's row is never given back: a small table keeps one in eight for them, and seven for whoever acts."""
    profiles = [profile("ann", country=[f"c{n}"]) for n in range(300)]
    state = folded(*profiles, *[Interaction(f"u{n}", "i", "view", n) for n in range(50)])
    assert len(state.segments) == SIZES.max_users // segments.ONE_IN
    assert all(state.ids.users.row(f"u{n}") >= 0 for n in range(50))


def test_the_list_shows_what_users_of_the_segment_take():
    """French users take f, Norwegian ones n: each segment's list begins with theirs, and its user keeps no history."""
    events = [profile(f"{country}{n}", country=[country]) for country in ("FR", "NO") for n in range(8)]
    for n in range(8):
        events += [
            Interaction(f"FR{n}", "f", "view", 1_000 + n),
            Interaction(f"NO{n}", "n", "view", 1_000 + n),
            Interaction(f"NO{n}", "n2", "view", 2_000 + n),
            Interaction(f"FR{n}", "f2", "view", 2_000 + n),
        ]
    state = folded(*events)
    for country, wanted in (("FR", {"f", "f2"}), ("NO", {"n", "n2"})):
        row = state.ids.users.row(segment_list_id(f"profile:country={country}"))
        ranking = pipeline.rank_users(state, np.array([row], np.int32), 4)
        assert {state.ids.items.id(item) for item in ranking.items[0, :2].tolist()} == wanted
        ((owner, _),) = Publisher(SIZES.max_users, 4).encode(state, ranking, 1, {})
        assert owner == f"__streamer_segment__country={country}"


def test_segments_outlive_their_users_and_are_part_of_the_state():
    """Erasing the only user of a segment leaves its list; two logs that differ in a segment have different hashes."""
    state = folded(profile("ann", country=["FR"]), UserErased("ann"))
    assert owners(state) == ["__streamer_segment__country=FR"]
    other = folded(profile("ann", country=["NO"]), UserErased("ann"))
    assert pipeline.state_hash(state) != pipeline.state_hash(other)
    state, _ = pipeline.step(state, [profile("bob", country=["FR"])])
    assert len(state.segments) == 1


def test_a_worker_makes_fifty_lists_of_segments_at_a_time_in_turn():
    """Beside each anonymous list; after three times every one of 120 has been made, and the turn begins again."""
    model = Model(
        Settings(text_model="none", without=("vectors",), max_users=1000, max_items=50, max_nodes=200)
    )
    values = [f"v{n}" for n in range(120)]
    model.fold([Interaction("u", "i", "view", 1), *[profile("u", x=[v]) for v in values]], 1, is_serving=True)
    nobody = np.empty(0, np.int32)
    times = [[owner for owner, _ in model.lists(nobody, True, 1, {}).entries] for _ in range(4)]
    assert [len(owners) for owners in times] == [51, 51, 51, 51]
    assert all(owners[-1] == ANONYMOUS for owners in times)
    wanted = [segment_list_id(f"profile:x={v}") for v in values]
    assert sorted(set().union(*times[:3]) - {ANONYMOUS}) == sorted(wanted)
    assert [len(set(a) & set(b)) for a, b in pairwise(times)] == [1, 1, 1]
    assert model.lists(nobody, False, 1, {}).entries == []
