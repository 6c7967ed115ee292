"""Calls to a dependency that may be away: how long they are repeated, and what the worker says meanwhile."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from streamer.adapters.memory import ManualClock
from streamer.errors import Unavailable
from streamer.runner.patience import Patience
from streamer.telemetry import Telemetry


def failing(n_times: int, then: Callable[[], Any] = lambda: None) -> Callable[[], Any]:
    """An action that is away `n_times`, then works."""
    left = [n_times]

    def action() -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise Unavailable(f"away, {left[0]} more times")
        return then()

    return action


def test_a_call_is_repeated_until_it_works(
    patience: Patience, clock: ManualClock, telemetry: Telemetry
) -> None:
    """Readiness turns red meanwhile, failures are counted, pauses never exceed the limit."""
    telemetry.health.catching_up = False
    seen = []

    def then() -> str:
        seen.append(telemetry.health.why_not_ready())
        return "done"

    began_s = clock.monotonic_s()
    assert patience("redis", failing(20, then)) == "done"
    assert seen == [["redis is away"]]
    assert telemetry.health.why_not_ready() == []
    assert telemetry.registry.get_sample_value("streamer_unavailable_total", {"dependency": "redis"}) == 20
    assert 0.1 < clock.monotonic_s() - began_s <= 20 * 4.0


def test_the_main_loop_counts_as_turning_while_it_waits(
    patience: Patience, clock: ManualClock, telemetry: Telemetry
) -> None:
    """A dependency that is away must not get the worker restarted."""
    telemetry.health.begin()

    def still_away() -> None:
        assert telemetry.health.is_live()
        if clock.monotonic_s() < 300:
            raise Unavailable("away")

    patience("kafka", still_away)


def test_a_limit_ends_the_patience(patience: Patience, clock: ManualClock) -> None:
    """At a start one does not wait for ever."""
    with pytest.raises(Unavailable, match="away"):
        patience("kafka", failing(10**9), 10.0)
    assert 10.0 <= clock.monotonic_s() < 15.0


def test_stopping_ends_the_patience_after_the_drain_timeout(
    patience: Patience, clock: ManualClock, stop: threading.Event
) -> None:
    """What was folded gets its chance to be written, but not for ever."""
    stop.set()
    with pytest.raises(Unavailable):
        patience("redis", failing(10**9))
    assert 10.0 <= clock.monotonic_s() < 15.0


def test_a_stop_ends_a_long_pause(telemetry: Telemetry) -> None:
    """Who stops us does not have to wait for the next try."""
    stop = threading.Event()

    class StopsAt(ManualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.monotonic_s() >= 20.0:
                stop.set()

    clock = StopsAt()
    tries: list[float] = []

    def away() -> None:
        tries.append(clock.monotonic_s())
        raise Unavailable("away")

    patience = Patience(stop, 5000.0, 1.0, clock, telemetry)
    with pytest.raises(Unavailable):
        patience("redis", away)
    assert clock.monotonic_s() < 25.0
    assert min(at_s for at_s in tries if at_s >= 20.0) < 20.5  # at once, not when the second to drain is over


def test_other_errors_pass_at_once(patience: Patience, clock: ManualClock) -> None:
    """Only a dependency that is away is worth waiting for."""
    with pytest.raises(ZeroDivisionError):
        patience("redis", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        patience("redis", failing(1, lambda: 1 / 0))
    assert clock.monotonic_s() < 1.0
