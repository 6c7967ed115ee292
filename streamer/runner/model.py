"""The pure core with its state, as the loop sees it: events in, encoded lists and figures out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer import pipeline, report
from streamer.config import Settings
from streamer.events import Event
from streamer.measure import Scoreboard
from streamer.publish import ANONYMOUS_ROW, Publisher
from streamer.runner.returning import Returning
from streamer.telemetry import Telemetry

Entries = list[tuple[str, bytes]]  # user id -> the list as it is written


class Changes(NamedTuple):
    """What must happen to published lists beside writing new ones."""

    erased_user_ids: list[str]
    retired_item_ids: list[str]
    restored_item_ids: list[str]


class Model:
    """Owns the state of the fold. Not safe to share between threads.

    Args:
        settings: Sizes, rules, length of lists.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = pipeline.new_state(settings.fold())
        self._scoreboard = Scoreboard()
        self._publisher = Publisher(settings.max_users, settings.k)
        self._returning = Returning(settings.session_gap_s * 1000)
        self._n_counted_shown = 0
        self._n_refused = 0  # not shown yet
        self._is_retired: dict[str, bool] = {}  # item id -> the last word on it, not written yet
        self._erased: dict[str, None] = {}  # user ids, in order, not deleted yet

    def warm_up(self) -> None:
        """Compile, or load, every kernel now: the first event should not have to wait for it."""
        pipeline.warm_up(self._settings.fold(), self._settings.measure_share, self._settings.k)

    def fold(self, events: Sequence[Event], now_ms: int, is_serving: bool) -> NDArray[np.int32]:
        """Measure and learn one batch; returns the rows of users whose list may have changed.

        Args:
            events: In log order.
            now_ms: Wall clock: no event happened later, whatever its timestamp says.
            is_serving: Lists were published before, so look the events up in those, too.
        """
        self._state, info = pipeline.step(self._state, events, self._settings.measure_share)
        self._scoreboard.update(info.outcomes, self._publisher.served(info.outcomes) if is_serving else None)
        self._n_refused += info.n_refused
        if info.n_interactions:
            self._returning.touch(info.touched_users, min(int(info.outcomes.time_ms.max()), now_ms))
        self._is_retired |= dict.fromkeys(info.retired_item_ids, True)
        self._is_retired |= dict.fromkeys(info.restored_item_ids, False)
        self._erased |= dict.fromkeys(info.erased_user_ids)
        self._publisher.forget(info.erased_user_rows)
        return info.touched_users

    def all_users(self) -> NDArray[np.int32]:
        """Rows of all users, some of which may have been given back."""
        return np.arange(self._state.ids.users.n_rows, dtype=np.int32)

    def returning_users(self) -> NDArray[np.int32]:
        """Rows of users whose session has ended since the last call: their lists are for their return from now on."""
        return self._returning.take(self._state)

    def lists(
        self, user_rows: NDArray[np.int32], with_anonymous: bool, now_ms: int, positions: Mapping[str, int]
    ) -> Entries:
        """Rank these users, and the one nobody knows where asked; encode their lists.

        Args:
            user_rows: (n,) int32; rows that nobody owns are left out.
            with_anonymous: The anonymous list, too.
            now_ms: Goes into the lists.
            positions: `topic-partition` -> next offset; the same.
        """
        if with_anonymous:
            user_rows = np.append(user_rows, np.int32(ANONYMOUS_ROW))
        gaps_ms = pipeline.gaps_ms(self._state, user_rows, self._returning.time_ms)
        ranking = pipeline.rank_users(self._state, user_rows, self._settings.k, gaps_ms)
        return self._publisher.encode(self._state, ranking, now_ms, positions)

    def take_changes(self) -> Changes | None:
        """What has changed since the last call, None when nothing has."""
        if not self._erased and not self._is_retired:
            return None
        retired = [item_id for item_id, is_retired in self._is_retired.items() if is_retired]
        restored = [item_id for item_id, is_retired in self._is_retired.items() if not is_retired]
        changes = Changes(list(self._erased), retired, restored)
        self._erased, self._is_retired = {}, {}
        return changes

    def show(self, telemetry: Telemetry) -> None:
        """Set the gauges that describe the model."""
        self._show_measured(telemetry)
        for path, weight in pipeline.path_weights(self._state).items():
            telemetry.path_weight.labels(path).set(weight)
        for table, n_bytes in pipeline.table_bytes(self._state).items():
            telemetry.table_bytes.labels(table).set(n_bytes)
        telemetry.refused.inc(self._n_refused)
        self._n_refused = 0
        telemetry.users.set(len(self._state.ids.users))
        telemetry.items.set(len(self._state.ids.items))
        telemetry.counted.inc(self._scoreboard.n_counted - self._n_counted_shown)
        self._n_counted_shown = self._scoreboard.n_counted

    def _show_measured(self, telemetry: Telemetry) -> None:
        figures = {
            (name, str(window), slice_name): metrics
            for (name, window, slice_name), metrics in self._scoreboard.windows().items()
        }
        for name, slices in self._scoreboard.lists().items():
            figures |= {(name, "total", slice_name): metrics for slice_name, metrics in slices.items()}
        gauges = {
            "hit_ratio": telemetry.hit_ratio,
            "ndcg": telemetry.ndcg,
            "mrr_at_k": telemetry.mrr_at_k,
        }
        for labels, metrics in figures.items():
            for metric, gauge in gauges.items():
                if metrics[metric] is not None:
                    gauge.labels(*labels).set(metrics[metric])
        for name, value in self._scoreboard.beyond(len(self._state.ids.items)).items():
            if value is not None:
                telemetry.beyond[name].set(value)

    def report(self) -> dict[str, Any]:
        """What was measured so far, as `report.v1`, but for `timing`."""
        return report.build(
            self._settings.topic_interactions,
            {"k": self._settings.k, "measure_share": self._settings.measure_share},
            self._state,
            self._scoreboard,
        )
