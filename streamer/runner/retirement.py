"""Retired items on lists already published: whose lists hold them, and that these are made again before any others."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamer.ports import Clock
from streamer.publish import ANONYMOUS_ROW
from streamer.runner.interval import Every
from streamer.telemetry import Telemetry

# Two million lists are looked through in a fifth of a second: not with every batch, where a catalog retires items in a row.
LOOK_INTERVAL_S = 0.5

Rows = NDArray[np.int32]


class Retirement:
    """Gathers retired items, finds the lists that hold them, and hands these out some at a time.

    Args:
        holders: Rows of the users whose published list holds one of these item rows.
        clock: Time.
        telemetry: Counts.
    """

    def __init__(self, holders: Callable[[Rows], Rows], clock: Clock, telemetry: Telemetry) -> None:
        self._holders = holders
        self._clock = clock
        self._telemetry = telemetry
        self._due = Every(clock, LOOK_INTERVAL_S)
        self._gone: set[int] = set()  # item rows that were not looked for yet
        self._gone_since_s = 0.0
        self._waiting: Rows = np.empty(0, np.int32)
        self._waiting_since_s = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to do before the next poll."""
        return bool(self._waiting.size)

    def retire(self, item_rows: list[int]) -> None:
        """These items may not be listed any more."""
        if item_rows and not self._gone:
            self._gone_since_s = self._clock.monotonic_s()
        self._gone.update(item_rows)

    def make_again(self, user_rows: Rows) -> None:
        """These lists, ascending, `ANONYMOUS_ROW` among them, hold a retired item."""
        if user_rows.size and not self._waiting.size and not self._gone:
            self._waiting_since_s = self._clock.monotonic_s()
        # rows already waiting are made from the state at that time, so once is enough; the anonymous list sorts first
        self._waiting = np.concatenate([self._waiting, np.setdiff1d(user_rows, self._waiting)])

    def take(self, n_most: int) -> Rows:
        """Rows of users whose lists must be made again now, `ANONYMOUS_ROW` among them; the next ones wait."""
        if self._gone and self._due():
            found = self._holders(np.array(sorted(self._gone), np.int32))
            if not self._waiting.size:
                self._waiting_since_s = self._gone_since_s
            self.make_again(found)
            self._gone.clear()
        taken, self._waiting = self._waiting[:n_most], self._waiting[n_most:]
        return taken

    def written(self, n_lists: int) -> None:
        """The lists of the rows taken last are acknowledged."""
        if n_lists:
            self._telemetry.lists_remade.inc(n_lists)
            if not self._waiting.size:
                self._telemetry.item_off_lists.observe(self._clock.monotonic_s() - self._waiting_since_s)


def users_of(rows: Rows) -> Rows:
    """These rows without the anonymous one."""
    users: Rows = rows[rows != ANONYMOUS_ROW]
    return users
