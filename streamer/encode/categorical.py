"""One categorical field: its values, the rare ones pooled, and how surprising they are."""

from collections.abc import Collection
from heapq import nsmallest
from typing import Any

from streamer.encode.drift import Means, ValueWatch
from streamer.encode.names import RARE, pool_name
from streamer.events import category_name

N_BEFORE_POOL = 200
"""Records seen before a field can be taken for one of ids."""
N_TOP = 10

BYTES_A_VALUE = 110
"""Of an entry in a table of counts, beside its letters: its share of the dict, a count and a string of its own."""


def n_bytes_of(value: str) -> int:
    """About what an entry takes in a table of counts. Not `__sizeof__`, which grows when a string is first encoded."""
    return BYTES_A_VALUE + (len(value) if value.isascii() else 2 * len(value))


class Room:
    """Bytes and entries left for the values of several fields together."""

    __slots__ = ("n_bytes", "n_left")

    def __init__(self, n_left: int) -> None:
        self.n_left = n_left
        self.n_bytes = 0

    def take(self, value: str) -> bool:
        """Whether there was room for one more value; then it is taken."""
        if self.n_left <= 0:
            return False
        self.n_left -= 1
        self.n_bytes += n_bytes_of(value)
        return True

    def give_back(self, values: Collection[str]) -> None:
        """Forget values that were taken."""
        self.n_left += len(values)
        self.n_bytes -= sum(map(n_bytes_of, values))


class CategoricalField:
    """Counts of the values of a categorical field.

    Values are admitted as they come, each under its own name, until the table is full; then new ones go to the
    field's "__rare__" node. A field whose values are nearly all different (over half of them after 200 records: ids, urls) pools
    there every value seen once. Records count, not items: a value sent again with the same item counts again.

    Args:
        stem: Name of the field in node names.
        watched: Whether to look for changes of distribution.
        max_values: Values kept of this field.
        room: Values that may be kept in all fields together.
    """

    __slots__ = ("_max_values", "_room", "counts", "n_pooled", "n_seen", "n_values", "stem", "watch")

    def __init__(self, stem: str, watched: bool, max_values: int, room: Room) -> None:
        self.stem = stem
        self.n_seen = 0  # records that had the field
        self.n_values = 0  # values in them
        self.n_pooled = 0  # of these, given the rare node
        self.counts: dict[str, int] = {}
        self.watch = ValueWatch() if watched else None
        self._max_values = max_values
        self._room = room

    def learn(self, values: Collection[str]) -> Means | None:
        """Learn the different values of one record; both means of their surprise, bits, when that has changed."""
        self.n_seen += 1
        self.n_values += len(values)
        for value in values:
            count = self.counts.get(value, 0)
            if count or (len(self.counts) < self._max_values and self._room.take(value)):
                self.counts[value] = count + 1
        return self.watch.see(values) if self.watch is not None else None

    def node(self, value: str) -> str | None:
        """Name of the node of a value that was learned; None when it belongs in the rare node."""
        count = self.counts.get(value, 0)
        if count > 1 or (count == 1 and not self.like_ids):
            return category_name(self.stem, value)
        self.n_pooled += 1
        return None

    @property
    def like_ids(self) -> bool:
        """Whether nearly every value is a new one."""
        return self.n_seen >= N_BEFORE_POOL and 2 * len(self.counts) > self.n_values

    @property
    def rare_node(self) -> str:
        """Name of the node of all rare values."""
        return pool_name(self.stem, RARE)

    def readable(self) -> dict[str, Any]:
        """JSON-able summary."""
        top = nsmallest(N_TOP, self.counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return {
            "n": self.n_seen,
            "n_values": len(self.counts),
            "n_pooled": self.n_pooled,
            "like_ids": self.like_ids,
            "top": dict(top),
            "n_drifts": self.watch.n_drifts if self.watch else 0,
        }

    def freeze(self) -> list[Any]:
        """The state as plain data."""
        return [
            [self.n_seen, self.n_values, self.n_pooled],
            self.counts,
            self.watch.freeze() if self.watch else None,
        ]

    def thaw(self, state: list[Any]) -> None:
        """Take the state that `freeze` gave, and the room that its values need."""
        (self.n_seen, self.n_values, self.n_pooled), self.counts, watch = state
        for value in self.counts:
            self._room.take(value)
        if self.watch is not None:
            self.watch.thaw(watch)
