"""Lists from a state, for users who exist and for those nobody knows; nothing here moves the state."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.graph.candidates import MAX_K
from streamer.pipeline.state import State
from streamer.rank import rank_users as rank_users_kernel


class Ranking(NamedTuple):
    """Lists of n users, best first; rows of -1 fill the end of short ones."""

    user_rows: NDArray[np.int32]  # (n,)
    items: NDArray[np.int32]  # (n, k)
    scores: NDArray[np.float32]  # (n, k) probability that the next event is this item's
    paths: NDArray[np.int8]  # (n, k) index into paths.NAMES


def rank_users(
    state: State, user_rows: NDArray[np.int32], k: int, gaps_ms: NDArray[np.int64] | None = None
) -> Ranking:
    """Lists for these users; row -1 is the user nobody knows. Leaves the state as it is.

    Args:
        gaps_ms: (n,) how long after his last event each user is expected to look. None: right after it.

    Raises:
        ValueError: k is not within 1..200, or a row is none of a user.
    """
    n_rows = state.settings.max_users
    if user_rows.size and not (user_rows.min() >= -1 and user_rows.max() < n_rows):
        raise ValueError(
            f"user_rows: expected -1 to {n_rows - 1}, got {user_rows.min()} to {user_rows.max()}"
        )
    if not 1 <= k <= MAX_K:
        raise ValueError(f"k: expected 1 to {MAX_K}, got {k}")
    n = user_rows.size
    ranking = Ranking(
        user_rows.astype(np.int32),
        np.empty((n, k), np.int32),
        np.empty((n, k), np.float32),
        np.empty((n, k), np.int8),
    )
    gaps_ms = np.zeros(n, np.int64) if gaps_ms is None else gaps_ms
    rank_users_kernel(
        state.graph,
        state.scratch,
        state.ranker,
        ranking.user_rows,
        gaps_ms,
        ranking.items,
        ranking.scores,
        ranking.paths,
    )
    return ranking


def idle_users(
    state: State, user_rows: NDArray[np.int32], time_ms: int, last_by_ms: int
) -> NDArray[np.int32]:
    """Those of these users whose session is over at `time_ms`, and who did nothing after `last_by_ms` (event time)."""
    last_ms = state.graph.users["last_time_ms"][user_rows]
    is_idle = (last_ms <= last_by_ms) & (time_ms - last_ms > state.graph.session_gap_ms)
    return user_rows[is_idle & (state.graph.users["n_events"][user_rows] > 0)]


def gaps_ms(state: State, user_rows: NDArray[np.int32], time_ms: int) -> NDArray[np.int64]:
    """How long ago each user's last event is at `time_ms` of event time, (n,); 0 while his session lasts, and for row -1."""
    gaps: NDArray[np.int64] = time_ms - state.graph.users["last_time_ms"][user_rows]
    return np.where((user_rows >= 0) & (gaps > state.graph.session_gap_ms), gaps, 0)
