"""Memory, lag and errors over the day, and whether memory stays what it is."""

import time
from typing import Any, NamedTuple

import numpy as np

from soaking.place import Place

EVERY_S = 1.0
COPIES = 2  # of each table: its own, and that of a checkpoint, which the allocator keeps
RETIRED_WITHIN_S = 2.0  # after its tombstone was read a retired item is on no list: what the worker promises
SETTLED_S = 5.0  # a worker that has just started still takes what it needs
MIB = 1 << 20
# in the second half of the day, beyond what the tables say, twice
MAX_GROWTH_MIB, MAX_GROWTH_SHARE = 24.0, 0.05


class Sample(NamedTuple):
    """How things were at one moment."""

    n_events: int  # sent so far
    second: float
    age_s: float  # of the worker
    rss: dict[str, int]
    table_bytes: int  # as the worker says; 0 where it does not
    n_items: int
    n_users: int
    n_unread: int
    errors: dict[str, int]  # of this worker


class Watch:
    """Looks once a second.

    Args:
        place: At what.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._began_s = self._due_s = time.monotonic()
        self.samples: list[Sample] = []

    def look(self, n_events: int) -> None:
        """If it is time."""
        now_s, place = time.monotonic(), self._place
        if now_s < self._due_s:
            return
        self._due_s = now_s + EVERY_S
        metrics = place.metrics()
        total = (lambda name: int(metrics.total(f"streamer_{name}"))) if metrics is not None else lambda _: 0
        names = (
            "unavailable_total",
            "checkpoint_failures_total",
            "log_gap_records_total",
            "refused_total",
            "folds_left_total",
        )
        errors = {name: total(name) for name in names}
        if metrics is not None:
            n_off = total("item_off_lists_seconds_count")
            n_in_time = int(metrics.buckets("streamer_item_off_lists_seconds", "").get(RETIRED_WITHIN_S, 0.0))
            errors |= {"times items were retired": n_off, "of these, off lists too late": n_off - n_in_time}
        counts = total("table_bytes"), total("items"), total("users")
        sample = Sample(
            n_events,
            now_s - self._began_s,
            now_s - place.started_s,
            place.rss(),
            *counts,
            place.n_unread,
            errors,
        )
        self.samples.append(sample)

    def errors(self) -> dict[str, int]:
        """Of all workers: the most that each said before it ended."""
        total: dict[str, int] = {}
        for sample, following in zip(self.samples, [*self.samples[1:], None], strict=True):
            if following is None or following.age_s < sample.age_s:
                for name, n in sample.errors.items():
                    total[name] = total.get(name, 0) + n
        return total

    def memory(self, n_events: int) -> dict[str, Any]:
        """Growth of the worker's memory in the second half of the day, MiB, in all and beyond tables; is it flat?"""
        second = [
            s for s in self.samples if s.n_events >= n_events / 2 and s.table_bytes and s.rss.get("worker")
        ]
        settled = [s for s in second if s.age_s >= SETTLED_S] or second
        resident = _growth(
            [s.rss["worker"] / MIB for s in settled], [s.n_events for s in settled], n_events / 2
        )
        beyond = _growth(
            [(s.rss["worker"] - COPIES * s.table_bytes) / MIB for s in settled],
            [s.n_events for s in settled],
            n_events / 2,
        )
        mean = float(np.mean([s.rss["worker"] / MIB for s in settled])) if settled else 0.0
        return {
            "samples": len(settled),
            "worker_mean_mib": round(mean, 1),
            "worker_growth_mib": round(resident, 2),
            "worker_growth_beyond_copies_mib": round(beyond, 2),
            "is_flat": beyond <= max(MAX_GROWTH_MIB, MAX_GROWTH_SHARE * mean),
        }

    def rows(self, n_rows: int = 12) -> list[list[str]]:
        """Some of the samples, evenly over the day, as text."""
        picked = self.samples[:: max(1, len(self.samples) // n_rows)]
        return [
            [
                f"{s.n_events:,}",
                f"{s.second:.0f}",
                *(f"{s.rss.get(name, 0) / MIB:,.0f}" for name in ("worker", "redis", "bench and broker")),
                f"{s.table_bytes / MIB:,.1f}",
                f"{s.n_items:,}",
                f"{s.n_users:,}",
                f"{s.n_unread:,}",
            ]
            for s in picked
        ]


HEADER = [
    "events",
    "s",
    "worker MiB",
    "Redis MiB",
    "bench, broker MiB",
    "tables MiB",
    "items",
    "users",
    "not committed",
]


def _growth(values: list[float], at: list[int], span: float) -> float:
    """Slope of the line through these (least squares), times the span."""
    if len(set(at)) < 2:
        return 0.0
    return float(np.polyfit(np.array(at, float), np.array(values), 1)[0]) * span
