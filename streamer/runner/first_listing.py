"""How long new items wait: from the catalog event to the first published list they are on, and how many lists hold cold ones."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.ports import Clock

MAX_WAITING = 100_000
_UNSEEN, _WAITING, _DONE = 0, 1, 2


class FirstListings:
    """Times each item from its first catalog event to its first listing; no item is timed twice.

    Items that were listed before the catalog named them are not timed. A byte a row, and about 150 for each item that waits.

    Args:
        clock: Says when a list went out.
        max_waiting: Most items that wait to be listed; beyond that the one that waits longest is given up.
    """

    def __init__(self, clock: Clock, max_waiting: int = MAX_WAITING) -> None:
        self._clock = clock
        self._max_waiting = max_waiting
        # row -> when, those that wait longest first
        self._received_s: OrderedDict[int, float] = OrderedDict()
        # at [row + 1], so that the row -1 of a short list finds a place
        self._stages = np.zeros(1024, np.uint8)
        self.n_given_up = 0

    @property
    def n_waiting(self) -> int:
        """Items that were not on any list yet."""
        return len(self._received_s)

    def known(self, rows: NDArray[np.int32]) -> None:
        """These items are no news: they are never timed."""
        if rows.size:
            self._grow(int(rows.max()))
            self._stages[rows[self._stages[rows + 1] == _UNSEEN] + 1] = _DONE

    def catalogued(self, rows: NDArray[np.int32], received_s: float) -> None:
        """Catalog events of these items came at `received_s` of the monotonic clock."""
        if not rows.size:
            return
        self._grow(int(rows.max()))
        for row in rows[self._stages[rows + 1] == _UNSEEN].tolist():
            self._received_s.setdefault(row, received_s)
        self._stages[rows + 1] = np.maximum(self._stages[rows + 1], _WAITING)
        while len(self._received_s) > self._max_waiting:
            row, _ = self._received_s.popitem(last=False)
            self._stages[row + 1] = _DONE
            self.n_given_up += 1

    def forget(self, rows: Sequence[int]) -> None:
        """These rows are those of other items from now on."""
        known = [row for row in rows if row + 1 < self._stages.size]
        self._stages[np.array(known, np.int64) + 1] = _UNSEEN
        for row in known:
            self._received_s.pop(row, None)

    def listed(self, rows: NDArray[np.int32]) -> list[float]:
        """These lists are published: (n, k) item rows, -1 where a list is shorter.

        Returns:
            Seconds since the catalog event of every item that is listed for the first time.
        """
        if not rows.size:
            return []
        self._grow(int(rows.max()))
        places = rows.ravel() + 1
        first = np.unique(places[self._stages[places] == _WAITING]) - 1
        self._stages[places] = _DONE
        now_s = self._clock.monotonic_s()
        return [now_s - self._received_s.pop(row) for row in first.tolist()]

    def _grow(self, row: int) -> None:
        if row + 1 >= self._stages.size:
            stages = np.zeros(max(2 * self._stages.size, row + 2), np.uint8)
            stages[: self._stages.size] = self._stages
            self._stages = stages


class ColdLists:
    """Share of the last published lists that have a cold item on them.

    Args:
        n_lists: How many lists are remembered.
    """

    def __init__(self, n_lists: int = 1000) -> None:
        self._has_cold = np.zeros(n_lists, bool)
        self._n_seen = 0

    def listed(self, rows: NDArray[np.int32], is_cold: NDArray[np.bool_]) -> None:
        """These lists are published.

        Args:
            rows: (n, k) item rows, -1 where a list is shorter.
            is_cold: (n, k), of each of these items; anything where there is none.
        """
        n_lists = self._has_cold.size
        rows, is_cold = rows[-n_lists:], is_cold[-n_lists:]
        has_cold = (is_cold & (rows >= 0)).any(axis=1)
        self._has_cold[(self._n_seen + np.arange(len(rows))) % n_lists] = has_cold
        self._n_seen += len(rows)

    @property
    def share(self) -> float | None:
        """Of the last `n_lists`, or of all while there are fewer; None before the first."""
        n = min(self._n_seen, self._has_cold.size)
        return int(np.count_nonzero(self._has_cold)) / n if n else None
