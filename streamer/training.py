"""Training beside the fold, in a thread of its own: torch and numpy leave the interpreter while they compute.

A round is submitted when its events have been folded and taken when the next one begins, so which weights a list was ranked
with depends on event numbers alone, as long as the trainer keeps up or the fold waits for it (`ops/decisions/0006`).
"""

import logging
import os
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from streamer.graph.vectors import Tables
from streamer.propagate.learner import Learner, Round

_log = logging.getLogger("streamer.training")
_NICER = 10  # priority below that of the thread that folds, where threads have one of their own

Result = TypeVar("Result")


class ThreadTrainer:
    """`propagate.learner.Trainer` in a thread.

    Args:
        learner: Given away.
        share: Of one core at most: after a round the thread rests. 1 = no rest.
        waits: `take` waits for a round that is late, so that every run over the same log gives the same state. False:
            it never waits; the weights come in an interval later, and the log says so.
    """

    def __init__(self, learner: Learner, *, share: float = 1.0, waits: bool = True) -> None:
        self._learner = learner
        self._share = share
        self._waits = waits
        self._pool = ThreadPoolExecutor(1, "training", initializer=_be_nice)
        self._round: Future[Tables | None] | None = None
        self.n_rounds = 0
        self.n_late = 0
        self.seconds: list[float] = []  # of the rounds since the last `take_seconds`

    def submit(self, job: Round) -> None:
        """Begin a round."""
        self._round = self._pool.submit(self._learn, job)

    def take(self) -> tuple[bool, Tables | None]:
        """See `Trainer`."""
        if self._round is None:
            return True, None
        if not self._waits and not self._round.done():
            self.n_late += 1
            _log.info("weights_late", extra={"version": self._learner.network.version})
            return False, None
        tables = self._round.result()
        self._round = None
        return True, tables

    def take_seconds(self) -> list[float]:
        """How long each round took since the last call."""
        seconds, self.seconds = self.seconds, []
        return seconds

    def digest(self) -> bytes:
        """See `Trainer`."""
        if self._round is not None:
            self._round.result()
        return self._learner.digest()

    def n_bytes(self) -> int:
        """See `Trainer`."""
        return self._learner.n_bytes()

    def close(self) -> None:
        """Let the round at hand finish, and no other begin. Idempotent."""
        self._pool.shutdown(cancel_futures=True)

    def _learn(self, job: Round) -> Tables | None:
        began_s = time.monotonic()
        tables = self._learner.learn(job)
        took_s = time.monotonic() - began_s
        self.seconds.append(took_s)
        self.n_rounds += 1
        if self._share < 1.0 and not self._waits:
            time.sleep(min(took_s * (1.0 / self._share - 1.0), 10.0))
        return tables


def _be_nice() -> None:
    import torch  # noqa: PLC0415  heavy; only this thread needs it

    torch.set_num_threads(1)  # two would add up in another order, and take the core that folds
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICER)
