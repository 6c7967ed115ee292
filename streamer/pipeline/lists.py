"""Lists and vectors from a state, for users who exist and for those nobody knows; nothing here moves the state."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.graph.rates import COLD
from streamer.graph.scratch import MAX_K
from streamer.graph.state import EVENTS, HISTORY, NO_VALUE, TICK_MS, VALUE_UNIT
from streamer.graph.vectors import user_vectors as user_vectors_kernel
from streamer.pipeline.state import State
from streamer.rank import EXPLORED_PATH, EXPLORED_PLACE, explored_chance
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
        ValueError: k is not within 1..200, a row is none of a user, or there is not one gap for each.
    """
    n_rows = state.settings.max_users
    if user_rows.size and not (user_rows.min() >= -1 and user_rows.max() < n_rows):
        raise ValueError(
            f"user_rows: expected -1 to {n_rows - 1}, got {user_rows.min()} to {user_rows.max()}"
        )
    if not 1 <= k <= MAX_K:
        raise ValueError(f"k: expected 1 to {MAX_K}, got {k}")
    n = user_rows.size
    gaps_ms = np.zeros(n, np.int64) if gaps_ms is None else gaps_ms
    if gaps_ms.shape != (n,):
        raise ValueError(f"gaps_ms: expected ({n},), got {gaps_ms.shape}")
    ranking = Ranking(
        user_rows.astype(np.int32),
        np.empty((n, k), np.int32),
        np.empty((n, k), np.float32),
        np.empty((n, k), np.int8),
    )
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


def n_explored(state: State, ranking: Ranking) -> int:
    """How many of these lists have a place that the explore share gave to a new item.

    Args:
        ranking: Made from the state as it is. A list that was drawn for exploring, and whose tenth place a new item
            had won by itself, is counted, too: the ranking does not tell the two apart.
    """
    if ranking.items.shape[1] < EXPLORED_PLACE:
        return 0
    rows = ranking.user_rows
    chance = explored_chance(rows, int(state.graph.counters[EVENTS]))
    items = ranking.items[:, EXPLORED_PLACE - 1]
    is_new = (items >= 0) & (state.graph.items["n_events"][items] < COLD)
    by_path = ranking.paths[:, EXPLORED_PLACE - 1] == EXPLORED_PATH
    return int(np.count_nonzero((rows >= 0) & (chance < state.graph.explore_share) & is_new & by_path))


class Histories(NamedTuple):
    """The last items of n users, newest first, each as it was right after his last event."""

    items: NDArray[np.int32]  # (n, HISTORY) item rows; -1 = none
    gap_s: NDArray[np.float32]  # (n, HISTORY) from each event to the last one, event time
    z_score: NDArray[np.float32]  # (n, HISTORY) of its value; nan = none


def user_histories(state: State, user_rows: NDArray[np.int32]) -> Histories:
    """What the attention network reads of these users, as `graph.histories.copy_history` has it.

    Args:
        user_rows: (n,) int32 rows of users, >= 0.
    """
    users = state.graph.users[user_rows]
    age = np.arange(HISTORY)
    places = (users["n_events"][:, None] - 1 - age) % HISTORY
    items, ticks, values = (
        np.take_along_axis(users[name], places, axis=1) for name in ("ring", "ring_time", "ring_value")
    )
    is_there = age < users["n_events"][:, None]
    last_ticks = users["last_time_ms"][:, None] // TICK_MS
    gap_s = np.maximum(last_ticks - ticks.astype(np.int64), 0) * (TICK_MS // 1000)
    z_score = np.where(is_there & (values != NO_VALUE), values.astype(np.float32) / VALUE_UNIT, np.nan)
    return Histories(
        np.where(is_there, items, -1).astype(np.int32),
        np.where(is_there, gap_s, 0).astype(np.float32),
        z_score.astype(np.float32),
    )


def user_vectors(state: State, user_rows: NDArray[np.int32]) -> NDArray[np.float32]:
    """h_u of these users in the present version of the network, right after their last event: (n, dim) float32."""
    tables = state.graph.vectors
    vectors = np.empty((user_rows.size, tables.h_0.size), np.float32)
    pooled = np.empty(tables.mix.shape[:2], np.float32)
    user_vectors_kernel(tables, *user_histories(state, user_rows), pooled, vectors)
    return vectors


def idle_users(
    state: State, user_rows: NDArray[np.int32], time_ms: int, last_by_ms: int
) -> NDArray[np.int32]:
    """Those of these users whose session is over at `time_ms`, and who did nothing after `last_by_ms` (event time)."""
    last_ms = state.graph.users["last_time_ms"][user_rows]
    is_idle = (last_ms <= last_by_ms) & (time_ms - last_ms > state.graph.session_gap_ms)
    return user_rows[is_idle & (state.graph.users["n_events"][user_rows] > 0)]


def gaps_ms(state: State, user_rows: NDArray[np.int32], time_ms: int) -> NDArray[np.int64]:
    """How long ago each user's last event is at `time_ms` of event time, (n,); 0 while his session lasts.

    0, too, for row -1 and for users without events: nobody's first event comes after a gap.
    """
    gaps: NDArray[np.int64] = time_ms - state.graph.users["last_time_ms"][user_rows]
    has_events = (user_rows >= 0) & (state.graph.users["n_events"][user_rows] > 0)
    return np.where(has_events & (gaps > state.graph.session_gap_ms), gaps, 0)
