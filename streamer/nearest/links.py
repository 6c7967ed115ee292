"""The kernels that keep the table of nearest items: look at rows, link both ways, count masses, let go.

`look` comes first and leaves rows and their dot products in scratch space; the others read them there.

    code    (dim,) int16, unit vector times 127
    found   (m,) int32, rows that a search came upon
    n       how many of `upkeep.visited` and `upkeep.dot` are filled
"""

import numpy as np

from streamer.compiled import entry_kernel, kernel
from streamer.fastmath import GOLDEN, scramble
from streamer.nearest.table import (
    DRAWS,
    FARTHER_THAN_ALL,
    INDEXED,
    MASS_ONE,
    N_HELD,
    N_LOST,
    N_NEAR,
    N_ROWS,
    N_SAMPLE,
    N_SCANNED,
    N_SWEEP,
    NONE,
    ONE,
    SCANNED,
    SPARSE,
    SWEEP,
    TAIL,
    dot_of,
    key_of,
    similarity,
)


@kernel
def key_at(table, owner, slot):
    """Key of the neighbour in a slot; a free slot is farther than all."""
    row = table.item[owner, slot] - 1
    if row < 0:
        return np.int64(FARTHER_THAN_ALL)
    return key_of(np.rint(np.float64(table.similarity[owner, slot]) * ONE), row)


@kernel
def farthest_slot(table, owner):
    """Slot of the farthest neighbour, or a free one."""
    chosen, least = 0, key_at(table, owner, 0)
    for slot in range(1, N_NEAR):
        key = key_at(table, owner, slot)
        if key < least:
            chosen, least = slot, key
    return chosen


@kernel
def is_in(numbers, number):
    """Whether a number is among these; looks at all of them, many at a time."""
    found = False
    for other in numbers:
        found |= other == number
    return found


@kernel
def slot_of(table, owner, row):
    """Slot in which the owner lists a row; -1 when it does not."""
    for slot in range(N_NEAR):
        if table.item[owner, slot] == row + 1:
            return slot
    return -1


@kernel
def propose(table, upkeep, owner, row, dot):
    """List a row with its owner, in place of the farthest: it is nearer, says the caller, who saves most of the calls."""
    if slot_of(table, owner, row) >= 0:
        return
    slot = farthest_slot(table, owner)
    if table.item[owner, slot] > 0:
        upkeep.n_listing[table.item[owner, slot] - 1] -= 1
    upkeep.n_listing[row] += 1
    table.item[owner, slot] = row + 1
    table.similarity[owner, slot] = np.float32(dot) / np.float32(ONE)
    upkeep.floor[owner] = key_at(table, owner, farthest_slot(table, owner))


@kernel
def look(table, upkeep, row, code, found):
    """Dot products of a code with every scanned row and the found ones, but not with its own row; how many."""
    n = np.int64(0)
    if upkeep.counters[N_SCANNED] > 0:
        for other in range(upkeep.counters[N_ROWS]):
            if upkeep.place[other] == SCANNED and other != row:
                upkeep.visited[n] = other
                upkeep.dot[n] = dot_of(table.vector, other, code)
                n += 1
    for other in found:
        if upkeep.place[other] == INDEXED and other != row:
            upkeep.visited[n] = other
            upkeep.dot[n] = dot_of(table.vector, other, code)
            n += 1
    return n


@entry_kernel
def look_around(table, upkeep, row, code, found):
    """As `look`, for Python."""
    return look(table, upkeep, row, code, found)


@kernel
def tail_weight(upkeep):
    """What an item that was not looked at weighs; nothing while all of them are."""
    return upkeep.counters[TAIL] if upkeep.counters[SPARSE] else np.int64(0)


@kernel
def add_to_masses(table, upkeep, n, sign):
    """Count an item in, or out, of the masses of the rows looked at; the sweep brings the tail weight to all."""
    tail = tail_weight(upkeep)
    for i in range(n):
        other = upkeep.visited[i]
        upkeep.mass[other] += sign * (upkeep.weights[upkeep.dot[i] + ONE] - tail)
        table.mass[other] = np.float32(upkeep.mass[other]) / np.float32(MASS_ONE)


@kernel
def fill(table, upkeep, row, n):
    """Give a row the nearest of those looked at, beside the neighbours it has, and its mass."""
    tail = tail_weight(upkeep)
    mass = tail * (upkeep.counters[N_HELD] - 1)
    for i in range(n):
        mass += upkeep.weights[upkeep.dot[i] + ONE] - tail
        if key_of(upkeep.dot[i], upkeep.visited[i]) > upkeep.floor[row]:
            propose(table, upkeep, row, upkeep.visited[i], upkeep.dot[i])
    upkeep.mass[row] = mass
    upkeep.counted[row] = upkeep.counters[N_HELD]
    table.mass[row] = np.float32(mass) / np.float32(MASS_ONE)
    if upkeep.lost[row]:
        upkeep.lost[row] = 0
        upkeep.counters[N_LOST] -= 1


@kernel
def lose(upkeep, owner):
    """Note that a row may lack one of its nearest."""
    if not upkeep.lost[owner]:
        upkeep.lost[owner] = 1
        upkeep.counters[N_LOST] += 1


@kernel
def clear(table, upkeep, row):
    """Free all slots of a row."""
    for slot in range(N_NEAR):
        if table.item[row, slot] > 0:
            upkeep.n_listing[table.item[row, slot] - 1] -= 1
        table.item[row, slot] = 0
        table.similarity[row, slot] = 0.0
    upkeep.floor[row] = FARTHER_THAN_ALL


