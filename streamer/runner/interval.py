"""What need not be done every turn of the loop."""

from streamer.ports import Clock


class Every:
    """True at most once an interval, and at the first call.

    Args:
        clock: Time.
        interval_s: Between two calls that are True.
    """

    def __init__(self, clock: Clock, interval_s: float) -> None:
        self._clock, self._interval_s = clock, interval_s
        self._due_s = clock.monotonic_s()

    def __call__(self) -> bool:
        """Whether it is time; the next interval begins when it is."""
        now_s = self._clock.monotonic_s()
        is_due = now_s >= self._due_s
        if is_due:
            self._due_s = now_s + self._interval_s
        return is_due

    def put_off(self, pause_s: float) -> None:
        """Not before so many seconds from now."""
        self._due_s = self._clock.monotonic_s() + pause_s
