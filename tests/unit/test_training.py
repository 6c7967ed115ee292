"""Training beside the fold: who waits for a round, when the next one may begin, and what is counted."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from streamer.errors import Unavailable
from streamer.graph.vectors import Tables, no_tables
from streamer.propagate.learner import N_NEIGHBOURS, Round
from streamer.propagate.settings import no_examples
from streamer.training import Pace, ThreadTrainer

TIMEOUT_S = 30.0
JOB = Round(
    no_examples(0, 20),
    n_items=0,
    rows=np.zeros(0, np.int64),
    text=np.zeros((0, 0), np.int8),
    nodes=np.zeros((0, 16), np.int32),
    known=np.zeros(0, np.bool_),
    neighbours=np.zeros((0, N_NEIGHBOURS), np.int32),
    evicted=np.zeros(0, np.int64),
)


class Learner:
    """Stands for the network: the n-th round gives tables of version n, once the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.network = no_tables(4, 1, 2)  # has a version, as a network has
        self.fails = False

    def learn(self, job: Round) -> Tables:  # noqa: ARG002  the thread hands it over, and that is all
        """One round."""
        assert self.gate.wait(TIMEOUT_S)
        if self.fails:
            raise ValueError("no round")
        self.network = self.network._replace(version=self.network.version + 1)
        return self.network

    def freeze(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def digest(self) -> bytes:
        """Names the version."""
        return b"version %d" % self.network.version


@pytest.fixture
def learner() -> Iterator[Learner]:
    """Its gate is open at the end, so that no thread is left behind."""
    learner = Learner()
    yield learner
    learner.gate.set()


@pytest.fixture
def trainer_of(learner: Learner) -> Iterator[Callable[..., ThreadTrainer]]:
    """A trainer of this learner, closed at the end."""
    made: list[ThreadTrainer] = []

    def make(**arguments: Any) -> ThreadTrainer:
        made.append(ThreadTrainer(learner, **arguments))  # type: ignore[arg-type]
        return made[-1]

    yield make
    learner.gate.set()
    for trainer in made:
        trainer.close()


def version(tables: Tables | None) -> int | None:
    """Of the tables, where there are any."""
    return None if tables is None else tables.version


def taken_when_done(trainer: ThreadTrainer) -> tuple[bool, int | None]:
    """Ask until the round at hand has ended, and take it."""
    give_up_at_s = time.monotonic() + TIMEOUT_S
    n_late = trainer.n_late
    while time.monotonic() < give_up_at_s:
        is_free, tables = trainer.take()
        if trainer.n_late == n_late:
            return is_free, version(tables)
        n_late = trainer.n_late
    raise AssertionError("the round did not end")


def test_nothing_to_take_before_the_first_round(trainer_of: Callable[..., ThreadTrainer]) -> None:
    """The first round may begin at once."""
    assert trainer_of().take() == (True, None)


def test_who_waits_gets_every_round(learner: Learner, trainer_of: Callable[..., ThreadTrainer]) -> None:
    """However long it takes, and however small the share: which weights come in does not depend on time."""
    trainer = trainer_of(share=1e-6, waits=True)
    for n in range(1, 4):
        learner.gate.clear()
        trainer.submit(JOB)
        threading.Timer(0.05, learner.gate.set).start()
        is_free, tables = trainer.take()
        assert (is_free, version(tables)) == (True, n)
    assert (trainer.n_rounds, trainer.n_late) == (3, 0)


def test_who_does_not_wait_gets_late_weights_later(
    learner: Learner, trainer_of: Callable[..., ThreadTrainer]
) -> None:
    """A late round is counted each time it is asked for, holds up nobody, and is taken once, when it is done."""
    trainer = trainer_of(waits=False)
    learner.gate.clear()
    trainer.submit(JOB)
    assert trainer.take() == (False, None)
    assert trainer.take() == (False, None)
    assert trainer.n_late == 2
    learner.gate.set()
    assert taken_when_done(trainer) == (True, 1)
    assert trainer.take() == (True, None)


def test_patience_is_waiting_for_a_while(learner: Learner, trainer_of: Callable[..., ThreadTrainer]) -> None:
    """While it is patient it waits, and rests not; afterwards it does as it was told at the start."""
    trainer = trainer_of(share=1e-6, waits=False)
    trainer.pace = Pace.PATIENT
    for n in (1, 2):
        learner.gate.clear()
        trainer.submit(JOB)
        threading.Timer(0.05, learner.gate.set).start()
        is_free, tables = trainer.take()
        assert (is_free, version(tables)) == (True, n)
    trainer.pace = Pace.LIVE
    learner.gate.clear()
    trainer.submit(JOB)
    assert trainer.take() == (False, None)
    assert trainer.n_late == 1


def test_in_haste_it_neither_waits_nor_rests(
    learner: Learner, trainer_of: Callable[..., ThreadTrainer]
) -> None:
    """A round begins when the one before is done, however small the share; live, the share counts again."""
    trainer = trainer_of(share=1e-6, waits=False)
    trainer.pace = Pace.HASTY
    for n in (1, 2):
        learner.gate.clear()
        trainer.submit(JOB)
        assert trainer.take() == (False, None)
        learner.gate.set()
        assert taken_when_done(trainer) == (True, n)
    trainer.pace = Pace.LIVE
    trainer.submit(JOB)
    assert taken_when_done(trainer) == (False, 3)


def test_a_share_of_a_core_puts_off_the_next_round_not_the_weights(
    learner: Learner, trainer_of: Callable[..., ThreadTrainer]
) -> None:
    """With a millionth of a core, rounds that took a tenth of a millisecond are minutes apart; weights that are done come in."""
    trainer = trainer_of(share=1e-6, waits=False)
    learner.gate.clear()
    trainer.submit(JOB)
    threading.Timer(0.05, learner.gate.set).start()
    assert taken_when_done(trainer) == (False, 1)
    n_late = trainer.n_late
    assert trainer.take() == (False, None)
    assert trainer.n_late == n_late  # to rest is not to be late


def test_durations_are_told_once(learner: Learner, trainer_of: Callable[..., ThreadTrainer]) -> None:
    """Of every round that has ended, in seconds."""
    trainer = trainer_of()
    for _ in range(3):
        trainer.submit(JOB)
        trainer.take()
    seconds = trainer.take_seconds()
    assert len(seconds) == 3
    assert all(0.0 <= took_s < TIMEOUT_S for took_s in seconds)
    assert trainer.take_seconds() == []


def test_the_digest_waits_for_the_round_at_hand(
    learner: Learner, trainer_of: Callable[..., ThreadTrainer]
) -> None:
    """Also where nobody waits for weights: a hash must not depend on how far a thread is. The round can still be taken."""
    trainer = trainer_of(waits=False)
    learner.gate.clear()
    trainer.submit(JOB)
    threading.Timer(0.05, learner.gate.set).start()
    assert trainer.digest() == b"version 1"
    assert taken_when_done(trainer) == (True, 1)


def test_a_round_that_fails_ends_the_fold(learner: Learner, trainer_of: Callable[..., ThreadTrainer]) -> None:
    """Its error comes out where its weights would, instead of a model that silently stands still."""
    trainer = trainer_of()
    learner.fails = True
    trainer.submit(JOB)
    with pytest.raises(ValueError, match="no round"):
        trainer.take()


def test_closing_lets_the_round_at_hand_finish(
    learner: Learner, trainer_of: Callable[..., ThreadTrainer]
) -> None:
    """Nothing is left half done, and closing twice is fine."""
    trainer = trainer_of()
    trainer.submit(JOB)
    trainer.digest()
    trainer.close()
    trainer.close()
    assert trainer.n_rounds == 1


def test_a_checkpoint_that_outlives_the_training_is_told_so(
    learner: Learner, trainer_of: Callable[..., ThreadTrainer]
) -> None:
    """A worker that ends closes the trainer while its last checkpoint may still be written: that is no traceback."""
    trainer = trainer_of()
    learner.gate.clear()
    trainer.submit(JOB)
    arrays = trainer.freeze()
    threading.Timer(0.05, learner.gate.set).start()
    trainer.close()
    with pytest.raises(Unavailable, match="training was ended"):
        arrays()


def test_what_was_decided_can_be_decided_again(
    learner: Learner, trainer_of: Callable[..., ThreadTrainer]
) -> None:
    """A live trainer is late, and rests; one that is told what came of it comes to the same, at any speed."""
    live = trainer_of(share=0.01, waits=False)
    came_to = [live.take()]
    live.submit(JOB)
    taken_when_done(live)  # asks until it is there, so that it was late some times
    live.submit(JOB) if live.take()[0] else None
    learner.gate.clear()
    decisions = live.take_decisions()
    assert live.take_decisions() == ""
    assert decisions[0] == "3"
    assert set(decisions) <= set("013")
    learner.gate.set()
    again = trainer_of(waits=True)
    again.plan(decisions)
    for n, decision in enumerate(decisions):
        is_free, tables = again.take()
        assert (is_free, n) == (decision == "3", n)
        if n == 0:
            again.submit(JOB)
            assert tables is None
    assert again.take_decisions() == decisions
    assert again.take()[0], "nothing is planned any more: it waits, as it was made to"
    assert came_to == [(True, None)]


KEEPS_AND_RESTORES = """
import sys
from streamer.propagate.learner import Learner
from streamer.training import ThreadTrainer

kept, restored = ThreadTrainer(Learner()), ThreadTrainer(Learner())
restored.thaw(kept.freeze()())
assert restored.digest() == kept.digest()
print("torch" in sys.modules)
"""


def test_who_keeps_or_restores_a_state_does_not_wait_for_torch() -> None:
    """To load it takes seconds, and a start restores a state before its first list."""
    done = subprocess.run(
        [sys.executable, "-c", KEEPS_AND_RESTORES], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
