"""Which lists must be written, and their bytes: a plan, not a write. Also remembers what each user can read now.

The bytes are `recommendations.v1` of `schemas/`, joined from fragments: an item's id is encoded once, not once a list.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer import __version__
from streamer.events import ANONYMOUS, UNREADABLE
from streamer.outcomes import Outcomes
from streamer.paths import NAMES
from streamer.pipeline import Ranking, State

ANONYMOUS_ROW = -1
# in a published list, where else an item row + 1 is
_FORGOTTEN = -1  # an item whose row is somebody else's by now
_INHERITED = -2  # in the first place: the list in the store is not what stands here, and may hold anything
_N_MARKS = 2  # these are the last places of a table by item row + 1
NO_USERS: NDArray[np.int32] = np.zeros(0, np.int32)
_LISTS_A_TIME = 1 << 16  # that are looked through: bounds what it takes in memory
_PATH_FRAGMENTS = [b',"path":' + msgspec.json.encode(name) + b"}" for name in NAMES]


def model_name(vector_version: int) -> str:
    """What a list says it was made by: our version, and that of the network's weights (0 = none)."""
    return f"streamer-{__version__}+v{vector_version}"


def owners(state: State, user_rows: NDArray[np.int32]) -> list[str | None]:
    """Id that the list of each row is published under; None where nobody owns it."""
    id_of = state.ids.users.id
    return [ANONYMOUS if row == ANONYMOUS_ROW else id_of(row) for row in user_rows.tolist()]


class _Named(msgspec.Struct):
    id: str


_LIST = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_ITEM = msgspec.json.Decoder(_Named)


def without_items(value: bytes, item_ids: Collection[str]) -> bytes | None:
    """A published list without these items, and else as it was; None where it holds none of them, or is no list."""
    try:
        found = _LIST.decode(value)
        items = _ITEMS.decode(found["items"])
        kept = [item for item in items if _ITEM.decode(item).id not in item_ids]
    except (*UNREADABLE, KeyError):  # not one of ours: it is made again soon
        return None
    if len(kept) == len(items):
        return None
    return msgspec.json.encode(found | {"items": msgspec.Raw(b"[" + b",".join(kept) + b"]")})


