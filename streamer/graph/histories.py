"""Histories: a user's last items in the order of event time, and the set of all items he ever took.

An event that comes late is put in its place: the later items move on by one. Places are as exact as the times kept (`TICK_MS`);
a tie keeps the order of the log. One that is older than all items kept counts as an event, and is not kept.

The set decides what may be listed, so it is exact: an open-addressing table of his own for each user, in power-of-two blocks
of one pool. A block that is three quarters full moves to one twice as large and is handed on to the next user who needs
its size; when the pool is used up, to two who need half of it.

Where there is no room for an item, the user is OVERFULL for good: his last items count as taken all the same, and his events
are not counted in what is measured, since nobody knows any more which items are new to him.

    users[row].ring                        20 item rows, the newest at (n_events - 1) % 20, the one before it a place before
    users[row].ring_time, .ring_value      event time and value of each
    taken.item[start : start + 2**class]   item row + 1, linear probing
"""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.state import (
    HISTORY,
    MAX_TAKEN_CLASS,
    MIN_TAKEN_CLASS,
    N_SLOTS_USED,
    N_UNRECORDED,
    NO_VALUE,
    OVERFULL,
    ROUND,
    TAKEN_CLASS,
    TICK_MS,
    VALUE_UNIT,
)

_ALIGNED = 1 << MIN_TAKEN_CLASS  # all blocks start at multiples of the smallest one


@kernel
def history_length(graph, user_row):
    """How many of the user's last items are kept in order."""
    return min(np.int64(graph.users[user_row]["n_events"]), HISTORY)


@kernel
def past_item(graph, user_row, k):
    """Row of the user's item k events ago; 0 is the newest, k < history_length."""
    user = graph.users[user_row]
    return np.int64(user["ring"][(user["n_events"] - 1 - k) % HISTORY])


@kernel
def count_later(graph, user_row, time_ms):
    """How many of the items kept come after an event at this time; `HISTORY`: it is older than all of a full history."""
    user = graph.users[user_row]
    n_events, tick = np.int64(user["n_events"]), time_ms // TICK_MS
    n_later, length = 0, min(n_events, HISTORY)
    while n_later < length and np.int64(user["ring_time"][(n_events - 1 - n_later) % HISTORY]) > tick:
        n_later += 1
    return n_later


@kernel
def probe(graph, start, size, item_row):
    """Slot that holds the item, or the free slot where it would go."""
    mask = size - 1
    mixed = (np.uint64(item_row) * np.uint64(2654435769)) & np.uint64(0xFFFFFFFF)
    at = np.int64(mixed >> np.uint64(16)) & mask
    while graph.taken.item[start + at] != 0 and graph.taken.item[start + at] != item_row + 1:
        at = (at + 1) & mask
    return start + at


@kernel
def n_slots(user):
    """How many slots the user's set has; 0 = none yet."""
    size_class = np.int64(user["taken_class"]) & TAKEN_CLASS
    return np.int64(1) << size_class if size_class > 0 else np.int64(0)


@kernel
def is_overfull(user):
    """Whether an item that the user took ever found no room in his set."""
    return user["taken_class"] & OVERFULL != 0


@kernel
def _is_recorded(graph, user, item_row):
    size = n_slots(user)
    return size > 0 and graph.taken.item[probe(graph, user["taken_start"], size, item_row)] != 0


@kernel
def has_taken(graph, user_row, item_row):
    """Whether the user ever took the item, as far as that is known."""
    user = graph.users[user_row]
    found = _is_recorded(graph, user, item_row)
    if not found and is_overfull(user):
        for k in range(history_length(graph, user_row)):
            found |= past_item(graph, user_row, k) == item_row
    return found


@kernel
def _push_free(taken, start, size_class):
    """Put a cleared block in front of the free ones of its size; its first slot says which is next: 8-slot units, + 1."""
    next_free = taken.free[size_class]
    taken.item[start] = next_free // _ALIGNED + 1 if next_free >= 0 else 0
    taken.free[size_class] = start


@kernel
def _pop_free(taken, size_class):
    """First slot of a free block of this size, -1 when there is none."""
    start = taken.free[size_class]
    if start >= 0:
        taken.free[size_class] = (np.int64(taken.item[start]) - 1) * _ALIGNED if taken.item[start] > 0 else -1
        taken.item[start] = 0
    return start


@kernel
def _take_block(graph, size_class):
    """First slot of a cleared block of 2**size_class slots, or -1 when there is none, and no larger one to halve."""
    taken = graph.taken
    start = _pop_free(taken, size_class)
    if start >= 0:
        return start
    if taken.used[N_SLOTS_USED] + (1 << size_class) <= taken.item.size:
        start = taken.used[N_SLOTS_USED]
        taken.used[N_SLOTS_USED] += 1 << size_class
        return start
    larger = size_class + 1
    while larger <= MAX_TAKEN_CLASS and taken.free[larger] < 0:
        larger += 1
    if larger > MAX_TAKEN_CLASS:
        return np.int64(-1)
    start = _pop_free(taken, larger)
    while larger > size_class:
        larger -= 1
        _push_free(taken, start + (1 << larger), larger)
    return start


@kernel
def _free_block(graph, start, size_class):
    taken = graph.taken
    for slot in range(start, start + (1 << size_class)):
        taken.item[slot] = 0
        if graph.repeats:
            taken.times[slot] = 0
            taken.last[slot] = 0
    _push_free(taken, start, size_class)


