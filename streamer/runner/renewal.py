"""Lists of users who are away, made again in their turn: what they come back to is of these days, and has not expired."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamer.ports import Clock
from streamer.publish import NO_USERS

MOST_PER_S = 100  # lists; half a percent of a core to a twentieth, by the machine
_MOST_AT_ONCE = 8  # events wait for these
_LOOKED_AT = 4096  # rows at once: ten microseconds

Rows = NDArray[np.int32]


class Renewal:
    """Goes round the users, and hands out those whose list has grown old.

    Where the loop comes round seldom, since it has much to do, there are fewer of them: their lists can wait.

    Args:
        stale: (begin, end, time) -> rows from begin on, before end, whose list was made before that time in epoch milliseconds.
        clock: Time.
        after_s: Age at which a list is old; 0: none ever is.
    """

    def __init__(self, stale: Callable[[int, int, int], Rows], clock: Clock, after_s: int) -> None:
        self._stale = stale
        self._clock = clock
        self._after_ms = 1000 * after_s
        self._next = 0  # row
        self._since_s = clock.monotonic_s()

    def take(self, n_users: int) -> Rows:
        """The next rows, ascending, a few at most.

        Args:
            n_users: Rows in use.
        """
        now_s = self._clock.monotonic_s()
        n = min(int((now_s - self._since_s) * MOST_PER_S), _MOST_AT_ONCE)
        if n < 1 or not self._after_ms:
            return NO_USERS
        self._since_s = now_s
        begin = self._next if self._next < n_users else 0
        end = min(begin + _LOOKED_AT, n_users)
        rows = self._stale(begin, end, self._clock.now_ms() - self._after_ms)[:n]
        self._next = int(rows[-1]) + 1 if rows.size == n else end
        return rows
