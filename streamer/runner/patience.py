"""Calls to a dependency that may be away: back off with jitter, turn readiness red, go on where it failed."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from streamer.errors import Unavailable
from streamer.ports import Clock
from streamer.telemetry import DEPENDENCIES, Telemetry

_log = logging.getLogger("streamer.runner")

KAFKA, REDIS, CHECKPOINTS = DEPENDENCIES
_FIRST_PAUSE_S = 0.1
_SLICE_S = 0.1  # a pause is slept in slices, so that a stop is noticed and /live stays green
_SAY_AGAIN_S = 30.0

T = TypeVar("T")


class Patience:
    """Repeats a call while it raises `Unavailable`. The call must be one that may be repeated.

    Args:
        stop: Once it is set, a call is given up after `drain_timeout_s`.
        backoff_max_s: Longest pause between two tries.
        drain_timeout_s: How long a dependency may stay away while we are stopping.
        clock: Measures and sleeps.
        telemetry: Learns what is away.
    """

    def __init__(
        self,
        stop: threading.Event,
        backoff_max_s: float,
        drain_timeout_s: float,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._stop = stop
        self._wait = wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=backoff_max_s)
        self._drain_timeout_s = drain_timeout_s
        self._clock = clock
        self._telemetry = telemetry
        self._stopping_since_s: float | None = None

    def __call__(self, dependency: str, action: Callable[[], T], limit_s: float | None = None) -> T:
        """The result of `action`, once it has one.

        Args:
            dependency: "kafka", "redis" or "checkpoints": for metrics, logs and /ready.
            action: The call.
            limit_s: Give up after this long; None waits for as long as we are not stopped.

        Raises:
            Unavailable: the dependency stayed away for too long.
        """
        try:
            return action()
        except Unavailable as exc:
            return self._wait_for(dependency, action, exc, limit_s)

    def _wait_for(
        self, dependency: str, action: Callable[[], T], first: Unavailable, limit_s: float | None
    ) -> T:
        since_s = self._clock.monotonic_s()
        said_s = since_s
        self._on_away(dependency, first)
        _log.warning("dependency_away", extra={"dependency": dependency, "error": str(first)})

        def before_sleep(state: RetryCallState) -> None:
            nonlocal said_s
            error = state.outcome.exception() if state.outcome else None
            self._on_away(dependency, error)
            now_s = self._clock.monotonic_s()
            if now_s - said_s >= _SAY_AGAIN_S:
                said_s = now_s
                fields = {"dependency": dependency, "error": str(error), "away_s": round(now_s - since_s, 1)}
                _log.warning("dependency_still_away", extra=fields)

        def must_give_up(_: RetryCallState | None = None) -> bool:
            return self._must_give_up(since_s, limit_s)

        def sleep(seconds: float) -> None:
            self._sleep(seconds, must_give_up)

        if must_give_up():
            raise first
        sleep(_FIRST_PAUSE_S)
        result = Retrying(
            retry=retry_if_exception_type(Unavailable),
            wait=self._wait,
            stop=must_give_up,
            sleep=sleep,
            before_sleep=before_sleep,
            reraise=True,
        )(action)
        self._telemetry.health.back(dependency)
        away_s = round(self._clock.monotonic_s() - since_s, 1)
        _log.info("dependency_back", extra={"dependency": dependency, "away_s": away_s})
        return result

    def _on_away(self, dependency: str, error: BaseException | None) -> None:
        self._telemetry.health.away(dependency, str(error))
        self._telemetry.unavailable.labels(dependency).inc()

    def _must_give_up(self, since_s: float, limit_s: float | None) -> bool:
        now_s = self._clock.monotonic_s()
        if limit_s is not None and now_s - since_s >= limit_s:
            return True
        if not self._stop.is_set():
            return False
        if self._stopping_since_s is None:
            self._stopping_since_s = now_s
        return now_s - self._stopping_since_s >= self._drain_timeout_s

    def _sleep(self, seconds: float, must_give_up: Callable[[], bool]) -> None:
        end_s = self._clock.monotonic_s() + seconds
        was_stopping = self._stop.is_set()
        while (left_s := end_s - self._clock.monotonic_s()) > 0:
            self._telemetry.health.turn()
            self._clock.sleep(min(_SLICE_S, left_s))
            if self._stop.is_set() != was_stopping or must_give_up():
                return  # try once more at once: it may be the last time
