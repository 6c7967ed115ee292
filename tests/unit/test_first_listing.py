"""From the catalog to the first list, and the share of lists with cold items."""

import time

import numpy as np

from streamer.adapters.memory import ManualClock
from streamer.runner.first_listing import ColdLists, FirstListings


def rows(*numbers: int) -> np.ndarray:
    """Item rows."""
    return np.array(numbers, np.int32)


def test_an_item_is_timed_once() -> None:
    """From its first catalog event to its first list, whatever comes after; short lists are filled with -1."""
    clock = ManualClock()
    listings = FirstListings(clock)
    listings.catalogued(rows(7, 3), clock.monotonic_s())
    clock.advance(2)
    listings.catalogued(rows(7), clock.monotonic_s())  # its text changed; it still waits
    clock.advance(0.5)
    assert listings.listed(np.array([[7, 1, -1], [-1, -1, -1], [7, 7, 1]], np.int32)) == [2.5]
    listings.catalogued(rows(7), clock.monotonic_s())
    assert listings.listed(rows(7).reshape(1, 1)) == []
    assert listings.n_waiting == 1
    clock.advance(1)
    assert listings.listed(rows(3, 7).reshape(1, 2)) == [3.5]
    assert listings.n_waiting == 0


def test_items_listed_before_their_catalog_event_are_not_timed() -> None:
    """They did not wait for the catalog."""
    listings = FirstListings(ManualClock())
    assert listings.listed(rows(5).reshape(1, 1)) == []
    listings.catalogued(rows(5, 6), 0.0)
    assert listings.n_waiting == 1
    assert listings.listed(rows(5).reshape(1, 1)) == []


def test_who_gets_a_row_does_not_inherit_the_wait() -> None:
    """Item 7 waits for 100 s and is evicted; the next one of its row waits for 2."""
    clock = ManualClock()
    listings = FirstListings(clock)
    listings.catalogued(rows(7), clock.monotonic_s())
    clock.advance(100)
    listings.forget([7, 9_999])
    assert listings.n_waiting == 0
    listings.catalogued(rows(7), clock.monotonic_s())
    clock.advance(2)
    assert listings.listed(rows(7).reshape(1, 1)) == [2.0]


def test_nothing_is_fine() -> None:
    """No items, no lists, no rows."""
    listings = FirstListings(ManualClock())
    listings.catalogued(rows(), 0.0)
    assert listings.listed(np.empty((0, 20), np.int32)) == []
    assert listings.listed(np.full((2, 3), -1, np.int32)) == []


def test_the_table_grows_with_the_rows() -> None:
    """Rows far beyond those seen before, of the catalog or of lists, find their place."""
    listings = FirstListings(ManualClock())
    listings.catalogued(rows(1022, 1023, 1024, 400_000), 0.0)
    assert listings.listed(rows(1023, 900_000).reshape(1, 2)) == [0.0]
    assert listings.listed(rows(400_000, 1022, 1024).reshape(1, 3)) == [0.0] * 3


def test_those_that_wait_are_bounded() -> None:
    """Beyond the cap the one that waits longest is given up, counted, and never timed."""
    clock = ManualClock()
    listings = FirstListings(clock, max_waiting=3)
    for row in range(5):
        listings.catalogued(rows(row), clock.monotonic_s())
        clock.advance(1)
    assert (listings.n_waiting, listings.n_given_up) == (3, 2)
    listings.catalogued(rows(0), clock.monotonic_s())
    assert sorted(listings.listed(rows(0, 1, 2, 3, 4).reshape(1, 5))) == [1.0, 2.0, 3.0]


def test_a_batch_of_lists_costs_little() -> None:
    """500 lists of 20 items take less than a millisecond (the best of many runs, as the machine is shared)."""
    rng = np.random.default_rng(0)
    listings = FirstListings(ManualClock())
    listings.catalogued(np.arange(100_000, dtype=np.int32), 0.0)
    lists = rng.integers(-1, 5_000, (500, 20)).astype(np.int32)
    assert len(listings.listed(lists)) > 3_000

    def run_s() -> float:
        began_s = time.perf_counter()
        listings.listed(lists)
        return time.perf_counter() - began_s

    assert min(run_s() for _ in range(200)) < 0.001


def test_share_of_lists_with_cold_items() -> None:
    """Of the last n lists; a row of -1 is no item, whatever is said of it."""
    cold = ColdLists(n_lists=4)
    is_cold = np.array([False, True, False, True])
    assert cold.share is None

    def see(lists: np.ndarray) -> None:
        cold.listed(lists, is_cold[lists])

    see(np.array([[0, 1], [2, -1]], np.int32))
    assert cold.share == 1 / 2
    see(np.array([[0, 2], [0, -1], [1, 3]], np.int32))
    assert cold.share == 1 / 4  # the first list fell out
    see(np.array([[3], [1], [1], [0], [3], [3], [3]], np.int32))
    assert cold.share == 3 / 4
    see(np.empty((0, 2), np.int32))
    assert cold.share == 3 / 4
