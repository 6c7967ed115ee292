"""The fold: `state, info = step(state, batch)`, the stages in their order. Pure: no clock, no I/O, no chance.

The tables of a state are moved in place, since they may be gigabytes: whoever calls `step` gives the state away and goes on
with the one that comes back. Events are folded one by one inside, so any cut of the log into batches gives the same state.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from streamer import mixture, paths
from streamer.encode import Encoders
from streamer.events import (
    CatalogItem,
    Event,
    Interaction,
    ItemRetired,
    Profile,
    TextDropped,
    TextEmbedded,
    UserErased,
)
from streamer.graph import FoldSettings, Graph, new_graph
from streamer.graph.candidates import MAX_K, Candidates, new_candidates
from streamer.graph.catalog import arrive_as_news, erase_user, move_to_nodes, stock
from streamer.graph.state import CATALOGUED, EVENTS, KNOWN, NODES
from streamer.ids import IdTable
from streamer.prequential import Outcomes, fold, fold_only, new_outcomes
from streamer.rank import rank_users as rank_users_kernel
from streamer.ranker import Ranker, new_ranker
from streamer.ranker.features import N_FEATURES


NAN = float("nan")


class Ids(NamedTuple):
    """The three kinds of outside names."""

    users: IdTable
    items: IdTable
    nodes: IdTable  # category nodes, "field=value"


class State(NamedTuple):
    """Everything that the log has taught so far."""

    settings: FoldSettings
    graph: Graph
    ids: Ids
    encoders: Encoders
    ranker: Ranker
    scratch: Candidates  # no state: where lists are made


class StepInfo(NamedTuple):
    """What a batch did."""

    n_interactions: int
    n_catalog: int
    n_profiles: int
    n_items_retired: int
    n_users_erased: int
    n_refused: int  # interactions and items for which the tables had no room: not learned
    touched_users: NDArray[np.int32]  # rows, ascending: whose list may have changed
    outcomes: Outcomes
    retired_item_ids: list[str]  # may not be listed any more
    restored_item_ids: list[str]  # may be listed again
    erased_user_ids: list[str]
    erased_user_rows: list[int]  # theirs, where they had one; may belong to somebody else by now


class Ranking(NamedTuple):
    """Lists of n users, best first; rows of -1 fill the end of short ones."""

    user_rows: NDArray[np.int32]  # (n,)
    items: NDArray[np.int32]  # (n, k)
    scores: NDArray[np.float32]  # (n, k) probability that the next event is this item's
    paths: NDArray[np.int8]  # (n, k) index into paths.NAMES


def new_state(settings: FoldSettings) -> State:
    """The state before the first event.

    Raises:
        ValueError: a setting is out of range.
    """
    return State(
        settings,
        new_graph(settings, mixture.N_CONTEXTS, paths.N_PATHS),
        Ids(IdTable(settings.max_users), IdTable(settings.max_items), IdTable(settings.max_nodes)),
        Encoders(),
        new_ranker(N_FEATURES),
        new_candidates(paths.N_PATHS, settings.max_nodes),
    )


def warm_up(settings: FoldSettings, measure_share: float, k: int) -> None:
    """Compile, or load from disk, every kernel that a fold with these settings calls, on a small state of its own."""
    small = settings._replace(max_items=16, max_users=16, max_nodes=16, max_taken=1024)
    views = [Interaction("u", f"i{n}", "view", n) for n in range(3)]
    item = CatalogItem(item_id="i", categorical={"kind": ["warm"]}, timestamp_ms=3)
    state, _ = step(new_state(small), [*views, item, ItemRetired("i"), UserErased("u")], measure_share)
    rank_users(state, np.array([0, -1], np.int32), k)


def step(state: State, events: Sequence[Event], measure_share: float = 1.0) -> tuple[State, StepInfo]:
    """Fold a batch in the order of the log.

    Args:
        state: Given away; use the one that is returned.
        measure_share: Share of users whose interactions are measured and move the mixture's weights; chosen by row, so the
            same in every replay. Part of what must be equal for two folds to be equal.
    """
    batch = _Batch(state, measure_share)
    for event in events:
        batch.take(event)
    return state, batch.finish()


class _Batch:
    """Gathers runs of interactions for the kernel; anything else first lets them be folded."""

    def __init__(self, state: State, measure_share: float) -> None:
        self._graph, self._ids, self._scratch, self._ranker = state.graph, state.ids, state.scratch, state.ranker
        self._encoders = state.encoders
        self._measure_share = measure_share
        self._users: list[int] = []
        self._items: list[int] = []
        self._times: list[int] = []
        self._values: list[float] = []
        self._outcomes: list[Outcomes] = []
        self._n = dict.fromkeys(("catalog", "profiles", "refused"), 0)
        self._retired: dict[str, bool] = {}  # item id -> retired (True) or restored (False) last
        self._erased: list[str] = []
        self._erased_rows: list[int] = []
        self._n_items_retired = 0

    def take(self, event: Event) -> None:
        if isinstance(event, Interaction):
            users, items = self._ids.users, self._ids.items
            # asked before anyone is admitted: what is refused takes no row
            if (users.is_full and users.row(event.user_id) < 0) or (
                items.is_full and items.row(event.item_id) < 0
            ):
                self._n["refused"] += 1
                return
            self._users.append(users.admit(event.user_id))
            self._items.append(items.admit(event.item_id))
            self._times.append(event.timestamp_ms)
            self._values.append(NAN if event.value is None else event.value)
            return
        self._fold_run()
        if isinstance(event, CatalogItem):
            self._n["catalog"] += 1
            self._describe_item(event)
        elif isinstance(event, ItemRetired):
            self._n_items_retired += 1
            self._retire(event.item_id)
        elif isinstance(event, Profile):
            self._n["profiles"] += 1  # known and valid; the paths of this model do not use profiles yet
        elif isinstance(event, UserErased):
            self._erase(event.user_id)
        elif isinstance(event, TextEmbedded | TextDropped):
            pass  # INTEGRATOR: vectors of texts are known and valid; the paths of this model do not use them yet

    def finish(self) -> StepInfo:
        self._fold_run()
        outcomes = _joined(self._outcomes)
        return StepInfo(
            n_interactions=outcomes.user_row.size,
            n_catalog=self._n["catalog"],
            n_profiles=self._n["profiles"],
            n_items_retired=self._n_items_retired,
            n_users_erased=len(self._erased),
            n_refused=self._n["refused"],
            touched_users=np.unique(outcomes.user_row),
            outcomes=outcomes,
            retired_item_ids=[item_id for item_id, gone in self._retired.items() if gone],
            restored_item_ids=[item_id for item_id, gone in self._retired.items() if not gone],
            erased_user_ids=self._erased,
            erased_user_rows=self._erased_rows,
        )

    def _fold_run(self) -> None:
        if not self._users:
            return
        out = new_outcomes(
            np.array(self._users, np.int32),
            np.array(self._items, np.int32),
            np.array(self._times, np.int64),
            np.array(self._values, np.float32),
        )
        if self._measure_share > 0.0:
            fold(self._graph, self._scratch, self._ranker, _chosen(out.user_row, self._measure_share), out)
        else:
            fold_only(self._graph, out)
        self._outcomes.append(out)
        self._users, self._items, self._times, self._values = [], [], [], []

    def _describe_item(self, event: CatalogItem) -> None:
        item_row = self._ids.items.admit(event.item_id)
        if item_row < 0:
            self._n["refused"] += 1
            return
        flags = int(self._graph.items["flags"][item_row]) | CATALOGUED
        self._graph.items["flags"][item_row] = flags
        was_unlistable = bool(self._graph.unlistable[item_row])
        self._graph.unlistable[item_row] = not event.available
        if was_unlistable == event.available:
            self._retired[event.item_id] = not event.available
        self._give_features(item_row, event)
        # A catalog that comes before the first interaction is inventory; what comes later is news.
        if not flags & KNOWN and event.available:
            if self._graph.counters[EVENTS] > 0:
                arrive_as_news(self._graph, item_row)
            else:
                stock(self._graph, item_row)

    def _give_features(self, item_row: int, event: CatalogItem) -> None:
        features = self._encoders.item(event)
        rows_of = [self._admit_nodes(names) for names in (features.categories, features.bins, features.words)]
        nodes = [row for rows in rows_of for row in rows][:NODES]
        numbers = np.array(features.numbers, np.float32)
        move_to_nodes(self._graph, item_row, np.array(nodes, np.int32), min(len(rows_of[0]), NODES), numbers)

    def _admit_nodes(self, names: Iterable[str]) -> list[int]:
        return [row for name in names if (row := self._ids.nodes.admit(name)) >= 0]

    def _retire(self, item_id: str) -> None:
        item_row = self._ids.items.admit(item_id)  # also one nobody knows yet: its events may still come
        if item_row < 0:
            self._n["refused"] += 1
        else:
            self._graph.unlistable[item_row] = True
        self._retired[item_id] = True

    def _erase(self, user_id: str) -> None:
        user_row = self._ids.users.release(user_id)
        if user_row >= 0:
            erase_user(self._graph, user_row)
            self._erased_rows.append(user_row)
        self._erased.append(user_id)


def _chosen(user_rows: NDArray[np.int32], share: float) -> NDArray[np.bool_]:
    mixed = (user_rows.astype(np.uint64) * np.uint64(2654435769)) & np.uint64(0xFFFFFFFF)
    return mixed < np.uint64(round(share * 2**32))


def _joined(outcomes: list[Outcomes]) -> Outcomes:
    if not outcomes:
        return new_outcomes(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))
    if len(outcomes) == 1:
        return outcomes[0]
    return Outcomes(*(np.concatenate(columns) for columns in zip(*outcomes, strict=True)))


def rank_users(
    state: State, user_rows: NDArray[np.int32], k: int, gaps_ms: NDArray[np.int64] | None = None
) -> Ranking:
    """Lists for these users; row -1 is the user nobody knows. Leaves the state as it is.

    Args:
        gaps_ms: (n,) how long after his last event each user is expected to look. None: right after it.

    Raises:
        ValueError: k is not within 1..200, or a row is none of a user.
    """
    n_rows = state.settings.max_users
    if user_rows.size and not (user_rows.min() >= -1 and user_rows.max() < n_rows):
        raise ValueError(
            f"user_rows: expected -1 to {n_rows - 1}, got {user_rows.min()} to {user_rows.max()}"
        )
    if not 1 <= k <= MAX_K:
        raise ValueError(f"k: expected 1 to {MAX_K}, got {k}")
    n = user_rows.size
    ranking = Ranking(
        user_rows.astype(np.int32),
        np.empty((n, k), np.int32),
        np.empty((n, k), np.float32),
        np.empty((n, k), np.int8),
    )
    gaps_ms = np.zeros(n, np.int64) if gaps_ms is None else gaps_ms
    rank_users_kernel(
        state.graph,
        state.scratch,
        state.ranker,
        ranking.user_rows,
        gaps_ms,
        ranking.items,
        ranking.scores,
        ranking.paths,
    )
    return ranking


def idle_users(
    state: State, user_rows: NDArray[np.int32], time_ms: int, last_by_ms: int
) -> NDArray[np.int32]:
    """Those of these users whose session is over at `time_ms`, and who did nothing after `last_by_ms` (event time)."""
    last_ms = state.graph.users["last_time_ms"][user_rows]
    is_idle = (last_ms <= last_by_ms) & (time_ms - last_ms > state.graph.session_gap_ms)
    return user_rows[is_idle & (state.graph.users["n_events"][user_rows] > 0)]


def gaps_ms(state: State, user_rows: NDArray[np.int32], time_ms: int) -> NDArray[np.int64]:
    """How long ago each user's last event is at `time_ms` of event time, (n,); 0 while his session lasts, and for row -1."""
    gaps: NDArray[np.int64] = time_ms - state.graph.users["last_time_ms"][user_rows]
    return np.where((user_rows >= 0) & (gaps > state.graph.session_gap_ms), gaps, 0)


