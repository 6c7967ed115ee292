"""Bins of a stream of numbers that keep their meaning while the quantiles move."""

from bisect import bisect_right
from itertools import pairwise
from typing import Any

from streamer.encode.quantiles import RunningQuantiles

N_BINS = 8
"""Bins that a stream which does not change ends with, more or less; 4 to 14 in practice."""
MAX_BINS = 16
MIN_SPLIT = 16
"""Numbers that a bin must hold before it is halved."""


class RunningBins:
    """Cuts the line into bins that hold about the same share of the numbers seen so far.

    There is one bin at first. One that comes to hold over 1.5/8 of the numbers is halved at its median, if it has
    one that is not one common value; when there are `MAX_BINS`, the two lightest neighbours are joined first. Each new
    bin gets a new id, so an id always means the same stretch of the line: an item that was placed long ago, when
    quantiles were different, never shares a node with items of other sizes. In a catalog that comes sorted by year
    the bins follow the years; with cuts that move and ids 0 to 7, nearly all items would land in bin 7.
    """

    __slots__ = ("_n_ids", "cuts", "ids", "quantiles")

    def __init__(self) -> None:
        self.quantiles = RunningQuantiles()
        self.cuts: list[float] = []  # sorted; bin n holds cuts[n - 1] <= x < cuts[n]
        self.ids = [0]
        self._n_ids = 1

    def update(self, number: float) -> None:
        """Learn one finite number."""
        if self.quantiles.update(number):
            self._adapt()

    def bin_of(self, number: float) -> int:
        """Id of the bin that the number falls in."""
        return self.ids[bisect_right(self.cuts, number)]

    def _adapt(self) -> None:
        """Halve the heaviest bin, if it is too heavy: one at a time, the next numbers will see to the next one."""
        n = self.quantiles.n
        masses = self._masses()
        at = masses.index(max(masses))
        if masses[at] < MIN_SPLIT or masses[at] * N_BINS * 2 <= n * 3:
            return
        cut = self._middle(at)
        if cut is None:
            return
        if len(self.ids) == MAX_BINS:
            pairs = [
                masses[left] + masses[left + 1] if at not in (left, left + 1) else n
                for left in range(MAX_BINS - 1)
            ]
            left = pairs.index(min(pairs))
            del self.cuts[left]
            self.ids[left : left + 2] = [self._new_id()]
            at -= left < at
        self.cuts.insert(at, cut)
        self.ids[at : at + 1] = [self._new_id(), self._new_id()]

    def _masses(self) -> list[int]:
        masses = [0] * len(self.ids)
        for point, weight in zip(self.quantiles.points, self.quantiles.weights, strict=True):
            masses[bisect_right(self.cuts, point)] += weight
        return masses

    def _middle(self, at: int) -> float | None:
        """The value that halves a bin best; None when all of it is one value."""
        inside = [
            (point, weight)
            for point, weight in zip(self.quantiles.points, self.quantiles.weights, strict=True)
            if bisect_right(self.cuts, point) == at
        ]
        total = sum(weight for _, weight in inside)
        best: tuple[int, float] | None = None
        below = 0
        for (_, weight), (point, _) in pairwise(inside):
            below += weight
            uneven = abs(2 * below - total)
            if best is None or uneven < best[0]:
                best = (uneven, point)
        return None if best is None else best[1]

    def _new_id(self) -> int:
        self._n_ids += 1
        return self._n_ids - 1

    def freeze(self) -> list[Any]:
        """The state as plain data."""
        return [self.quantiles.freeze(), self.cuts, self.ids, self._n_ids]

    def thaw(self, state: list[Any]) -> None:
        """Take the state that `freeze` gave."""
        quantiles, self.cuts, self.ids, self._n_ids = state
        self.quantiles.thaw(quantiles)
