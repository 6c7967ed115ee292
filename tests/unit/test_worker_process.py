"""What `streamer run` sets up around the loop."""

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from streamer.cli import worker
from streamer.config import Settings

SETTINGS = Settings(
    kafka="127.0.0.1:1",
    redis="redis://127.0.0.1:1",
    text_model="none",
    without=("vectors",),
    metrics_port=0,
)


@pytest.fixture
def as_before(interpreter_as_before: None) -> Iterator[None]:
    """And the handlers of signals."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("as_before")
def test_the_loop_gets_the_interpreter_back_soon_and_cycles_are_looked_for_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both were lost once, and only the figures of a bench showed it."""
    seen: list[Any] = []

    class Loop:
        def __init__(self, *_: object, **__: object) -> None: ...

        def report(self) -> dict[str, Any]:
            return {}

        def run(self, stop: object) -> None:
            seen.extend((stop, sys.getswitchinterval(), gc.get_threshold()[0], gc.get_freeze_count()))

    monkeypatch.setattr(worker, "Runner", Loop)
    worker.work(SETTINGS, None)
    _, interval_s, n_objects, n_frozen = seen
    assert interval_s == pytest.approx(worker.SWITCH_INTERVAL_S)
    assert interval_s < 0.001
    assert n_objects >= 50_000
    assert n_frozen > 0


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("is_compiling", [True, False])
def test_a_signal_does_not_wait_for_the_compiler(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, is_compiling: bool
) -> None:
    """Kernels take minutes the first time, and nobody is owed anything then; later the loop is asked to drain."""
    drained: list[bool] = []

    class Loop:
        def __init__(self, *_: object, **__: object) -> None:
            self.is_compiling = is_compiling

        def report(self) -> dict[str, Any]:
            return {}

        def run(self, stop: threading.Event) -> None:
            signal.raise_signal(number)
            drained.append(stop.is_set())

    monkeypatch.setattr(worker, "Runner", Loop)
    worker.work(SETTINGS, None)
    assert drained == ([] if is_compiling else [True])


def test_without_vectors_nobody_trains() -> None:
    """Where they are switched off there is no trainer, and torch is never loaded."""
    assert worker.new_trainer(Settings(without=("vectors",))) is None
    trainer = worker.new_trainer(Settings())
    assert trainer is not None
    trainer.close()


@pytest.mark.usefixtures("as_before")
def test_a_second_signal_does_not_wait_for_the_first() -> None:
    """One asks the worker to come to an end; whoever asks again wants it now."""
    stop = threading.Event()
    worker._stop_on_signals(stop, lambda: False)
    signal.raise_signal(signal.SIGTERM)
    assert stop.is_set()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
