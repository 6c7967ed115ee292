"""Outside ids and rows."""

import random

import numpy as np
import pytest

from streamer.ids import IdTable
from streamer.packed_ids import PackedIds

Table = type[IdTable] | type[PackedIds]


@pytest.fixture(params=[IdTable, PackedIds])
def make(request: pytest.FixtureRequest) -> Table:
    """Either kind of table: what is outside cannot tell them apart."""
    kind: Table = request.param
    return kind


def test_rows_come_in_the_order_of_first_sight(make: Table):
    """The first id gets row 0, the next row 1; a known id keeps its row, and the way back gives the id."""
    ids = make(5)
    assert [ids.admit(name) for name in ("b", "a", "b", "c")] == [0, 1, 0, 2]
    assert [ids.id(row) for row in range(3)] == ["b", "a", "c"]
    assert list(ids.items()) == [("b", 0), ("a", 1), ("c", 2)]
    assert (len(ids), ids.n_rows, ids.is_full) == (3, 3, False)


def test_reading_never_adds(make: Table):
    """Asking for an unknown id or row answers "none" and leaves the table as it is."""
    ids = make(5)
    assert ids.row("a") == -1
    assert ids.release("a") == -1
    assert ids.id(0) is None
    assert ids.id(-1) is None
    assert (len(ids), ids.n_rows) == (0, 0)


def test_a_full_table_refuses(make: Table):
    """Beyond `max_rows` newcomers get -1, and the table says so; those who are in stay in."""
    ids = make(2)
    assert [ids.admit(name) for name in ("a", "b", "c", "c", "a")] == [0, 1, -1, -1, 0]
    assert (len(ids), ids.n_rows, ids.is_full) == (2, 2, True)
    ids.release("a")
    assert not ids.is_full


def test_a_released_row_goes_to_the_next_newcomer(make: Table):
    """Released rows are used before new ones, belong to nobody meanwhile, and are never given twice."""
    ids = make(3)
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
def test_ids_are_compared_as_they_are(name, make: Table):
    """Nothing is stripped or normalised."""
    ids = make(4)
    ids.admit("a")
    row = ids.admit(name)
    assert ids.id(row) == name
    assert ids.row(name + " ") == -1


@pytest.mark.parametrize("max_rows", [5, 3])
def test_many_at_once_are_as_one_after_the_other(max_rows: int, make: Table):
    """Known ones, newcomers, one that comes twice, a released row, and what does not fit."""
    one_by_one, at_once = make(max_rows), make(max_rows)
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


def _agree(packed: PackedIds, plain: IdTable, names: list[str]) -> None:
    assert sorted(packed.items()) == sorted(plain.items())
    assert packed.released == plain.released
    assert (len(packed), packed.n_rows, packed.n_free) == (len(plain), plain.n_rows, plain.n_free)
    assert (packed.is_full, packed.next_row) == (plain.is_full, plain.next_row)
    assert [packed.row(name) for name in names] == [plain.row(name) for name in names]
    assert [packed.id(row) for row in range(-1, 40)] == [plain.id(row) for row in range(-1, 40)]


