"""Nearest items against a scan in float64 of the same whole numbers: links, masses, changes, drops, graphs, snapshots."""

import numpy as np
import pytest
from near_twin import NearTwin, neighbours_of, table_of

from streamer.compiled import entry_kernel
from streamer.nearest import N_NEAR, Nearest, links, similarity, warm_up

DIM = 24
ONE = 127.0**2


def vectors_of(n, seed, dim=DIM, n_clusters=20):
    """(n, dim) float32 around some centres, of any length: neighbours are near, the rest is far."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_clusters, dim))
    vectors = centres[rng.integers(n_clusters, size=n)] + 0.7 * rng.normal(size=(n, dim))
    return (vectors * rng.uniform(0.1, 9.0, size=(n, 1))).astype(np.float32)


def filled(vectors, max_items=None, n_exact=20_000, n_segment=32_768):
    """Rows 0, 1, ... put in order."""
    nearest = Nearest(max_items or len(vectors), vectors.shape[1], n_exact, n_segment)
    for row, vector in enumerate(vectors):
        nearest.put(row, vector)
    return nearest


def recall(nearest, twin):
    """Share of the true neighbours that the table has, over all rows."""
    hits = [len(neighbours_of(nearest, row) & set(twin.nearest(row))) for row in twin.rows]
    return sum(hits) / sum(len(twin.nearest(row)) for row in twin.rows)


def test_two_items_by_hand() -> None:
    """At 60 degrees the cosine is 1/2, the weight exp(-.5 / .12) = .0155, and each item is the other's neighbour."""
    nearest = Nearest(4, 2)
    nearest.put(3, np.array([2.0, 0.0], np.float32))
    assert neighbours_of(nearest, 3) == set()
    assert nearest.table.mass[3] == 0.0
    nearest.put(1, np.array([0.5, 0.75**0.5], np.float32))
    assert table_of(nearest, 3) == {1: pytest.approx(0.5, abs=0.004)}
    assert table_of(nearest, 1) == {3: pytest.approx(0.5, abs=0.004)}
    assert nearest.table.mass[[1, 3]] == pytest.approx(np.exp(-0.5 / 0.12), rel=0.04)
    assert nearest.table.vector[3].tolist() == [127, 0]


def test_exact_search_gives_every_row_its_nearest() -> None:
    """Up to n_exact vectors, neighbours, similarities and masses are those of a full scan, ties to the lower row."""
    vectors = vectors_of(300, seed=1)
    vectors[7] = vectors[200] = vectors[31]  # ties
    nearest, twin = filled(vectors), NearTwin(vectors)
    for row in range(300):
        assert table_of(nearest, row) == pytest.approx(twin.row(row), abs=1e-6)
        assert nearest.table.mass[row] == pytest.approx(twin.mass(row), rel=1e-5)


def test_quantised_cosines_are_near_the_true_ones() -> None:
    """With 384 numbers, the similarity in the table is within .02 of the cosine of the float vectors."""
    vectors = vectors_of(120, seed=2, dim=384)
    nearest = filled(vectors)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    cosines = unit @ unit.T
    for row in range(120):
        for other, similar in table_of(nearest, row).items():
            assert similar == pytest.approx(cosines[row, other], abs=0.02)


def test_order_of_puts_does_not_matter_while_search_is_exact() -> None:
    """The same vectors in another order give the same neighbours and, to the last bit, the same masses."""
    vectors = vectors_of(150, seed=3)
    first, second = filled(vectors), Nearest(150, DIM)
    for row in np.random.default_rng(4).permutation(150).tolist():
        second.put(row, vectors[row])
    assert [table_of(first, row) for row in range(150)] == [table_of(second, row) for row in range(150)]
    assert first.table.mass.tobytes() == second.table.mass.tobytes()


