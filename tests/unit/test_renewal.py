"""Whose list is made again while they are away."""

import numpy as np
from numpy.typing import NDArray

from streamer.adapters.memory import ManualClock
from streamer.runner.renewal import MOST_PER_S, Renewal

AFTER_S = 100
N_USERS = 10_000  # more than are looked at in one go


class Users:
    """Lists by the time they were made, as the publisher knows them."""

    def __init__(self, old: list[int]) -> None:
        self.made_ms = np.full(N_USERS, 1 << 60)
        self.made_ms[old] = 0

    def stale(self, begin: int, end: int, before_ms: int) -> NDArray[np.int32]:
        """As `Publisher.stale`."""
        return (begin + np.flatnonzero(self.made_ms[begin:end] < before_ms)).astype(np.int32)


def test_users_have_their_turn_in_order_and_none_is_passed_over() -> None:
    """Of many old lists that lie together each round takes the next few, and goes on behind them."""
    old = [*range(100, 120), 5000, 9999]
    clock = ManualClock()
    renewal = Renewal(Users(old).stale, clock, AFTER_S)
    seen: list[int] = []
    while len(seen) < len(old):
        clock.sleep(1.0)
        seen += renewal.take(N_USERS).tolist()
        assert clock.monotonic_s() < 100.0
    assert seen == old


def test_no_more_than_so_many_a_second() -> None:
    """However often the loop comes round."""
    clock = ManualClock()
    renewal = Renewal(Users(list(range(N_USERS))).stale, clock, AFTER_S)
    began_s, n = clock.monotonic_s(), 0
    while clock.monotonic_s() < began_s + 10.0:
        clock.sleep(0.003)
        n += renewal.take(N_USERS).size
    assert 0.7 * 10 * MOST_PER_S <= n <= 10 * MOST_PER_S + 1
