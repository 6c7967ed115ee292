"""A full table of users: the coldest make way, the same ones in every replay, and the tables stay as large as they are."""

import numpy as np
import pytest

from streamer import pipeline
from streamer.adapters.memory import SystemClock
from streamer.events import CatalogItem, Interaction, Profile, segment_list_id
from streamer.graph import FoldSettings
from streamer.pipeline import eviction
from streamer.runner.figures import Figures
from streamer.telemetry import Telemetry

SIZES = FoldSettings(max_items=32, max_users=16, max_nodes=32, max_taken=2_048, n_neighbours=16)


def view(user_id, item_id="x", time_ms=1_000):
    """An interaction."""
    return Interaction(user_id, item_id, "view", time_ms)


def crowd(n_events, n_users, n_items, seed=0):
    """Views of more users and items than there is room for, some of them with a profile, some described."""
    rng, log = np.random.default_rng(seed), []
    for n in range(n_events):
        user, item = int(rng.integers(n_users)), min(int(rng.geometric(0.05)) - 1, n_items - 1)
        log.append(view(f"u{user}", f"i{item}", 1_000 * n))
        if n % 5 == 0:
            log.append(
                Profile(user_id=f"u{rng.integers(n_users)}", categorical={"c": [f"c{n % 3}"]}, timestamp_ms=n)
            )
            log.append(CatalogItem(item_id=f"i{rng.integers(n_items)}", timestamp_ms=n))
    return log


def folded(log, size, settings=SIZES):
    """The state after these events in batches of a size, and how many were evicted and refused."""
    state, n_evicted, n_refused = pipeline.new_state(settings), 0, 0
    for begin in range(0, len(log), size):
        state, info = pipeline.step(state, log[begin : begin + size])
        n_evicted, n_refused = n_evicted + info.n_users_evicted, n_refused + info.n_refused
    return state, n_evicted, n_refused


def test_the_coldest_go():
    """Of 16 users the two (an eighth) whose last events are oldest go, not those who came first; the newcomer gets a row."""
    log = [view(f"u{n}", time_ms=1_000 * n) for n in range(16)] + [
        view("u0", time_ms=99_000),
        view("u2", time_ms=99_000),
    ]
    state, _ = pipeline.step(pipeline.new_state(SIZES), [*log, view("new", time_ms=100_000)])
    assert {f"u{n}" for n in range(16) if state.ids.users.row(f"u{n}") < 0} == {"u1", "u3"}
    row = state.graph.users[state.ids.users.row("new")]
    assert (row["n_events"], row["n_taken"]) == (1, 1)  # nothing of whoever had it before


def test_nobody_goes_for_what_is_refused():
    """A newcomer whose item finds no room changes nothing."""
    settings = SIZES._replace(max_items=1)
    state, _ = pipeline.step(pipeline.new_state(settings), [view(f"u{n}") for n in range(16)])
    before = pipeline.state_hash(state)
    state, info = pipeline.step(state, [view("new", "another")])
    assert (info.n_refused, info.n_users_evicted) == (1, 0)
    assert pipeline.state_hash(state) == before


def test_who_stands_for_a_segment_stays():
    """He has no events, so he would be the coldest of all."""
    log = [
        Profile(user_id="u0", categorical={"c": ["v"]}, timestamp_ms=1),
        *(view(f"u{n}") for n in range(15)),
    ]
    state, _ = pipeline.step(pipeline.new_state(SIZES), log)
    (row,) = state.segments.values()
    state, info = pipeline.step(state, [view(f"new{n}", time_ms=2_000 + n) for n in range(200)])
    assert info.n_users_evicted > 150
    assert state.ids.users.id(row) == segment_list_id("profile:c=v")
    assert row not in info.erased_user_rows


def test_a_stretch_of_nothing_but_segments_refuses_nobody(monkeypatch):
    """The next stretch is looked at: where one begins moves with events, and one that is refused moves nothing."""
    monkeypatch.setattr(eviction, "N_LOOKED_AT", 2)
    log = [
        view("u0"),
        Profile(user_id="u0", categorical={"c": ["v", "w"]}, timestamp_ms=1),
        *(view(f"u{n}") for n in range(14)),
    ]
    state, _ = pipeline.step(pipeline.new_state(SIZES), log)
    assert state.ids.users.is_full
    rows = sorted(state.segments.values())
    assert rows == [1, 2]  # side by side
    state, info = pipeline.step(state, [view(f"new{n}", time_ms=2_000 + n) for n in range(60)])
    assert (info.n_refused, info.n_users_evicted) == (0, 60)
    assert sorted(state.segments.values()) == rows


def test_any_cut_of_the_log_evicts_the_same():
    """One by one, in sevens, all at once: the same state."""
    log = crowd(600, 160, 30)
    hashes = {pipeline.state_hash(folded(log, size)[0]) for size in (1, 7, len(log))}
    assert len(hashes) == 1


def test_ten_times_what_there_is_room_for():
    """The tables keep their size however many come; all interactions are learned."""
    n_users, n_items = 10 * SIZES.max_users, 10 * SIZES.max_items
    log = crowd(4_000, n_users, n_items)
    half, _, _ = folded(log[: len(log) // 2], 100)
    bytes_half = pipeline.table_bytes(half)
    state, n_evicted, n_refused = folded(log, 100)
    assert len(state.ids.users) <= SIZES.max_users
    assert len(state.ids.items) > SIZES.max_items - SIZES.max_items // 16
    assert n_evicted > n_users
    assert n_refused == 0
    bytes_end = pipeline.table_bytes(state)
    # ids of users who left are won back a mebibyte at a time, see test_ids
    grow = ("encoders", "taken", "taken_counts", "taken_last", "rates_ring", "rates_arrived", "ids_users")
    of_tables = [name for name in bytes_end if name not in grow]
    assert {name: bytes_end[name] for name in of_tables} == {name: bytes_half[name] for name in of_tables}
    assert sum(bytes_end.values()) == pytest.approx(sum(bytes_half.values()), rel=0.02)


def test_metrics_count_who_went():
    """`streamer_evicted_total` for users, `streamer_refused_total` for events of items without room."""
    telemetry = Telemetry(SystemClock())
    figures = Figures(SystemClock(), telemetry)
    settings = SIZES._replace(max_items=1)
    _, info = pipeline.step(
        pipeline.new_state(settings), [*(view(f"u{n}") for n in range(17)), view("u16", "y")]
    )
    figures.folded(info, 0.0, is_serving=False, is_live=False)
    assert telemetry.registry.get_sample_value("streamer_evicted_total", {"table": "users"}) == 2.0
    assert telemetry.registry.get_sample_value("streamer_refused_total") == 1.0


def test_who_comes_back_brings_his_profile_again():
    """The profile that an evicted user had is no duplicate when it comes once more: his row had forgotten it."""
    profile = Profile(user_id="u0", categorical={"c": ["x"]}, timestamp_ms=1)
    state, _ = pipeline.step(pipeline.new_state(SIZES), [profile, view("u0", time_ms=500), view("younger")])
    row = state.ids.users.row("u0")
    others = [view(f"v{n}", time_ms=5_000 + n) for n in range(13)]
    state, info = pipeline.step(state, [*others, view("w", time_ms=6_000)])
    assert info.n_users_evicted == 2
    assert state.ids.users.row("u0") < 0
    state, info = pipeline.step(state, [profile])
    assert (info.n_profiles, info.n_skipped.total()) == (1, 0)
    assert state.ids.users.row("u0") == row
    assert state.graph.users["nodes"][row].any()
