"""Running quantiles of a stream of numbers, in bounded memory."""

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import Any

N_LEVELS = 8
SIZE = 64
"""A point stands for at most 1/SIZE of the numbers, or for equal ones: at most 2 SIZE + 1 points are kept."""
MAX_WAITING = 64


class RunningQuantiles:
    """The numbers seen so far as a sorted list of weighted points, and the 7 edges between eighths of them.

    New numbers wait and are merged in from time to time; then light neighbours are joined. A point keeps the value of
    the heaviest of its numbers, so a value that is common (a price of 1.25, zero children) stays exact.

    Source: the merging of weighted points of a t-digest (Dunning and Ertl, arXiv 1902.04023) with weights
    bounded evenly. Not `river.stats.Quantile` (P^2), whose markers come to lie between common values, nor
    `river.sketch.Histogram`, which joins near *values* and loses sorted streams.
    """

    __slots__ = ("_below", "_n_next", "_waiting", "edges", "n", "points", "weights")

    def __init__(self) -> None:
        self.n = 0
        self.edges: list[float] = []
        self.points: list[float] = []
        self.weights: list[int] = []
        self._below = [0]  # weight before each point, and of all
        self._waiting: list[float] = []
        self._n_next = 1

    def update(self, number: float) -> bool:
        """Learn one finite number; whether it, and those that waited, were merged into the points and edges.

        That is at once while there are few, later after every 64.
        """
        self.n += 1
        self._waiting.append(number)
        if self.n < self._n_next:
            return False
        self._merge()
        self._cut()
        self._n_next = self.n + max(1, min(self.n // 16, MAX_WAITING))
        return True

    def level_of(self, number: float) -> float:
        """The share of what was merged that lies below, equal ones by half: 0 to 1; .5 before there is anything."""
        if not self.points:
            return 0.5
        below = self._below
        return (below[bisect_left(self.points, number)] + below[bisect_right(self.points, number)]) / (
            2 * below[-1]
        )

    def _merge(self) -> None:
        limit = self.n // SIZE
        pairs = sorted(
            [*zip(self.points, self.weights, strict=True), *((number, 1) for number in self._waiting)]
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
        self.points, self.weights, self._waiting = points, weights, []
        self._below = [0, *accumulate(weights)]

    def _cut(self) -> None:
        self.edges = []
        for point, below in zip(self.points, self._below[1:], strict=True):
            while len(self.edges) < N_LEVELS - 1 and below * N_LEVELS >= self.n * (len(self.edges) + 1):
                self.edges.append(point)

    def freeze(self) -> list[Any]:
        """The state as plain data."""
        return [self.n, self.edges, self.points, self.weights, self._waiting, self._n_next]

    def thaw(self, state: list[Any]) -> None:
        """Take the state that `freeze` gave."""
        self.n, self.edges, self.points, self.weights, self._waiting, self._n_next = state
        self._below = [0, *accumulate(self.weights)]
