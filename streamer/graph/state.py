"""The tables of the graph: what each holds, how large it may grow, and how many bytes a row costs.

All tables are allocated at their cap. The operating system commits a page when it is first written, so an empty table of a
million items costs address space, not memory; nothing is ever copied to grow, and no batch waits for it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HISTORY = 28  # last items kept in order, a user: two cache lines with the head of the record
LANES = 16  # slots of a bucket: ids of one bucket fill one cache line
CHANNELS = 4  # kinds of evidence kept beside each neighbour
SEQ, CO, LAG, SESSION = range(CHANNELS)
HALF_LIVES = (30.0, 300.0, 3000.0, np.inf)  # of the popularity clocks, in events
N_CLOCKS = len(HALF_LIVES)
ALL_TIME = N_CLOCKS - 1  # the clock that never forgets: plain popularity
TRENDING = N_CLOCKS - 2  # the clock that is reported as "trending" (half-life 3,000 events)
TOP = 256  # items kept in order, a clock
N_FRESH = 32  # last arrivals kept
NODES = 8  # category nodes kept, an item
NODE_TOP = 32  # items kept in order, a category node

KNOWN, CATALOGUED = 1, 2  # bits of an item's flags

EVENTS, ARRIVALS, KNOWN_ITEMS = range(3)  # indices of Graph.counters
MIN_TAKEN_CLASS, MAX_TAKEN_CLASS = 3, 13  # blocks of 8 to 8,192 slots


class FoldSettings(NamedTuple):
    """Everything that changes what the fold computes; part of the state hash.

    Sizes are rows; `session_gap_s` is seconds of event time; `n_neighbours` a multiple of 16.
    """

    repeats: bool = False  # may an item be listed for a user who took it before
    max_items: int = 500_000
    max_users: int = 2_000_000
    max_nodes: int = 20_000  # category nodes
    max_taken: int = 64_000_000  # slots for all users' taken items together
    n_neighbours: int = 128
    pair_window: int = 20  # how many of the user's last items an event is paired with
    session_gap_s: int = 1800


ITEM = np.dtype(
    [
        ("weight", "f4", N_CLOCKS),  # grown units of each clock
        ("epoch", "i4", N_CLOCKS),  # the clock's epoch at the last touch
        ("position", "i2", N_CLOCKS),  # place in the clock's ordered list + 1; 0 when not in it
        ("first_event", "i8"),  # event number of its arrival
        ("n_events", "i4"),
        ("neighbour_scale", "f4"),  # what one event weighs now in this item's neighbour row
        ("nodes", "i4", NODES),  # category node rows
        ("n_nodes", "u1"),
        ("flags", "u1"),
    ],
    align=True,
)

USER = np.dtype(
    [
        ("last_time_ms", "i8"),
        ("taken_start", "i8"),  # first slot of the user's taken items in the pool
        ("n_events", "i4"),
        ("n_session", "i4"),  # events since the last gap longer than a session
        ("n_taken", "i4"),  # distinct items in the set
        ("taken_class", "i4"),  # log2 of its slots; 0 = none yet
        ("ring", "i4", HISTORY),  # item rows, the newest at (n_events - 1) % HISTORY
    ],
    align=True,
)

NODE = np.dtype(
    [
        ("mass", "f4"),  # trending weight of all its items, grown units of the trending clock
        ("epoch", "i4"),
        ("n_top", "i4"),
        ("top", "i4", NODE_TOP),  # its items by trending weight, heaviest first
    ],
    align=True,
)


class Clocks(NamedTuple):
    """Popularity with exponential forgetting and no sweeps: new events weigh more instead of old ones less."""

    scale: NDArray[np.float64]  # (N_CLOCKS,) what one event weighs now
    growth: NDArray[np.float64]  # (N_CLOCKS,) factor an event, 2 ** (1 / half-life)
    epoch: NDArray[np.int32]  # (N_CLOCKS,) how often the scale was divided by 2 ** 16
    mass: NDArray[np.float64]  # (N_CLOCKS,) all items together, grown units
    top: NDArray[np.int32]  # (N_CLOCKS, TOP) item rows, heaviest first
    n_top: NDArray[np.int64]  # (N_CLOCKS,)


class Taken(NamedTuple):
    """Open-addressing sets of the items each user took, in one pool of power-of-two blocks."""

    item: NDArray[np.int32]  # (max_taken,) item row + 1; 0 = free slot
    times: NDArray[np.int32]  # (max_taken,) how often; one dummy slot where repeats are off
    last: NDArray[np.int32]  # (max_taken,) the user's event number of the last time; same
    free: NDArray[np.int64]  # (MAX_TAKEN_CLASS + 1,) first free block of each size class, -1 = none
    used: NDArray[np.int64]  # (2,) slots handed out so far; items not recorded because there was no room


class Graph(NamedTuple):
    """All state that kernels read and write."""

    items: NDArray[np.void]  # (max_items,) of ITEM
    damping: NDArray[np.float32]  # (max_items,) keeps popular items from winning every neighbourhood
    unlistable: NDArray[np.bool_]  # (max_items,) retired, or not available now
    users: NDArray[np.void]  # (max_users,) of USER
    nodes: NDArray[np.void]  # (max_nodes,) of NODE
    neighbour: NDArray[np.int32]  # (max_items, n_neighbours) item row + 1; 0 = free slot
    evidence: NDArray[np.float32]  # (max_items, n_neighbours, CHANNELS) in the owner's neighbour_scale
    clocks: Clocks
    taken: Taken
    fresh: NDArray[np.int32]  # (N_FRESH,) ring of arrivals, item rows
    counters: NDArray[np.int64]  # (3,) see EVENTS, ARRIVALS, KNOWN_ITEMS
    weights: NDArray[
        np.float64
    ]  # (N_CONTEXTS, n_paths) responsibilities gathered so far: the mixture's weights
    repeats: bool
    pair_window: int
    session_gap_ms: int


def new_graph(settings: FoldSettings, n_contexts: int, n_paths: int) -> Graph:
    """Empty tables at their caps.

    Raises:
        ValueError: a size is not positive, or `n_neighbours` not a multiple of 16 between 16 and 256.
    """
    _check(settings)
    n_repeat_slots = settings.max_taken if settings.repeats else 1
    return Graph(
        items=np.zeros(settings.max_items, ITEM),
        damping=np.zeros(settings.max_items, np.float32),
        unlistable=np.zeros(settings.max_items, np.bool_),
        users=np.zeros(settings.max_users, USER),
        nodes=np.zeros(settings.max_nodes, NODE),
        neighbour=np.zeros((settings.max_items, settings.n_neighbours), np.int32),
        evidence=np.zeros((settings.max_items, settings.n_neighbours, CHANNELS), np.float32),
        clocks=Clocks(
            scale=np.ones(N_CLOCKS),
            growth=2.0 ** (1.0 / np.array(HALF_LIVES)),
            epoch=np.zeros(N_CLOCKS, np.int32),
            mass=np.zeros(N_CLOCKS),
            top=np.zeros((N_CLOCKS, TOP), np.int32),
            n_top=np.zeros(N_CLOCKS, np.int64),
        ),
        taken=Taken(
            item=np.zeros(settings.max_taken, np.int32),
            times=np.zeros(n_repeat_slots, np.int32),
            last=np.zeros(n_repeat_slots, np.int32),
            free=np.full(MAX_TAKEN_CLASS + 1, -1, np.int64),
            used=np.zeros(2, np.int64),
        ),
        fresh=np.full(N_FRESH, -1, np.int32),
        counters=np.zeros(3, np.int64),
        weights=np.ones((n_contexts, n_paths)),
        repeats=settings.repeats,
        pair_window=settings.pair_window,
        session_gap_ms=settings.session_gap_s * 1000,
    )


def _check(settings: FoldSettings) -> None:
    if settings.n_neighbours % LANES or not LANES <= settings.n_neighbours <= 256:
        raise ValueError(
            f"n_neighbours: expected a multiple of {LANES} up to 256, got {settings.n_neighbours}"
        )
    if not 1 <= settings.pair_window <= HISTORY:
        raise ValueError(f"pair_window: expected 1 to {HISTORY}, got {settings.pair_window}")
    for name in ("max_items", "max_users", "max_nodes", "max_taken", "session_gap_s"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(settings, name)}")
