"""Room in a full table of users: those who did nothing for longest make way for newcomers.

Which ones follows from the state alone, so a replay evicts the same, however the log is cut into batches.
"""

import numpy as np
from numpy.typing import NDArray

from streamer.graph.catalog import erase_user
from streamer.graph.state import EVENTS
from streamer.pipeline.state import State

N_LOOKED_AT = 256  # rows, a stretch of the table: the whole would be a scan for every few newcomers
ONE_IN = 8  # of those who are looked at go, so that the next newcomers find room without a look
# odd, near 2**32 over the golden ratio: stretches spread over the table as events come
_STRIDE = 2_654_435_761


def evict_users(state: State) -> list[int]:
    """Forget the coldest of some users, by the event time of their last event; their rows are free for newcomers.

    Users who stand for segments stay; a stretch that holds no others is passed over. Call it when everything before it was
    folded, and the table is full.

    Args:
        state: Its tables are changed.

    Returns:
        Rows that nobody owns any more; none where the whole table is segments.
    """
    ids = state.ids.users
    n_looked_at = min(N_LOOKED_AT, ids.n_rows)
    rows = _stretch(state, n_looked_at)
    last_ms = state.graph.users["last_time_ms"][rows]
    coldest = rows[np.lexsort((rows, last_ms))][: max(1, n_looked_at // ONE_IN)]
    evicted = []
    for row in coldest.tolist():
        user_id = ids.id(row)
        if user_id is not None:
            ids.release(user_id)
            erase_user(state.graph, row)
            state.contents.users[row] = 0
            evicted.append(row)
    return evicted


def _stretch(state: State, n_looked_at: int) -> NDArray[np.int64]:
    """Rows of users in the first stretch that has any who may go.

    Where it begins follows from the events folded so far. One who is refused moves nothing, so a stretch of nothing but
    segments would be looked at again and again, and everyone refused from there on.
    """
    n_rows, segments = state.ids.users.n_rows, list(state.segments.values())
    begin = int(state.graph.counters[EVENTS]) * _STRIDE % n_rows
    rows = np.zeros(0, np.int64)
    for n_passed in range(0, n_rows, n_looked_at):
        rows = (begin + n_passed + np.arange(n_looked_at)) % n_rows
        rows = rows[~np.isin(rows, segments)]
        if rows.size:
            break
    return rows
