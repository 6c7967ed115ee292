"""The ranker's memory: what is kept of a list, and that a second look at it is an ordinary step."""

from itertools import count

import numpy as np
import pytest
from content_twin import scrambled
from entries import keep, learn, learn_again, score

from streamer.ranker import new_ranker
from streamer.ranker.state import N_KEPT, N_LISTS, N_RANKED, SHORT

N_FEATURES = 8


def listed(ranker, rng, n):
    """Put a list of n candidates into the scratch, and score it."""
    ranker.n[SHORT] = n
    ranker.x[:, :n] = rng.normal(size=(N_FEATURES, n))
    ranker.base[:n] = rng.normal(size=n)
    score(ranker, ranker.x, ranker.base, n)


@pytest.mark.parametrize("n", [3, N_KEPT, N_RANKED])
def test_the_most_probable_candidates_are_kept_best_first(n):
    """Of a list of any length the head of a full sort by probability is kept, with the number of the taken one in it."""
    ranker, rng = new_ranker(N_FEATURES), np.random.default_rng(n)
    listed(ranker, rng, n)
    best = np.argsort(-ranker.probability[:n])[:N_KEPT]
    keep(ranker, int(best[2]))
    memory = ranker.memory
    assert (memory.n[0], memory.taken[0], memory.n_kept[0]) == (min(n, N_KEPT), 2, 1)
    np.testing.assert_array_equal(memory.x[0, :, : best.size], ranker.x[:, best])
    np.testing.assert_array_equal(memory.base[0, : best.size], ranker.base[best])


def test_a_list_whose_taken_item_is_not_in_its_head_is_not_kept():
    """Otherwise the memory would teach that improbable items are taken."""
    ranker, rng = new_ranker(N_FEATURES), np.random.default_rng(1)
    listed(ranker, rng, N_RANKED)
    keep(ranker, int(np.argmin(ranker.probability)))
    assert ranker.memory.n_kept[0] == 0
    before = ranker.weights.linear.copy()
    learn_again(ranker)
    np.testing.assert_array_equal(ranker.weights.linear, before)


def test_a_second_look_is_the_step_that_the_list_itself_would_be():
    """With one list in memory, learning again moves the weights as scoring and learning its head anew does."""
    again, anew = new_ranker(N_FEATURES), new_ranker(N_FEATURES)
    for ranker in (again, anew):
        listed(ranker, np.random.default_rng(5), N_KEPT)
    taken = int(np.argmax(again.probability[:N_KEPT]))
    keep(again, taken)
    listed(again, np.random.default_rng(6), N_RANKED)  # another list in the scratch must not matter
    learn_again(again)
    learn(anew, anew.x, N_KEPT, taken)
    assert np.abs(anew.weights.linear).max() > 0.0
    np.testing.assert_allclose(again.weights.linear, anew.weights.linear, rtol=1e-4)


def test_the_oldest_list_makes_room():
    """The memory holds the last N_LISTS lists, each in the place of the one N_LISTS before it."""
    ranker, rng = new_ranker(N_FEATURES), np.random.default_rng(2)
    for n in range(N_LISTS + 1):
        listed(ranker, rng, 2)
        ranker.base[:2] = n + 10
        keep(ranker, 0)
    assert ranker.memory.n_kept[0] == N_LISTS + 1
    assert ranker.memory.base[:3, 0].tolist() == [N_LISTS + 10, 11, 12]


@pytest.mark.parametrize("place", [0, N_LISTS - 1])
def test_every_list_of_a_full_memory_may_be_drawn(place):
    """The first and the last place, too: the step is that of the list there, where only it teaches anything."""
    ranker = new_ranker(N_FEATURES)
    memory = ranker.memory
    memory.n_kept[0], memory.n[:], memory.taken[:] = N_LISTS, 2, 1
    memory.x[place, 3, 1] = 1.0
    ranker.n_updates[0] = next(n for n in count() if scrambled(n) % N_LISTS == place)
    learn_again(ranker)
    assert np.flatnonzero(ranker.weights.linear).tolist() == [3]
    assert ranker.weights.linear[3] > 0.0
