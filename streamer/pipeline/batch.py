"""The fold of one batch: `state, info = step(state, batch)`, the stages in their order.

Events are folded one by one inside, so any cut of the log into batches gives the same state.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import cast

import numpy as np

from streamer import nearest, packed_ids
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
from streamer.graph.catalog import arrive_as_news, erase_user, offer_again, stock, withdraw
from streamer.graph.state import (
    CATALOGUED,
    EVENTS,
    HISTORY,
    KNOWN,
    POOLED,
    PROFILE_NODES,
)
from streamer.outcomes import LATE, Outcomes, joined
from streamer.pipeline.delivery import Skipped, content_hash, to_be_folded
from streamer.pipeline.description import give_features, hear_of, put_text, segment_rows
from streamer.pipeline.eviction import evict_users
from streamer.pipeline.info import Erased, StepInfo
from streamer.pipeline.items import evict_items, is_used, make_room, reuse_row
from streamer.pipeline.leaving import n_until_due, stay
from streamer.pipeline.lists import rank_users, user_vectors
from streamer.pipeline.run import Run
from streamer.pipeline.segments import admit_segments
from streamer.pipeline.state import State, new_state


def warm_up(settings: FoldSettings, measure_share: float, k: int) -> None:
    """Compile, or load from disk, every kernel that a fold with these settings, and lists of `k`, call."""
    warm_up_fold(settings, measure_share)
    warm_up_lists(settings, k)


def warm_up_fold(settings: FoldSettings, measure_share: float) -> None:
    """The half of `warm_up` that learns, on a small state of its own: two processes may each compile a half."""
    views = [Interaction("u", f"i{n}", "view", n, event_id=f"e{n}") for n in range(3)]
    item = CatalogItem(item_id="i", categorical={"kind": ["warm"]}, timestamp_ms=3)
    gone = ItemRetired("i")
    events: list[Event] = [*views, item, gone, item, gone, UserErased("u")]  # it comes back, too
    state, _ = step(new_state(_small(settings)), events, measure_share)
    evict_items(state)
    packed_ids.warm_up()


def warm_up_lists(settings: FoldSettings, k: int) -> None:
    """The other half, that ranks: kernels take no longer to compile where there is nothing to rank yet."""
    state = new_state(_small(settings))
    rank_users(state, np.array([0, -1], np.int32), k)
    if "vectors" not in settings.without:
        user_vectors(state, np.array([0], np.int32))
    if settings.text_model != "none":
        nearest.warm_up()


def _small(settings: FoldSettings) -> FoldSettings:
    return settings._replace(max_items=16, max_users=16, max_nodes=16, max_taken=1024, dedup_window=16)


def step(
    state: State,
    events: Sequence[Event],
    measure_share: float = 1.0,
    log_ms: Sequence[int] | None = None,
    max_measured: int | None = None,
) -> tuple[State, StepInfo]:
    """Fold a batch in the order of the log.

    Args:
        state: Given away; use the one that is returned.
        measure_share: Share of users whose interactions are measured and move the mixture's weights; chosen by row, so the
            same in every replay. Part of what must be equal for two folds to be equal.
        log_ms: (n,) the log's own time of each event, epoch milliseconds, -1 where it has none: whether an erased user did
            something before he was erased. None: the log has no times.
        max_measured: Interactions of this batch that are measured at most. None: all of that share of users. Then the state
            does not depend on how the log is cut into batches; with a limit it does, and a repetition needs the same cuts.

    Raises:
        ValueError: there are not as many times as events.
    """
    batch = _Batch(state, measure_share, max_measured)
    for kind, run in groupby(to_be_folded(state, events, log_ms, batch.skipped), key=type):
        if kind is Interaction:
            batch.take_interactions(cast(list[Interaction], list(run)))
        else:
            for event in run:
                batch.take(event)
    info = batch.finish()
    return batch.state, info


class _Batch:
    """Finds rows for whom the events name, gathers runs of interactions, and brings all else to the state between them."""

    def __init__(self, state: State, measure_share: float, max_measured: int | None) -> None:
        self.state = state
        self._ids = state.ids
        self._run = Run(measure_share, max_measured)
        self._outcomes: list[Outcomes] = []
        self._n = dict.fromkeys(("catalog", "profiles", "retired", "evicted"), 0)
        self.skipped: Skipped = Counter()
        self._retired: dict[str, bool] = {}  # item id -> retired (True) or restored (False) last
        self._erased: list[str] = []
        self._erased_rows: list[int] = []
        self._evicted_items: list[int] = []
        self._evicted_retired: list[int] = []
        self._removed: list[Erased] = []
        self._described: set[int] = set()
        self._profiled: set[int] = set()  # user rows

    def take_interactions(self, events: Sequence[Interaction]) -> None:
        """A run of them: all at once, where nobody has to make room."""
        users, items = self._ids.users, self._ids.items
        # a row that is given again is cleaned first
        is_fresh = items.n_released == 0 and n_until_due(self.state) >= len(events)
        if (is_fresh or items.n_unknown([event.item_id for event in events]) == 0) and (
            users.n_free >= len(events)
            or users.n_free >= users.n_unknown([event.user_id for event in events])
        ):
            self._run.admit(self.state, events)
            return
        for event in events:
            # asked before anyone is admitted: what is refused takes no row, and no user goes for it
            if self._has_room_for_item(event.item_id) and self._has_room_for(event.user_id):
                self._run.admit(self.state, [event])
            else:
                self.skipped["interactions", "refused"] += 1

    def take(self, event: Event) -> None:
        """Any event but an interaction."""
        self._fold_run()
        if isinstance(event, CatalogItem):
            self._describe_item(event)
        elif isinstance(event, ItemRetired):
            self._retire(event.item_id)
        elif isinstance(event, Profile):
            self._describe_user(event)
        elif isinstance(event, UserErased):
            self._erase(event.user_id)
        elif isinstance(event, TextEmbedded):
            self._take_vector(event)

    def _has_room_for(self, user_id: str) -> bool:
        """Whether the user has a row or can get one, that of somebody colder if need be."""
        users = self._ids.users
        if users.is_full and users.row(user_id) < 0:
            self._fold_run()  # who is coldest must not depend on where batches begin
            evicted = evict_users(self.state)
            self._n["evicted"] += len(evicted)
            self._erased_rows += evicted
            return bool(evicted)
        return True

    def _has_room_for_item(self, item_id: str) -> bool:
        """Whether the item has a row or can get one, that of one that is gone, or colder, if need be."""
        items = self._ids.items
        if items.row(item_id) >= 0:
            return True
        if n_until_due(self.state) == 0:
            self._fold_run()  # which ones are coldest must not depend on where batches begin
            self.state, evicted = make_room(self.state)
            self._evicted_items += evicted.rows.tolist()
            self._described.difference_update(evicted.rows.tolist())
            self._evicted_retired += evicted.rows[evicted.was_unlistable].tolist()
        row = items.next_row
        if row >= 0 and is_used(self.state, row):
            self._fold_run()
            reuse_row(self.state, row)
        return row >= 0

    def _admit_item(self, item_id: str) -> int:
        """The item's row; -1 where there is no room for it."""
        return self._ids.items.admit(item_id) if self._has_room_for_item(item_id) else -1

    def finish(self) -> StepInfo:
        self._fold_run()
        outcomes = joined(self._outcomes)
        return StepInfo(
            n_interactions=outcomes.user_row.size,
            n_catalog=self._n["catalog"],
            n_profiles=self._n["profiles"],
            n_items_retired=self._n["retired"],
            n_users_erased=len(self._erased),
            n_late=int(np.count_nonzero(outcomes.flags & LATE)),
            n_skipped=self.skipped,
            touched_users=np.union1d(outcomes.user_row, np.array(list(self._profiled), np.int32)),
            outcomes=outcomes,
            retired_item_ids=[item_id for item_id, gone in self._retired.items() if gone],
            restored_item_ids=[item_id for item_id, gone in self._retired.items() if not gone],
            erased_user_ids=self._erased,
            erased_user_rows=self._erased_rows,
            n_users_evicted=self._n["evicted"],
            evicted_item_rows=self._evicted_items,
            evicted_retired_rows=self._evicted_retired,
            described_item_rows=np.array(sorted(self._described), np.int32),
            erased=self._removed,
        )

    def _fold_run(self) -> None:
        if len(self._run):
            self.state, outcomes = self._run.fold(self.state)
            self._outcomes.append(outcomes)

    def _describe_item(self, event: CatalogItem) -> None:
        is_known = self._ids.items.row(event.item_id) >= 0
        item_row, content = self._admit_item(event.item_id), content_hash(event)
        if item_row >= 0 and self.state.contents.items[item_row] == content:
            self.skipped["catalog", "duplicate"] += 1
            return
        if item_row < 0:
            self.skipped["catalog", "refused"] += 1
            return
        self._n["catalog"] += 1
        self.state.contents.items[item_row] = content
        flags = int(self.state.graph.items["flags"][item_row]) | CATALOGUED
        self.state.graph.items["flags"][item_row] = flags
        was_unlistable = bool(self.state.graph.unlistable[item_row])
        if was_unlistable and event.available:
            offer_again(self.state.graph, item_row)
        elif not (was_unlistable or event.available):
            withdraw(self.state.graph, item_row, self._ids.items.n_rows)
        if event.available:
            self._described.add(item_row)
        if was_unlistable and event.available:
            stay(self.state, item_row)
        # a newcomer to a table that was full may be one that was retired and evicted: readers leave it out until told
        if was_unlistable == event.available or (not is_known and self._has_evicted()):
            self._retired[event.item_id] = not event.available
        self.state = give_features(self.state, item_row, event)
        if not event.available:
            hear_of(self.state, item_row)
        # A catalog that comes before the first interaction is inventory; what comes later is news.
        if not flags & (KNOWN | POOLED) and event.available:
            if self.state.graph.counters[EVENTS] > 0:
                arrive_as_news(self.state.graph, item_row)
            else:
                stock(self.state.graph, item_row)

    def _has_evicted(self) -> bool:
        return self._ids.items.n_rows == self.state.settings.max_items

    def _describe_user(self, event: Profile) -> None:
        if not self._has_room_for(event.user_id):
            self.skipped["profiles", "refused"] += 1
            return
        user_row, content = self._ids.users.admit(event.user_id), content_hash(event)
        if self.state.contents.users[user_row] == content:
            self.skipped["profiles", "duplicate"] += 1
            return
        self._n["profiles"] += 1
        self.state.contents.users[user_row] = content
        names = self.state.encoders.profile(event)
        segments = segment_rows(self.state, names, PROFILE_NODES)
        nodes = self.state.graph.users["nodes"][user_row]
        nodes[:PROFILE_NODES] = 0
        nodes[: len(segments)] = segments
        admit_segments(self.state, names)
        self._profiled.add(user_row)

    def _take_vector(self, event: TextEmbedded) -> None:
        # no item will ever ask for the key of another model, and its vectors would push ours out of those that wait
        if event.model != self.state.settings.text_model:
            self.skipped["texts", "other_model"] += 1
            return
        for item_row in self.state.texts.arrive(event.key, event.vector):
            self.state = put_text(self.state, item_row, event.vector)

    def _retire(self, item_id: str) -> None:
        item_row = self._admit_item(item_id)  # also one nobody knows yet: its events may still come
        if item_row < 0:
            self.skipped["catalog", "refused"] += 1
        else:
            self._n["retired"] += 1
            withdraw(self.state.graph, item_row, self._ids.items.n_rows)
            hear_of(self.state, item_row)
            self.state.contents.items[item_row] = 0  # the same record once more brings it back
            self.state.changed.add(item_row)
        self._retired[item_id] = True

    def _erase(self, user_id: str) -> None:
        user_row = self._ids.users.release(user_id)
        removed = Erased(user_id, 0, 0, has_profile=False)
        if user_row >= 0:
            user = self.state.graph.users[user_row]
            n_history, n_taken = min(int(user["n_events"]), HISTORY), int(user["n_taken"])
            removed = Erased(user_id, n_history, n_taken, bool(user["nodes"][:PROFILE_NODES].any()))
            erase_user(self.state.graph, user_row)
            self.state.contents.users[user_row] = 0
            self._erased_rows.append(user_row)
        self._erased.append(user_id)
        self._removed.append(removed)
