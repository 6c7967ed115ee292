"""Whether the worker turns, and whether it is ready: what /live and /ready say."""

from streamer.ports import Clock

DEPENDENCIES = "kafka", "redis", "checkpoints"  # as metrics and /ready name them


class Health:
    """Whether we are alive and ready, and why not. Written by the main loop, read by the HTTP threads."""

    def __init__(self, clock: Clock, live_timeout_s: float) -> None:
        self._clock = clock
        self._live_timeout_s = live_timeout_s
        self._turned_s: float | None = None  # before the loop begins, kernels are compiled: not a hang
        self._away: dict[str, str] = {}
        self.catching_up = True

    def begin(self) -> None:
        """The start is done: from now on turns count, and are missed."""
        self._turned_s = self._clock.monotonic_s()

    def turn(self) -> None:
        """The main loop came round, or waits for somebody; before `begin` that says nothing of what comes next."""
        if self._turned_s is not None:
            self.begin()

    def away(self, dependency: str, reason: str) -> None:
        """A dependency does not answer."""
        self._away[dependency] = reason

    def back(self, dependency: str) -> None:
        """It answers again."""
        self._away.pop(dependency, None)

    def why_not_ready(self) -> list[str]:
        """Reasons; empty when ready. They name dependencies, never addresses: the port may be public."""
        reasons = ["catching up with the log"] if self.catching_up else []
        return reasons + [f"{dependency} is away" for dependency in sorted(dict(self._away))]

    def is_away(self, dependency: str) -> bool:
        """Whether it does not answer now."""
        return dependency in self._away

    def loop_age_s(self) -> float:
        """Since the main loop last came round, seconds; 0 before it begins."""
        turned_s = self._turned_s
        return 0.0 if turned_s is None else self._clock.monotonic_s() - turned_s

    def is_live(self) -> bool:
        """False when the main loop has not turned for too long."""
        return self.loop_age_s() <= self._live_timeout_s
