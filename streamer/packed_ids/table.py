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

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.compiled import entry_kernel, kernel

LENGTH = 2  # bytes of a length
# indices of Table.n; RELEASED: row + 1 of the next one to be given
N_ROWS, N_IDS, N_TEXT, N_WIPED, RELEASED = range(5)


class Table(NamedTuple):
    """See the picture above."""

    text: NDArray[np.uint8]
    start: NDArray[np.int64]  # (max_rows,)
    mark: NDArray[np.uint32]  # (max_rows,)
    slots: NDArray[np.int32]  # (a power of two, at least one and a half times max_rows,)
    n: NDArray[np.int64]  # (5,)


class Names(NamedTuple):
    """Some ids, one after the other."""

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]  # (n,)
    marks: NDArray[np.uint32]  # (n,)


@kernel
def _slot_of(table: Table, names: Names, at: int, begin: int, end: int) -> Any:
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
def _is_same(table: Table, row: int, text: NDArray[np.uint8], begin: int, end: int) -> Any:
    own = table.start[row]
    n_bytes = np.int64(table.text[own]) | np.int64(table.text[own + 1]) << 8
    if n_bytes != end - begin:
        return False
    n = 0
    while n < n_bytes and table.text[own + LENGTH + n] == text[begin + n]:
        n += 1
    return n == n_bytes


@kernel
def _write(table: Table, names: Names, at: int, begin: int, end: int, slot: int, row: int) -> None:
    """Give a row to a name; there is room for its text."""
    own = table.n[N_TEXT]
    table.text[own] = (end - begin) & 255
    table.text[own + 1] = (end - begin) >> 8
    for n in range(end - begin):
        table.text[own + LENGTH + n] = names.text[begin + n]
    table.n[N_TEXT] = own + LENGTH + end - begin
    table.n[N_IDS] += 1
    table.start[row] = own
    table.mark[row] = names.marks[at]
    table.slots[slot] = row + 1


@entry_kernel
def find(table: Table, names: Names, rows: NDArray[np.int32]) -> None:
    """Row of every name, -1 = none."""
    begin = np.int64(0)
    for at in range(rows.size):
        end = names.ends[at]
        rows[at] = table.slots[_slot_of(table, names, at, begin, end)] - 1
        begin = end


@entry_kernel
def admit(table: Table, names: Names, rows: NDArray[np.int32]) -> None:
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
def put(table: Table, names: Names, rows: NDArray[np.int32]) -> Any:
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
def release(table: Table, row: int) -> None:
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
    table.text[own + LENGTH : own + LENGTH + n_bytes] = 0
    table.n[N_WIPED] += LENGTH + n_bytes
    table.n[N_IDS] -= 1
    table.mark[row] = 0
    table.start[row] = -1 - table.n[RELEASED]
    table.n[RELEASED] = row + 1


@entry_kernel
def follow(table: Table, rows: NDArray[np.int32]) -> None:
    """Rows that were released, the last one last."""
    row = table.n[RELEASED] - 1
    for at in range(rows.size - 1, -1, -1):
        rows[at] = row
        row = -2 - table.start[row]


@entry_kernel
def compact(table: Table, text: NDArray[np.uint8]) -> None:
    """Write the ids that are left one after the other, by row."""
    n_text = np.int64(0)
    for row in range(table.n[N_ROWS]):
        own = table.start[row]
        if own < 0:
            continue
        n_bytes = LENGTH + (np.int64(table.text[own]) | np.int64(table.text[own + 1]) << 8)
        for n in range(n_bytes):
            text[n_text + n] = table.text[own + n]
        table.start[row] = n_text
        n_text += n_bytes
    table.n[N_TEXT] = n_text
    table.n[N_WIPED] = 0


@entry_kernel
def unpack(
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
