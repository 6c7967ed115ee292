"""Lists for users who come back."""

import numpy as np

from streamer import pipeline
from streamer.events import Interaction
from streamer.graph import FoldSettings
from streamer.runner.returning import Returning

GAP_MS = 1_800_000
SMALL = FoldSettings(max_items=64, max_users=64, max_nodes=16, max_taken=4096)


def _state(*last_events: tuple[str, int]) -> pipeline.State:
    state = pipeline.new_state(SMALL)
    state, _ = pipeline.step(
        state, [Interaction(user, f"item {n}", "view", ms) for n, (user, ms) in enumerate(last_events)]
    )
    return state


def test_a_user_is_due_once_when_his_session_is_over() -> None:
    """Not while the gap is no longer than a session's, then once, then never again."""
    state, returning = _state(("a", 1_000)), Returning(GAP_MS)
    returning.touch(np.array([0], np.int32), 1_000)
    returning.touch(np.empty(0, np.int32), 1_000 + GAP_MS)
    assert returning.take(state).tolist() == []
    returning.touch(np.empty(0, np.int32), 1_001 + GAP_MS)
    assert returning.take(state).tolist() == [0]
    assert returning.take(state).tolist() == []


def test_a_user_who_went_on_is_due_by_his_last_event() -> None:
    """An event later in the session puts the end of the session off."""
    state, returning = _state(("a", 1_000), ("a", 900_000)), Returning(GAP_MS)
    returning.touch(np.array([0], np.int32), 1_000)
    returning.touch(np.array([0], np.int32), 900_000)
    returning.touch(np.empty(0, np.int32), 1_001 + GAP_MS)
    assert returning.take(state).tolist() == []
    returning.touch(np.empty(0, np.int32), 900_001 + GAP_MS)
    assert returning.take(state).tolist() == [0]


def test_gaps_begin_where_sessions_end() -> None:
    """Within a session a list is for the next event; after it, for a user who comes back; nobody knows the anonymous one."""
    state = _state(("a", 0), ("b", 1_000_000))
    rows = np.array([0, 1, -1], np.int32)
    assert pipeline.gaps_ms(state, rows, GAP_MS).tolist() == [0, 0, 0]
    assert pipeline.gaps_ms(state, rows, GAP_MS + 1).tolist() == [GAP_MS + 1, 0, 0]


def test_the_time_of_the_log_never_goes_back() -> None:
    """A batch of late events ends no pause, and makes nobody wait longer."""
    state, returning = _state(("a", 1_000)), Returning(GAP_MS)
    returning.touch(np.array([0], np.int32), 1_000)
    returning.touch(np.empty(0, np.int32), 1_001 + GAP_MS)
    returning.touch(np.empty(0, np.int32), 500)
    assert returning.time_ms == 1_001 + GAP_MS
    assert returning.take(state).tolist() == [0]
