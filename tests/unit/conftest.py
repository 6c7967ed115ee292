"""What the parts of the runner are tested with."""

import threading

import pytest

from streamer.adapters.memory import ManualClock
from streamer.runner.patience import Patience
from streamer.telemetry import Telemetry


@pytest.fixture
def clock() -> ManualClock:
    """Moves when told to."""
    return ManualClock()


@pytest.fixture
def telemetry(clock: ManualClock) -> Telemetry:
    """Metrics of one worker."""
    return Telemetry(clock)


@pytest.fixture
def stop() -> threading.Event:
    """Set to stop."""
    return threading.Event()


@pytest.fixture
def patience(stop: threading.Event, clock: ManualClock, telemetry: Telemetry) -> Patience:
    """Pauses of 4 s at most, 10 s to drain."""
    return Patience(stop, 4.0, 10.0, clock, telemetry)
