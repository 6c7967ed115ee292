"""Bench of growth: what an event, a list, an item and a user cost as the catalog and the users grow."""

import re
import time
from itertools import islice
from typing import Any

import numpy as np
import psutil
from figures import Row
from options import MODELS, Options
from processes import alone
from synthetic import Stream

from streamer import pipeline
from streamer.config import Settings
from streamer.graph.scratch import N_ALL
from streamer.publish import Publisher

BASE = 100_000  # items while users grow, and users while items grow
SIZES = (
    *((n_items, BASE) for n_items in (10_000, 100_000, 1_000_000)),
    *((BASE, n_users) for n_users in (1_000_000, 10_000_000)),
)
BATCH_SIZE = 2048
# The same number of events at every number of items: a user's history, which is what ranking reads, must not grow with them.
N_LEAST = 4_000_000  # interactions; more where all users would not come
SESSION_EVENTS = 2.0
N_TIMED = 200_000  # the last ones
N_LISTS = 20_000
CHUNK_LISTS = 500
SPARE_BYTES = 2 << 30
CAUTIOUS = {"item": 6_000, "user": 900}  # bytes, for a guess whether it will fit

# Settings of a growth run. Texts and vectors are left out: `nearest` has what an item's text costs, and a million texts
# would take the text model an hour.
CASES = {
    "counting paths alone": MODELS["counting paths alone"],
    "all but texts and vectors": {"text_model": "none", "without": "vectors"},
}
OF_ITEMS = re.compile(
    r"items|damping|unlistable|neighbours|evidence|company.*|ids_items|rates_arrived|texts|nearest"
)
OF_USERS = re.compile(r"users|taken.*|ids_users")


def growth(options: Options) -> list[Row]:
    """Microseconds an event and a list, bytes an item and a user, at every size; each size in a process of its own.

    Spread of the microseconds is over parts of the run. Bytes are those of the tables in use (`pipeline.table_bytes`) and of
    what the publisher keeps, and below them what all the process took more than before, for comparison.
    """
    rows: list[Row] = []
    for case, settings in CASES.items():
        rank_us: dict[tuple[int, int], float] = {}
        for n_items, n_users in options.sizes or SIZES:
            size = f"{case}, {n_items:,} items, {n_users:,} users"
            needs = n_items * CAUTIOUS["item"] + n_users * CAUTIOUS["user"] + SPARE_BYTES
            available = psutil.virtual_memory().available
            if needs > available:
                note = f"skipped: may need {needs >> 30} GiB, {available >> 30} are free"
                rows.append(Row("growth", size, "us", note=note))
                continue
            n_events = max(N_LEAST, int(SESSION_EVENTS * n_users))
            n_events = min(options.max_events or n_events, n_events)
            size += f", {n_events / n_users:g} events a user"
            stream = Stream(n_items, n_users, n_events, session_events=SESSION_EVENTS)
            found = alone(measure, stream, {**settings, **options.settings})
            rows += [Row("growth", f"{size}: {what}", unit, values) for (what, unit), values in found.items()]
            rank_us[n_items, n_users] = float(np.median(found["rank a list", "us CPU"]))
        rows += _ratio(case, rank_us)
    return rows


def _ratio(case: str, rank_us: dict[tuple[int, int], float]) -> list[Row]:
    """The headline: ranking at the most items over ranking at the fewest, of as many users."""
    by_items = sorted(size for size in rank_us if size[1] == min(n_users for _, n_users in rank_us))
    if len(by_items) < 2:
        return []
    least, most = by_items[0], by_items[-1]
    name = f"{case}: rank at {most[0]:,} items over {least[0]:,}"
    return [Row("growth", name, "ratio", [rank_us[most] / rank_us[least]])]