@kernel
def unlist(table, upkeep, row):
    """Take a row out of all rows that list it; the pass ends with the last of them."""
    for owner in range(upkeep.counters[N_ROWS]):
        if upkeep.n_listing[row] == 0:
            break
        if is_in(table.item[owner], np.int32(row + 1)):
            slot = slot_of(table, owner, row)
            # A row with a free slot knew of no other, or lost one before.
            if upkeep.floor[owner] > FARTHER_THAN_ALL:
                lose(upkeep, owner)
            table.item[owner, slot] = 0
            table.similarity[owner, slot] = 0.0
            upkeep.floor[owner] = FARTHER_THAN_ALL
            upkeep.n_listing[row] -= 1


@kernel
def update_listings(table, upkeep, row):
    """After a row's vector changed: its new similarity in all rows that list it; the pass ends with the last of them.

    A neighbour that moved away and is the farthest now may have become farther than one that is not listed.
    """
    n_left = upkeep.n_listing[row]
    for owner in range(upkeep.counters[N_ROWS]):
        if n_left == 0:
            break
        if is_in(table.item[owner], np.int32(row + 1)):
            slot = slot_of(table, owner, row)
            n_left -= 1
            key_prev = key_at(table, owner, slot)
            table.similarity[owner, slot] = similarity(table, owner, row)
            key_next = key_at(table, owner, slot)
            floor_prev = upkeep.floor[owner]
            upkeep.floor[owner] = key_at(table, owner, farthest_slot(table, owner))
            if floor_prev > FARTHER_THAN_ALL and key_next < key_prev and key_next == upkeep.floor[owner]:
                lose(upkeep, owner)


@kernel
def draw(upkeep):
    """A row below N_ROWS: the n-th of a fixed pseudo-random sequence (splitmix64)."""
    drawn = scramble(np.uint64(upkeep.counters[DRAWS]) * GOLDEN)
    upkeep.counters[DRAWS] += 1
    return np.int64(drawn % np.uint64(upkeep.counters[N_ROWS]))


@kernel
def sample_tail(table, upkeep, row, code, found):
    """Move the tail weight towards the mean weight of random rows that are neither found nor near."""
    total, n = np.int64(0), np.int64(0)
    for _ in range(N_SAMPLE):
        other = draw(upkeep)
        if other == row or upkeep.place[other] == NONE or is_in(found, other):
            continue
        dot = dot_of(table.vector, other, code)
        if key_of(dot, other) < upkeep.floor[row]:
            total += upkeep.weights[dot + ONE]
            n += 1
    if n > 0:
        tail = upkeep.counters[TAIL]
        mean = total // n
        upkeep.counters[TAIL] = mean if tail == 0 else tail + (mean - tail) // 64


@kernel
def sweep(table, upkeep):
    """Bring the next masses up to the number of items held now: those that came or went weigh the tail weight each."""
    for _ in range(min(N_SWEEP, upkeep.counters[N_ROWS])):
        row = upkeep.counters[SWEEP] % upkeep.counters[N_ROWS]
        upkeep.counters[SWEEP] = row + 1
        if upkeep.place[row] != NONE:
            upkeep.mass[row] += upkeep.counters[TAIL] * (upkeep.counters[N_HELD] - upkeep.counted[row])
            upkeep.counted[row] = upkeep.counters[N_HELD]
            table.mass[row] = np.float32(upkeep.mass[row]) / np.float32(MASS_ONE)


@entry_kernel
def put_row(table, upkeep, row, code, found):
    """Link a row's new vector both ways. `take_row_out` came before, if the row had another vector."""
    upkeep.counters[N_HELD] += 1
    clear(table, upkeep, row)
    for k in range(code.size):
        table.vector[row, k] = code[k]
    update_listings(table, upkeep, row)
    n = look(table, upkeep, row, code, found)
    add_to_masses(table, upkeep, n, 1)
    fill(table, upkeep, row, n)
    for i in range(n):
        if key_of(upkeep.dot[i], row) > upkeep.floor[upkeep.visited[i]]:
            propose(table, upkeep, upkeep.visited[i], row, upkeep.dot[i])
    sample_tail(table, upkeep, row, code, found)
    if upkeep.counters[SPARSE]:
        sweep(table, upkeep)


@entry_kernel
def take_row_out(table, upkeep, row, code, found):
    """Take a row's old vector out of the masses, as if it were gone; other rows still list it."""
    n = look(table, upkeep, row, code, found)
    add_to_masses(table, upkeep, n, -1)
    upkeep.counters[N_HELD] -= 1


@entry_kernel
def forget_row(table, upkeep, row):
    """After `take_row_out`: nothing of the row is left, with itself or with others."""
    unlist(table, upkeep, row)
    clear(table, upkeep, row)
    for k in range(table.vector.shape[1]):
        table.vector[row, k] = 0
    table.mass[row] = 0.0
    upkeep.mass[row] = 0
    upkeep.counted[row] = 0
    upkeep.floor[row] = 0
    if upkeep.lost[row]:
        upkeep.lost[row] = 0
        upkeep.counters[N_LOST] -= 1


@entry_kernel
def refill_row(table, upkeep, row, code, found):
    """Look again for the nearest of a row that lost some."""
    n = look(table, upkeep, row, code, found)
    fill(table, upkeep, row, n)


@entry_kernel
def next_marked(marks, value, start, n_rows):
    """First row from `start` on, round the end, whose mark has this value; -1 when none has."""
    for i in range(n_rows):
        row = (start + i) % n_rows
        if marks[row] == value:
            return row
    return -1
