"""Published lists against the log: what can be wrong with a list whatever the model, found by a fold of plain sets.

It shares nothing with the model but the reading of messages, so a defect there does not hide itself here. What is *best* for a
user is no business of it: lists are checked for what they may hold.

A model whose table of users is full forgets the coldest. Their lists and vectors stay in Redis until they expire, and whoever
comes back is a new user. So where the log knows more users than the table holds, what that alone may explain is no difference.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import msgspec

from streamer.events import (
    RESERVED_PREFIX,
    UNREADABLE,
    CatalogItem,
    Event,
    Interaction,
    ItemRetired,
    Profile,
    UserErased,
)

KINDS = {
    "missing": "a user of the log has no list",
    "nobody": "a list whose user is not on the log, or erased",
    "unreadable": "a list that is no recommendations.v1",
    "retired": "a list with an item that is retired",
    "unknown": "a list with an item that is not on the log",
    "taken": "a list with an item that its user took",
}


MAX_SEGMENTS = 1_000  # values of profiles that have a list, and so a row, of their own


class Difference(NamedTuple):
    """One thing that is wrong with one list."""

    kind: str  # of KINDS
    user_id: str
    item_id: str = ""


class LogFold:
    """Who and what the log knows. Catalog and profiles first, each in the order of the log; then the interactions.

    About 100 bytes for each item that each user took.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._retired: dict[str, int] = {}  # item -> the log's time of its retirement
        self._n_came = 0  # users, each again where he came back after he was erased
        self._segments: set[tuple[str, str]] = set()
        self._taken: dict[str, set[str]] = {}  # user -> items; none where only his profile is known
        self._last_ms: dict[str, int] = {}  # user -> the log's time of his last message
        self._erased_ms: dict[str, int] = {}

    def take(self, event: Event, timestamp_ms: int) -> None:
        """The next message; the log's own time says what came before a user was erased."""
        if isinstance(event, Interaction):
            self._known.add(event.item_id)
            if not self._is_of_erased(event.user_id, timestamp_ms):
                self._saw(event.user_id, timestamp_ms).add(event.item_id)
        elif isinstance(event, CatalogItem):
            self._known.add(event.item_id)
            if event.available:
                self._retired.pop(event.item_id, None)
            else:
                self._retired.setdefault(event.item_id, timestamp_ms)
        elif isinstance(event, ItemRetired):
            self._retired.setdefault(event.item_id, timestamp_ms)
        elif isinstance(event, Profile):
            if self._is_of_erased(event.user_id, timestamp_ms):
                return  # a dead letter that was replayed, or from another partition than the tombstone
            self._saw(event.user_id, timestamp_ms)
            if len(self._segments) < MAX_SEGMENTS:
                self._segments.update(
                    (field, value) for field, values in event.categorical.items() for value in values
                )
        elif isinstance(event, UserErased):
            self._taken.pop(event.user_id, None)
            self._last_ms.pop(event.user_id, None)
            self._erased_ms[event.user_id] = max(timestamp_ms, self._erased_ms.get(event.user_id, -1))

    @property
    def n_users(self) -> int:
        """Who must have a list, but for those whose list may have expired."""
        return len(self._taken)

    @property
    def n_rows_most(self) -> int:
        """Rows of users that a model may have needed for all of this: with fewer, it has forgotten somebody."""
        return self._n_came + len(self._segments)

    def missing(self, owners: Collection[str], since_ms: int) -> Iterator[Difference]:
        """Users without a list.

        Args:
            owners: Who has one.
            since_ms: The list of a user whose last message is older may have expired.
        """
        for user_id in self._taken:
            if user_id not in owners and self._last_ms[user_id] >= since_ms:
                yield Difference("missing", user_id)

    def wrong_with(
        self, user_id: str, listed: "Listed | None", *, repeats: bool, is_forgetful: bool = False
    ) -> Iterator[Difference]:
        """What is wrong with one list.

        Args:
            user_id: Its owner; one of ours (a segment, or the user nobody knows) took nothing.
            listed: None: it cannot be read.
            repeats: Items that he took may be listed.
            is_forgetful: The model may have forgotten him since his list was made, or before he took something again.
        """
        if listed is None:
            yield Difference("unreadable", user_id)
            return
        if user_id not in self._taken and not user_id.startswith(RESERVED_PREFIX):
            yield Difference("nobody", user_id)
        taken = set[str]() if repeats or is_forgetful else self._taken.get(user_id, set[str]())
        # None: his list is made again whatever he does
        seen_ms = self._last_ms.get(user_id) if is_forgetful else None
        for item_id in listed.item_ids:
            if item_id in self._retired:
                if seen_ms is not None and seen_ms <= self._retired[item_id]:
                    continue
                yield Difference("retired", user_id, item_id)
            elif item_id not in self._known:
                yield Difference("unknown", user_id, item_id)
            if item_id in taken:
                yield Difference("taken", user_id, item_id)

    def _is_of_erased(self, user_id: str, timestamp_ms: int) -> bool:
        """Whether this was on the log by the time of its user's tombstone."""
        return 0 <= timestamp_ms <= self._erased_ms.get(user_id, -1)

    def _saw(self, user_id: str, timestamp_ms: int) -> set[str]:
        """What he took, to be added to."""
        if user_id not in self._taken:
            self._taken[user_id] = set()
            self._n_came += 1
        self._last_ms[user_id] = max(timestamp_ms, self._last_ms.get(user_id, -1))
        return self._taken[user_id]


class Listed(NamedTuple):
    """What of a list is compared."""

    item_ids: list[str]
    position: dict[str, int]  # `topic-partition` -> next offset

    def is_newer(self, end: Mapping[str, int]) -> bool:
        """Whether it was made after messages that are not folded here."""
        return any(offset > end.get(name, offset) for name, offset in self.position.items())


class _Item(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    items: list[_Item]
    position: dict[str, int] = {}


_LIST = msgspec.json.Decoder(_List)


def listed(value: bytes) -> Listed | None:
    """A list as it was published; None where it is none."""
    try:
        found = _LIST.decode(value)
    except UNREADABLE:
        return None
    return Listed([item.id for item in found.items], found.position)
