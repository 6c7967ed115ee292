"""Which vectors must be written: a plan, not a write. Those that events touched go first, the rest follows in turn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int32]

_SCAN = 16  # rows looked at in the background for each one that may be written


class VectorPlan(NamedTuple):
    """Rows whose vectors are to be written now, in this order: (n,) int32 each, no row twice."""

    user_rows: Rows
    item_rows: Rows


class VectorPublisher:
    """Remembers which vectors were touched by events, and which are published in which version of the weights.

    Only rows that were touched once are known: touch an item when the catalog brings it, a user when he first does
    something. What is planned counts as published; the caller writes it, again if need be, before he asks for more.

    About 21 bytes a row of the tables.

    Args:
        max_users, max_items: Rows of users, of items.
    """

    def __init__(self, max_users: int, max_items: int) -> None:
        self._users = _Side(max_users)
        self._items = _Side(max_items)

    def touch_users(self, rows: Rows | Sequence[int]) -> None:
        """Events moved the vectors of these users. A row that waits already keeps its place.

        Raises:
            ValueError: a row is outside the table.
        """
        self._users.touch(np.asarray(rows, np.int32))

    def touch_items(self, rows: Rows | Sequence[int]) -> None:
        """As `touch_users`, of items."""
        self._items.touch(np.asarray(rows, np.int32))

    def forget_user(self, row: int) -> None:
        """The user was erased: nothing is planned for this row until it is touched again."""
        self._users.forget(row)

    def forget_item(self, row: int) -> None:
        """As `forget_user`, of an item whose vector was deleted."""
        self._items.forget(row)

    def plan(self, n_max: int, version: int) -> VectorPlan:
        """What to write next, in O(n_max): touched rows, then known rows published in an older version, in turn.

        Users and items share each half and half, and what one of them leaves over goes to the other.

        Args:
            n_max: Most rows of users and items together, >= 0.
            version: Of the weights that the vectors will be computed with, >= 0; never less than before.

        Raises:
            ValueError: n_max < 0, or the version went back.
        """
        if n_max < 0:
            raise ValueError(f"plan: expected n_max >= 0, got {n_max}")
        for side in (self._users, self._items):
            side.advance(version)
        n_users, n_items = _shares(n_max, self._users.n_waiting, self._items.n_waiting)
        users, items = self._users.take_touched(n_users), self._items.take_touched(n_items)
        n_left = n_max - users.size - items.size
        n_users, n_items = _shares(n_left, self._users.n_outdated, self._items.n_outdated)
        return VectorPlan(
            np.concatenate([users, self._users.take_outdated(n_users)]),
            np.concatenate([items, self._items.take_outdated(n_items)]),
        )

    @property
    def backlog(self) -> int:
        """Known users and items whose vector, as it is now, is not published."""
        return self._users.n_outdated + self._items.n_outdated


class _Side:
    """The rows of one table.

    Touched rows stand in a queue that is twice as long as the table. `_place` says where, so that a row that was
    forgotten while it waited leaves an entry that nothing points at.
    """

    def __init__(self, max_rows: int) -> None:
        # zeros, so that pages of rows not in use stay untouched
        self._is_known = np.zeros(max_rows, bool)
        self._published = np.zeros(max_rows, np.int64)  # version + 1; 0: never, or touched since
        self._place = np.zeros(max_rows, np.int32)  # in the queue, + 1; 0: not waiting
        self._queue = np.empty(2 * max_rows, np.int32)
        self._begin = self._end = 0
        self._n_rows = 0  # rows from here on were never known
        self._n_known = 0
        self._cursor = 0
        self._version = 0
        self.n_waiting = 0
        self.n_outdated = 0  # known, and not published in `_version`; those that wait among them

    def advance(self, version: int) -> None:
        """From now on vectors are of this version."""
        if version < self._version:
            raise ValueError(
                f"plan: expected version >= {self._version}, got {version}: weights do not go back"
            )
        if version > self._version:
            self._version = version
            self.n_outdated = self._n_known

    def touch(self, rows: Rows) -> None:
        if not rows.size:
            return
        if rows.min() < 0 or rows.max() >= self._place.size:
            raise ValueError(
                f"touch: expected rows in [0, {self._place.size}), got {rows.min()} to {rows.max()}"
            )
        _, first = np.unique(rows, return_index=True)
        rows = rows[np.sort(first)]  # once each, in order of touching
        self.n_outdated += rows.size - int(np.count_nonzero(self._is_outdated(rows)))
        self._n_known += rows.size - int(np.count_nonzero(self._is_known[rows]))
        self._is_known[rows] = True
        self._published[rows] = 0
        self._n_rows = max(self._n_rows, int(rows.max()) + 1)
        self._append(rows[self._place[rows] == 0])

    def take_touched(self, n_max: int) -> Rows:
        taken = np.empty(0, np.int32)
        while taken.size < n_max and self._begin < self._end:
            end = min(self._begin + n_max - taken.size, self._end)
            taken = np.concatenate([taken, self._waiting(self._begin, end)])
            self._begin = end
        if self._begin == self._end:
            self._begin = self._end = 0
        self.n_waiting -= taken.size
        self._place[taken] = 0
        self._publish(taken)
        return taken

    def take_outdated(self, n_max: int) -> Rows:
        """From where the last call ended. It is called when nothing waits, so none of these stands in the queue."""
        if n_max == 0 or self.n_outdated == 0:
            return np.empty(0, np.int32)
        n_seen = min(self._n_rows, _SCAN * n_max)
        rows = ((self._cursor + np.arange(n_seen)) % self._n_rows).astype(np.int32)
        outdated = np.flatnonzero(self._is_outdated(rows))[:n_max]
        n_passed = int(outdated[-1]) + 1 if outdated.size == n_max else n_seen
        self._cursor = (self._cursor + n_passed) % self._n_rows
        rows = rows[outdated]
        self._publish(rows)
        return rows

    def forget(self, row: int) -> None:
        if not 0 <= row < self._place.size:
            raise ValueError(f"forget: expected a row in [0, {self._place.size}), got {row}")
        self._n_known -= int(self._is_known[row])
        self.n_waiting -= int(self._place[row] > 0)
        self.n_outdated -= int(self._is_known[row] and self._published[row] <= self._version)
        self._is_known[row] = False
        self._published[row] = self._place[row] = 0

    def _is_outdated(self, rows: Rows) -> NDArray[np.bool_]:
        return self._is_known[rows] & (self._published[rows] <= self._version)

    def _publish(self, rows: Rows) -> None:
        self.n_outdated -= rows.size
        self._published[rows] = self._version + 1

    def _waiting(self, begin: int, end: int) -> Rows:
        """Rows of this part of the queue, without entries that nothing points at."""
        rows: Rows = self._queue[begin:end]
        is_pointed_at: NDArray[np.bool_] = self._place[rows] == np.arange(begin, end) + 1
        return rows[is_pointed_at]

    def _append(self, rows: Rows) -> None:
        if self._end + rows.size > self._queue.size:
            # At least half of the queue is behind us or forgotten: no more rows wait than the table has.
            waiting = self._waiting(self._begin, self._end)
            self._begin, self._end = 0, waiting.size
            self._queue[: waiting.size] = waiting
            self._place[waiting] = np.arange(waiting.size) + 1
        end = self._end + rows.size
        self._queue[self._end : end] = rows
        self._place[rows] = np.arange(self._end, end) + 1
        self._end = end
        self.n_waiting += rows.size


def _shares(n_max: int, n_first: int, n_second: int) -> tuple[int, int]:
    """How many of each of two kinds may go: half each, and what one kind leaves over goes to the other."""
    n_half = n_max // 2
    n_first_taken = min(n_first, max(n_max - n_half, n_max - n_second))
    return n_first_taken, min(n_second, n_max - n_first_taken)
