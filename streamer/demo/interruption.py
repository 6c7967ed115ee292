"""How the demo is told to end: by Ctrl-C or SIGTERM, at any moment."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Ctrl-C or SIGTERM. Raised where it comes, and kept: raised in what the interpreter tidies up, it would be lost there."""

    def __init__(self) -> None:
        self._has_come = False

    def come(self, _signum: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        self._has_come = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt once it has come."""
        if self._has_come:
            raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """SIGTERM ends the demo as Ctrl-C does: in order, nothing left behind."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption  # only the main thread may set handlers; whoever runs us elsewhere has to stop us otherwise
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, interruption.come)
    try:
        yield interruption
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
