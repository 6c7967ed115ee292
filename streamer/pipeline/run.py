"""A run of interactions: gathered column by column, and folded by one call of the kernel for each round of training."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.events import Interaction
from streamer.graph.state import CONTEXT_NODES, EVENTS
from streamer.outcomes import Outcomes, new_outcomes
from streamer.pipeline.description import segment_rows
from streamer.pipeline.measuring import Measuring
from streamer.pipeline.rounds import next_round
from streamer.pipeline.state import State
from streamer.prequential import ends_round, fold, fold_only

_LARGEST = 1e30  # values beyond are taken for this: they would be infinite in float32


class Run:
    """Interactions that follow each other on the log, with nothing else between them.

    Args:
        measure_share, max_measured: As `pipeline.step` takes them.
    """

    def __init__(self, measure_share: float, max_measured: int | None) -> None:
        self._measure_share = measure_share
        self._measuring = Measuring(measure_share, max_measured)
        self._clear()

    def _clear(self) -> None:
        self._users: list[int] = []
        self._items: list[int] = []
        self._times: list[int] = []
        self._values: list[float | None] = []
        self._contexts: dict[int, list[int]] = {}  # number in the run -> segment rows + 1
        self._n_items_before = 0  # item rows in use when the run began

    def __len__(self) -> int:
        return len(self._users)

    def admit(self, state: State, events: Sequence[Interaction]) -> None:
        """Put them on the run: their users and items have rows, or find room."""
        users, items = state.ids.users, state.ids.items
        if not self._users:
            self._n_items_before = items.n_rows
        contexts = [event.context for event in events]
        if any(contexts):
            for n, context in enumerate(contexts, len(self._users)):
                if context:
                    names = state.encoders.context(context)
                    self._contexts[n] = segment_rows(state, names, CONTEXT_NODES)
        self._users += users.admit_many([event.user_id for event in events])
        self._items += items.admit_many([event.item_id for event in events])
        self._times += [event.timestamp_ms for event in events]
        self._values += [event.value for event in events]

    def fold(self, state: State) -> tuple[State, Outcomes]:
        """Measure and learn all of them; the run is empty after it.

        Args:
            state: Given away; use the one that is returned.
        """
        if state.nearest is not None and state.graph.counters[EVENTS] == 0:
            state.nearest.settle()  # in which order the texts of the inventory came is the text model's whim
        out = self._columns(with_values="rating" not in state.settings.without)
        measured = self._measuring.choose(out.user_row)
        done = 0
        while done < out.user_row.size:
            done = self._fold_from(state, done, measured, out)
            if ends_round(state.graph):
                # rows for the rest of the run are handed out by now: a round must not know, or the cut of the log would show
                n_items = max(self._n_items_before, int(out.item_row[:done].max()) + 1)
                state = next_round(state, n_items)
        self._clear()
        return state, out

    def _columns(self, *, with_values: bool) -> Outcomes:
        values = np.clip(np.array(self._values, np.float64), -_LARGEST, _LARGEST)  # None is nan
        out = new_outcomes(
            np.array(self._users, np.int32),
            np.array(self._items, np.int32),
            np.array(self._times, np.int64),
            values.astype(np.float32) if with_values else None,
        )
        for n, segments in self._contexts.items():
            out.context[n, : len(segments)] = segments
        return out

    def _fold_from(self, state: State, start: int, measured: NDArray[np.bool_], out: Outcomes) -> int:
        if self._measure_share == 0.0:
            return int(fold_only(state.graph, out, start))
        return int(fold(state.graph, state.scratch, state.ranker, measured, out, start))