def test_putting_the_same_vector_again_is_a_no_op() -> None:
    """The same vector, or one of another length in its direction, leaves the state as it was, in both kinds of search."""
    vectors = vectors_of(80, seed=5)
    for n_exact in (80, 20):
        nearest = filled(vectors, n_exact=n_exact)
        before = nearest.digest()
        nearest.put(9, vectors[9])
        nearest.put(9, vectors[9] * np.float32(4.0))
        assert nearest.digest() == before


def test_a_changed_vector_is_linked_anew_both_ways() -> None:
    """After a change and the refreshes it asks for, the table is that of the new vectors; similarities are new at once."""
    vectors = vectors_of(200, seed=6)
    nearest = filled(vectors)
    vectors[50] = vectors[120] + 0.01  # moves into another cluster
    nearest.put(50, vectors[50])
    twin = NearTwin(vectors)
    for row in range(200):
        if 50 in table_of(nearest, row):
            assert table_of(nearest, row)[50] == pytest.approx(twin.similarity(row, 50), abs=1e-6)
    assert table_of(nearest, 50) == pytest.approx(twin.row(50), abs=1e-6)
    assert 50 in neighbours_of(nearest, 120)
    nearest.refresh(200)
    assert nearest.n_lost == 0
    for row in range(200):
        assert table_of(nearest, row) == pytest.approx(twin.row(row), abs=1e-6)
        assert nearest.table.mass[row] == pytest.approx(twin.mass(row), rel=1e-5)


@pytest.mark.parametrize("n_exact", [200, 40])
def test_a_dropped_row_is_gone_at_once(n_exact: int) -> None:
    """No row lists it, search does not find it, its own row, mass and vector are zero; then its row is free for another item."""
    vectors = vectors_of(200, seed=7)
    nearest = filled(vectors, n_exact=n_exact, n_segment=64)
    dropped = range(0, 200, 3)
    for row in dropped:
        nearest.drop(row)
        assert not (nearest.table.item == row + 1).any()
        assert row not in nearest.search(vectors[row], 200)[0].tolist()
        assert not nearest.table.item[row].any()
        assert not nearest.table.vector[row].any()
        assert nearest.table.mass[row] == 0.0
    assert nearest.n_held == 200 - len(dropped)
    nearest.put(3, vectors[4])
    assert table_of(nearest, 3)[4] == 1.0
    assert table_of(nearest, 4)[3] == 1.0


def test_rows_that_lost_neighbours_are_looked_for_again() -> None:
    """Drops leave free slots and mark their rows; refreshing fills them with the true next nearest."""
    vectors = vectors_of(200, seed=8)
    nearest = filled(vectors)
    for row in range(0, 200, 4):
        nearest.drop(row)
    assert nearest.n_lost > 0
    n_lost = nearest.n_lost
    assert nearest.refresh(3) == 3
    assert nearest.n_lost == n_lost - 3
    nearest.refresh(200)
    assert nearest.n_lost == 0
    twin = NearTwin({row: vectors[row] for row in range(200) if row % 4})
    for row in twin.rows:
        assert table_of(nearest, row) == pytest.approx(twin.row(row), abs=1e-6)
        assert nearest.table.mass[row] == pytest.approx(twin.mass(row), rel=1e-5)


def test_every_put_looks_again_for_one_row() -> None:
    """Marked rows do not wait for `refresh`: a put of a new row, far from all of them, makes one less."""
    vectors = vectors_of(101, seed=23)
    nearest = filled(vectors[:100], max_items=101)
    nearest.drop(50)
    n_lost = nearest.n_lost
    assert n_lost > 1
    nearest.put(100, vectors[100])
    assert nearest.n_lost == n_lost - 1


def test_the_last_drop_leaves_an_empty_table() -> None:
    """Masses are sums of whole numbers: when every row went, in any order, nothing is left of them."""
    vectors = vectors_of(60, seed=9)
    nearest = filled(vectors)
    for row in np.random.default_rng(9).permutation(60).tolist():
        nearest.drop(row)
    assert nearest.n_held == nearest.n_lost == 0
    assert not any(array.any() for array in nearest.table)
    rows, similarities = nearest.search(vectors[0], 5)
    assert rows.size == similarities.size == 0


