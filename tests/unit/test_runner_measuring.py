"""How many events of a batch are measured: all of a short one, a share of the users of a long one, and what a restart repeats."""

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from streamer import pipeline
from streamer.config import Settings
from streamer.events import Event, Interaction
from streamer.pipeline.measuring import Measuring
from streamer.propagate.learner import Learner
from streamer.runner.model import N_UNHURRIED, Chances, Model
from streamer.training import Pace, ThreadTrainer

MOST = 8
SIZES: dict[str, Any] = {
    "max_items": 64,
    "max_users": 512,
    "max_nodes": 64,
    "max_taken": 10_000,
    "text_model": "none",
    "without": "vectors",
    "max_measured": MOST,
}


def views(n: int, first: int = 0) -> list[Event]:
    """So many users take one of five items."""
    return [Interaction(f"u{at}", f"i{at % 5}", "view", 1_000 + at) for at in range(first, first + n)]


def a_model(**settings: Any) -> Model:
    """One that has learned a little; nobody was served yet."""
    model = Model(Settings(**{**SIZES, **settings}))
    model.fold(views(20), 10_000, is_serving=False)
    return model


def chances_of(events: list[Event], *, is_serving: bool = True, **settings: Any) -> Chances:
    """What is written down of this batch."""
    model = a_model(**settings)
    model.fold(events, 10_000, is_serving)
    return model.take_chances()


def test_a_long_batch_has_a_limit() -> None:
    """A short one has none: all of it is within."""
    assert chances_of(views(MOST)).max_measured == 0
    assert chances_of(views(MOST + 1)).max_measured == MOST


@pytest.mark.parametrize("why", ["nobody waits for a list", "each run must come to the same"])
def test_where_nobody_waits_all_are_measured(why: str) -> None:
    """While a start reads the log, and where the settings ask for equal states."""
    is_serving = why != "nobody waits for a list"
    assert chances_of(views(4 * MOST), is_serving=is_serving, training_waits=is_serving).max_measured == 0


@pytest.mark.parametrize("n_left", [N_UNHURRIED, N_UNHURRIED + 1])
def test_far_behind_a_part_is_measured(n_left: int) -> None:
    """The same part of a batch, of whatever length, as of the longest live one; all of the log's last interactions."""
    model = a_model(max_batch=4 * MOST)
    for n, limit in ((MOST, 0), (4 * MOST, MOST), (12 * MOST, 3 * MOST)):
        model.fold(views(n), 10_000, is_serving=False, n_left=n_left)
        assert model.take_chances().max_measured == (limit if n_left > N_UNHURRIED else 0)
    exact = a_model(max_batch=4 * MOST, training_waits=True)
    exact.fold(views(4 * MOST), 10_000, is_serving=False, n_left=n_left)
    assert exact.take_chances().max_measured == 0


def test_training_keeps_pace() -> None:
    """A start that is far behind overtakes it, the end of the log waits for it, live it rests."""
    with closing(ThreadTrainer(Learner(), waits=False)) as trainer:
        model = Model(Settings(**{**SIZES, "without": ()}), trainer)
        paces = []
        for is_serving, n_left in ((False, N_UNHURRIED + 1), (False, N_UNHURRIED), (True, 0)):
            model.fold(views(1), 10_000, is_serving, n_left=n_left)
            paces.append(trainer.pace)
    assert paces == [Pace.HASTY, Pace.PATIENT, Pace.LIVE]


def test_users_are_chosen_whole_and_the_same_again() -> None:
    """By their numbers; only the one at the limit is cut, in the order of the log. The limit is that of all runs together."""
    rows = np.array([7, 3, 7, 9, 3, 3, 9], np.int32)
    numbers = {row: row * 2654435769 % 2**32 for row in (3, 7, 9)}
    first, second, third = sorted(numbers, key=lambda row: numbers[row])
    n_first, n_second = (int((rows == row).sum()) for row in (first, second))
    measuring = Measuring(1.0, n_first + n_second - 1)
    chosen = measuring.choose(rows)
    assert chosen.sum() == n_first + n_second - 1
    assert chosen[rows == first].all()
    assert chosen[rows == second].tolist() == [True] * (n_second - 1) + [False]
    assert not chosen[rows == third].any()
    assert not measuring.choose(rows).any()


def test_a_limit_is_within_the_share() -> None:
    """Users outside it are never measured, however few there are; without a limit all inside are."""
    rows = np.arange(64, dtype=np.int32)
    inside = (rows.astype(np.uint64) * np.uint64(2654435769) % np.uint64(2**32)) < 2**30
    assert Measuring(0.25, None).choose(rows).tolist() == inside.tolist()
    assert Measuring(0.25, 64).choose(rows).tolist() == inside.tolist()
    some = Measuring(0.25, 5).choose(rows)
    assert some.sum() == 5
    assert not some[~inside].any()


def test_a_restart_measures_the_same() -> None:
    """What was written down brings the same state and the same report back, whatever the settings say by then."""
    events = views(50, first=5)
    model = a_model()
    model.fold(events, 10_000, is_serving=True)
    chances = model.take_chances()
    again, other = a_model(max_measured=512), a_model(max_measured=512)
    again.refold(events, 10_000, chances)
    other.fold(events, 10_000, is_serving=True)
    hashes = [pipeline.state_hash(one.state) for one in (model, again, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    n_measured = [one.scoreboard.lists()["streamer"]["all"]["n"] for one in (model, again, other)]
    assert 0 < n_measured[0] == n_measured[1] < n_measured[2]
