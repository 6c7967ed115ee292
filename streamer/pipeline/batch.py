"""The fold of one batch: `state, info = step(state, batch)`, the stages in their order.

Events are folded one by one inside, so any cut of the log into batches gives the same state.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer import nearest
from streamer.events import (
    CatalogItem,
    Event,
    Interaction,
    ItemRetired,
    Profile,
    TextEmbedded,
    UserErased,
)
from streamer.graph import FoldSettings
from streamer.graph.catalog import arrive_as_news, erase_user, move_to_nodes, stock
from streamer.graph.state import CATALOGUED, EVENTS, KNOWN, NODES
from streamer.pipeline.lists import rank_users
from streamer.pipeline.state import N_EXACT, State, new_state
from streamer.prequential import Outcomes, fold, fold_only, new_outcomes
from streamer.texts import content_key, content_of

NAN = float("nan")
_LARGEST = 1e30  # values beyond are taken for this: they would be infinite in float32


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
