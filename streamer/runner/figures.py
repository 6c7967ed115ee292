"""What the worker tells about itself: counters and histograms as things happen, gauges once a second."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer import pipeline
from streamer.graph.state import N_UNRECORDED
from streamer.measure import Scoreboard
from streamer.pipeline import State, StepInfo
from streamer.ports import Clock
from streamer.ranker.guard import EVENTS, IS_ON, MIXTURE_HITS, RANKER_HITS
from streamer.runner.drifts import Drifts
from streamer.runner.first_listing import ColdLists, FirstListings
from streamer.telemetry import Telemetry
from streamer.training import ThreadTrainer

_log = logging.getLogger("streamer.runner")

LIVE_WITHIN_MS = 3_600_000  # an event that happened longer ago is replayed: its age says nothing about us


class Figures:
    """Sets the metrics that describe the model, its lists, and how soon they follow the events.

    Args:
        clock: Time.
        telemetry: Where they are set.
    """

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._drifts = Drifts(clock, telemetry)
        self._first_listings = FirstListings(clock)
        self._cold_lists = ColdLists()
        self._n_counted_shown = self._n_measured_shown = 0
        self._n_rounds_shown = self._n_late_shown = 0
        self._n_forgotten_shown = self._n_nodes_refused_shown = self._n_fields_refused_shown = 0
        self._n_unrecorded_shown, self._is_unrecorded_told = 0, False

    def restored(self, state: State, scoreboard: Scoreboard) -> None:
        """The fold resumes here: none of its items is news, and counters are of this process."""
        self._first_listings.known(np.arange(state.ids.items.n_rows, dtype=np.int32))
        self._n_forgotten_shown = state.erased.n_forgotten
        self._n_fields_refused_shown = state.encoders.n_fields_refused
        self._n_unrecorded_shown = int(state.graph.taken.used[N_UNRECORDED])
        # else all that was ever counted would seem to come within a second
        self._n_counted_shown, self._n_measured_shown = scoreboard.n_counted, _n_measured(scoreboard.lists())

    def folded(self, info: StepInfo, received_s: float, *, is_serving: bool, is_live: bool) -> None:
        """A batch was folded that came at `received_s` of the monotonic clock.

        Args:
            is_serving: The lists of its users are made now, one a user.
            is_live: New items wait to be listed.
        """
        n_ranked = np.unique(info.outcomes.user_row).size if is_serving else 0
        self._telemetry.ranks_skipped.inc(info.n_interactions - n_ranked)
        self._telemetry.refused.inc(info.n_refused)
        self._telemetry.late.inc(info.n_late)
        self._telemetry.evicted.labels("users").inc(info.n_users_evicted)
        self._telemetry.evicted.labels("items").inc(len(info.evicted_item_rows))
        self._first_listings.forget(info.evicted_item_rows)
        if is_live:
            self._first_listings.catalogued(info.described_item_rows, received_s)
        else:
            self._first_listings.known(info.described_item_rows)

    def listed(self, item_rows: NDArray[np.int32], is_cold: NDArray[np.bool_], n_explored: int) -> None:
        """These lists were acknowledged: (n, k) item rows, -1 where a list is shorter, and which of them are cold."""
        self._telemetry.lists_written.inc(len(item_rows))
        self._telemetry.explored.inc(n_explored)
        for waited_s in self._first_listings.listed(item_rows):
            self._telemetry.item_to_list.observe(waited_s)
        self._cold_lists.listed(item_rows, is_cold)

    def followed(self, time_ms: NDArray[np.int64], received_s: float, received_ms: int) -> None:
        """The lists of interactions of these event times were written.

        Args:
            received_s: When the interactions came, by the monotonic clock; `received_ms`: by the wall clock.
        """
        if not time_ms.size:
            return
        latency, now_ms = self._telemetry.event_to_list, self._clock.now_ms()
        ago_ms = received_ms - time_ms
        live = time_ms[(ago_ms >= 0) & (ago_ms <= LIVE_WITHIN_MS)]
        latency.observe_many((now_ms - live) / 1000, "event_time")
        latency.observe(self._clock.monotonic_s() - received_s, time_ms.size, "received")

    def show(self, state: State, scoreboard: Scoreboard, trainer: ThreadTrainer | None) -> None:
        """Set the gauges."""
        telemetry = self._telemetry
        self._show_measured(state, scoreboard)
        self._show_learned(state, trainer)
        self._show_forgotten(state.erased.n_forgotten)
        self._show_refused(state.ids.nodes.n_refused, state.encoders.n_fields_refused)
        self._show_unrecorded(int(state.graph.taken.used[N_UNRECORDED]))
        for path, weight in pipeline.path_weights(state).items():
            telemetry.path_weight.labels(path).set(weight)
        for table, n_bytes in pipeline.table_bytes(state).items():
            telemetry.table_bytes.labels(table).set(n_bytes)
        telemetry.users.set(len(state.ids.users) - len(state.segments))
        telemetry.items.set(len(state.ids.items))
        telemetry.nodes.set(len(state.ids.nodes))
        if self._cold_lists.share is not None:
            telemetry.cold_list_share.set(self._cold_lists.share)

    def _show_learned(self, state: State, trainer: ThreadTrainer | None) -> None:
        telemetry, guard = self._telemetry, state.ranker.guard
        telemetry.ranker_on.set(float(guard[IS_ON]))
        if guard[EVENTS] > 0.0:
            telemetry.ranker_advantage.set(float((guard[RANKER_HITS] - guard[MIXTURE_HITS]) / guard[EVENTS]))
        telemetry.vector_version.set(state.graph.vectors.version)
        self._drifts.see(state.encoders.take_drifts())
        if trainer is None:
            return
        for seconds in trainer.take_seconds():
            telemetry.training.observe(seconds)
        n_rounds, n_late = trainer.n_rounds, trainer.n_late
        telemetry.training_rounds.inc(n_rounds - self._n_rounds_shown)
        telemetry.training_late.inc(n_late - self._n_late_shown)
        self._n_rounds_shown, self._n_late_shown = n_rounds, n_late

    def _show_forgotten(self, n_forgotten: int) -> None:
        """Of erased users; the first is reported: what they did may be learned again, and nothing else would say so."""
        if n_forgotten and not self._n_forgotten_shown:
            _log.warning(
                "erased_users_forgotten",
                extra={
                    "n_users": n_forgotten,
                    "hint": "more were erased than max_erased: a start that folds the log from its beginning learns "
                    "again what the first of them did",
                },
            )
        self._telemetry.erased_forgotten.inc(n_forgotten - self._n_forgotten_shown)
        self._n_forgotten_shown = n_forgotten

    def _show_refused(self, n_nodes: int, n_fields: int) -> None:
        """Of features; told of the first of each: the events count all the same, and nothing else would tell."""
        if n_nodes and not self._n_nodes_refused_shown:
            hint = "max_nodes, or what of it new words or contexts may take, is used up: what is new in a record is left out"
            _log.warning("nodes_refused", extra={"hint": hint})
        if n_fields and not self._n_fields_refused_shown:
            hint = "a kind of record has more than 64 fields: new ones are left out; streamer:encoders in Redis names the others"
            _log.warning("fields_refused", extra={"hint": hint})
        self._telemetry.nodes_refused.inc(n_nodes - self._n_nodes_refused_shown)
        self._telemetry.fields_refused.inc(n_fields - self._n_fields_refused_shown)
        self._n_nodes_refused_shown, self._n_fields_refused_shown = n_nodes, n_fields

    def _show_unrecorded(self, n_takes: int) -> None:
        """Of users whose taken items found no room; told of the first: lists and figures would not tell."""
        n_new = n_takes - self._n_unrecorded_shown
        if n_new and not self._is_unrecorded_told:
            hint = "max_taken is used up, or a user took more than the 6,144 items that are kept of one"
            _log.warning("takes_unrecorded", extra={"n_takes": n_takes, "hint": hint})
            self._is_unrecorded_told = True
        self._telemetry.taken_unrecorded.inc(n_new)
        self._n_unrecorded_shown = n_takes

    def _show_measured(self, state: State, scoreboard: Scoreboard) -> None:
        telemetry = self._telemetry
        telemetry.counted.inc(scoreboard.n_counted - self._n_counted_shown)
        self._n_counted_shown = scoreboard.n_counted
        lists = scoreboard.lists()
        n_measured = _n_measured(lists)
        telemetry.measured.inc(n_measured - self._n_measured_shown)
        self._n_measured_shown = n_measured
        figures = {
            (name, str(window), slice_name): metrics
            for (name, window, slice_name), metrics in scoreboard.windows().items()
        }
        for name, slices in lists.items():
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
        beyond = scoreboard.beyond(len(state.ids.items))
        for name, gauge in telemetry.beyond.items():
            if beyond[name] is not None:
                gauge.set(beyond[name])


def _n_measured(lists: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> int:
    return int(lists["streamer"]["all"]["n"])
