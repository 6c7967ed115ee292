"""Room in a full table of users: those who did nothing for longest make way for newcomers.

Which ones follows from the state alone, so a replay evicts the same, however the log is cut into batches.
"""

import numpy as np

from streamer.graph.catalog import erase_user
from streamer.graph.state import EVENTS
from streamer.pipeline.state import State

N_LOOKED_AT = 256  # rows, a stretch of the table: the whole would be a scan for every few newcomers
ONE_IN = 8  # of those who are looked at go, so that the next newcomers find room without a look
# odd, near 2**32 over the golden ratio: stretches spread over the table as events come
_STRIDE = 2_654_435_761


def evict_users(state: State) -> list[int]:
    """Forget the coldest of some users, by the event time of their last event; their rows are free for newcomers.

    Users who stand for segments stay. Call it when everything before it was folded, and the table is full.

    Args:
        state: Its tables are changed.

    Returns:
        Rows that nobody owns any more; none where only segments were looked at.
    """
    ids = state.ids.users
    n_looked_at = min(N_LOOKED_AT, ids.n_rows)
    begin = int(state.graph.counters[EVENTS]) * _STRIDE % ids.n_rows
    rows = (begin + np.arange(n_looked_at)) % ids.n_rows
    rows = rows[~np.isin(rows, list(state.segments.values()))]
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
