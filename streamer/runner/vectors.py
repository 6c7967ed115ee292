"""Vectors of users and items on their way to Redis, and the readable state of the encoders: after the lists, a few at a time."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer import pipeline
from streamer.config import Settings
from streamer.ids import IdTable
from streamer.packed_ids import PackedIds
from streamer.pipeline import State, StepInfo
from streamer.ports import Clock, VectorEntry, Vectors
from streamer.publish_vectors import VectorPublisher
from streamer.runner.interval import Every
from streamer.runner.patience import REDIS, Patience
from streamer.telemetry import Telemetry

INTERVAL_S = 0.05  # between two writes: small ones often, since the next list waits for each
ENCODERS_INTERVAL_S = 10.0
_MOST = float(np.finfo(np.float16).max)

Rows = NDArray[np.int32]


class _Entries(NamedTuple):
    users: list[VectorEntry]
    items: list[VectorEntry]


class VectorWriter:
    """Follows the fold, and writes the vectors that events touched, then those of older weights in turn.

    Args:
        settings: Sizes, how many vectors a second, when they expire.
        vectors: Where they are written.
        patience: Waits while it is away.
        clock: Time.
        telemetry: Counts.
        check: Called before vectors are written; raises where another worker has gone on.
    """

    def __init__(
        self,
        settings: Settings,
        vectors: Vectors,
        patience: Patience,
        clock: Clock,
        telemetry: Telemetry,
        check: Callable[[], None],
    ) -> None:
        self._check = check
        self._vectors = vectors
        self._patience = patience
        self._telemetry = telemetry
        self._ttl_s = settings.list_ttl_s
        self._n_a_time = int(np.ceil(settings.vectors_per_s * INTERVAL_S))
        self._publisher = VectorPublisher(settings.max_users, settings.max_items)
        # event time of each item's newest event, ms + 1; 0 = none
        self._newest = np.zeros(settings.max_items, np.int64)
        self._encoders_changed = True
        self._due = Every(clock, INTERVAL_S)
        self._due_encoders = Every(clock, ENCODERS_INTERVAL_S)

    def restored(self, state: State) -> None:
        """The fold resumes from this state: which of its vectors are written nobody knows, so all are, in turn."""
        self._publisher.touch_users(np.arange(state.ids.users.n_rows, dtype=np.int32))
        self._publisher.touch_items(np.arange(state.ids.items.n_rows, dtype=np.int32))
        self._encoders_changed = True

    def follow(self, state: State, info: StepInfo) -> None:
        """A batch was folded: its users and items get new vectors."""
        item_rows = info.outcomes.item_row
        self._newest[info.evicted_item_rows] = 0
        np.maximum.at(self._newest, item_rows, info.outcomes.time_ms + 1)
        self._publisher.touch_users(info.touched_users)
        self._publisher.touch_items(np.concatenate([item_rows, info.described_item_rows]))
        for user_row in info.erased_user_rows:
            if state.ids.users.id(user_row) is None:  # else it has a new owner, whose vector it is
                self._publisher.forget_user(user_row)
        for item_row in info.evicted_item_rows:
            if state.ids.items.id(item_row) is None:
                self._publisher.forget_item(item_row)
        for item_id in info.retired_item_ids:
            item_row = state.ids.items.row(item_id)
            if item_row >= 0:
                self._publisher.forget_item(item_row)
        if info.n_catalog or info.n_profiles or info.outcomes.context.any():
            self._encoders_changed = True

    def delete(self, user_ids: list[str], item_ids: list[str]) -> None:
        """Take the vectors of erased users and retired items out of the store.

        Raises:
            Unavailable: the store is away; the call may be repeated.
        """
        self._vectors.delete_users(user_ids)
        self._vectors.delete_items(item_ids)

    def write(self, state: State) -> None:
        """Write the next few, where there are weights and it is time; the encoders' state now and then.

        Raises:
            Unavailable: Redis stays away while we are stopping.
        """
        if state.graph.vectors.version > 0 and self._n_a_time and self._due():
            plan = self._publisher.plan(self._n_a_time, state.graph.vectors.version)
            entries = _Entries(user_entries(state, plan.user_rows), self._item_entries(state, plan.item_rows))
            if entries.users or entries.items:
                self._patience(REDIS, lambda: self._write_once(entries))
                self._telemetry.vectors_written.labels("user").inc(len(entries.users))
                self._telemetry.vectors_written.labels("item").inc(len(entries.items))
        if self._encoders_changed and self._due_encoders():
            readable = msgspec.json.encode(state.encoders.readable())
            self._patience(REDIS, lambda: self._write_encoders(readable))
            self._encoders_changed = False

    def show(self) -> None:
        """Bring the gauge up to date."""
        self._telemetry.vector_backlog.set(self._publisher.backlog if self._n_a_time else 0)

    def _write_once(self, entries: _Entries) -> None:
        self._check()
        self._vectors.write_users(entries.users, self._ttl_s)
        self._vectors.write_items(entries.items, self._ttl_s)

    def _write_encoders(self, readable: bytes) -> None:
        self._check()
        self._vectors.write_encoders(readable)

    def _item_entries(self, state: State, rows: Rows) -> list[VectorEntry]:
        return item_entries(state, rows, self._newest[rows] - 1)


def user_entries(state: State, rows: Rows) -> list[VectorEntry]:
    """h_u of these users in the present version, right after their last event; rows that nobody owns are left out.

    Args:
        rows: (n,) int32 rows of users.
    """
    ids = state.ids.users
    rows = np.array([row for row in rows.tolist() if ids.id(row) is not None], np.int32)
    users = state.graph.users[rows]
    times = np.where(users["n_events"] > 0, users["last_time_ms"], -1)
    nodes = [[node - 1 for node in segments if node] for segments in users["nodes"].tolist()]
    return _entries(state, ids, rows, pipeline.user_vectors(state, rows), times, nodes)


def item_entries(state: State, rows: Rows, times_ms: NDArray[np.int64]) -> list[VectorEntry]:
    """h_i of these items; those that came after the present version, or may not be listed, and rows of nobody, are left out.

    Args:
        rows: (n,) int32 rows of items.
        times_ms: (n,) of the newest event of each, -1 = none.
    """
    h = state.graph.vectors.h
    is_owned = np.array([state.ids.items.id(row) is not None for row in rows.tolist()], np.bool_)
    is_there = is_owned & (rows < h.shape[0]) & ~state.graph.unlistable[rows]
    rows, times_ms = rows[is_there], times_ms[is_there]
    has_vector = np.isfinite(state.graph.vectors.bias[rows])  # not where the row was that of an evicted item
    rows, times_ms = rows[has_vector], times_ms[has_vector]
    items = state.graph.items[rows]
    nodes = [nodes[:n] for nodes, n in zip(items["nodes"].tolist(), items["n_nodes"].tolist(), strict=True)]
    return _entries(state, state.ids.items, rows, h[rows], times_ms, nodes)


def _entries(
    state: State,
    ids: IdTable | PackedIds,
    rows: Rows,
    vectors: NDArray[np.float32],
    times_ms: NDArray[np.int64],
    nodes: list[list[int]],
) -> list[VectorEntry]:
    version, name_of = state.graph.vectors.version, state.ids.nodes.id
    encoded = np.clip(vectors, -_MOST, _MOST).astype("<f2")
    return [
        VectorEntry(
            ids.id(row) or "",
            vector.tobytes(),
            version,
            time_ms,
            {"nodes": msgspec.json.encode([name_of(node) for node in its_nodes]).decode()},
        )
        for row, vector, time_ms, its_nodes in zip(
            rows.tolist(), encoded, times_ms.tolist(), nodes, strict=True
        )
    ]