@pytest.mark.parametrize("seed", range(5))
def test_packed_ids_are_as_a_dict(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is admitted, released and kept, and however often the text is written anew: all answers are those of the dict."""
    monkeypatch.setattr("streamer.packed_ids.packed._FIRST_TEXT", 8)
    rng = random.Random(seed)
    names = [rng.choice("aé漢😀") * rng.randrange(4) + str(n) for n in range(60)]
    packed, plain = PackedIds(37), IdTable(37)
    for _ in range(60):
        some = rng.choices(names, k=rng.randrange(12))
        assert packed.n_unknown(some) == plain.n_unknown(some)
        assert packed.admit_many(some) == plain.admit_many(some)
        for name in rng.choices(names, k=rng.randrange(8)):
            assert packed.release(name) == plain.release(name)
        _agree(packed, plain, names)
    for table, arrays in (
        (PackedIds, packed.freeze()()),
        (PackedIds, plain.freeze()()),
        (IdTable, packed.freeze()()),
    ):
        again = table.thaw(37, arrays)
        assert sorted(again.items()) == sorted(plain.items())
        assert again.released == plain.released
        assert again.admit("one more") == plain.next_row
    # slots, rows, and text of which at most half is wiped
    assert packed.n_bytes() < 64 * 4 + 37 * 12 + 2 * 60 * 20


def test_what_was_frozen_does_not_move(make: Table) -> None:
    """A checkpoint is written while the fold goes on: it holds the ids as they were."""
    ids = make(10)
    ids.admit_many(["a", "b", "c"])
    ids.release("b")
    later = ids.freeze()
    ids.admit_many(["d", "e"])
    ids.release("a")
    again = make.thaw(10, later())
    assert sorted(again.items()) == [("a", 0), ("c", 2)]
    assert again.released == (1,)


def test_a_released_id_is_wiped() -> None:
    """Whoever is erased is gone from memory, too."""
    ids = PackedIds(4)
    ids.admit_many(["secret", "guy"])
    assert b"secret" in ids._table.text.tobytes()
    ids.release("secret")
    assert not set(b"secret") & set(ids._table.text.tolist())
    assert ids.id(1) == "guy"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_rows", [5]),
        ("n_rows", [2]),
        ("lengths", [1, 2]),
        ("lengths", [2, -1]),
        ("rows", [0, 0]),
        ("rows", [0, 3]),
        ("released", [0]),
        ("text", list(b"aa")),
        ("text", [97, 255]),
    ],
)
def test_ids_that_contradict_each_other_are_refused(name: str, value: list[int], make: Table) -> None:
    """Checkpoints come from outside."""
    ids = make(4)
    ids.admit_many(["a", "x", "b"])
    ids.release("x")
    arrays = ids.freeze()()
    assert len(make.thaw(4, arrays)) == 2
    arrays[name] = np.array(value, arrays[name].dtype)
    with pytest.raises(ValueError, match=r"ids|utf-8"):
        make.thaw(4, arrays)


@pytest.mark.parametrize("name", ["", "x", "long enough"])
def test_ids_that_come_and_go_take_no_more_room(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short they are: what a released id took, its length too, is won back."""
    monkeypatch.setattr("streamer.packed_ids.packed._FIRST_TEXT", 64)
    ids = PackedIds(4)
    ids.admit("who stays")
    for _ in range(300):
        assert ids.admit(name) == 1
        assert ids.release(name) == 1
    assert ids._table.text.size == 64
    assert list(ids.items()) == [("who stays", 0)]


@pytest.mark.parametrize("n_bytes", [255, 256, 65_535])
def test_long_ids_are_kept_whole(n_bytes: int) -> None:
    """Also where the length takes its second byte: what stands behind, and what is frozen, is not moved by it."""
    ids, name = PackedIds(4), "x" * n_bytes
    assert ids.admit_many([name, "other", name[:-1]]) == [0, 1, 2]
    assert [ids.row(name), ids.row("other"), ids.row(name[:-1])] == [0, 1, 2]
    assert list(PackedIds.thaw(4, ids.freeze()()).items()) == [(name, 0), ("other", 1), (name[:-1], 2)]


def test_ids_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million ids some hundred share 32 bits: they are compared letter by letter, to the last."""
    monkeypatch.setattr("streamer.packed_ids.packed.hash", lambda _: 5, raising=False)
    ids = PackedIds(4)
    assert ids.admit_many(["ab", "ac", "bb", "ab"]) == [0, 1, 2, 0]
    ids.release("ab")
    assert [ids.row(name) for name in ("ab", "ac", "bb")] == [-1, 1, 2]


def test_an_id_that_is_too_long_is_refused() -> None:
    """Its length would not fit; the contract allows far shorter ones."""
    with pytest.raises(ValueError, match="at most 65535 bytes"):
        PackedIds(4).admit("x" * 65536)
