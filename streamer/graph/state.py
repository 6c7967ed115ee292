"""The tables of the graph: what each holds, how large it may grow, and how many bytes a row costs.

All tables are allocated at their cap. The operating system commits a page when it is first written, so an empty table of a
million items costs address space, not memory; nothing is ever copied to grow, and no batch waits for it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.cachelines import zeros
from streamer.graph.vectors import Tables, no_tables
from streamer.nearest.table import N_NEAR, NearTable

HISTORY = 20  # last items kept in order, a user, with the time and value of each
LANES = 16  # slots of a bucket: ids of one bucket fill one cache line
DIM, N_HEADS = 64, 2  # of the co-propagated vectors
COMPANY = 64  # numbers of a sketch of the company an item keeps: one bit of a word each
MAX_NEIGHBOURS = 256  # kept, an item
CHANNELS = 4  # kinds of evidence kept beside each neighbour
SEQ, CO, LAG, BACK = range(CHANNELS)
# Whose events a clock counts: all of them, those that begin a session, those of users who are new.
EVERYONE, STARTERS, NEWCOMERS = range(3)
N_NEWCOMER = 5  # events that a user is a newcomer for
# Of the popularity clocks: the half-life, in events that the clock counts, and whose events these are.
HALF_LIVES = (30.0, 300.0, 3000.0, np.inf, 300.0, 300.0)
AUDIENCES = (EVERYONE, EVERYONE, EVERYONE, EVERYONE, STARTERS, NEWCOMERS)
N_CLOCKS = len(HALF_LIVES)
ALL_TIME = 3  # the clock that never forgets: plain popularity
TRENDING = 2  # the clock that is reported as "trending" (half-life 3,000 events)
TOP = 256  # items kept in order, a clock
N_FRESH = 32  # last arrivals kept
NODES = 16  # feature nodes kept, an item: categories first, then bins of numbers, then words
NODE_TOP = 32  # items kept in order, a feature node
N_NUMBERS = 2  # standardised numbers kept, an item
# Segments kept, a user: of his profile, and of the context of his last event.
PROFILE_NODES, CONTEXT_NODES = 6, 2
USER_NODES = PROFILE_NODES + CONTEXT_NODES
ROUND = 256  # examples of a round of training: the newest ones, where there were more
TICK_MS = 2000  # unit of the times in a history: 2**32 of them reach the year 2242
NO_VALUE = -128  # in a history: the event had no value
VALUE_UNIT = 32.0  # of a standard deviation in a history

# What `FoldSettings.without` can name beside paths and features.
SWITCHES = ("ranker", "content", "time", "vectors")
WITH_RANKER, WITH_CONTENT, WITH_TIME, WITH_VECTORS = range(len(SWITCHES))
# Paths that have nothing to read without "content".
OF_CONTENT = ("feature", "feature_cold", "feature_new", "rate", "text", "text_cold", "text_new")
# Bits of an item's flags: arrived, on the catalog, counted in the rates' pool.
KNOWN, CATALOGUED, POOLED = 1, 2, 4

N_COUNTS, N_AGES = 11, 20  # bins of the hazard: events of an item; powers of two of events since its last one
RING = 1 << 20  # last events of which the item is remembered
N_RECENT = 16  # last arrivals kept, a feature node

# indices of Graph.counters; DESCRIBED: items with features, MEASURED_AT: the same when all their lengths were measured last
EVENTS, ARRIVALS, KNOWN_ITEMS, DESCRIBED, MEASURED_AT = range(5)
N_ARRIVED, N_COLD_ITEMS = range(2)  # of Rates.n: arrivals so far; cold items now
N_SLOTS_USED, N_UNRECORDED = range(2)  # of Taken.used: slots handed out; items not recorded for want of room
V_COUNT, V_SUM, V_SQUARES = range(3)  # of Graph.values
MIN_TAKEN_CLASS, MAX_TAKEN_CLASS = 3, 13  # blocks of 8 to 8,192 slots
# Bits of a user's taken_class: log2 of the slots he has; whether an item that he took ever found no room.
TAKEN_CLASS, OVERFULL = 15, 16


class FoldSettings(NamedTuple):
    """Everything that changes what the fold computes; part of the state hash.

    Sizes are rows; `session_gap_s` is seconds of event time; `n_neighbours` a multiple of 16.
    """

    repeats: bool = False  # may an item be listed for a user who took it before
    max_items: int = 500_000
    max_users: int = 2_000_000
    max_nodes: int = 100_000  # feature nodes
    max_taken: int = 64_000_000  # slots for all users' taken items together
    n_neighbours: int = 128
    pair_window: int = 20  # how many of the user's last items an event is paired with
    session_gap_s: int = 1800
    explore_share: float = 0.02  # of lists whose tenth place is given to an item that was hardly shown yet
    training_interval: int = 512  # events between two rounds of training of the attention network
    text_model: str = "none"  # whose vectors the fold takes
    dedup_window: int = 1_000_000  # event ids remembered; 0 = none
    max_erased: int = 100_000  # erased users remembered
    # paths, and kinds of evidence, that are switched off: for ablations, and for speed
    without: tuple[str, ...] = ()


# Three cache lines, so that a list waits for three, not for four, wherever the record lies:
#
#     0    | weights and epochs of all clocks, places in their lists, flags
#     64   | events, scale, values, foretold takes, numbers, length, three nodes
#     128  | the other nodes
ITEM = np.dtype(
    [
        ("weight", "f4", N_CLOCKS),  # grown units of each clock
        ("epoch", "i4", N_CLOCKS),  # the clock's epoch at the last touch
        ("position", "i2", N_CLOCKS),  # place in the clock's ordered list + 1; 0 when not in it
        ("n_nodes", "u1"),
        ("n_categories", "u1"),  # how many of the nodes are categories
        ("flags", "u2"),
        ("first_event", "i8"),  # event number of its arrival
        ("last_event", "i8"),  # event number of its last event
        ("n_events", "i4"),
        ("neighbour_scale", "f4"),  # what one event weighs now in this item's neighbour row
        ("value_sum", "f4"),  # of its events' values, squashed and standardised
        ("n_values", "i4"),
        ("expected", "f4"),  # takes that the mixture foretold while the item was on the short list
        ("hits", "f4"),  # takes that came while it was
        ("number", "f4", N_NUMBERS),  # standardised; nan = missing
        ("length", "f4"),  # of its vector of idf over nodes, as it was when the nodes were given
        ("nodes", "i4", NODES),  # feature node rows, categories first
        # No padding: copies carry every byte, and the state hash reads them all. Spare ones fill the last cache line.
        ("spare", "u4", 3),
    ],
    align=True,
)

USER = np.dtype(
    [
        ("last_time_ms", "i8"),
        ("taken_start", "i8"),  # first slot of the user's taken items in the pool
        ("n_events", "i4"),
        ("n_taken", "i4"),  # distinct items in the set
        ("taken_class", "i4"),  # log2 of its slots, 0 = none yet; and OVERFULL
        ("ring", "i4", HISTORY),  # item rows, the newest at (n_events - 1) % HISTORY
        ("ring_time", "u4", HISTORY),  # event time of each, in units of TICK_MS
        ("ring_value", "i1", HISTORY),  # value of each, standardised, in units of 1 / VALUE_UNIT
        ("nodes", "i4", USER_NODES),  # segment rows + 1: the values of his profile; 0 = none
    ],
    align=True,
)

# Six cache lines. What lifts cold items is read for every node of every one of them: it lies in the first.
NODE = np.dtype(
    [
        ("mass", "f4"),  # trending weight of all its items, grown units of the trending clock
        ("epoch", "i4"),
        ("n_top", "i4"),
        ("n_cold", "i4"),  # items in the pool, with fewer than COLD events
        ("cold_event", "i8"),  # events of cold items when the next two were brought up to date
        ("cold_taken", "f4"),  # events of those in the pool, fading
        ("cold_expected", "f4"),  # what chance would have given them
        ("top", "i4", NODE_TOP),  # its items by trending weight, heaviest first
        ("top_weight", "f4", NODE_TOP),  # of a segment: their fading counts
        ("recent", "i4", N_RECENT),  # ring of the items that came last
        ("n_recent", "i4"),
        ("spare", "i4", 7),
    ],
    align=True,
)


ITEM_BYTES, USER_BYTES = ITEM.itemsize, USER.itemsize


class Clocks(NamedTuple):
    """Popularity with exponential forgetting and no sweeps: new events weigh more instead of old ones less."""

    scale: NDArray[np.float64]  # (N_CLOCKS,) what one event weighs now
    growth: NDArray[np.float64]  # (N_CLOCKS,) factor an event, 2 ** (1 / half-life)
    epoch: NDArray[np.int32]  # (N_CLOCKS,) how often the scale was divided by 2 ** 16
    mass: NDArray[np.float64]  # (N_CLOCKS,) all items together, grown units
    # (N_CLOCKS, TOP) item rows, heaviest first; in the last place of a list that is not full may be `clocks.BEHIND`
    top: NDArray[np.int32]
    n_top: NDArray[np.int64]  # (N_CLOCKS,)


class Taken(NamedTuple):
    """Open-addressing sets of the items each user took, in one pool of power-of-two blocks."""

    item: NDArray[np.int32]  # (max_taken,) item row + 1; 0 = free slot
    times: NDArray[np.int32]  # (max_taken,) how often; one dummy slot where repeats are off
    last: NDArray[np.int32]  # (max_taken,) the user's event number of the last time; same
    free: NDArray[np.int64]  # (MAX_TAKEN_CLASS + 1,) first free block of each size class, -1 = none
    used: NDArray[np.int64]  # (2,) see N_SLOTS_USED ...


class Rates(NamedTuple):
    """See `graph.rates`."""

    taken: NDArray[np.float64]  # (N_COUNTS, N_AGES) events of items in the bin
    exposed: NDArray[np.float64]  # (N_COUNTS, N_AGES) items in the bin, summed over all events
    alive: NDArray[np.float64]  # (N_COUNTS, N_AGES) items in the bin now
    hazard: NDArray[np.float32]  # (N_COUNTS, N_AGES)
    # (3,) hazard of all items together; of the cold ones; of those without any event
    total: NDArray[np.float64]
    ring: NDArray[np.int32]  # (RING,) item row of the event with this number
    arrived: NDArray[np.int32]  # (max_items,) item rows in the order of arrival
    passed: NDArray[np.int64]  # (N_AGES,) arrivals that are at least 2**b events old
    cold_events: NDArray[np.int64]  # (1,) events of cold items so far
    n: NDArray[np.int64]  # (2,) see N_ARRIVED ...


class Takes(NamedTuple):
    """What the attention network learns from: the last first takes, each with the history it came after."""

    target: NDArray[np.int32]  # (ROUND,) item row
    items: NDArray[np.int32]  # (ROUND, HISTORY) newest first; -1 = none
    gap_s: NDArray[np.float32]  # (ROUND, HISTORY) to the target's time
    z_score: NDArray[np.float32]  # (ROUND, HISTORY) of their values; nan = none
    n: NDArray[np.int64]  # (1,) first takes since the last round


class Company(NamedTuple):
    """See `graph.company`."""

    sum: NDArray[np.float32]  # (max_items, COMPANY)
    code: NDArray[np.int8]  # (max_items, COMPANY)


class Graph(NamedTuple):
    """All state that kernels read and write."""

    items: NDArray[np.void]  # (max_items,) of ITEM
    damping: NDArray[np.float32]  # (max_items,) keeps popular items from winning every neighbourhood
    unlistable: NDArray[np.bool_]  # (max_items,) retired, or not available now
    users: NDArray[np.void]  # (max_users,) of USER
    nodes: NDArray[np.void]  # (max_nodes,) of NODE
    # (max_nodes,) items that carry the node: apart, since idf is asked for all the time
    node_items: NDArray[np.int32]
    neighbour: NDArray[np.int32]  # (max_items, n_neighbours) item row + 1; 0 = free slot
    evidence: NDArray[np.float32]  # (max_items, n_neighbours, CHANNELS) in the owner's neighbour_scale
    clocks: Clocks
    rates: Rates
    taken: Taken
    fresh: NDArray[np.int32]  # (N_FRESH,) ring of arrivals, item rows
    counters: NDArray[np.int64]  # (5,) see EVENTS ...
    weights: NDArray[np.float64]  # (N_CONTEXTS, n_paths) responsibilities so far: the mixture's weights
    values: NDArray[np.float64]  # (3,) V_COUNT, V_SUM, V_SQUARES of all squashed values so far
    takes: Takes
    vectors: Tables  # of the network's present version; without rows before the first one
    company: Company  # of every item; filled for the ranker alone
    near: NearTable  # nearest items by text; without rows until the first vector comes
    has_path: NDArray[np.bool_]  # (n_paths,) False: switched off by a setting
    switches: NDArray[np.bool_]  # (N_SWITCHES,) see WITH_RANKER ...
    repeats: bool
    pair_window: int
    session_gap_ms: int
    explore_share: float
    training_interval: int


def new_graph(settings: FoldSettings, n_contexts: int, path_names: Sequence[str]) -> Graph:
    """Empty tables at their caps.

    Args:
        path_names: Of all paths, in order; those in `settings.without` are switched off.

    Raises:
        ValueError: a size is not positive, or `n_neighbours` not a multiple of 16 between 16 and 256.
    """
    _check(settings)
    n_repeat_slots = settings.max_taken if settings.repeats else 1
    return Graph(
        items=zeros(settings.max_items, ITEM),
        damping=zeros(settings.max_items, np.float32),
        unlistable=np.zeros(settings.max_items, np.bool_),
        users=zeros(settings.max_users, USER),
        nodes=zeros(settings.max_nodes, NODE),
        node_items=np.zeros(settings.max_nodes, np.int32),
        neighbour=zeros((settings.max_items, settings.n_neighbours), np.int32),
        evidence=zeros((settings.max_items, settings.n_neighbours, CHANNELS), np.float32),
        clocks=Clocks(
            scale=np.ones(N_CLOCKS),
            growth=2.0 ** (1.0 / np.array(HALF_LIVES)),
            epoch=np.zeros(N_CLOCKS, np.int32),
            mass=np.zeros(N_CLOCKS),
            top=np.zeros((N_CLOCKS, TOP), np.int32),
            n_top=np.zeros(N_CLOCKS, np.int64),
        ),
        rates=Rates(
            taken=np.zeros((N_COUNTS, N_AGES)),
            exposed=np.zeros((N_COUNTS, N_AGES)),
            alive=np.zeros((N_COUNTS, N_AGES)),
            hazard=np.zeros((N_COUNTS, N_AGES), np.float32),
            total=np.zeros(3),
            ring=np.zeros(RING, np.int32),
            arrived=np.zeros(settings.max_items, np.int32),
            passed=np.zeros(N_AGES, np.int64),
            cold_events=np.zeros(1, np.int64),
            n=np.zeros(2, np.int64),
        ),
        taken=Taken(
            item=zeros(settings.max_taken, np.int32),
            times=np.zeros(n_repeat_slots, np.int32),
            last=np.zeros(n_repeat_slots, np.int32),
            free=np.full(MAX_TAKEN_CLASS + 1, -1, np.int64),
            used=np.zeros(2, np.int64),
        ),
        fresh=np.full(N_FRESH, -1, np.int32),
        counters=np.zeros(5, np.int64),
        weights=np.ones((n_contexts, len(path_names))),
        values=np.zeros(3),
        takes=Takes(
            np.zeros(ROUND, np.int32),
            np.zeros((ROUND, HISTORY), np.int32),
            np.zeros((ROUND, HISTORY), np.float32),
            np.zeros((ROUND, HISTORY), np.float32),
            np.zeros(1, np.int64),
        ),
        vectors=no_tables(DIM, N_HEADS, HISTORY),
        company=Company(
            zeros((settings.max_items, COMPANY), np.float32),
            zeros((settings.max_items, COMPANY), np.int8),
        ),
        near=NearTable(
            np.zeros((0, N_NEAR), np.int32),
            np.zeros((0, N_NEAR), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, 0), np.int8),
        ),
        has_path=np.array([_has_path(settings, name) for name in path_names]),
        switches=np.array([name not in settings.without for name in SWITCHES]),
        repeats=settings.repeats,
        pair_window=settings.pair_window,
        session_gap_ms=settings.session_gap_s * 1000,
        explore_share=float(settings.explore_share),
        training_interval=settings.training_interval,
    )


def _has_path(settings: FoldSettings, name: str) -> bool:
    return name not in settings.without and not (name in OF_CONTENT and "content" in settings.without)


def _check(settings: FoldSettings) -> None:
    if settings.n_neighbours % LANES or not LANES <= settings.n_neighbours <= MAX_NEIGHBOURS:
        raise ValueError(
            f"n_neighbours: expected a multiple of {LANES} up to {MAX_NEIGHBOURS}, got {settings.n_neighbours}"
        )
    if not 1 <= settings.pair_window <= HISTORY:
        raise ValueError(f"pair_window: expected 1 to {HISTORY}, got {settings.pair_window}")
    for name in ("max_items", "max_users", "max_nodes", "max_taken", "session_gap_s", "max_erased"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(settings, name)}")
    if settings.dedup_window < 0:
        raise ValueError(f"dedup_window: expected at least 0, got {settings.dedup_window}")