def test_a_vector_of_zeros_is_none() -> None:
    """An item whose text is empty has no neighbours and is nobody's; put over a vector it drops it."""
    vectors = vectors_of(5, seed=10)
    nearest = filled(vectors)
    nearest.put(2, np.zeros(DIM, np.float32))
    assert nearest.n_held == 4
    assert not (nearest.table.item == 3).any()


@pytest.mark.parametrize("n_segment", [400, 50])
def test_beyond_n_exact_the_table_stays_near_the_exact_one(n_segment: int) -> None:
    """With one growing graph or several full ones: at least .98 of the true neighbours; masses within a third."""
    vectors = vectors_of(400, seed=11)
    nearest, twin = filled(vectors, n_exact=100, n_segment=n_segment), NearTwin(vectors)
    assert recall(nearest, twin) >= 0.98
    errors = [nearest.table.mass[row] / twin.mass(row) - 1.0 for row in range(400)]
    assert np.quantile(np.abs(errors), 0.9) < 0.33
    rows, similarities = nearest.search(vectors[17], 10)
    assert rows[0] == 17
    assert set(rows[1:].tolist()) <= set(twin.nearest(17))
    assert similarities.tolist() == sorted(similarities.tolist(), reverse=True)


def test_masses_count_items_that_were_not_looked_at() -> None:
    """Also where 15 of 100 parts of a mass are far items: rows put before and after the limit are right within .02 on average."""
    vectors = np.random.default_rng(22).normal(size=(600, 8)).astype(np.float32)
    nearest, twin = filled(vectors, n_exact=300, n_segment=128), NearTwin(vectors)
    ratios = np.array([nearest.table.mass[row] / twin.mass(row) for row in range(600)])
    assert ratios[:300].mean() == pytest.approx(1.0, abs=0.02)
    assert ratios[300:].mean() == pytest.approx(1.0, abs=0.02)
    for row in range(0, 600, 2):
        nearest.drop(row)
    twin = NearTwin({row: vectors[row] for row in range(1, 600, 2)})
    ratios = np.array([nearest.table.mass[row] / twin.mass(row) for row in twin.rows])
    assert ratios.mean() == pytest.approx(1.0, abs=0.04)


def test_where_all_are_equally_far_a_guessed_mass_is_exact() -> None:
    """At right angles everyone weighs exp(-1 / .12) for everyone: a row counts each of the others once, and not itself."""
    nearest = filled(np.eye(120, dtype=np.float32), n_exact=30)
    assert nearest.table.mass[119] == pytest.approx(119 * np.exp(-1 / 0.12), rel=1e-3)


def test_crossing_n_exact_moves_a_few_rows_a_put() -> None:
    """The put that crosses the limit does not build a graph of all; rows not moved yet are still found."""
    vectors = vectors_of(120, seed=12)
    nearest = Nearest(120, DIM, n_exact=100)
    n_indexed = []
    for row, vector in enumerate(vectors):
        nearest.put(row, vector)
        n_indexed.append(int((nearest._upkeep.place == 2).sum()))
        found = nearest.search(vector, row + 1)[0]
        assert row in found.tolist()
        assert len(found) >= min(row + 1, 64)
    assert n_indexed[99] == 0
    assert max(np.diff(n_indexed)) == 4


def test_graphs_that_lost_their_rows_are_given_up() -> None:
    """While items come and go, the graphs hold at most twice the vectors held, and one growing graph beside."""
    vectors = vectors_of(600, seed=13)
    nearest = Nearest(60, DIM, n_exact=10, n_segment=20)
    for n, vector in enumerate(vectors):
        nearest.put(n % 60, vector)
    graphs = [name for name in nearest.snapshot() if name.startswith("segments.graph.")]
    assert len(graphs) <= 2 * 60 // 20 + 1
    twin = NearTwin(dict(zip(range(60), vectors[540:], strict=True)))
    nearest.refresh(60)
    assert recall(nearest, twin) >= 0.98


