"""Which interactions of a batch are ranked before they are learned, to measure."""

import numpy as np
from numpy.typing import NDArray

_SCATTER = np.uint64(2654435769)  # 2**32 over the golden ratio: rows that follow each other lie far apart
_LAST = np.uint64(2**32)


class Measuring:
    """Chooses the users of a share, and of a batch at most so many interactions, by a number made of a user's row.

    Under a limit the users of the lowest numbers come first, each with all of his interactions until the limit is reached: so
    whole sessions are measured, and the same users in the next batch.

    Args:
        share: Of users.
        most: Interactions of the batch; None: no limit.
    """

    def __init__(self, share: float, most: int | None) -> None:
        self._bound = np.uint64(round(share * 2**32))
        self._n_left = most

    def choose(self, user_rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which of the next interactions of the batch are measured: (n,) bool.

        Args:
            user_rows: (n,) of each, in the order of the log.
        """
        numbers = (user_rows.astype(np.uint64) * _SCATTER) & (_LAST - np.uint64(1))
        chosen: NDArray[np.bool_] = numbers < self._bound
        if self._n_left is None:
            return chosen
        n_chosen = int(np.count_nonzero(chosen))
        if n_chosen > self._n_left:
            first = np.argsort(np.where(chosen, numbers, _LAST), kind="stable")[: self._n_left]
            chosen = np.zeros_like(chosen)
            chosen[first] = True
        self._n_left -= min(n_chosen, self._n_left)
        return chosen
