"""Retired items on lists already published: whose lists hold them, and that these are mended before any others.

```
retired -> looked for -+- a few lists  -> made again at once
                       +- many lists   -> the items are cut out of what is published -> made again, some at a time
```
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.ports import Clock
from streamer.publish import ANONYMOUS_ROW, NO_USERS
from streamer.runner.interval import Every
from streamer.telemetry import Telemetry

# Two million lists are looked through in a fifth of a second: not with every batch, where a catalog retires items in a row.
LOOK_INTERVAL_S = 0.5

Rows = NDArray[np.int32]


class Cut(NamedTuple):
    """Lists that items must be taken out of as they are."""

    user_rows: Rows
    item_ids: frozenset[str]


_NOTHING = Cut(NO_USERS, frozenset())


class Retirement:
    """Gathers retired items, finds the lists that hold them, and hands these out some at a time.

    Args:
        holders: Rows of the users whose published list holds one of these item rows.
        clock: Time.
        telemetry: Counts.
        n_at_once: Lists that are made again before the next poll. Where more hold a retired item they are cut first:
            ranking takes many times as long as taking an item out of a list.
    """

    def __init__(
        self, holders: Callable[[Rows], Rows], clock: Clock, telemetry: Telemetry, n_at_once: int
    ) -> None:
        self._holders = holders
        self._clock = clock
        self._telemetry = telemetry
        self._n_at_once = n_at_once
        self._due = Every(clock, LOOK_INTERVAL_S)
        self._gone: set[int] = set()  # item rows that were not looked for yet
        self._gone_since_s = 0.0
        self._item_ids: set[str] = set()  # that lists not cut yet may hold
        self._waiting: Rows = np.empty(0, np.int32)  # to be made again
        self._uncut: Rows = np.empty(0, np.int32)  # to be cut; some of these are made again by now
        self._held_since_s: float | None = None  # None: no list that we know of holds one

    @property
    def is_waiting(self) -> bool:
        """Whether lists wait to be made again: before the next poll."""
        return bool(self._waiting.size)

    def retire(self, item_ids: Sequence[str], item_rows: Sequence[int]) -> None:
        """These items may not be listed any more.

        Args:
            item_ids: All of them.
            item_rows: Of those that have a row; lists with the others come by `make_again`.
        """
        if item_rows and not self._gone:
            self._gone_since_s = self._clock.monotonic_s()
        self._gone.update(item_rows)
        self._item_ids.update(item_ids)

    def restore(self, item_ids: Sequence[str], item_rows: Sequence[int]) -> None:
        """These items, and rows of those that have one, may be listed again."""
        self._gone.difference_update(item_rows)
        self._item_ids.difference_update(item_ids)

    def make_again(self, user_rows: Rows) -> None:
        """These lists, ascending, `ANONYMOUS_ROW` among them, hold a retired item."""
        if not user_rows.size:
            return
        if self._held_since_s is None:
            self._held_since_s = self._gone_since_s if self._gone else self._clock.monotonic_s()
        # rows already waiting are made from the state at that time, so once is enough; the anonymous list sorts first
        self._waiting = np.concatenate([self._waiting, np.setdiff1d(user_rows, self._waiting)])
        self._uncut = np.union1d(self._uncut, user_rows)

    def look(self) -> None:
        """Find the lists that hold what was retired, if it is time.

        Not while lists are cut: the last ones in order would never be where items are retired in a row. Where few enough
        wait they are made at once, and none is cut.
        """
        if self._gone and not self._uncut.size and self._due():
            self.make_again(self._holders(np.array(sorted(self._gone), np.int32)))
            self._gone.clear()
        if self._waiting.size <= self._n_at_once:
            self._uncut = self._uncut[:0]
        if not self._uncut.size and not self._gone:
            self._item_ids.clear()

    def take(self) -> Rows:
        """Rows of users whose lists must be made again now, `ANONYMOUS_ROW` among them; the next ones wait.

        Few while lists are to be cut, but some: it may be so for as long as items are retired in a row.
        """
        n = max(1, self._n_at_once // 4) if self._uncut.size else self._n_at_once
        taken, self._waiting = self._waiting[:n], self._waiting[n:]
        return taken

    def written(self, n_lists: int) -> None:
        """The lists of the rows taken last are acknowledged."""
        self._telemetry.lists_remade.inc(n_lists)
        if not self._waiting.size:
            self._are_off()

    def take_uncut(self, n_most: int) -> Cut:
        """The next lists that retired items must be cut out of."""
        if not self._uncut.size:
            return _NOTHING
        taken, self._uncut = self._uncut[:n_most], self._uncut[n_most:]
        return Cut(taken, frozenset(self._item_ids))

    def cut(self, n_lists: int) -> None:
        """The lists taken last hold no retired item any more, which so many did."""
        self._telemetry.lists_cut.inc(n_lists)
        if not self._uncut.size:
            self._are_off()

    def _are_off(self) -> None:
        if self._held_since_s is not None:
            self._telemetry.item_off_lists.observe(self._clock.monotonic_s() - self._held_since_s)
            self._held_since_s = None


def users_of(rows: Rows) -> Rows:
    """These rows without the anonymous one."""
    users: Rows = rows[rows != ANONYMOUS_ROW]
    return users