def measure(stream: Stream, settings: dict[str, str]) -> dict[tuple[str, str], list[float]]:
    """(what, unit) -> values, of this process: call it in a new one."""
    set_ = Settings(
        **{"max_items": max(stream.n_items, 16), "max_users": max(stream.n_users + 4096, 16), **settings}
    )
    pipeline.warm_up(set_.fold(), 0.0, set_.k)
    resident_before = psutil.Process().memory_info().rss
    state, publisher = pipeline.new_state(set_.fold()), Publisher(set_.max_users, set_.k)
    catalog_us = _learn_catalog(state, stream) if "content" not in set_.without else []
    learn_us, users = _learn(state, stream)
    rank_us, n_candidates = _rank(state, publisher, users, set_.k)
    resident = psutil.Process().memory_info().rss - resident_before
    found: dict[tuple[str, str], list[float]] = {("learn an event", "us CPU"): learn_us}
    if catalog_us:
        found["learn a catalog item", "us CPU"] = catalog_us
    found["rank a list", "us CPU"] = rank_us
    found["candidates of a list", "items"] = n_candidates
    return found | _bytes(state, set_.k, resident)


def _learn_catalog(state: Any, stream: Stream) -> list[float]:
    items, us = stream.catalog(), []  # never all at once: it would count as memory of the model
    while batch := list(islice(items, BATCH_SIZE)):
        began_s = time.process_time()
        pipeline.step(state, batch, 0.0)
        us.append((time.process_time() - began_s) * 1e6 / len(batch))
    return us


def _learn(state: Any, stream: Stream) -> tuple[list[float], np.ndarray]:
    """Microseconds an event of the last events, by thousands; rows of the users who came last."""
    us, n_left, last = [], stream.n_interactions, np.empty(0, np.int32)
    for events in stream.batches():
        for begin in range(0, len(events), BATCH_SIZE):
            batch = events[begin : begin + BATCH_SIZE]
            began_s = time.process_time()
            _, info = pipeline.step(state, batch, 0.0)
            if n_left <= N_TIMED:
                us.append((time.process_time() - began_s) * 1e6 / len(batch))
            n_left -= len(batch)
            last = np.concatenate([last, info.touched_users])[-4 * N_LISTS :]
    return us, np.unique(last)


def _rank(state: Any, publisher: Publisher, users: np.ndarray, k: int) -> tuple[list[float], list[float]]:
    """Microseconds a list of active users, encoded untimed: what the publisher keeps is part of what a user takes.

    Beside them the candidates of the last list of each chunk: the more items there are, the fewer do neighbour rows share.
    """
    rows = np.random.default_rng(0).permutation(users)[:N_LISTS].astype(np.int32)
    us, n_candidates = [], []
    for begin in range(0, rows.size, CHUNK_LISTS):
        chunk = rows[begin : begin + CHUNK_LISTS]
        began_s = time.process_time()
        ranking = pipeline.rank_users(state, chunk, k)
        us.append((time.process_time() - began_s) * 1e6 / chunk.size)
        n_candidates.append(float(state.scratch.n[N_ALL]))
        publisher.encode(state, ranking, 0, {})
    return us, n_candidates


def _bytes(state: Any, k: int, resident: int) -> dict[tuple[str, str], list[float]]:
    sizes = pipeline.table_bytes(state)
    n_items, n_users = len(state.ids.items), len(state.ids.users)
    of_items = sum(n_bytes for name, n_bytes in sizes.items() if OF_ITEMS.fullmatch(name))
    of_users = sum(n_bytes for name, n_bytes in sizes.items() if OF_USERS.fullmatch(name))
    rest = sum(sizes.values()) - of_items - of_users
    return {
        ("tables, an item", "bytes"): [of_items / n_items],
        ("tables, a user", "bytes"): [of_users / n_users],
        ("its published list, a user", "bytes"): [4.0 * k],
        ("tables, neither", "MB"): [rest / 1e6],
        ("tables, all", "MB"): [(sum(sizes.values()) + 4.0 * k * n_users) / 1e6],
        ("resident, all", "MB"): [resident / 1e6],
    }
