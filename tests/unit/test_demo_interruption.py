"""The demo ends when it is told to, wherever that finds it."""

import os
import signal

import pytest

from streamer.demo.interruption import Interruption, interruptible


class _TidiedUp:
    """Is interrupted where the interpreter drops exceptions."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self._number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_the_interpreter_drops_is_not_lost(number: signal.Signals) -> None:
    """It is raised again at the next look; without one nothing is raised, and afterwards the handlers are the old ones."""
    before = signal.getsignal(number)
    with interruptible() as interruption:
        interruption.check()
        _TidiedUp(number)  # gone at once
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    assert signal.getsignal(number) is before


def test_an_interruption_is_raised_where_it_comes() -> None:
    """Whatever waits there does not wait on."""
    with interruptible() as interruption, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interruption.check()
    Interruption().check()
