"""The packed table as the fold sees it: strings and rows, as `ids.IdTable` has them. How it is laid out: `table`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.ids import check_frozen
from streamer.packed_ids import table
from streamer.packed_ids.table import LENGTH, N_IDS, N_ROWS, N_TEXT, N_WIPED, RELEASED, Names, Table

MAX_BYTES = (1 << 16) - 1  # of an id in UTF-8
_FIRST_TEXT = 1 << 20  # bytes
_CHUNK = 16_384  # ids decoded at once


class PackedIds:
    """One kind of id. Never holds more than `max_rows`; a released row goes to the next newcomer.

    Args:
        max_rows: Rows of the table that these ids name.
    """

    def __init__(self, max_rows: int) -> None:
        n_slots = 1 << (max_rows + max_rows // 2).bit_length()
        self._max_rows = max_rows
        self._table = Table(
            np.zeros(_FIRST_TEXT, np.uint8),
            np.zeros(max_rows, np.int64),
            np.zeros(max_rows, np.uint32),
            np.zeros(n_slots, np.int32),
            np.zeros(5, np.int64),
        )

    def row(self, outside_id: str) -> int:
        """Row of an id, -1 when it has none. Never adds one."""
        return int(self._find([outside_id])[0])

    def admit(self, outside_id: str) -> int:
        """Row of an id, a new one if need be; -1 when the table is full."""
        return self.admit_many([outside_id])[0]

    def admit_many(self, outside_ids: Sequence[str]) -> list[int]:
        """Rows of these ids, as `admit` gives them one after the other.

        Raises:
            ValueError: an id is longer than MAX_BYTES.
        """
        names, rows = _names(outside_ids), np.empty(len(outside_ids), np.int32)
        self._make_room(names.text.size + LENGTH * rows.size)
        table.admit(self._table, names, rows)
        found: list[int] = rows.tolist()
        return found

    def n_unknown(self, outside_ids: Sequence[str]) -> int:
        """How many of these have no row; an id that comes twice counts twice."""
        return int(np.count_nonzero(self._find(outside_ids) < 0))

    def release(self, outside_id: str) -> int:
        """Forget an id; its row, whose tables the caller has cleared, may be given again. -1 when it has none."""
        row = self.row(outside_id)
        if row >= 0:
            table.release(self._table, row)
        return row

    def id(self, row: int) -> str | None:
        """The id that owns a row, None when nobody does."""
        if not 0 <= row < self._table.n[N_ROWS]:
            return None
        begin = int(self._table.start[row])
        return self._read(begin) if begin >= 0 else None

    @property
    def is_full(self) -> bool:
        """Whether a newcomer gets no row."""
        return self.n_free == 0

    @property
    def next_row(self) -> int:
        """The row that the next newcomer gets; -1 when the table is full."""
        n = self._table.n
        if n[RELEASED]:
            return int(n[RELEASED]) - 1
        return int(n[N_ROWS]) if n[N_ROWS] < self._max_rows else -1

    def __len__(self) -> int:
        return int(self._table.n[N_IDS])

    @property
    def n_free(self) -> int:
        """How many newcomers find room."""
        return self._max_rows - len(self)

    @property
    def n_released(self) -> int:
        """Rows that will be given again."""
        return self.n_rows - len(self)

    @property
    def n_rows(self) -> int:
        """Rows given so far, released ones included: how much of the tables is in use."""
        return int(self._table.n[N_ROWS])

    @property
    def released(self) -> tuple[int, ...]:
        """Rows that will be given again, the next one last."""
        return tuple(self._released().tolist())

    def items(self) -> Iterator[tuple[str, int]]:
        """(id, row) of all, by row."""
        for row in range(self.n_rows):
            begin = int(self._table.start[row])
            if begin >= 0:
                yield self._read(begin), row

    def n_bytes(self) -> int:
        """Bytes in use."""
        own = self._table
        return int(own.n[N_TEXT]) + self.n_rows * 12 + own.slots.nbytes

    def freeze(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """The ids as they are now, as `IdTable.freeze` gives them, by row."""
        released, n_rows = self._released(), self.n_rows
        text, start = self._table.text[: self._table.n[N_TEXT]].copy(), self._table.start[:n_rows].copy()

        def arrays() -> dict[str, NDArray[Any]]:
            rows = np.flatnonzero(start >= 0)
            begins = start[rows]
            n_bytes = text[begins].astype(np.int64) | text[begins + 1].astype(np.int64) << 8
            packed = np.empty(int(n_bytes.sum()), np.uint8)
            lengths = np.empty(rows.size, np.int32)
            table.unpack(text, begins + LENGTH, n_bytes, packed, lengths)
            return {
                "text": packed,
                "lengths": lengths,
                "rows": rows.astype(np.int32),
                "released": released,
                "n_rows": np.array([n_rows], np.int64),
            }

        return arrays

    @classmethod
    def thaw(cls, max_rows: int, arrays: Mapping[str, NDArray[Any]]) -> "PackedIds":
        """The table whose `freeze` this is, or that of an `IdTable`.

        Raises:
            ValueError: the arrays contradict each other, or do not fit into `max_rows`.
        """
        text, ends, lengths, rows, released, n_rows = check_frozen(max_rows, arrays)
        ids = cls(max_rows)
        for begin in range(0, rows.size, _CHUNK):
            bounds = zip(
                (ends - lengths)[begin : begin + _CHUNK].tolist(),
                ends[begin : begin + _CHUNK].tolist(),
                strict=True,
            )
            ids._put([text[first:last] for first, last in bounds], rows[begin : begin + _CHUNK].copy())
        own = ids._table
        own.n[N_ROWS] = n_rows
        for row in released.tolist():
            own.start[row] = -1 - own.n[RELEASED]
            own.n[RELEASED] = row + 1
        return ids

    def _released(self) -> NDArray[np.int32]:
        rows = np.empty(self.n_released, np.int32)
        table.follow(self._table, rows)
        return rows

    def _put(self, outside_ids: list[str], rows: NDArray[np.int32]) -> None:
        names = _names(outside_ids)
        self._make_room(names.text.size + LENGTH * rows.size)
        if not table.put(self._table, names, rows):
            raise ValueError("ids: expected different ones, got one twice")

    def _find(self, outside_ids: Sequence[str]) -> NDArray[np.int32]:
        rows = np.empty(len(outside_ids), np.int32)
        table.find(self._table, _names(outside_ids), rows)
        return rows

    def _read(self, begin: int) -> str:
        text = self._table.text
        n_bytes = int(text[begin]) | int(text[begin + 1]) << 8
        return text[begin + LENGTH : begin + LENGTH + n_bytes].tobytes().decode()

    def _make_room(self, n_more: int) -> None:
        """Room for so many bytes of text: places of released ids, if they are half of it, else twice as much."""
        own = self._table
        if own.n[N_TEXT] + n_more <= own.text.size:
            return
        size, is_sparse = own.text.size, 2 * own.n[N_WIPED] > own.n[N_TEXT]
        while own.n[N_TEXT] - (own.n[N_WIPED] if is_sparse else 0) + n_more > size:
            size *= 2
        text = np.zeros(size, np.uint8)
        if is_sparse:
            table.compact(own, text)
        else:
            text[: own.n[N_TEXT]] = own.text[: own.n[N_TEXT]]
        self._table = own._replace(text=text)


def _names(outside_ids: Sequence[str]) -> Names:
    encoded = list(map(str.encode, outside_ids))
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    if lengths.max(initial=0) > MAX_BYTES:
        raise ValueError(f"ids: expected at most {MAX_BYTES} bytes an id, got {lengths.max()}")
    hashes = np.fromiter(map(hash, outside_ids), np.int64, len(encoded))
    return Names(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(lengths), hashes.astype(np.uint32))


def warm_up() -> None:
    """Compile, or load from disk, every kernel of this package."""
    ids = PackedIds(4)
    ids.admit_many(["a", "b"])
    ids.release("a")
    PackedIds.thaw(4, ids.freeze()())
    table.compact(ids._table, ids._table.text.copy())
