"""What became of interactions: the columns that the fold fills in, and everybody who measures reads."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.graph.state import CONTEXT_NODES

# Bits of Outcomes.flags.
COUNTED, MEASURED, COLD_ITEM, COLD_USER, NEW_SESSION, FIRST_EVENT, LATE = (1 << n for n in range(7))
COLD = 5  # events: an item or user with fewer is cold, to those who measure; the fold has its own, `graph.rates.COLD`
N_LISTED = 10  # items kept of a sampled list


class Outcomes(NamedTuple):
    """What became of every interaction of a batch, in log order; ranks are from 1, 0 = not listed.

    An event is COUNTED when its item was known by an event before it and, with repeats off, not taken by
    this user yet; none is of a user of whom that is not known any more, see `graph.histories`. MEASURED
    events were ranked; FIRST_EVENT marks the first of an item that the catalog had announced (never
    COUNTED); a LATE one happened before an event of its user that was folded before it.

    The last four columns are filled in for a sample of the MEASURED events, chosen by event number, and say what the list
    was like (see `beyond`).
    """

    user_row: NDArray[np.int32]
    item_row: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float32]  # as the events gave it; nan = none
    context: NDArray[np.int32]  # (n, CONTEXT_NODES) segment rows + 1 of the event's context; 0 = none
    flags: NDArray[np.uint8]
    rank: NDArray[np.int32]  # in the list ranked right before the event
    rank_mixture: NDArray[np.int32]  # as it would be without the ranker
    rank_trending: NDArray[np.int32]
    rank_popularity: NDArray[np.int32]
    path: NDArray[np.int8]  # most responsible for the taken item; -1 = nothing saw it coming
    # (n, N_LISTED) item rows, best first; -1 where the list ends, or was not sampled
    listed: NDArray[np.int32]
    # mean -log2 of the items' shares of all events, bits; nan = not sampled, or no items
    novelty: NDArray[np.float32]
    # mean cosine of feature-node sets over pairs; nan = not sampled, or no pairs
    similarity: NDArray[np.float32]
    n_cold_listed: NDArray[np.int8]  # items with fewer than COLD events among `listed`; -1 = not sampled


def new_outcomes(
    user_row: NDArray[np.int32],
    item_row: NDArray[np.int32],
    time_ms: NDArray[np.int64],
    value: NDArray[np.float32] | None = None,
    context: NDArray[np.int32] | None = None,
) -> Outcomes:
    """Outcomes to be filled by `fold`, one a row."""
    n = user_row.size
    return Outcomes(
        user_row,
        item_row,
        time_ms,
        np.full(n, np.nan, np.float32) if value is None else value,
        np.zeros((n, CONTEXT_NODES), np.int32) if context is None else context,
        flags=np.zeros(n, np.uint8),
        rank=np.zeros(n, np.int32),
        rank_mixture=np.zeros(n, np.int32),
        rank_trending=np.zeros(n, np.int32),
        rank_popularity=np.zeros(n, np.int32),
        path=np.full(n, -1, np.int8),
        listed=np.full((n, N_LISTED), -1, np.int32),
        novelty=np.full(n, np.nan, np.float32),
        similarity=np.full(n, np.nan, np.float32),
        n_cold_listed=np.full(n, -1, np.int8),
    )


def joined(outcomes: Sequence[Outcomes]) -> Outcomes:
    """One after the other, as if they had been folded in one go."""
    if not outcomes:
        return new_outcomes(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))
    if len(outcomes) == 1:
        return outcomes[0]
    return Outcomes(*(np.concatenate(columns) for columns in zip(*outcomes, strict=True)))
