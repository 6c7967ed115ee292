"""What a batch did: all that the shell is told of it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.outcomes import Outcomes
from streamer.pipeline.delivery import Skipped


class Erased(NamedTuple):
    """What there was of a user when he was erased."""

    user_id: str
    n_history: int  # events that were kept in order
    n_taken: int  # distinct items
    has_profile: bool

    def plus(self, other: "Erased") -> "Erased":
        """Of both times, where a user came back and was erased again."""
        counts = self.n_history + other.n_history, self.n_taken + other.n_taken
        return Erased(self.user_id, *counts, self.has_profile or other.has_profile)


class StepInfo(NamedTuple):
    """What a batch did."""

    n_interactions: int
    n_catalog: int
    n_profiles: int
    n_items_retired: int
    n_users_erased: int
    n_late: int  # interactions that happened before one of the same user that had been learned
    n_skipped: Skipped  # (kind, why) -> events not folded
    # rows, ascending: of interactions and profiles, so whose list may have changed
    touched_users: NDArray[np.int32]
    outcomes: Outcomes
    retired_item_ids: list[str]  # may not be listed any more
    restored_item_ids: list[str]  # may be listed again
    erased_user_ids: list[str]
    # theirs and of who was evicted, where they had one; may belong to somebody else by now
    erased_user_rows: list[int]
    n_users_evicted: int  # forgotten to make room; their lists stay until they expire
    evicted_item_rows: list[int]  # of items forgotten to make room; may belong to another one by now
    evicted_retired_rows: list[int]  # of these, the rows of items that might not be listed any more
    described_item_rows: NDArray[np.int32]  # that the catalog brought as available, ascending
    erased: list[Erased]  # one for each of `erased_user_ids`

    @property
    def n_refused(self) -> int:
        """Events of all kinds for whose item or user a table had no room."""
        return sum(n for (_, why), n in self.n_skipped.items() if why == "refused")
