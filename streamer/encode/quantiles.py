"""Running quantiles of a stream of numbers, in bounded memory."""

from bisect import bisect_left, bisect_right
from typing import Any

N_BINS = 8
SIZE = 64
"""A point stands for at most 1/SIZE of the numbers, or for equal ones: at most 2 SIZE + 1 points are kept."""
MAX_WAITING = 64


class RunningBins:
    """Cuts the numbers seen so far into `N_BINS` bins that hold the same share of them.

    A sorted list of weighted points; new numbers wait and are merged in from time to time, when light neighbours
    are joined. A point keeps the value of the heaviest of its numbers, so a value that is common (a price of 1.25,
    zero children) stays exact, and so do cuts that fall on it.

    Source: the merging of weighted points of a t-digest (Dunning and Ertl, arXiv 1902.04023) with weights
    bounded evenly. Not `river.stats.Quantile` (P^2), whose markers come to lie between common values, so that the bin
    of such a value jumps; nor `river.sketch.Histogram`, which joins near *values* and loses sorted streams.
    """

    __slots__ = ("_n_next", "_points", "_waiting", "_weights", "edges", "n")

    def __init__(self) -> None:
        self.n = 0
        self.edges: list[float] = []
        self._points: list[float] = []
        self._weights: list[int] = []
        self._waiting: list[float] = []
        self._n_next = 1

    def update(self, number: float) -> None:
        """Learn one finite number. The edges move at once while there are few, later after every 64."""
        self.n += 1
        self._waiting.append(number)
        if self.n >= self._n_next:
            self._merge()
            self.edges = self._cut()
            self._n_next = self.n + max(1, min(self.n // 16, MAX_WAITING))

    def bin_of(self, number: float) -> int:
        """The bin, 0 to N_BINS - 1. A number that lies on several edges at once falls in the middle of its bins."""
        return (bisect_left(self.edges, number) + bisect_right(self.edges, number)) // 2

    def level_of(self, number: float) -> float:
        """About the share of what was seen that lies below: 1/16, 2/16, ... 15/16."""
        return (bisect_left(self.edges, number) + bisect_right(self.edges, number) + 1) / (2 * N_BINS)

    def _merge(self) -> None:
        limit = self.n // SIZE
        pairs = sorted(
            [*zip(self._points, self._weights, strict=True), *((number, 1) for number in self._waiting)]
        )
        points: list[float] = []
        weights: list[int] = []
        heaviest = 0  # weight behind the value that the last point carries
        for value, weight in pairs:
            if points and (value == points[-1] or weights[-1] + weight <= limit):
                if value == points[-1]:
                    heaviest += weight
                elif weight > heaviest:
                    points[-1], heaviest = value, weight
                weights[-1] += weight
            else:
                points.append(value)
                weights.append(weight)
                heaviest = weight
        self._points, self._weights, self._waiting = points, weights, []

    def _cut(self) -> list[float]:
        edges: list[float] = []
        below = 0
        for point, weight in zip(self._points, self._weights, strict=True):
            below += weight
            while len(edges) < N_BINS - 1 and below * N_BINS >= self.n * (len(edges) + 1):
                edges.append(point)
        return edges

    def freeze(self) -> list[Any]:
        """The state as plain data."""
        return [self.n, self.edges, self._points, self._weights, self._waiting, self._n_next]

    def thaw(self, state: list[Any]) -> None:
        """Take the state that `freeze` gave."""
        self.n, self.edges, self._points, self._weights, self._waiting, self._n_next = state
