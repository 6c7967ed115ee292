"""Who was erased, and when."""

import numpy as np
import pytest

from streamer.erased import ErasedUsers


def noted(max_users, *entries):
    """A table after these (user, log time)."""
    erased = ErasedUsers(max_users)
    for user_id, log_ms in entries:
        erased.note(user_id, log_ms)
    return erased


def test_what_was_on_the_log_by_the_tombstone_is_covered():
    """Up to and with its millisecond, of this user alone; nothing where the log has no times."""
    erased = noted(10, ("ann", 100), ("bob", 300))
    assert [erased.covers("ann", ms) for ms in (-1, 0, 99, 100, 101, 300)] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert not erased.covers("cid", 50)
    assert not noted(10, ("ann", -1)).covers("ann", -1)


def test_the_newest_tombstone_counts_in_whatever_order_they_come():
    """Two partitions may give them in either order."""
    for entries in ((("ann", 100), ("ann", 200)), (("ann", 200), ("ann", 100))):
        erased = noted(10, *entries)
        assert erased.covers("ann", 200)
        assert not erased.covers("ann", 201)


def test_the_one_erased_longest_ago_is_forgotten_first():
    """The table never holds more than its cap; who is erased again is news again."""
    erased = noted(2, ("ann", 1), ("bob", 2), ("ann", 3), ("cid", 4))
    assert [erased.covers(user_id, 1) for user_id in ("ann", "bob", "cid")] == [True, False, True]
    assert len(erased) == 2
    assert erased.n_forgotten == 1
    assert 0 < erased.n_bytes() < 1_000


def test_it_is_kept_without_anyone_s_id():
    """What is frozen holds hashes; what is thawed answers the same, forgets in the same order, and has the same digest."""
    erased = noted(2, ("ann", 5), ("bob", 3))
    arrays = erased.freeze()()
    assert not any(b"ann" in array.tobytes() for array in arrays.values())
    again = ErasedUsers.thaw(2, arrays)
    assert again.digest() == erased.digest() != ErasedUsers(2).digest()
    again.note("cid", 4)
    assert [again.covers(user_id, 3) for user_id in ("ann", "bob", "cid")] == [False, True, True]


@pytest.mark.parametrize(("users", "log_ms"), [([1, 1], [5, 6]), ([1, 2, 3], [5, 6, 7]), ([1], [-1])])
def test_a_table_that_is_none_is_refused(users, log_ms):
    """A user twice, more than there is room for, no time."""
    with pytest.raises(ValueError, match="erased users"):
        ErasedUsers.thaw(2, {"users": np.array(users, np.uint64), "log_ms": np.array(log_ms, np.int64)})


def test_a_thawed_table_knows_its_newest_tombstone():
    """The one who was erased last is not always the one with the latest time."""
    again = ErasedUsers.thaw(2, noted(2, ("ann", 5), ("bob", 3)).freeze()())
    assert again.covers("ann", 5)
    assert again.covers_any([5])
    assert not again.covers_any([6])
