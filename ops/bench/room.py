"""How long the fold stands still while a full table of items makes room. Run it by itself:

    .venv/bin/python ops/bench/room.py [items, default 500000] [users, default 2000000]

The state is filled by hand: 20 items, drawn evenly, in each user's history and set, and every neighbour row is full. What a log
teaches is skewed, and the coldest items are the least named: there, fewer users hold items that go.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from streamer import pipeline
from streamer.config import Settings
from streamer.graph.histories import probe
from streamer.graph.state import (
    DIM,
    EVENTS,
    HISTORY,
    KNOWN,
    N_ARRIVED,
    N_HEADS,
    N_SLOTS_USED,
    NODE_TOP,
    NODES,
    POOLED,
    TOP,
)
from streamer.graph.vectors import no_tables
from streamer.nearest import Nearest
from streamer.pipeline import State
from streamer.pipeline.items import evict_items, make_room
from streamer.pipeline.leaving import ONE_IN, choose, n_until_due

N_SLOTS = 32  # of a user's set
N_EVENTS = 10_000_000
N_NODES, TEXT_DIM = 50_000, 384
N_PASSES = 5
AT_ONCE, CHOICE = "all at once, where all who left came back", "the choice of those who leave"
STRETCH, END = "a stretch of the pass", "the end, when the table is full"

Pauses = dict[str, list[tuple[float, float]]]  # by kind: seconds by the clock, and of the processor


@numba.njit
def _fill_users(graph, n_users, n_items, seed):
    """Twenty items each; the set holds the same ones."""
    np.random.seed(seed)  # noqa: NPY002  numba draws in compiled code from this one
    for row in range(n_users):
        user = graph.users[row]
        user["taken_start"], user["taken_class"] = row * N_SLOTS, 5
        for at in range(HISTORY):
            item = np.random.randint(0, n_items)  # noqa: NPY002
            slot = probe(graph, row * N_SLOTS, N_SLOTS, item)
            user["n_taken"] += graph.taken.item[slot] == 0
            graph.taken.item[slot] = item + 1
            user["ring"][at] = item
            user["ring_time"][at] = 1000 + at
        user["n_events"] = 20


def filled(n_items: int, n_users: int) -> State:
    """A state whose table of items is full."""
    settings = Settings(text_model="none").fold()._replace(max_items=n_items, max_users=n_users)
    state = pipeline.new_state(settings)
    for ids, n, name in ((state.ids.users, n_users, "user"), (state.ids.items, n_items, "item")):
        for number in range(n):
            ids.admit(f"{name}-{number * 7919}")
    for number in range(N_NODES):
        state.ids.nodes.admit(f"node={number}")
    graph, rng = state.graph, np.random.default_rng(1)
    graph.taken.used[N_SLOTS_USED] = n_users * N_SLOTS
    _fill_users(graph, n_users, n_items, 1)
    items = graph.items
    items["n_events"], items["last_event"] = 50, rng.permutation(n_items) * (N_EVENTS // n_items) + 1
    items["flags"], items["neighbour_scale"], items["weight"] = KNOWN | POOLED, 1.0, 1.0
    items["n_nodes"], items["nodes"] = 8, rng.integers(0, N_NODES, (n_items, NODES))
    graph.damping[:] = 0.2
    graph.counters[EVENTS] = N_EVENTS
    graph.neighbour[:] = rng.integers(0, n_items, graph.neighbour.shape) + 1
    graph.evidence[:] = 1.0
    graph.company.sum[:] = 1.0
    graph.rates.ring[:] = rng.integers(0, n_items, graph.rates.ring.size)
    graph.rates.arrived[:] = rng.permutation(n_items)
    graph.rates.n[N_ARRIVED] = n_items
    graph.clocks.mass[:] = n_items
    for clock, top in enumerate(graph.clocks.top):
        top[:] = rng.choice(n_items, TOP, replace=False)
        graph.clocks.n_top[clock] = TOP
        items["position"][top, clock] = np.arange(1, TOP + 1)
    nodes = graph.nodes[:N_NODES]
    nodes["n_top"], nodes["top"] = NODE_TOP, rng.integers(0, n_items, (N_NODES, NODE_TOP))
    graph.node_items[:N_NODES] = 8 * n_items // N_NODES
    vectors = no_tables(DIM, N_HEADS, HISTORY)._replace(
        x=np.ones((n_items, DIM), np.float32),
        h=np.ones((n_items, DIM), np.float32),
        bias=np.zeros(n_items, np.float32),
    )
    texts = Nearest(n_items, TEXT_DIM, n_items)
    texts.table.vector[:] = 1
    for row in range(n_items):
        state.texts.describe(row, f"{row:064x}")
    return state._replace(graph=graph._replace(vectors=vectors, near=texts.table), nearest=texts)


def timed(kind: str, pauses: Pauses, call: Callable[[], Any]) -> Any:
    """What the call returns; how long it took is kept."""
    clock_s, processor_s = time.perf_counter(), time.thread_time()
    result = call()
    pauses.setdefault(kind, []).append((time.perf_counter() - clock_s, time.thread_time() - processor_s))
    return result


def passed(state: State, number: int, pauses: Pauses) -> State:
    """The state after as many newcomers as there is room for, and the room that is made when it is used up."""
    ids = state.ids.items
    rows = []
    while not ids.is_full:
        if n_until_due(state) == 0:
            if not state.leaving.is_gone.any():
                timed(CHOICE, pauses, lambda: choose(state))
            timed(STRETCH, pauses, lambda: make_room(state))
        rows.append(ids.admit(f"newcomer-{number}-{len(rows)}"))
        state.texts.describe(rows[-1], f"{number:032x}{len(rows):032x}")
    items = state.graph.items
    # they are taken now and then, so those who were there before are colder
    items["n_events"][rows], items["last_event"][rows], items["flags"][rows] = 1, N_EVENTS, KNOWN | POOLED
    state.graph.counters[EVENTS] += len(rows)
    state.graph.unlistable[rows] = False
    room = timed(END, pauses, lambda: make_room(state))
    return room[0]


def main(n_items: int, n_users: int) -> None:
    """Print a table."""
    # kernels are compiled, or read from disk: a worker does so when it starts
    evict_items(filled(2_000, 2_000))
    state, pauses = filled(n_items, n_users), Pauses()
    state = timed(AT_ONCE, pauses, lambda: evict_items(state))[0]
    for number in range(N_PASSES):
        state = passed(state, number, pauses)
    print(f"| {n_items:,} items, {n_users:,} users | times | ms, median | most | most of the processor |")
    print("|---|---|---|---|---|")
    for kind, taken in pauses.items():
        clock_ms, processor_ms = 1000.0 * np.array(taken).T
        figures = f"{np.median(clock_ms):.1f} | {clock_ms.max():.1f} | {processor_ms.max():.1f}"
        print(f"| {kind} | {len(taken)} | {figures} |")
    del pauses[AT_ONCE]
    whole_s = sum(processor_s for taken in pauses.values() for _, processor_s in taken)
    n_newcomers = len(pauses[END]) * (n_items // ONE_IN)
    print(f"\nA newcomer pays for {1e6 * whole_s / n_newcomers:.0f} us of the processor.")


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    main(*given, *(500_000, 2_000_000)[len(given) :])