def _used_tables(state: State) -> dict[str, NDArray[np.generic]]:
    """Every table, cut to the rows that are in use."""
    graph, ids = state.graph, state.ids
    n_items, n_users, n_nodes = ids.items.n_rows, ids.users.n_rows, ids.nodes.n_rows
    n_taken = int(graph.taken.used[0])
    return {
        "items": graph.items[:n_items],
        "damping": graph.damping[:n_items],
        "unlistable": graph.unlistable[:n_items],
        "neighbours": graph.neighbour[:n_items],
        "evidence": graph.evidence[:n_items],
        "users": graph.users[:n_users],
        "nodes": graph.nodes[:n_nodes],
        "taken": graph.taken.item[:n_taken],
        "taken_counts": graph.taken.times[:n_taken],
        "taken_last": graph.taken.last[:n_taken],
        "taken_free": graph.taken.free,
        "taken_used": graph.taken.used,
        "clock_scales": graph.clocks.scale,
        "clock_epochs": graph.clocks.epoch,
        "clock_masses": graph.clocks.mass,
        "clock_lists": graph.clocks.top,
        "clock_lengths": graph.clocks.n_top,
        "fresh": graph.fresh,
        "counters": graph.counters,
        "weights": graph.weights,
    }


def table_bytes(state: State) -> dict[str, int]:
    """Bytes of every table in use, and of the id tables (estimated: 100 bytes beside the id itself)."""
    sizes = {name: table.nbytes for name, table in _used_tables(state).items()}
    for name, ids in state.ids._asdict().items():
        sizes[f"ids_{name}"] = 140 * ids.n_rows
    return sizes


def state_hash(state: State) -> str:
    """Equal states have equal hashes: settings, ids and every table in use (xxh3, 128 bits, hexadecimal)."""
    digest = xxhash.xxh3_128(repr(tuple(state.settings)).encode())
    for ids in state.ids:
        for outside_id, row in ids.items():
            digest.update(f"{row}:{len(outside_id)}:{outside_id};".encode())
        digest.update(repr(ids.released).encode())
    for name, table in _used_tables(state).items():
        digest.update(f"{name}{table.shape}".encode())
        # a view of bytes: structured tables have no padding that differs, since they start as zeros
        digest.update(np.ascontiguousarray(table).view(np.uint8).data)
    return digest.hexdigest()


def path_weights(state: State) -> dict[str, float]:
    """Weight of every path, over all contexts by how much each was seen; sums to 1."""
    gathered = state.graph.weights.sum(axis=0)
    return dict(zip(paths.NAMES, (gathered / gathered.sum()).tolist(), strict=True))
