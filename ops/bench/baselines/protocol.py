"""The protocol of streamer, told a second time and without it: which events count, who is a candidate, what a rank is.

An event counts when its item had an event before it and, with repeats off, its user has not taken the item yet.
Candidates are all items that had an event before, less what the user took. Ties rank against the taken item. The slices
are those of `streamer.measure`; a test holds flags and ranks against those of the fold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from streamer.datasets import load
from streamer.events import Interaction, decode
from streamer.measure import SLICES, Scoreboard
from streamer.outcomes import COLD, COLD_ITEM, COLD_USER, COUNTED, MEASURED, NEW_SESSION, new_outcomes

NO_CANDIDATE = np.float32(-np.inf)


@dataclass(frozen=True)
class Log:
    """A whole log of n events. Rows of users and items are in the order of their first events.

    Args:
        user, item: (n,) int32 rows.
        time_ms: (n,) int64.
        value: (n,) float32; nan = none.
        flags: (n,) uint8, bits of `streamer.prequential`.
        is_target: (n,) bool; whether the event is worth foreseeing: not taken by this user before, or repeats are on.
        n_known: (n,) int32; items that had an event before this one: rows 0 to n_known - 1.
        place: (n,) int64; the user's history before the event is `sequence[place - n_past : place]`.
        n_past: (n,) int32; the user's events before this one.
        sequence: (n,) int32; item rows, user by user, each in log order.
        repeats: Whether items may be taken again.
    """

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float32]
    flags: NDArray[np.uint8]
    is_target: NDArray[np.bool_]
    n_known: NDArray[np.int32]
    place: NDArray[np.int64]
    n_past: NDArray[np.int32]
    sequence: NDArray[np.int32]
    repeats: bool

    @classmethod
    def of(
        cls,
        users: list[str],
        items: list[str],
        times_ms: list[int],
        values: Sequence[float | None] = (),
        *,
        repeats: bool,
        session_gap_ms: int,
    ) -> Self:
        """The log of these events, in this order; without `values` no event has one."""
        user, item = _rows(users), _rows(items)
        n = user.size
        flags, is_target = np.zeros(n, np.uint8), np.zeros(n, np.bool_)
        n_known, n_past = np.zeros(n, np.int32), np.zeros(n, np.int32)
        n_of_item, taken = np.zeros(n, np.int64), set()
        n_of_user, last_ms = np.zeros(n, np.int64), np.zeros(n, np.int64)
        known = 0
        for at, (u, i, time_ms) in enumerate(zip(user.tolist(), item.tolist(), times_ms, strict=True)):
            n_known[at], n_past[at] = known, n_of_user[u]
            is_target[at] = repeats or (u, i) not in taken
            is_new_session = n_of_user[u] == 0 or time_ms - last_ms[u] > session_gap_ms
            flags[at] = (
                (COUNTED | MEASURED) * bool(n_of_item[i] > 0 and is_target[at])
                | COLD_ITEM * bool(n_of_item[i] < COLD)
                | COLD_USER * bool(n_of_user[u] < COLD)
                | NEW_SESSION * bool(is_new_session)
            )
            known += n_of_item[i] == 0
            n_of_item[i] += 1
            n_of_user[u] += 1
            last_ms[u] = max(last_ms[u], time_ms)
            taken.add((u, i))
        starts = np.concatenate([[0], np.cumsum(n_of_user)])
        sequence = item[np.argsort(user, kind="stable")]
        time = np.array(times_ms, np.int64)
        value = np.array(values or [None] * n, np.float32)
        return cls(
            user,
            item,
            time,
            value,
            flags,
            is_target,
            n_known,
            starts[user] + n_past,
            n_past,
            sequence,
            repeats,
        )

    @property
    def n_items(self) -> int:
        """Items in the whole log."""
        return int(self.item.max(initial=-1)) + 1

    def counted(self, start: int, stop: int) -> NDArray[np.int64]:
        """Numbers of the counted events among start to stop - 1."""
        return start + np.flatnonzero(self.flags[start:stop] & COUNTED)

    def n_trained(self, stop: int) -> int:
        """Items known from the events before `stop`."""
        return int(self.n_known[stop]) if stop < self.item.size else self.n_items

    def history(self, event: int) -> NDArray[np.int32]:
        """Item rows that the event's user took before it, oldest first."""
        place = self.place[event]
        return self.sequence[place - self.n_past[event] : place]

    def taken(self, stop: int) -> csr_matrix:
        """(users, items) how often, in the events before `stop`; 0 or 1 where repeats are off."""
        ones = np.ones(stop, np.float32)
        shape = (int(self.user.max(initial=-1)) + 1, self.n_items)
        return self._plain(csr_matrix((ones, (self.user[:stop], self.item[:stop])), shape))

    def histories(self, events: NDArray[np.int64]) -> csr_matrix:
        """(m, items) what the user of each of m events took before it, as in `taken`."""
        past = [self.history(event) for event in events.tolist()]
        pointers = np.concatenate([[0], np.cumsum([items.size for items in past])])
        items = np.concatenate([np.empty(0, np.int32), *past])
        return self._plain(
            csr_matrix((np.ones(items.size, np.float32), items, pointers), (events.size, self.n_items))
        )

    def _plain(self, matrix: csr_matrix) -> csr_matrix:
        matrix.sum_duplicates()
        if not self.repeats:
            matrix.data[:] = 1.0
        return matrix


def _rows(names: list[str]) -> NDArray[np.int32]:
    row_of: dict[str, int] = {}
    return np.array([row_of.setdefault(name, len(row_of)) for name in names], np.int32)


def read(directory: Path, *, repeats: bool, session_gap_ms: int, max_events: int | None = None) -> Log:
    """The interactions of a set, in the format of `streamer.datasets`."""
    users, items, times_ms, values = [], [], [], []
    for kind, key, value in load(directory, catalog_first=False, max_events=max_events).messages():
        if kind == "interactions":
            event = decode(kind, key, value)
            assert isinstance(event, Interaction)  # noqa: S101  for the type checker: its kind says so
            users.append(event.user_id)
            items.append(event.item_id)
            times_ms.append(event.timestamp_ms)
            values.append(event.value)
    return Log.of(users, items, times_ms, values, repeats=repeats, session_gap_ms=session_gap_ms)


def ranks(log: Log, events: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """Rank of each event's item among its candidates, from 1; 0 where its score is NO_CANDIDATE.

    Args:
        events: (m,) counted events.
        scores: (m, n_items) float32; overwritten.
    """
    found = np.zeros(events.size, np.int32)
    for at, event in enumerate(events.tolist()):
        row, own = scores[at], scores[at, log.item[event]]
        if own > NO_CANDIDATE:
            if not log.repeats:
                row[log.history(event)] = NO_CANDIDATE
            found[at] = np.count_nonzero(row[: log.n_known[event]] >= own)
    return found


def figures(log: Log, events: NDArray[np.int64], found: NDArray[np.int32]) -> dict[str, Any]:
    """Slice -> metrics, as in a report, of these counted events and the ranks that were found for them."""
    outcomes = new_outcomes(log.user[events], log.item[events], log.time_ms[events])
    outcomes.flags[:] = log.flags[events]
    outcomes.rank[:] = found
    board = Scoreboard()
    board.update(outcomes)
    slices = board.lists()["streamer"]
    return {name: slices[name] for name in SLICES}
