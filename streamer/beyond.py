"""Beyond accuracy: what the lists are like, whether or not they hit.

Over a sample of the lists L_1..L_n that were ranked right before an event (`prequential` chooses them and fills in what
only that moment knows), with k items each:

    catalog coverage       |L_1 u .. u L_n| / items known            (Ge, Delgado-Battenfeld and Jannach 2010, section 3.2)
    novelty                mean over lists, mean over i in L, of -log2 p(i); p is the item's share of all events so far
                           (Vargas and Castells 2011, section 3.1: popularity-based item novelty; bits)
    intra-list similarity  mean over lists of the mean cosine over pairs i, j in L of their sets of feature nodes
                           (Ziegler, McNee, Konstan and Lausen 2005, equation 5. Differs: the mean of the pairs, not half
                           their sum, so that lists of different lengths compare)
    cold share             lists with at least one item of fewer than five events / n
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.outcomes import Outcomes

# Means are summed in whole units: whole numbers add up to the same sum in any order, so no cut of the log can show.
_UNIT = 2.0**-24


class Beyond:
    """What the sampled lists were like so far. Memory: one byte an item ever listed, and a few numbers."""

    def __init__(self) -> None:
        self._is_listed = np.zeros(0, np.bool_)  # by item row
        self._n_lists = 0
        self._n_cold = 0
        self._novelty = _Mean()
        self._similarity = _Mean()

    def update(self, outcomes: Outcomes) -> None:
        """Add the lists of these interactions that were sampled."""
        is_sampled = outcomes.n_cold_listed >= 0
        if not is_sampled.any():
            return
        self._n_lists += int(np.count_nonzero(is_sampled))
        self._n_cold += int(np.count_nonzero(outcomes.n_cold_listed > 0))
        self._novelty.add(outcomes.novelty[is_sampled])
        self._similarity.add(outcomes.similarity[is_sampled])
        self._mark(outcomes.listed[is_sampled])

    def forget(self, item_rows: NDArray[np.int64]) -> None:
        """These rows are those of items that were not listed yet."""
        self._is_listed[item_rows[item_rows < self._is_listed.size]] = False

    def figures(self, n_items: int) -> dict[str, Any]:
        """The metrics by name, and `n`, the lists they are of; None where nothing was sampled.

        Args:
            n_items: Items known now.
        """
        n, n_listed = self._n_lists, int(np.count_nonzero(self._is_listed))
        return {
            "n": n,
            "coverage": n_listed / n_items if n and n_items else None,
            "novelty": self._novelty.value(),
            "intra_list_similarity": self._similarity.value(),
            "cold_share": self._n_cold / n if n else None,
        }

    def freeze(self) -> dict[str, NDArray[Any]]:
        """The state as arrays of its own: which item rows were listed, (n,) bool; six counts and sums, int64."""
        means = (self._novelty, self._similarity)
        sums = [self._n_lists, self._n_cold, *(part for mean in means for part in mean.freeze())]
        return {"is_listed": self._is_listed.copy(), "sums": np.array(sums, np.int64)}

    def thaw(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the state that `freeze` gave."""
        self._is_listed = arrays["is_listed"].copy()
        self._n_lists, self._n_cold, *means = arrays["sums"].tolist()
        self._novelty.thaw(*means[:2])
        self._similarity.thaw(*means[2:])

    def _mark(self, listed: NDArray[np.int32]) -> None:
        rows = listed[listed >= 0]
        n_needed = int(rows.max(initial=-1)) + 1
        if n_needed > self._is_listed.size:
            grown = np.zeros(max(n_needed, 2 * self._is_listed.size), np.bool_)
            grown[: self._is_listed.size] = self._is_listed
            self._is_listed = grown
        self._is_listed[rows] = True


class _Mean:
    """Mean of the values that are numbers; what is undefined (a list too short to have pairs) comes as nan."""

    def __init__(self) -> None:
        self._n = 0
        self._n_units = 0

    def add(self, values: NDArray[np.float32]) -> None:
        defined = values[np.isfinite(values)].astype(np.float64)
        self._n += defined.size
        self._n_units += int(np.rint(defined / _UNIT).astype(np.int64).sum())

    def freeze(self) -> tuple[int, int]:
        return self._n, self._n_units

    def thaw(self, n: int, n_units: int) -> None:
        self._n, self._n_units = n, n_units

    def value(self) -> float | None:
        return self._n_units / self._n * _UNIT if self._n else None
