"""Notices that the distribution of a field has changed, with ADWIN on numbers between 0 and 1.

What a detector is fed must not move by itself while nothing changes. So a number is fed as its *level* among those
before it, and a value as its *surprise* under counts that are frozen. After an alarm all starts anew: one jump is one
alarm.

Source: Bifet and Gavalda, Learning from time-changing data with adaptive windowing, SDM 2007; river's ADWIN.
"""

import math
from collections.abc import Collection
from typing import Any, NamedTuple

# What does the work inside river's ADWIN. `river.drift` itself brings river's data sets and scipy.stats, two fifths of
# what a start imports; this name is none that river promises, so pyproject.toml admits one minor version.
from river._river_rust.drift import AdaptiveWindowing
from river.stats import EWMean, Mean

from streamer.encode.quantiles import RunningQuantiles
from streamer.encode.river_state import freeze, thaw

WARM_UP = 64
"""Numbers seen before the detector is asked: until then there is nothing to compare with."""
N_REFERENCE = 256
"""Records from which the counts are taken that later values are held against."""
MAX_REFERENCE = 1024
N_KEPT = 64
"""Values that keep their count in the reference; all others are as surprising as a new one."""
DELTA = 1e-4
"""Significance of ADWIN: rather a few events late than an alarm for nothing."""
RECENT = 0.05
"""Weight of the newest number in the mean "after": about the last 20."""

Means = tuple[float, float]


class Drift(NamedTuple):
    """The distribution of a field changed."""

    field: str  # as in node names: "price", "profile:income"
    kind: str  # "numerical" or "categorical"
    n_seen: int  # records that had the field, so far
    mean_before: float  # numerical: of the values since the last change; categorical: of their surprise, bits
    mean_after: float  # of about the last 20


class _Detector:
    __slots__ = ("_mean", "_recent", "_window")

    def __init__(self) -> None:
        self._window = AdaptiveWindowing(DELTA)
        self._mean = Mean()
        self._recent = EWMean(RECENT)

    def feed(self, level: float, number: float) -> Means | None:
        """Learn one level, 0 to 1, and the number behind it; both means of the number when there is a change."""
        self._mean.update(number)
        self._recent.update(number)
        return (self._mean.get(), self._recent.get()) if self._window.update(level) else None

    def freeze(self) -> list[Any]:
        return [freeze(self._window), freeze(self._mean), freeze(self._recent)]

    def thaw(self, state: list[Any]) -> None:
        for part, part_state in zip((self._window, self._mean, self._recent), state, strict=True):
            thaw(part, part_state)


class NumberWatch:
    """Watches a stream of numbers through their level: the share of the earlier numbers that lie below.

    Levels need no scale and know no heavy tails. While nothing changes their mean is one half; a field that always
    grows (a date of creation) has level 1 all along, which is no change either.
    """

    __slots__ = ("_detector", "_quantiles", "n_drifts")

    def __init__(self) -> None:
        self.n_drifts = 0
        self._restart()

    def _restart(self) -> None:
        self._detector = _Detector()
        self._quantiles = RunningQuantiles()

    def see(self, number: float) -> Means | None:
        """Learn one number; (mean before, mean after) when this one shows a change."""
        level = self._quantiles.level_of(number)
        self._quantiles.update(number)
        if self._quantiles.n <= WARM_UP:
            return None
        means = self._detector.feed(level, number)
        if means is not None:
            self._restart()
            self.n_drifts += 1
        return means

    def freeze(self) -> list[Any]:
        """The state as plain data."""
        return [self.n_drifts, self._detector.freeze(), self._quantiles.freeze()]

    def thaw(self, state: list[Any]) -> None:
        """Take the state that `freeze` gave."""
        self.n_drifts, detector, quantiles = state
        self._detector.thaw(detector)
        self._quantiles.thaw(quantiles)


class ValueWatch:
    """Watches the values of a categorical field through their surprise, -log2 of how common they were at first.

    How common is counted over the first 256 records and then frozen: running counts would make every value a
    little less surprising with time, and that slow change is no news. A record of several values has their mean.
    """

    __slots__ = ("_counts", "_detector", "_n_records", "_n_values", "n_drifts")

    def __init__(self) -> None:
        self.n_drifts = 0
        self._restart()

    def _restart(self) -> None:
        self._detector = _Detector()
        self._counts: dict[str, int] = {}
        self._n_records = 0
        self._n_values = 0

    def see(self, values: Collection[str]) -> Means | None:
        """Learn the values of one record, at least one; (mean before, mean after), bits, when they show a change."""
        if self._n_records < N_REFERENCE:
            self._count(values)
            return None
        most = math.log2(self._n_values + 1)
        bits = most - sum(math.log2(self._counts.get(value, 0) + 1) for value in values) / len(values)
        means = self._detector.feed(bits / most, bits)
        if means is not None:
            self._restart()
            self.n_drifts += 1
        return means

    def _count(self, values: Collection[str]) -> None:
        counts = self._counts
        for value in values:
            if value in counts or len(counts) < MAX_REFERENCE:
                counts[value] = counts.get(value, 0) + 1
        self._n_values += len(values)
        self._n_records += 1
        if self._n_records == N_REFERENCE:
            most = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:N_KEPT]
            self._counts = {value: count for value, count in most if count > 1}

    def freeze(self) -> list[Any]:
        """The state as plain data."""
        return [self.n_drifts, self._detector.freeze(), self._counts, self._n_records, self._n_values]

    def thaw(self, state: list[Any]) -> None:
        """Take the state that `freeze` gave."""
        self.n_drifts, detector, self._counts, self._n_records, self._n_values = state
        self._detector.thaw(detector)
