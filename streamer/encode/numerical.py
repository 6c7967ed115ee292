"""One numerical field: running scale, heavy tail, bins."""

import math
from typing import Any

from river.stats import Skew, Var

from streamer.encode.bins import RunningBins
from streamer.encode.drift import Means, NumberWatch
from streamer.encode.names import bin_name
from streamer.encode.river_state import freeze, thaw

CLIP = 3.0
MAX_SIZE = 1e18
"""Larger numbers count as this one, so that no sum of cubes overflows."""
HEAVY_SKEW = 1.5
LIGHT_SKEW = 1.0
N_BEFORE_TAIL = 8
"""Numbers seen before their skew is believed."""
N_ALWAYS_LEARNED = 1024
LEARN_EVERY = 16


def squeezed(number: float) -> float:
    """sign(x) log(1 + |x|): monotone, and tame in both tails."""
    return math.copysign(math.log1p(abs(number)), number)


class NumericalField:
    """Running statistics of a numerical field.

    A heavy tail is one whose skew is over 1.5 and would be smaller after `squeezed`; the verdict falls again below
    1.0, so that it does not flicker. Times need nothing of their own: epoch seconds or ms are numbers whose bins
    are stretches of time.

    Args:
        stem: Name of the field in node names.
        watched: Whether to look for changes of distribution.
    """

    __slots__ = (
        "_log",
        "_log_skew",
        "_raw",
        "_raw_skew",
        "bins",
        "heavy",
        "max",
        "min",
        "n_seen",
        "stem",
        "watch",
    )

    def __init__(self, stem: str, watched: bool) -> None:
        self.stem = stem
        self.n_seen = 0
        self.heavy = False
        self.min = math.inf
        self.max = -math.inf
        self.bins = RunningBins()
        self.watch = NumberWatch() if watched else None
        self._raw, self._log = Var(), Var()
        self._raw_skew, self._log_skew = Skew(), Skew()

    def learn(self, number: float) -> Means | None:
        """Learn one finite number; (mean before, mean after) when it shows a change of distribution."""
        number = min(max(number, -MAX_SIZE), MAX_SIZE)
        log = squeezed(number)
        self.n_seen += 1
        self.min = min(self.min, number)
        self.max = max(self.max, number)
        self._raw.update(number)
        self._raw_skew.update(number)
        self._log.update(log)
        self._log_skew.update(log)
        self.bins.update(number)
        if self.bins.quantiles.n >= N_BEFORE_TAIL:
            skew = abs(self._raw_skew.get())
            limit = LIGHT_SKEW if self.heavy else HEAVY_SKEW
            self.heavy = skew > limit and abs(self._log_skew.get()) < skew
        return None if self.watch is None else self.watch.see(number)

    def learn_sparsely(self, number: float) -> None:
        """As `learn`, for what comes with interactions: the first 1,024 numbers, then every 16th."""
        if self.n_seen < N_ALWAYS_LEARNED or self.n_seen % LEARN_EVERY == 0:
            self.learn(number)
        else:
            self.n_seen += 1

    def standardised(self, number: float) -> float:
        """(t(x) - mean) / std, clipped to +-3; t is `squeezed` when the tail is heavy. 0 while all are equal."""
        scale, number = (self._log, squeezed(number)) if self.heavy else (self._raw, number)
        std = math.sqrt(scale.get())
        if not std > 0.0:
            return 0.0
        return min(max((number - scale.mean.get()) / std, -CLIP), CLIP)

    def node(self, number: float) -> str:
        """Name of the node of the number's bin."""
        return bin_name(self.stem, self.bins.bin_of(number))

    def readable(self) -> dict[str, Any]:
        """JSON-able summary, in the units of the field."""
        return {
            "n": self.n_seen,
            "mean": self._raw.mean.get(),
            "std": math.sqrt(self._raw.get()),
            "min": self.min if self.n_seen else None,
            "max": self.max if self.n_seen else None,
            "transform": "sign(x) log1p(|x|)" if self.heavy else "none",
            "quantiles": list(self.bins.quantiles.edges),
            "bin_cuts": list(self.bins.cuts),
            "bin_ids": list(self.bins.ids),
            "n_drifts": self.watch.n_drifts if self.watch else 0,
        }

    def freeze(self) -> list[Any]:
        """The state as plain data."""
        return [
            [self.n_seen, self.heavy, self.min, self.max],
            self.bins.freeze(),
            self.watch.freeze() if self.watch else None,
            [freeze(part) for part in (self._raw, self._raw_skew, self._log, self._log_skew)],
        ]

    def thaw(self, state: list[Any]) -> None:
        """Take the state that `freeze` gave."""
        (self.n_seen, self.heavy, self.min, self.max), bins, watch, parts = state
        self.bins.thaw(bins)
        if self.watch is not None:
            self.watch.thaw(watch)
        for part, part_state in zip(
            (self._raw, self._raw_skew, self._log, self._log_skew), parts, strict=True
        ):
            thaw(part, part_state)
