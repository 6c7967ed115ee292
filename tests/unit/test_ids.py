"""Outside ids and rows."""

import pytest

from streamer.ids import IdTable


def test_rows_come_in_the_order_of_first_sight():
    """The first id gets row 0, the next row 1; a known id keeps its row, and the way back gives the id."""
    ids = IdTable(5)
    assert [ids.admit(name) for name in ("b", "a", "b", "c")] == [0, 1, 0, 2]
    assert [ids.id(row) for row in range(3)] == ["b", "a", "c"]
    assert list(ids.items()) == [("b", 0), ("a", 1), ("c", 2)]
    assert (len(ids), ids.n_rows, ids.is_full) == (3, 3, False)


def test_reading_never_adds():
    """Asking for an unknown id or row answers "none" and leaves the table as it is."""
    ids = IdTable(5)
    assert ids.row("a") == -1
    assert ids.release("a") == -1
    assert ids.id(0) is None
    assert ids.id(-1) is None
    assert (len(ids), ids.n_rows) == (0, 0)


def test_a_full_table_refuses():
    """Beyond `max_rows` newcomers get -1, and the table says so; those who are in stay in."""
    ids = IdTable(2)
    assert [ids.admit(name) for name in ("a", "b", "c", "c", "a")] == [0, 1, -1, -1, 0]
    assert (len(ids), ids.n_rows, ids.is_full) == (2, 2, True)
    ids.release("a")
    assert not ids.is_full


def test_a_released_row_goes_to_the_next_newcomer():
    """Released rows are used before new ones, belong to nobody meanwhile, and are never given twice."""
    ids = IdTable(3)
    for name in "abc":
        ids.admit(name)
    assert ids.release("b") == 1
    assert ids.id(1) is None
    assert ids.row("b") == -1
    assert (len(ids), ids.n_rows) == (2, 3)
    assert ids.admit("d") == 1
    assert ids.id(1) == "d"
    assert ids.admit("b") == -1


@pytest.mark.parametrize("name", ["", "a\x00b", "æ·漢", '"\\', " "])
def test_ids_are_compared_as_they_are(name):
    """Nothing is stripped or normalised."""
    ids = IdTable(4)
    ids.admit("a")
    row = ids.admit(name)
    assert ids.id(row) == name
    assert ids.row(name + " ") == -1


@pytest.mark.parametrize("max_rows", [5, 3])
def test_many_at_once_are_as_one_after_the_other(max_rows: int):
    """Known ones, newcomers, one that comes twice, a released row, and what does not fit."""
    one_by_one, at_once = IdTable(max_rows), IdTable(max_rows)
    for ids in (one_by_one, at_once):
        for name in ("a", "b"):
            ids.admit(name)
        ids.release("a")
    names = ["b", "c", "a", "c", "d", "e", "b"]
    assert at_once.n_free == max_rows - 1
    assert at_once.n_released == 1
    assert at_once.n_unknown(names) == 5  # all but "b", one of them twice
    assert at_once.admit_many(names) == [one_by_one.admit(name) for name in names]
    assert list(at_once.items()) == list(one_by_one.items())
    assert (at_once.n_free, at_once.is_full) == (max_rows - len(one_by_one), one_by_one.is_full)
