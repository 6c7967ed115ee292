"""Training beside the fold, in a thread of its own: torch and numpy leave the interpreter while they compute.

A round is submitted when its events have been folded and taken when the next one would begin, so which weights a list was
ranked with depends on event numbers alone, as long as the fold waits for the trainer
(`ops/decisions/0006-weights-come-in-at-fixed-events.md`).
"""

import enum
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import Unavailable
from streamer.graph.vectors import Tables
from streamer.priority import give_way
from streamer.propagate.learner import Learner, Round
from streamer.propagate.tables import tables_from_arrays, tables_to_arrays

_log = logging.getLogger("streamer.training")
# What `take` came to: the round at hand was late, it came in, and whether the next one may begin.
LATE, RESTS, FREE = "013"
_MAX_SECONDS = 1000  # rounds whose duration nobody has asked for yet


class Pace(enum.Enum):
    """How fold and training go together, where the trainer was not told to wait always."""

    PATIENT = enum.auto()  # the fold waits for a round that is late
    HASTY = enum.auto()  # it does not, and the next round begins as soon as one is done
    LIVE = enum.auto()  # it does not, and after a round the next one is put off


class ThreadTrainer:
    """`propagate.learner.Trainer` in a thread.

    Args:
        learner: Given away.
        share: Of one core at most, live: after a round the next one is put off. 1 = no rest.
        waits: `take` waits for a round that is late, so that every run over the same log gives the same state. False:
            as `pace` says; else the weights come in an interval later, and the log says so.
    """

    pace: Pace
    """Changed as the fold goes on; live at first."""

    def __init__(self, learner: Learner, *, share: float = 1.0, waits: bool = True) -> None:
        self._learner = learner
        self._share = share
        self._waits = waits
        self.pace = Pace.LIVE
        self._pool = ThreadPoolExecutor(1, "training", initializer=give_way)
        self._round: Future[Tables | None] | None = None
        self._seconds: deque[float] = deque(maxlen=_MAX_SECONDS)
        self._decisions: list[str] = []
        self._planned: deque[str] = deque()
        self._rested_at_s = 0.0  # monotonic: when the next round may begin
        self.n_rounds = 0
        self.n_late = 0

    def warm_up(self) -> None:
        """Load torch, in the thread that will need it, if no round did: a live worker's first one would be late by seconds.

        Not before the first lists: to load it takes the interpreter from whoever makes them.
        """
        self._pool.submit(_load)

    def submit(self, job: Round) -> None:
        """Begin a round."""
        self._round = self._pool.submit(self._learn, job)

    def take(self) -> tuple[bool, Tables | None]:
        """See `Trainer`."""
        decision = self._planned.popleft() if self._planned else self._decided()
        self._decisions.append(decision)
        if decision == LATE:
            self.n_late += 1
            if self.pace is Pace.LIVE:  # in haste the fold overtakes every round
                _log.info("weights_late", extra={"version": self._learner.network.version})
            return False, None
        tables = self._round.result() if self._round is not None else None
        self._round = None
        return decision == FREE, tables

    def _decided(self) -> str:
        if self._waits or self.pace is Pace.PATIENT:
            return FREE
        if self._round is not None and not self._round.done():
            return LATE
        return FREE if self.pace is Pace.HASTY or time.monotonic() >= self._rested_at_s else RESTS

    def take_decisions(self) -> str:
        """What each `take` since the last call came to, a digit each: all that a repetition needs to come to the same."""
        decisions, self._decisions = "".join(self._decisions), []
        return decisions

    def plan(self, decisions: str) -> None:
        """What the next calls of `take` must come to, as `take_decisions` gave it, in place of what was planned before."""
        self._planned = deque(decision for decision in decisions if decision in (LATE, RESTS, FREE))

    def take_seconds(self) -> list[float]:
        """How long each round took that ended since the last call, of the last thousand."""
        return [self._seconds.popleft() for _ in range(len(self._seconds))]

    def digest(self) -> bytes:
        """See `Trainer`."""
        if self._round is not None:
            self._round.result()
        return self._learner.digest()

    def n_bytes(self) -> int:
        """See `Trainer`."""
        return self._learner.n_bytes()

    def freeze(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """See `Trainer`."""
        at_hand = self._round
        # its place in the queue makes it exact: behind the round at hand, before any other that the fold may submit meanwhile
        learned = self._pool.submit(self._learner.freeze)

        def arrays() -> dict[str, NDArray[Any]]:
            try:
                tables, own = at_hand.result() if at_hand is not None else None, learned.result()
            except CancelledError:  # the worker ends, while its last checkpoint is being written
                raise Unavailable("training was ended before its state could be taken") from None
            found = {"at_hand": np.array([at_hand is not None, tables is not None], np.uint8)}
            if tables is not None:
                found |= {f"tables.{name}": part for name, part in tables_to_arrays(tables).items()}
            return {**found, **own}

        return arrays

    def thaw(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """See `Trainer`."""
        is_at_hand, has_tables = (bool(flag) for flag in arrays["at_hand"].tolist())
        parts = {name.removeprefix("tables."): part for name, part in arrays.items()}
        tables = tables_from_arrays(parts) if has_tables else None
        self._learner.thaw(arrays)
        self._round = None
        if is_at_hand:
            self._round = Future()
            self._round.set_result(tables)

    def close(self) -> None:
        """Let the round at hand finish, and no other begin. Idempotent."""
        self._pool.shutdown(cancel_futures=True)

    def _learn(self, job: Round) -> Tables | None:
        _load()
        began_s = time.monotonic()
        tables = self._learner.learn(job)
        ended_s = time.monotonic()
        self._seconds.append(ended_s - began_s)
        self._rested_at_s = ended_s + (ended_s - began_s) * (1.0 / self._share - 1.0)
        self.n_rounds += 1
        return tables


def _load() -> None:
    import torch  # noqa: PLC0415  heavy; only this thread needs it, and only to train

    from streamer.propagate import training  # noqa: F401, PLC0415  loading it is all that is wanted

    torch.set_num_threads(1)  # two would add up in another order, and take the core that folds
