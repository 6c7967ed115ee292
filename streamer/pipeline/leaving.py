"""Which items make way in a full table, and the pass that takes them out of the users' and items' rows, a stretch at a time.

A pass over everybody would let the fold stand still. So those who will go are chosen shortly before the table is full, and each
few newcomers pay for a stretch of the pass. Until the table is full they are items like any other. Only an event of its own can
name one anew where the pass has been: then it stays (`who_goes`, asked before every stretch). To the users passed before its
event it is one they never took; those who come after keep it.

    chosen, at 1 in 64 rows free -> users -> neighbour rows -> the table is full: who is still leaving goes (`items`)

All of it follows from the state alone and happens between events, so any cut of the log gives the same.
"""

import numpy as np
from numpy.typing import NDArray

from streamer.graph.removal import leave_neighbours, leave_users, new_scratch
from streamer.graph.state import EVENTS, N_ARRIVED
from streamer.pipeline.state import N_PASSED, N_USERS, SINCE, State, leaving_rows

ONE_IN = 32  # of the rows go at a time: a pass costs the same for one item, and so few are missed by few
AHEAD = 64  # a pass begins when one in so many rows is free
N_STRETCHES = 512  # of a pass, as far as there are newcomers to pay for them: some milliseconds each at the default caps
MAX_PROTECTED = 64  # items of the last events stay: the next lists are made from them
_FRESH = np.iinfo(np.int64).max

Rows = NDArray[np.int64]


def n_until_due(state: State) -> int:
    """How many newcomers find room before anything must be done; 0: `pass_on`, or eviction, is due before the next one."""
    n_free = state.ids.items.n_free
    n_ahead, pace = _pace(state)
    if n_free > n_ahead:
        return n_free - n_ahead
    return n_free % pace


def choose(state: State) -> None:
    """Where nobody is leaving: choose who is to go, and begin a pass. First those that may not be listed, then the coldest.

    Items of the last events stay, so there may be nobody.
    """
    leaving, n_rows = state.leaving, state.ids.items.n_rows
    keys = _coldness(state, np.arange(n_rows))
    keys[np.array(state.ids.items.released, np.int64)] = _FRESH  # nobody owns them: they are free already
    n_wanted = max(1, state.settings.max_items // ONE_IN)
    bound = np.partition(keys, n_wanted - 1)[n_wanted - 1]
    some = np.flatnonzero((keys <= bound) & (keys < _FRESH))
    if not some.size:
        return
    rows = by_coldness(state, some)[:n_wanted]
    leaving.is_gone[rows + 1] = True
    leaving.progress[N_PASSED] = 0
    leaving.progress[N_USERS] = state.ids.users.n_rows
    leaving.progress[SINCE] = state.graph.counters[EVENTS]


def by_coldness(state: State, rows: Rows) -> Rows:
    """These rows, the coldest first; of items that never had an event, those that arrived first; then by row."""
    rates = state.graph.rates
    arrival = np.full(state.ids.items.n_rows, -1, np.int64)
    arrived = rates.arrived[: int(rates.n[N_ARRIVED])]
    arrival[arrived] = np.arange(arrived.size)
    in_order: Rows = rows[np.lexsort((rows, arrival[rows], _coldness(state, rows)))]
    return in_order


def pass_on(state: State) -> None:
    """Pass the next stretch: of what is left, an equal part for each stretch that is due until the table is full."""
    who_goes(state)  # whoever came back stays with those who are passed from here on
    _, pace = _pace(state)
    n_stretches = max(1, state.ids.items.n_free // pace)
    _pass(state, -(-_n_left(state) // n_stretches))


def pass_rest(state: State) -> None:
    """Pass all that was not passed yet: afterwards no user and no neighbour row names an item that is leaving."""
    _pass(state, _n_left(state))


def who_goes(state: State) -> Rows:
    """Rows of those who are leaving still; whoever had an event since they were chosen stays."""
    is_gone, items = state.leaving.is_gone, state.graph.items
    rows: Rows = leaving_rows(state)
    is_back = (items["n_events"][rows] > 0) & (items["last_event"][rows] > state.leaving.progress[SINCE])
    is_gone[rows[is_back] + 1] = False
    going: Rows = rows[~is_back]
    return going


def stay(state: State, row: int) -> None:
    """The catalog brings back the item, that was retired: it does not leave."""
    state.leaving.is_gone[row + 1] = False


def _pace(state: State) -> tuple[int, int]:
    """How many free rows a pass begins at, and how many newcomers pay for a stretch. A small table has no pass ahead."""
    n_ahead = state.settings.max_items // AHEAD
    return n_ahead, max(1, n_ahead // N_STRETCHES)


def _n_left(state: State) -> int:
    progress = state.leaving.progress
    return int(progress[N_USERS]) + state.settings.max_items - int(progress[N_PASSED])


def _pass(state: State, n_rows: int) -> None:
    """Users first: while one of them names an item, his next event may write it into a neighbour row."""
    leaving, graph = state.leaving, state.graph
    n_users, begin = int(leaving.progress[N_USERS]), int(leaving.progress[N_PASSED])
    end = begin + n_rows
    leave_users(graph, leaving.is_gone, min(begin, n_users), min(end, n_users), new_scratch())
    leave_neighbours(graph, leaving.is_gone, max(begin, n_users) - n_users, max(end, n_users) - n_users)
    leaving.progress[N_PASSED] = end


def _coldness(state: State, rows: Rows) -> Rows:
    """The number of the last event, or of the arrival; later ones come after all that may not be listed; the last ones never."""
    graph, items = state.graph, state.graph.items
    n_events, last_event = items["n_events"][rows], items["last_event"][rows]
    keys = np.where(n_events > 0, last_event, items["first_event"][rows])
    keys += (~graph.unlistable[rows]).astype(np.int64) * (1 << 61)
    n_protected = max(1, min(MAX_PROTECTED, state.ids.items.n_rows // 2))
    keys[(n_events > 0) & (last_event > graph.counters[EVENTS] - n_protected)] = _FRESH
    return keys
