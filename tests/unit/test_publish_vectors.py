"""Which vectors are written when: touched ones first, the rest in turn."""

import numpy as np
import pytest

from streamer.publish_vectors import VectorPublisher


def planned(publisher: VectorPublisher, n_max: int, version: int) -> tuple[list[int], list[int]]:
    """The plan as lists."""
    plan = publisher.plan(n_max, version)
    assert plan.user_rows.dtype == plan.item_rows.dtype == np.int32
    return plan.user_rows.tolist(), plan.item_rows.tolist()


def test_touched_rows_come_in_order_of_touching() -> None:
    """First touched, first planned, each once however often it is touched; then there is nothing left."""
    publisher = VectorPublisher(10, 10)
    publisher.touch_users([7, 3, 7])
    publisher.touch_users([5, 3])
    assert planned(publisher, 2, 1) == ([7, 3], [])
    publisher.touch_users([7])
    assert planned(publisher, 9, 1) == ([5, 7], [])
    assert planned(publisher, 9, 1) == ([], [])


def test_rows_nobody_touched_are_unknown() -> None:
    """A row is planned only after its first touch, whatever the version."""
    publisher = VectorPublisher(10, 10)
    publisher.touch_items([4])
    assert planned(publisher, 100, 1) == ([], [4])
    assert planned(publisher, 100, 2) == ([], [4])


def test_users_and_items_share() -> None:
    """Half each, users take the odd one; what one side leaves over goes to the other; never more than n_max."""
    publisher = VectorPublisher(10, 10)
    publisher.touch_users(range(10))
    publisher.touch_items(range(10))
    assert planned(publisher, 5, 1) == ([0, 1, 2], [0, 1])
    assert planned(publisher, 12, 1) == ([3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6, 7])
    assert planned(publisher, 3, 1) == ([9], [8, 9])
    assert planned(publisher, 0, 2) == ([], [])


def test_the_rest_follows_in_turn() -> None:
    """With a new version every known row is planned once, by row and from where the last call ended."""
    publisher = VectorPublisher(10, 10)
    publisher.touch_items([0, 2, 4, 6, 8])
    publisher.plan(10, 1)
    assert planned(publisher, 2, 2) == ([], [0, 2])
    assert planned(publisher, 2, 2) == ([], [4, 6])
    assert planned(publisher, 2, 3) == ([], [8, 0])  # the turn goes on where it was: nobody starves
    assert planned(publisher, 9, 3) == ([], [2, 4, 6])
    assert planned(publisher, 9, 3) == ([], [])


def test_touched_rows_go_before_the_rest() -> None:
    """What events touched is fresh before what is merely of an older version."""
    publisher = VectorPublisher(10, 10)
    publisher.touch_items(range(6))
    publisher.plan(10, 1)
    publisher.touch_items([5, 3])
    assert planned(publisher, 3, 2) == ([], [5, 3, 0])
    assert planned(publisher, 9, 2) == ([], [1, 2, 4])


def test_who_is_forgotten_is_not_planned() -> None:
    """Neither from the queue nor in the background; touched again, the row queues anew."""
    publisher = VectorPublisher(10, 10)
    publisher.touch_users([1, 2, 3])
    publisher.forget_user(1)
    publisher.touch_users([4, 1])
    assert planned(publisher, 9, 1) == ([2, 3, 4, 1], [])
    publisher.forget_user(3)
    publisher.forget_user(9)  # never known
    publisher.touch_items([6])
    publisher.forget_item(6)
    assert planned(publisher, 9, 2) == ([1, 2, 4], [])
    assert publisher.backlog == 0


def test_the_backlog_counts_what_is_out_of_date() -> None:
    """Touched or of an older version, each row once."""
    publisher = VectorPublisher(10, 10)
    publisher.touch_users([1, 2])
    publisher.touch_items([1, 2, 3])
    assert publisher.backlog == 5
    publisher.plan(4, 0)
    assert publisher.backlog == 1
    publisher.plan(0, 1)
    assert publisher.backlog == 5
    publisher.touch_items([1])
    assert publisher.backlog == 5


@pytest.mark.parametrize("rows", [[-1], [10], [3, 10]])
def test_rows_outside_the_table_are_refused(rows: list[int]) -> None:
    """A wrong row is an error, not another user's vector."""
    publisher = VectorPublisher(10, 20)
    with pytest.raises(ValueError, match=r"expected rows in \[0, 10\)"):
        publisher.touch_users(rows)
    with pytest.raises(ValueError, match="expected a row"):
        publisher.forget_user(rows[-1])


def test_weights_do_not_go_back() -> None:
    """An older version, or a negative number of rows, is the caller's mistake."""
    publisher = VectorPublisher(1, 1)
    publisher.plan(1, 5)
    with pytest.raises(ValueError, match="expected version >= 5, got 4"):
        publisher.plan(1, 4)
    with pytest.raises(ValueError, match="n_max"):
        publisher.plan(-1, 5)


class _Slow:
    """The same rules for items alone, in lists and dicts."""

    def __init__(self, n_rows: int) -> None:
        self.n_rows, self.queue, self.published, self.cursor = n_rows, [], {}, 0

    def touch(self, rows: list[int]) -> None:
        for row in rows:
            self.published[row] = -1
            if row not in self.queue:
                self.queue.append(row)

    def forget(self, row: int) -> None:
        self.published.pop(row, None)
        if row in self.queue:
            self.queue.remove(row)

    def plan(self, n_max: int, version: int) -> list[int]:
        taken, self.queue = self.queue[:n_max], self.queue[n_max:]
        self.published |= dict.fromkeys(taken, version)
        while len(taken) < n_max and min(self.published.values(), default=version) < version:
            row, self.cursor = self.cursor, (self.cursor + 1) % self.n_rows
            if self.published.get(row, version) < version:
                taken.append(row)
                self.published[row] = version
        return taken


@pytest.mark.parametrize("seed", range(20))
def test_it_equals_its_slow_twin(seed: int) -> None:
    """Under any order of touches, forgets, plans and versions, long enough for the queue to wrap many times."""
    rng = np.random.default_rng(seed)
    publisher, slow, version = VectorPublisher(1, 16), _Slow(16), 0
    publisher.touch_items([15])  # so that both turns go round all 16 rows
    slow.touch([15])
    for _ in range(600):
        match rng.integers(4):
            case 0:
                rows = rng.integers(0, 16, rng.integers(0, 6)).tolist()
                publisher.touch_items(rows)
                slow.touch(rows)
            case 1:
                row = int(rng.integers(16))
                publisher.forget_item(row)
                slow.forget(row)
            case _:
                version += int(rng.random() < 0.3)
                n_max = int(rng.integers(1, 8))
                assert publisher.plan(n_max, version).item_rows.tolist() == slow.plan(n_max, version)
        outdated = [row for row, published in slow.published.items() if published < version]
        publisher.plan(0, version)
        assert publisher.backlog == len(outdated)


def test_a_call_looks_at_few_rows() -> None:
    """A large table whose rows are nearly all current is searched bit by bit: nothing is missed in the end."""
    publisher = VectorPublisher(1, 10_000)
    publisher.touch_items(range(10_000))
    publisher.plan(9_990, 1)
    publisher.forget_item(9_999)
    publisher.touch_items([3])
    found: list[int] = []
    for _ in range(10):
        found += planned(publisher, 4, 1)[1]
    assert found == [*range(9_990, 9_999), 3]
    publisher.plan(0, 2)
    n_calls = 0
    while publisher.backlog:
        assert len(planned(publisher, 1000, 2)[1]) <= 1000
        n_calls += 1
    assert n_calls == 10
