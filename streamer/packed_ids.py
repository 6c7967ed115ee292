"""Ids by the million: what `ids.IdTable` does, for users, in a quarter of the memory.

A dict of `str` takes some 140 bytes an id, most of them for the objects of Python. Here an id takes what it is long, and about
twenty bytes beside:

    text    | length | UTF-8 | length | UTF-8 | ...      ids in the order in which they came; the length takes two bytes
    start   [row]  -> where in `text`; of a row that nobody owns: - 2 - the row that was released before it, -1 = none was
    mark    [row]  -> 32 bits of the id's hash: looked at before the text is, and where the id's search begins
    slots   [hash] -> row + 1, open addressing with linear probing; 0 = free

The hash is Python's own, which differs from process to process, so that nobody can send ids that all meet in one slot. Nothing
that leaves the table depends on it. A released id is wiped at once; its place is won back when half of the text is such places.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.compiled import entry_kernel, kernel

MAX_BYTES = (1 << 16) - 1  # of an id in UTF-8
_LENGTH = 2  # bytes of a length
_FIRST_TEXT = 1 << 20  # bytes
_CHUNK = 16_384  # ids decoded at once
N_ROWS, N_IDS, N_TEXT, N_WIPED, RELEASED = range(
    5
)  # indices of _Table.n; RELEASED: row + 1 of the next one to be given


class _Table(NamedTuple):
    """See the picture above."""

    text: NDArray[np.uint8]
    start: NDArray[np.int64]  # (max_rows,)
    mark: NDArray[np.uint32]  # (max_rows,)
    slots: NDArray[np.int32]  # (a power of two, at least one and a half times max_rows,)
    n: NDArray[np.int64]  # (5,)


class _Names(NamedTuple):
    """Some ids, one after the other."""

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]  # (n,)
    marks: NDArray[np.uint32]  # (n,)


class PackedIds:
    """One kind of id. Never holds more than `max_rows`; a released row goes to the next newcomer.

    Args:
        max_rows: Rows of the table that these ids name.
    """

    def __init__(self, max_rows: int) -> None:
        n_slots = 1 << (max_rows + max_rows // 2).bit_length()
        self._max_rows = max_rows
        self._table = _Table(
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
        self._make_room(names.text.size + _LENGTH * rows.size)
        _admit(self._table, names, rows)
        found: list[int] = rows.tolist()
        return found

    def n_unknown(self, outside_ids: Sequence[str]) -> int:
        """How many of these have no row; an id that comes twice counts twice."""
        return int(np.count_nonzero(self._find(outside_ids) < 0))

    def release(self, outside_id: str) -> int:
        """Forget an id; its row, whose tables the caller has cleared, may be given again. -1 when it has none."""
        row = self.row(outside_id)
        if row >= 0:
            _release(self._table, row)
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
        table = self._table
        return int(table.n[N_TEXT]) + self.n_rows * 12 + table.slots.nbytes

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
            _unpack(text, begins + _LENGTH, n_bytes, packed, lengths)
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
        lengths, rows, released = arrays["lengths"], arrays["rows"], arrays["released"]
        n_rows, text = int(arrays["n_rows"][0]), arrays["text"].tobytes().decode()
        if (
            not 0 <= n_rows <= max_rows
            or lengths.min(initial=1) < 0
            or int(lengths.sum(dtype=np.int64)) != len(text)
        ):
            raise ValueError(
                f"ids: expected at most {max_rows} rows and a text as long as its ids, got {n_rows} rows"
            )
        everyone = np.concatenate([rows, released])
        if lengths.size != rows.size or not np.array_equal(np.sort(everyone), np.arange(n_rows)):
            raise ValueError(f"ids: expected each of {n_rows} rows once, owned or released")
        ids = cls(max_rows)
        ends = np.cumsum(lengths, dtype=np.int64)
        for begin in range(0, rows.size, _CHUNK):
            bounds = zip(
                (ends - lengths)[begin : begin + _CHUNK].tolist(),
                ends[begin : begin + _CHUNK].tolist(),
                strict=True,
            )
            ids._put([text[first:last] for first, last in bounds], rows[begin : begin + _CHUNK])
        table = ids._table
        table.n[N_ROWS] = n_rows
        for row in released.tolist():
            table.start[row] = -1 - table.n[RELEASED]
            table.n[RELEASED] = row + 1
        return ids

    def _released(self) -> NDArray[np.int32]:
        rows = np.empty(self.n_released, np.int32)
        _follow(self._table, rows)
        return rows

    def _put(self, outside_ids: list[str], rows: NDArray[np.int32]) -> None:
        names = _names(outside_ids)
        self._make_room(names.text.size + _LENGTH * rows.size)
        if not _put(self._table, names, rows):
            raise ValueError("ids: expected different ones, got one twice")

    def _find(self, outside_ids: Sequence[str]) -> NDArray[np.int32]:
        rows = np.empty(len(outside_ids), np.int32)
        _find(self._table, _names(outside_ids), rows)
        return rows

    def _read(self, begin: int) -> str:
        text = self._table.text
        n_bytes = int(text[begin]) | int(text[begin + 1]) << 8
        return text[begin + _LENGTH : begin + _LENGTH + n_bytes].tobytes().decode()

    def _make_room(self, n_more: int) -> None:
        """Room for so many bytes of text: places of released ids, if they are half of it, else twice as much."""
        table = self._table
        if table.n[N_TEXT] + n_more <= table.text.size:
            return
        size, is_sparse = table.text.size, 2 * table.n[N_WIPED] > table.n[N_TEXT]
        while table.n[N_TEXT] - (table.n[N_WIPED] if is_sparse else 0) + n_more > size:
            size *= 2
        text = np.zeros(size, np.uint8)
        if is_sparse:
            _compact(table, text)
        else:
            text[: table.n[N_TEXT]] = table.text[: table.n[N_TEXT]]
        self._table = table._replace(text=text)


def _names(outside_ids: Sequence[str]) -> _Names:
    encoded = list(map(str.encode, outside_ids))
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    if lengths.max(initial=0) > MAX_BYTES:
        raise ValueError(f"ids: expected at most {MAX_BYTES} bytes an id, got {lengths.max()}")
    hashes = np.fromiter(map(hash, outside_ids), np.int64, len(encoded))
    return _Names(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(lengths), hashes.astype(np.uint32))


@kernel
def _slot_of(table: _Table, names: _Names, at: int, begin: int, end: int) -> Any:
    """Slot of a name, or the free one where it would go."""
    mask = table.slots.size - 1
    slot = np.int64(names.marks[at]) & mask
    while table.slots[slot] != 0:
        row = table.slots[slot] - 1
        if table.mark[row] == names.marks[at] and _is_same(table, row, names.text, begin, end):
            break
        slot = (slot + 1) & mask
    return slot


@kernel
def _is_same(table: _Table, row: int, text: NDArray[np.uint8], begin: int, end: int) -> Any:
    own = table.start[row]
    n_bytes = np.int64(table.text[own]) | np.int64(table.text[own + 1]) << 8
    if n_bytes != end - begin:
        return False
    n = 0
    while n < n_bytes and table.text[own + _LENGTH + n] == text[begin + n]:
        n += 1
    return n == n_bytes


@kernel
def _write(table: _Table, names: _Names, at: int, begin: int, end: int, slot: int, row: int) -> None:
    """Give a row to a name; there is room for its text."""
    own = table.n[N_TEXT]
    table.text[own] = (end - begin) & 255
    table.text[own + 1] = (end - begin) >> 8
    for n in range(end - begin):
        table.text[own + _LENGTH + n] = names.text[begin + n]
    table.n[N_TEXT] = own + _LENGTH + end - begin
    table.n[N_IDS] += 1
    table.start[row] = own
    table.mark[row] = names.marks[at]
    table.slots[slot] = row + 1


@entry_kernel
def _find(table: _Table, names: _Names, rows: NDArray[np.int32]) -> None:
    """Row of every name, -1 = none."""
    begin = np.int64(0)
    for at in range(rows.size):
        end = names.ends[at]
        rows[at] = table.slots[_slot_of(table, names, at, begin, end)] - 1
        begin = end


@entry_kernel
def _admit(table: _Table, names: _Names, rows: NDArray[np.int32]) -> None:
    """Row of every name, a new one if need be, -1 when all are given."""
    begin = np.int64(0)
    for at in range(rows.size):
        end = names.ends[at]
        slot = _slot_of(table, names, at, begin, end)
        row = np.int64(table.slots[slot]) - 1
        if row < 0:
            row = table.n[RELEASED] - 1
            if row >= 0:
                table.n[RELEASED] = -1 - table.start[row]
            elif table.n[N_ROWS] < table.start.size:
                row = table.n[N_ROWS]
                table.n[N_ROWS] += 1
            if row >= 0:
                _write(table, names, at, begin, end, slot, row)
        rows[at] = row
        begin = end


@entry_kernel
def _put(table: _Table, names: _Names, rows: NDArray[np.int32]) -> Any:
    """Give these rows to these names; False when one was there before."""
    begin = np.int64(0)
    for at in range(rows.size):
        end = names.ends[at]
        slot = _slot_of(table, names, at, begin, end)
        if table.slots[slot] != 0:
            return False
        _write(table, names, at, begin, end, slot, np.int64(rows[at]))
        begin = end
    return True


@entry_kernel
def _release(table: _Table, row: int) -> None:
    """Wipe an id, and free its slot; those behind it move up, so that no search ends too early."""
    mask = table.slots.size - 1
    hole = np.int64(table.mark[row]) & mask
    while table.slots[hole] != row + 1:
        hole = (hole + 1) & mask
    at = (hole + 1) & mask
    while table.slots[at] != 0:
        home = np.int64(table.mark[table.slots[at] - 1]) & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            table.slots[hole] = table.slots[at]
            hole = at
        at = (at + 1) & mask
    table.slots[hole] = 0
    own = table.start[row]
    n_bytes = np.int64(table.text[own]) | np.int64(table.text[own + 1]) << 8
    table.text[own + _LENGTH : own + _LENGTH + n_bytes] = 0
    table.n[N_WIPED] += _LENGTH + n_bytes
    table.n[N_IDS] -= 1
    table.mark[row] = 0
    table.start[row] = -1 - table.n[RELEASED]
    table.n[RELEASED] = row + 1


@entry_kernel
def _follow(table: _Table, rows: NDArray[np.int32]) -> None:
    """Rows that were released, the last one last."""
    row = table.n[RELEASED] - 1
    for at in range(rows.size - 1, -1, -1):
        rows[at] = row
        row = -2 - table.start[row]


@entry_kernel
def _compact(table: _Table, text: NDArray[np.uint8]) -> None:
    """Write the ids that are left one after the other, by row."""
    n_text = np.int64(0)
    for row in range(table.n[N_ROWS]):
        own = table.start[row]
        if own < 0:
            continue
        n_bytes = _LENGTH + (np.int64(table.text[own]) | np.int64(table.text[own + 1]) << 8)
        for n in range(n_bytes):
            text[n_text + n] = table.text[own + n]
        table.start[row] = n_text
        n_text += n_bytes
    table.n[N_TEXT] = n_text
    table.n[N_WIPED] = 0


@entry_kernel
def _unpack(
    text: NDArray[np.uint8],
    begins: NDArray[np.int64],
    n_bytes: NDArray[np.int64],
    packed: NDArray[np.uint8],
    lengths: NDArray[np.int32],
) -> None:
    """The ids that begin there, one after the other, and how many characters each has."""
    end = np.int64(0)
    for at in range(begins.size):
        lengths[at] = 0
        for n in range(begins[at], begins[at] + n_bytes[at]):
            packed[end] = text[n]
            lengths[at] += (text[n] & 0xC0) != 0x80  # bytes that go on with a character begin none
            end += 1
