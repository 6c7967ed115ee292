"""Changes of distribution that the encoders notice: a counter by field, and a log line now and then."""

import logging
from collections import Counter
from collections.abc import Iterable

from streamer.encode.drift import Drift
from streamer.ports import Clock
from streamer.telemetry import Telemetry

_log = logging.getLogger("streamer.runner")

MAX_FIELDS = 64  # labels of the counter: names of fields are the producers' word
OTHER = "other"
SAY_AGAIN_S = 60.0


class Drifts:
    """Counts and tells.

    Args:
        clock: Says when a field may be logged again.
        telemetry: Counts.
    """

    def __init__(self, clock: Clock, telemetry: Telemetry) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._said_s: dict[str, float | None] = {}  # field -> when it was logged last; None: never
        self._last: dict[str, Drift] = {}  # the newest one of each field that was not logged yet
        self._n_untold: Counter[str] = Counter()

    def see(self, drifts: Iterable[Drift]) -> None:
        """Count these, and log each field at most once a minute, with how many there were since the last time.

        Call it now and then without any: what was held back is logged when its minute is over.
        """
        for drift in drifts:
            field = drift.field
            if field not in self._said_s and len(self._said_s) >= MAX_FIELDS:
                field = OTHER
            self._said_s.setdefault(field, None)
            self._telemetry.drift.labels(field).inc()
            self._n_untold[field] += 1
            self._last[field] = drift
        now_s = self._clock.monotonic_s()
        for field, drift in list(self._last.items()):
            said_s = self._said_s[field]
            if said_s is None or now_s - said_s >= SAY_AGAIN_S:
                self._tell(field, drift)
                self._said_s[field] = now_s

    def _tell(self, field: str, drift: Drift) -> None:
        means = {"mean_before": round(drift.mean_before, 6), "mean_after": round(drift.mean_after, 6)}
        fields = {"field": field, "n": self._n_untold.pop(field), "kind": drift.kind, "n_seen": drift.n_seen}
        _log.warning("drift", extra={**fields, **means})
        del self._last[field]
