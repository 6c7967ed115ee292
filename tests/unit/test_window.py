"""The window of event ids against a deque and a set."""

from collections import deque
from itertools import pairwise

import numpy as np
import pytest
import xxhash

from streamer.window import hashes_of, new_window, recognise, refill


class WindowTwin:
    """The last ids, each once."""

    def __init__(self, size):
        self.ids = deque(maxlen=size)

    def see(self, event_id):
        """Whether the id is known; it is from now on."""
        if not event_id or event_id in self.ids:
            return bool(event_id)
        self.ids.append(event_id)
        return False


def drawn(rng, n, n_ids):
    """Ids of which some come again soon, some late, some never; some events have none."""
    return [f"e{k}" if k else "" for k in rng.integers(0, n_ids, n).tolist()]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("crowd", [3, 100, 10_000])
def test_what_is_in_the_window_is_recognised_and_nothing_else(size, crowd):
    """Whatever the cut into batches: the same verdicts, and the same ids in the same order as the twin."""
    rng = np.random.default_rng(size * crowd)
    ids, window, twin = drawn(rng, 3_000, crowd), new_window(size), WindowTwin(size)
    edges = [0, *sorted(rng.integers(0, len(ids), 20).tolist()), len(ids)]
    got = [
        verdict
        for begin, end in pairwise(edges)
        for verdict in recognise(window, hashes_of(ids[begin:end])).tolist()
    ]
    assert got == [twin.see(event_id) for event_id in ids]
    n = int(window.n[0])
    in_order = [int(window.ring[at % size]) for at in range(max(0, n - size), n)]
    assert in_order == hashes_of(twin.ids).tolist()
    assert sorted(window.slots[window.slots > 0].tolist()) == sorted(in_order)


@pytest.mark.parametrize("size", [3, 16])
def test_neighbours_in_the_table_survive_what_is_dropped(size):
    """Hashes that all want the same few slots: a search never ends at a slot that was freed, and none is lost."""
    rng = np.random.default_rng(7)
    window, twin = new_window(size), WindowTwin(size)
    n_slots = window.slots.size
    for _ in range(2_000):
        wanted = int(rng.integers(1, 9)) * n_slots + int(rng.integers(n_slots - 2, n_slots))
        assert recognise(window, np.array([wanted], np.uint64))[0] == twin.see(wanted)


def test_an_event_without_an_id_is_never_a_duplicate():
    """However many there are, and they take no place of others."""
    window = new_window(2)
    recognise(window, hashes_of(["a", "b"]))
    assert not recognise(window, hashes_of([""] * 5)).any()
    assert recognise(window, hashes_of(["a", "b"])).all()


def test_no_window_recognises_nothing():
    """Size 0 switches it off, and takes no memory to speak of."""
    window = new_window(0)
    assert not recognise(window, hashes_of(["a", "a"])).any()
    assert sum(array.nbytes for array in window) < 100


def test_ids_are_hashed_the_same_everywhere():
    """xxh3 of the UTF-8, so that another process, or another machine, finds what this one put in."""
    assert hashes_of(["é", ""]).tolist() == [xxhash.xxh3_64(b"\xc3\xa9").intdigest(), 0]


@pytest.mark.parametrize("n_ids", [0, 5, 8, 21])
def test_a_window_is_made_from_its_ring(n_ids):
    """Filled or not, wrapped around or not: the slots that a checkpoint leaves out come back, and the fold goes on as before."""
    window = new_window(8)
    recognise(window, hashes_of(f"e{n}" for n in range(n_ids)))
    other = new_window(8)
    other.ring[:], other.n[:] = window.ring, window.n
    refill(other)
    more = hashes_of(f"e{n}" for n in range(n_ids - 10, n_ids + 10))
    assert recognise(other, more).tolist() == recognise(window, more).tolist()
    assert (other.ring.tolist(), other.n[0]) == (window.ring.tolist(), window.n[0])


@pytest.mark.parametrize("ring", [[5, 5, 6], [5, 0, 6]])
def test_a_ring_that_is_none_is_refused(ring):
    """A hash twice, or none: whoever wrote this was not us."""
    window = new_window(3)
    window.ring[:], window.n[:] = ring, 3
    with pytest.raises(ValueError, match="expected 3 different hashes"):
        refill(window)