@kernel
def _grow(graph, user_row):
    """Move the user's set to a block twice as large (or give him his first); False when there is no room."""
    user = graph.users[user_row]
    old_start, old_class = user["taken_start"], np.int64(user["taken_class"]) & TAKEN_CLASS
    new_class = max(old_class + 1, MIN_TAKEN_CLASS)
    if new_class > MAX_TAKEN_CLASS:
        return False
    new_start = _take_block(graph, new_class)
    if new_start < 0:
        return False
    if old_class > 0:
        for slot in range(old_start, old_start + (1 << old_class)):
            if graph.taken.item[slot] != 0:
                at = probe(graph, new_start, 1 << new_class, graph.taken.item[slot] - 1)
                graph.taken.item[at] = graph.taken.item[slot]
                if graph.repeats:
                    graph.taken.times[at] = graph.taken.times[slot]
                    graph.taken.last[at] = graph.taken.last[slot]
        _free_block(graph, old_start, old_class)
    user["taken_start"] = new_start
    user["taken_class"] = new_class | (user["taken_class"] & OVERFULL)
    return True


@kernel
def _take(graph, user_row, item_row, number):
    """Record that the user took the item, as his event of this number; one that finds no room is N_UNRECORDED."""
    user = graph.users[user_row]
    if not _is_recorded(graph, user, item_row):
        if 4 * (user["n_taken"] + 1) > 3 * n_slots(user) and not _grow(graph, user_row):
            graph.taken.used[N_UNRECORDED] += 1
            user["taken_class"] |= OVERFULL
            return
        user["n_taken"] += 1
    at = probe(graph, user["taken_start"], n_slots(user), item_row)
    graph.taken.item[at] = item_row + 1
    if graph.repeats:
        graph.taken.times[at] += 1
        graph.taken.last[at] = max(np.int64(graph.taken.last[at]), number)


@kernel
def is_new_session(graph, user_row, time_ms):
    """Whether an event at this time begins a session: the user's first, or after a gap longer than a session's."""
    user = graph.users[user_row]
    return user["n_events"] == 0 or time_ms - user["last_time_ms"] > graph.session_gap_ms


@kernel
def gap_to_past_s(graph, user_row, k, time_ms):
    """Seconds from the user's event k events ago to `time_ms`, never negative."""
    user = graph.users[user_row]
    then = np.int64(user["ring_time"][(user["n_events"] - 1 - k) % HISTORY])
    return max(np.int64(0), time_ms // TICK_MS - then) * (TICK_MS // 1000)


@kernel
def copy_history(graph, user_row, time_ms, items, gap_s, z_score):
    """The user's last items, newest first, into (HISTORY,) arrays; -1 where there are none.

    Args:
        time_ms: Event time that the gaps are measured to.
    """
    user = graph.users[user_row]
    n_events = np.int64(user["n_events"])
    for k in range(HISTORY):
        if k >= n_events:
            items[k] = -1
            gap_s[k] = 0.0
            z_score[k] = np.nan
            continue
        at = (n_events - 1 - k) % HISTORY
        items[k] = user["ring"][at]
        gap_s[k] = gap_to_past_s(graph, user_row, k, time_ms)
        value = user["ring_value"][at]
        z_score[k] = np.float32(np.nan) if value == NO_VALUE else np.float32(value) / np.float32(VALUE_UNIT)


@kernel
def record_take(graph, user_row, item_row, time_ms):
    """Keep a first take, before it is learned, as an example for the attention network."""
    takes = graph.takes
    at = takes.n[0] % ROUND
    takes.n[0] += 1
    takes.target[at] = item_row
    copy_history(graph, user_row, time_ms, takes.items[at], takes.gap_s[at], takes.z_score[at])


@kernel
def _keep(user, at, item_row, tick, code):
    user["ring"][at] = item_row
    user["ring_time"][at] = tick
    user["ring_value"][at] = code


@kernel
def insert(graph, user_row, item_row, time_ms, value, n_later):
    """Put an event into the user's history, before the items that are later.

    Args:
        value: Standardised; nan where it had none.
        n_later: What `count_later` says of the event.
    """
    user = graph.users[user_row]
    at = np.int64(user["n_events"]) % HISTORY
    # of a full history: the item that makes room, unless it is the event that is too old
    oldest, oldest_tick, oldest_code = user["ring"][at], user["ring_time"][at], user["ring_value"][at]
    for _ in range(min(n_later, HISTORY - 1)):
        before = (at + HISTORY - 1) % HISTORY
        _keep(user, at, user["ring"][before], user["ring_time"][before], user["ring_value"][before])
        at = before
    if n_later == HISTORY:
        _keep(user, at, oldest, oldest_tick, oldest_code)
    else:
        code = np.int8(NO_VALUE) if np.isnan(value) else np.int8(max(-3.0, min(3.0, value)) * VALUE_UNIT)
        _keep(user, at, np.int32(item_row), np.uint32(time_ms // TICK_MS), code)
    user["n_events"] += 1
    user["last_time_ms"] = max(time_ms, user["last_time_ms"])
    _take(graph, user_row, item_row, np.int64(user["n_events"]) - n_later)


@kernel
def forget_user(graph, user_row):
    """Erase a user's history and hand his block of taken items on."""
    user = graph.users[user_row]
    if n_slots(user) > 0:
        _free_block(graph, user["taken_start"], np.int64(user["taken_class"]) & TAKEN_CLASS)
    user["n_events"] = 0
    user["n_taken"] = 0
    user["taken_start"] = 0
    user["taken_class"] = 0
    user["last_time_ms"] = 0
    user["nodes"][:] = 0
    for k in range(HISTORY):
        user["ring"][k] = 0
        user["ring_time"][k] = 0
        user["ring_value"][k] = 0
