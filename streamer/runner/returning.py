"""Users who left: when a session is over, the list is made once more, for the moment when its reader comes back.

A list is ranked right after an event, for the next one of the same session: more of what the user is at. A user who comes
back tomorrow does something else, and the mixture knows it (its weights depend on the gap). Event time decides, so a
replayed year goes through it as the live one did.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer import pipeline

_MAX_WAITING = 4_000_000  # users' rows, 4 bytes each; the oldest go without


class _Touched(NamedTuple):
    by_ms: int  # event time up to which the log had been read
    user_rows: NDArray[np.int32]


class Returning:
    """Remembers whom each batch touched until a session's gap of event time has passed.

    Args:
        session_gap_ms: A longer pause ends a session.
    """

    def __init__(self, session_gap_ms: int) -> None:
        self._session_gap_ms = session_gap_ms
        self._waiting: deque[_Touched] = deque()
        self._n_waiting = 0
        self.time_ms = 0  # event time up to which the log has been read

    def touch(self, user_rows: NDArray[np.int32], time_ms: int) -> None:
        """A batch with events up to `time_ms` (event time) touched these users."""
        self.time_ms = max(self.time_ms, time_ms)
        self._waiting.append(_Touched(self.time_ms, user_rows))
        self._n_waiting += user_rows.size
        while self._n_waiting > _MAX_WAITING:
            self._n_waiting -= self._waiting.popleft().user_rows.size

    def take(self, state: pipeline.State) -> NDArray[np.int32]:
        """Rows of users whose session has ended since the last call, each once."""
        due = []
        while self._waiting and self.time_ms - self._waiting[0].by_ms > self._session_gap_ms:
            touched = self._waiting.popleft()
            self._n_waiting -= touched.user_rows.size
            due.append(pipeline.idle_users(state, touched.user_rows, self.time_ms, touched.by_ms))
        return np.unique(np.concatenate(due)) if due else np.empty(0, np.int32)
