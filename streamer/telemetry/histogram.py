"""A histogram for batches: prometheus-client takes one observation at a time, and a lock for each."""

import itertools
import math
import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class BatchHistogram(Collector):
    """A histogram that takes many observations of one value at once: one lock a batch, not one an event.

    Args:
        name: Full name, unit included.
        meaning: What one observation is.
        label: Name of the only label, or None.
        bounds: Upper bounds of the buckets, ascending; one without a bound is added.
    """

    def __init__(self, name: str, meaning: str, label: str | None, bounds: Sequence[float]) -> None:
        self.name, self.meaning, self.label = name, meaning, label
        self._bounds = (*bounds, math.inf)
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, value: float, n: int = 1, label: str = "") -> None:
        """Add `n` observations of `value`."""
        index = next(i for i, bound in enumerate(self._bounds) if value <= bound)
        with self._lock:
            counts = self._counts.setdefault(label, [0] * len(self._bounds))
            counts[index] += n
            self._sums[label] = self._sums.get(label, 0.0) + n * value

    def observe_many(self, values: NDArray[np.float64], label: str = "") -> None:
        """Add these observations."""
        indices = np.searchsorted(self._bounds, values)
        n_of = np.bincount(indices, minlength=len(self._bounds)).tolist()
        with self._lock:
            counts = self._counts.setdefault(label, [0] * len(self._bounds))
            self._counts[label] = [n + n_more for n, n_more in zip(counts, n_of, strict=True)]
            self._sums[label] = self._sums.get(label, 0.0) + float(values.sum())

    def describe(self) -> list[Metric]:
        """What the registry asks for at registration."""
        return [HistogramMetricFamily(self.name, self.meaning, labels=[self.label] if self.label else [])]

    def collect(self) -> Iterator[Metric]:
        """The family as it stands."""
        family = HistogramMetricFamily(self.name, self.meaning, labels=[self.label] if self.label else [])
        with self._lock:
            series = [(label, list(counts), self._sums[label]) for label, counts in self._counts.items()]
        for label, counts, total in series:
            names = ("+Inf" if math.isinf(bound) else repr(bound) for bound in self._bounds)
            buckets = list(zip(names, itertools.accumulate(counts), strict=True))
            family.add_metric([label] if self.label else [], buckets, total)
        yield family
