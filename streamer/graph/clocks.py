"""Popularity clocks: decayed counts of every item at several half-lives, and the heaviest items of each in exact order.

An event at time t weighs `growth ** t`; dividing by the present scale gives the usual decayed count. Before the scale leaves
the range of float32 it is divided by 2**16 and the clock's epoch moves on; weights written in older epochs are brought up
to date when they are read. Forgetting is the same for all items, so it never changes the order of items that were not
touched: the ordered lists stay exact by moving one item an event.

Who may not be listed has weights, and no place: places of who is gone would be missing for everybody else. A list that was
full when somebody left it may have others behind it, no heavier than its last one. So does it stay, exact and a little
shorter, until a quarter is gone; then the heaviest of the others come up, which is a look at all items.

    complete        n_top < TOP, and all items of the clock are on it
    cut             n_top < TOP, and top[TOP - 1] is BEHIND: as many as REFILL at least
    full            n_top = TOP, whoever may be behind it

Some clocks count only the events that begin a session, or only those of users who are new: what a visitor begins with is not
what he goes on with. Between the events it counts a clock stands still.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.state import ALL_TIME, AUDIENCES, N_CLOCKS, NEWCOMERS, STARTERS, TOP

RENORMALISE = 65536.0
REFILL = 192  # items below which a list that was cut is filled up
BEHIND = 1  # in the last place of a list that is not full: there may be others behind it
_AUDIENCES = np.array(AUDIENCES)
# What is left of a weight, by how many epochs ago it was written; nothing after eight. A table, since weights of all ages lie in
# any order, and a processor that has to guess which one is next guesses wrong.
_N_OLD = 8
_OLD = np.append(RENORMALISE ** -np.arange(float(_N_OLD)), 0.0)


@kernel
def in_epoch(weight, epoch_written, epoch_now):
    """A weight written in an older epoch, in units of this one; 0 when it is too old to matter (2**-128)."""
    return np.float32(weight * _OLD[min(epoch_now - epoch_written, _N_OLD)])


@kernel
def clock_weight(graph, clock, item_row):
    """Decayed count of an item in the clock's grown units: compare it with others, divide it by `clocks.mass`."""
    item = graph.items[item_row]
    return in_epoch(item["weight"][clock], item["epoch"][clock], graph.clocks.epoch[clock])


@kernel
def tick(graph, item_row, is_start, is_newcomer):
    """Count one event of an item on every clock that it is for: it begins a session; its user is new."""
    clocks = graph.clocks
    item = graph.items[item_row]
    for clock in range(N_CLOCKS):
        audience = _AUDIENCES[clock]
        if (audience == STARTERS and not is_start) or (audience == NEWCOMERS and not is_newcomer):
            continue
        clocks.scale[clock] *= clocks.growth[clock]
        if clocks.scale[clock] >= RENORMALISE:
            clocks.scale[clock] /= RENORMALISE
            clocks.mass[clock] /= RENORMALISE
            clocks.epoch[clock] += 1
        weight = np.float32(clock_weight(graph, clock, item_row) + clocks.scale[clock])
        if clock == ALL_TIME:  # counted elsewhere, exactly: adding one to a float32 stops at 2**24
            weight = np.float32(item["n_events"] + 1)
        item["weight"][clock] = weight
        item["epoch"][clock] = clocks.epoch[clock]
        clocks.mass[clock] += clocks.scale[clock]
        _raise_in_list(graph, clock, item_row, weight)


@kernel
def is_cut(graph, clock):
    """Whether there may be items of the clock behind its list."""
    n_top = graph.clocks.n_top[clock]
    return n_top == TOP or graph.clocks.top[clock, TOP - 1] == BEHIND


@kernel
def _raise_in_list(graph, clock, item_row, weight):
    """Put an item that grew, or came back, where it belongs. Ties stay in the order in which the weight was reached."""
    if graph.unlistable[item_row]:
        return
    top, n_top = graph.clocks.top[clock], graph.clocks.n_top[clock]
    place = np.int64(graph.items[item_row]["position"][clock]) - 1
    if place < 0:
        if is_cut(graph, clock) and weight <= clock_weight(graph, clock, top[n_top - 1]):
            return
        if n_top < TOP:
            place = n_top
            graph.clocks.n_top[clock] += 1
        else:
            place = np.int64(TOP - 1)
            graph.items[top[place]]["position"][clock] = 0
    while place > 0 and weight > clock_weight(graph, clock, top[place - 1]):
        top[place] = top[place - 1]
        graph.items[top[place]]["position"][clock] = place + 1
        place -= 1
    top[place] = item_row
    graph.items[item_row]["position"][clock] = place + 1


@kernel
def leave_lists(graph, item_row, n_rows):
    """Take an item that may not be listed any more out of the lists of all clocks; its weights stay.

    Args:
        n_rows: Rows of items in use.
    """
    for clock in range(N_CLOCKS):
        top, n_top = graph.clocks.top[clock], graph.clocks.n_top[clock]
        place = np.int64(graph.items[item_row]["position"][clock]) - 1
        graph.items[item_row]["position"][clock] = 0
        if place < 0 or place >= n_top or top[place] != item_row:
            continue
        was_cut = is_cut(graph, clock)
        for later in range(place + 1, n_top):
            top[later - 1] = top[later]
            graph.items[top[later]]["position"][clock] = later
        top[n_top - 1] = 0
        graph.clocks.n_top[clock] -= 1
        if was_cut:
            top[TOP - 1] = BEHIND
            if n_top - 1 < REFILL:
                refill(graph, clock, n_rows)


@kernel
def enter_lists(graph, item_row):
    """Give an item that may be listed again the places that its weights are worth."""
    for clock in range(N_CLOCKS):
        weight = clock_weight(graph, clock, item_row)
        if weight > 0.0:
            _raise_in_list(graph, clock, item_row, weight)


@kernel
def refill(graph, clock, n_rows):
    """Fill a list up with the heaviest of those behind it, ties by row: nobody behind it is heavier than who is on it."""
    top = graph.clocks.top[clock]
    kept = n = graph.clocks.n_top[clock]
    for row in range(n_rows):
        item = graph.items[row]
        if graph.unlistable[row] or item["n_events"] == 0 or item["position"][clock] > 0:
            continue
        weight = clock_weight(graph, clock, row)
        if n < TOP:
            place = n
            n += 1
        elif weight > clock_weight(graph, clock, top[TOP - 1]):
            place = np.int64(TOP - 1)
            graph.items[top[place]]["position"][clock] = 0
        else:
            continue
        while place > kept and weight > clock_weight(graph, clock, top[place - 1]):
            top[place] = top[place - 1]
            graph.items[top[place]]["position"][clock] = place + 1
            place -= 1
        top[place] = row
        item["position"][clock] = place + 1
    graph.clocks.n_top[clock] = n
    for place in range(n, TOP):
        top[place] = 0
