"""Notices that the distribution of a field has changed."""

from typing import Any, NamedTuple

from river.drift import ADWIN
from river.stats import EWMean, Mean

from streamer.encode.quantiles import RunningBins
from streamer.encode.river_state import freeze, thaw

WARM_UP = 64
"""Numbers seen before the detector is asked: until then there is nothing to compare with."""
DELTA = 1e-4
"""Significance of ADWIN: rather a few events late than an alarm for nothing."""
RECENT = 0.05
"""Weight of the newest number in the mean "after": about the last 20."""


class Drift(NamedTuple):
    """The distribution of a field changed."""

    field: str  # as in node names: "price", "profile:income"
    kind: str  # "numerical" or "categorical"
    n_seen: int  # records that had the field, so far
    mean_before: (
        float  # numerical: of the values since the last change; categorical: surprise of a value, bits
    )
    mean_after: float  # of about the last 20


class DriftWatch:
    """Watches a stream of numbers for a change of distribution, with ADWIN on the level of each number.

    The level is the share of the earlier numbers that lie below it (`RunningBins.level_of`), read before it is learned. It is
    between 0 and 1 as ADWIN wants it, needs no scale and knows no heavy tails. While nothing changes it stays around
    one half; a field that always grows (a year, a date of creation) has level 1 all along, which is no change
    either. After an alarm everything starts anew, so one jump is one alarm.

    Source: Bifet and Gavalda, Learning from time-changing data with adaptive windowing, SDM 2007; river's ADWIN.
    """

    __slots__ = ("_adwin", "_bins", "_mean", "_recent", "n_drifts")

    def __init__(self) -> None:
        self.n_drifts = 0
        self._restart()

    def _restart(self) -> None:
        self._adwin = ADWIN(delta=DELTA)  # type: ignore[no-untyped-call]  # river leaves it untyped
        self._bins = RunningBins()
        self._mean = Mean()
        self._recent = EWMean(RECENT)

    def see(self, number: float) -> tuple[float, float] | None:
        """Learn one number; (mean before, mean after) when this one shows a change."""
        level = self._bins.level_of(number)
        self._bins.update(number)
        self._mean.update(number)
        self._recent.update(number)
        if self._bins.n <= WARM_UP:
            return None
        self._adwin.update(level)  # type: ignore[no-untyped-call]
        if not self._adwin.drift_detected:
            return None
        means = self._mean.get(), self._recent.get()
        self._restart()
        self.n_drifts += 1
        return means

    def freeze(self) -> list[Any]:
        """The state as plain data."""
        return [
            self.n_drifts,
            freeze(self._adwin),
            self._bins.freeze(),
            freeze(self._mean),
            freeze(self._recent),
        ]

    def thaw(self, state: list[Any]) -> None:
        """Take the state that `freeze` gave."""
        self.n_drifts, adwin, bins, mean, recent = state
        thaw(self._adwin, adwin)
        self._bins.thaw(bins)
        thaw(self._mean, mean)
        thaw(self._recent, recent)