class Publisher:
    """Encodes lists; keeps the last one of every user by item rows (4 bytes an item), and its age, to see whether it was right.

    Args:
        max_users: Rows of users.
        k: Length of lists.
    """

    def __init__(self, max_users: int, k: int) -> None:
        # rows + 1, so that untouched pages stay untouched; the last row is the anonymous list
        self._published = np.zeros((max_users + 1, k), np.int32)
        self._made_s = np.zeros(
            max_users + 1, np.uint32
        )  # epoch seconds; 0: there is none, or it is inherited
        self._item_fragments: list[bytes] = []
        self._unnamed: set[int] = set()  # rows whose fragment is that of nobody, or of who had them before

    def encode(
        self, state: State, ranking: Ranking, now_ms: int, positions: Mapping[str, int]
    ) -> list[tuple[str, bytes]]:
        """(user id, list) of each ranked user who still has a row; what is encoded counts as published.

        Args:
            now_ms: Wall clock, for `generated_at`.
            positions: `topic-partition` -> next offset: how far the log was folded.
        """
        self._learn_ids(state)
        user_ids = owners(state, ranking.user_rows)
        is_owned = [user_id is not None for user_id in user_ids]
        self._published[ranking.user_rows[is_owned]] = ranking.items[is_owned] + 1
        self._made_s[ranking.user_rows[is_owned]] = now_ms // 1000
        model = msgspec.json.encode(model_name(state.graph.vectors.version))
        tail = b',"model":%b,"position":%b}' % (model, msgspec.json.encode(dict(positions)))
        generated = b'],"generated_at":%d,"event_time":' % now_ms
        users, rows = state.graph.users, ranking.user_rows
        has_events = (rows != ANONYMOUS_ROW) & (users["n_events"][rows] > 0)
        times = np.where(has_events, users["last_time_ms"][rows], -1)
        entries = []
        for user_id, time_ms, items, scores, paths in zip(
            user_ids,
            times.tolist(),
            ranking.items.tolist(),
            ranking.scores.tolist(),
            ranking.paths.tolist(),
            strict=True,
        ):
            if user_id is None:
                continue
            event_time = b"null" if time_ms < 0 else b"%d" % time_ms
            head = b'{"version":"recommendations.v1","user_id":%b,"items":[' % msgspec.json.encode(user_id)
            entries.append(
                (user_id, head + self._items(items, scores, paths) + generated + event_time + tail)
            )
        return entries

    def served(self, outcomes: Outcomes, since_ms: int = 0) -> NDArray[np.int32]:
        """Rank of every item of a batch on the list that its user could read when it was folded: (n,), 0 = not on it.

        Of a list that a retired item was cut out of it is that before the cut, until it is made again: never too good.
        Call it before the lists of the batch are encoded. A user without a list of his own reads the anonymous one.

        Args:
            since_ms: Lists made before, epoch milliseconds, have expired.
        """
        lists = self._published[outcomes.user_row]
        without = (lists[:, 0] == 0) | (lists[:, 0] == _INHERITED)
        without |= self._is_older(self._made_s[outcomes.user_row], since_ms)
        lists[without] = self._published[ANONYMOUS_ROW]
        on_list = lists == outcomes.item_row[:, None] + 1
        return np.where(on_list.any(axis=1), on_list.argmax(axis=1) + 1, 0).astype(np.int32)

    def holders(self, item_rows: NDArray[np.int32], n_users: int) -> NDArray[np.int32]:
        """Whose list, as it was published last, holds one of these items, or was inherited.

        Args:
            item_rows: (n,) int32 rows of items.
            n_users: Rows of users in use.

        Returns:
            Rows of users, ascending; `ANONYMOUS_ROW` comes first.
        """
        k = self._published.shape[1]
        wanted = np.zeros(1 + len(self._item_fragments) + _N_MARKS, np.bool_)
        # what has no fragment was never published
        wanted[item_rows[item_rows < len(self._item_fragments)] + 1] = True
        wanted[_INHERITED] = True
        found = [np.full(int(wanted[self._published[ANONYMOUS_ROW]].any()), ANONYMOUS_ROW, np.int32)]
        for begin in range(0, n_users, _LISTS_A_TIME):
            items = self._published[begin : min(begin + _LISTS_A_TIME, n_users)]
            places = np.flatnonzero(wanted[items].reshape(-1))
            found.append((begin + np.unique(places // k)).astype(np.int32))
        return np.concatenate(found)

    def stale(self, begin: int, end: int, before_ms: int) -> NDArray[np.int32]:
        """Rows from `begin` on, before `end`, whose list was encoded before that time, epoch milliseconds; ascending."""
        made_s = self._made_s[begin:end]
        rows: NDArray[np.intp] = np.flatnonzero((made_s > 0) & self._is_older(made_s, before_ms))
        return (begin + rows).astype(np.int32)

    def inherit(self, user_rows: NDArray[np.int32]) -> None:
        """The store may hold any lists of these users; what was encoded before means nothing."""
        self._published[user_rows, 0] = _INHERITED
        self._made_s[user_rows] = 0

    def inherited(self, user_rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Of these users those whose list was not encoded since."""
        found: NDArray[np.int32] = user_rows[self._published[user_rows, 0] == _INHERITED]
        return found

    def forget(self, user_rows: Sequence[int] | NDArray[np.int32]) -> None:
        """The lists of these users are deleted; whoever gets a row next starts without one."""
        rows = np.asarray(user_rows, np.int32)
        self._published[rows], self._made_s[rows] = 0, 0

    def forget_items(
        self, item_rows: Sequence[int], retired_rows: Sequence[int], n_users: int
    ) -> NDArray[np.int32]:
        """These rows are those of other items from now on: lists that hold them are read on, and none counts for a newcomer.

        Args:
            item_rows: Rows that were given up.
            retired_rows: Of these, rows of items that may not be listed.
            n_users: Rows of users in use.

        Returns:
            Rows of users whose list holds a retired one, ascending; `ANONYMOUS_ROW` comes first.
        """
        holders = self.holders(np.array(retired_rows, np.int32), n_users) if retired_rows else NO_USERS
        n_named = len(self._item_fragments)
        is_gone = np.zeros(1 + n_named + _N_MARKS, np.bool_)
        is_gone[[row + 1 for row in item_rows if row < n_named]] = True
        for begin in range(0, n_users, _LISTS_A_TIME):
            lists = self._published[begin : min(begin + _LISTS_A_TIME, n_users)]
            lists[is_gone[lists]] = _FORGOTTEN
        anonymous = self._published[ANONYMOUS_ROW]
        anonymous[is_gone[anonymous]] = _FORGOTTEN
        self._unnamed.update(row for row in item_rows if row < n_named)
        return holders

    @staticmethod
    def _is_older(made_s: NDArray[np.uint32], before_ms: int) -> NDArray[np.bool_]:
        """Whether lists were made before a time, which may lie before 1970: a clock less an age."""
        older: NDArray[np.bool_] = made_s < max(before_ms, 0) // 1000
        return older

    def _learn_ids(self, state: State) -> None:
        items = state.ids.items
        for row in range(len(self._item_fragments), items.n_rows):
            self._item_fragments.append(b"")
            self._unnamed.add(row)
        if self._unnamed:
            named = [row for row in self._unnamed if items.id(row) is not None]
            for row in named:
                self._item_fragments[row] = b'{"id":%b,"score":' % msgspec.json.encode(items.id(row))
            self._unnamed.difference_update(named)

    def _items(self, items: list[int], scores: list[float], paths: list[int]) -> bytes:
        fragments = self._item_fragments
        return b",".join(
            [
                b"%b%.6g%b" % (fragments[item], score, _PATH_FRAGMENTS[path])
                for item, score, path in zip(items, scores, paths, strict=True)
                if item >= 0
            ]
        )
