"""The clocks: the machine's, and one that moves only when told to."""

import time


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """For durations; never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to; sleeping moves it.

    Args:
        now_ms: Epoch milliseconds to begin at.
    """

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._began_ms = now_ms
        self._elapsed_s = 0.0

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds."""
        return self._began_ms + round(self._elapsed_s * 1000)

    def monotonic_s(self) -> float:
        """Seconds since this clock was made."""
        return self._elapsed_s

    def sleep(self, seconds: float) -> None:
        """Let time pass without waiting.

        Raises:
            ValueError: seconds < 0; time never goes back.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back by {-seconds} s")
        self._elapsed_s += seconds

    advance = sleep