@pytest.mark.parametrize("n_exact", [500, 50])
def test_the_same_puts_give_the_same_bytes(n_exact: int) -> None:
    """Two objects that saw the same sequence have equal digests; one more put tells them apart."""
    vectors = vectors_of(300, seed=14)
    first, second = (filled(vectors, 301, n_exact, n_segment=64) for _ in range(2))
    assert first.digest() == second.digest()
    second.put(300, vectors[0])
    assert first.digest() != second.digest()


@pytest.mark.parametrize("n_exact", [500, 50])
def test_a_restored_table_goes_on_as_if_nothing_had_happened(n_exact: int) -> None:
    """Snapshot, restore, go on: the same bytes as without; the full graphs from bytes, the growing one by insertion."""
    vectors = vectors_of(400, seed=15)
    whole = Nearest(300, DIM, n_exact, n_segment=64)
    for row in range(200):
        whole.put(row, vectors[row])
    for row in range(0, 200, 7):
        whole.drop(row)
    restored = Nearest(300, DIM, n_exact, n_segment=64)
    restored.restore(whole.snapshot())
    assert restored.digest() == whole.digest()
    for nearest in (whole, restored):
        for n in range(200, 400):
            nearest.put(n - 100, vectors[n])
    assert restored.digest() == whole.digest()
    assert [a.tobytes() for a in restored.table] == [a.tobytes() for a in whole.table]
    assert restored.search(vectors[5], 40)[0].tolist() == whole.search(vectors[5], 40)[0].tolist()


def test_a_restored_graph_grows_as_the_saved_one() -> None:
    """Insertions after a restore draw the same levels: the bytes of full and growing graphs are equal in the end."""
    vectors = vectors_of(500, seed=24)
    whole = filled(vectors[:300], 500, n_exact=50, n_segment=200)
    restored = Nearest(500, DIM, 50, 200)
    restored.restore(whole.snapshot())
    for nearest in (whole, restored):
        for row in range(300, 500):
            nearest.put(row, vectors[row])
    ours, theirs = whole.snapshot(), restored.snapshot()
    assert sum(name.startswith("segments.graph.") for name in ours) == 3
    assert {name: array.tobytes() for name, array in ours.items()} == {
        name: array.tobytes() for name, array in theirs.items()
    }


def test_similarity_kernel() -> None:
    """Kernels get any pair's cosine: the dot product of the whole numbers over 127 squared; 0 without a vector."""
    vectors = vectors_of(6, seed=16)
    nearest = filled(vectors, max_items=8)

    @entry_kernel
    def ask(table, a_row, b_row):  # type: ignore[no-untyped-def]
        return similarity(table, a_row, b_row)

    codes = nearest.table.vector.astype(np.float64)
    assert ask(nearest.table, 2, 4) == pytest.approx(codes[2] @ codes[4] / ONE, abs=1e-6)
    assert ask(nearest.table, 2, 7) == 0.0


def test_nothing_is_compiled_after_warm_up() -> None:
    """Puts, changes, drops, refreshes and searches meet no new argument types, before or beyond n_exact."""

    def compiled() -> dict[str, int]:
        names = ("put_row", "take_row_out", "forget_row", "refill_row", "look_around", "next_marked")
        return {name: len(getattr(links, name).signatures) for name in names}

    warm_up()
    before = compiled()
    assert min(before.values()) > 0
    nearest = filled(vectors_of(90, seed=25), n_exact=60, n_segment=20)
    for row in range(0, 90, 2):
        nearest.put(row, nearest.table.vector[row + 1].astype(np.float32))
        nearest.drop(row)
    nearest.refresh(90)
    nearest.search(vectors_of(1, seed=26)[0], 3)
    assert compiled() == before


def test_search_changes_nothing() -> None:
    """Reading leaves the digest, and finds what a full scan finds."""
    vectors = vectors_of(100, seed=17)
    nearest, twin = filled(vectors[:99], max_items=100), NearTwin(vectors)
    before = nearest.digest()
    rows, similarities = nearest.search(vectors[99], 8)
    assert nearest.digest() == before
    assert rows.tolist() == twin.nearest(99)[:8]
    assert similarities.dtype == np.float32
    assert nearest.search(vectors[99], 0)[0].size == 0


def test_memory_is_counted_and_bounded() -> None:
    """Every row put costs the same number of bytes, at most 800 beside the vector; a change costs none."""
    vectors = vectors_of(50, seed=18)
    nearest = filled(vectors[:25], max_items=50)
    half = nearest.n_bytes()
    for row in range(25):
        nearest.put(row, vectors[25 + row])
    assert nearest.n_bytes() == half
    assert 25 * (DIM + N_NEAR * 8) < half <= 25 * (DIM + 800)
    for row in range(25, 50):
        nearest.put(row, vectors[row])
    assert nearest.n_bytes() == 2 * half


@pytest.mark.parametrize(
    ("row", "vector", "expected"),
    [
        (-1, np.ones(DIM, np.float32), "row below 10, got -1"),
        (10, np.ones(DIM, np.float32), "row below 10, got 10"),
        (0, np.ones(DIM + 1, np.float32), r"expected \(24,\) float32, got \(25,\)"),
        (0, np.ones(DIM, np.float64), "got .* float64"),
        (0, np.full(DIM, np.nan, np.float32), "finite"),
        (0, np.full(DIM, np.inf, np.float32), "finite"),
    ],
)
def test_refuses_what_is_no_vector(row, vector, expected: str) -> None:  # type: ignore[no-untyped-def]
    """A wrong row, shape, type or number is refused with what was expected, before anything changes."""
    nearest = filled(vectors_of(4, seed=19), max_items=10)
    before = nearest.digest()
    with pytest.raises(ValueError, match=expected):
        nearest.put(row, vector)
    assert nearest.digest() == before


def test_refuses_sizes_and_snapshots_that_do_not_fit() -> None:
    """Sizes are at least one; a snapshot goes only into an empty object with room for it."""
    with pytest.raises(ValueError, match="dim=0"):
        Nearest(10, 0)
    snapshot = filled(vectors_of(4, seed=20)).snapshot()
    for nearest in (Nearest(3, DIM), Nearest(4, DIM - 1), filled(vectors_of(4, seed=20))):
        with pytest.raises(ValueError, match="got 4 rows of 24"):
            nearest.restore(snapshot)
    with pytest.raises(ValueError, match="row below 3, got 3"):
        Nearest(3, DIM).drop(3)


def test_a_settled_table_does_not_know_the_order_of_puts() -> None:
    """Two orders differ in their slots; once settled they are equal to the last bit, nearest first, and stay equal."""
    vectors = np.random.default_rng(3).normal(size=(3 * N_NEAR, 8)).astype(np.float32)
    vectors[7] = vectors[9]  # a tie
    tables = [Nearest(4 * N_NEAR, 8) for _ in range(2)]
    for table, rows in zip(tables, (range(len(vectors)), reversed(range(len(vectors)))), strict=True):
        for row in rows:
            table.put(row, vectors[row])
    assert tables[0].digest() != tables[1].digest()
    for table in tables:
        table.settle()
    assert tables[0].digest() == tables[1].digest()
    n = len(vectors)
    assert (np.diff(tables[0].table.similarity[:n], axis=1) <= 0).all()
    for table in tables:
        table.put(n, vectors[0] + vectors[1])
        table.drop(3)
    assert tables[0].digest() == tables[1].digest()


def test_settling_keeps_free_slots_at_the_end() -> None:
    """A row with few neighbours lists them first, also those that are unlike it."""
    table = Nearest(8, 2)
    for row, vector in enumerate(([-1.0, 0.1], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0])):
        table.put(row, np.array(vector, np.float32))
    table.settle()
    assert table.table.item[1].tolist() == [4, 1, 3] + [0] * (N_NEAR - 3)
