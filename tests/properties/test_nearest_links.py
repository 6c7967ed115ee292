"""Properties of the nearest items over arbitrary sequences of puts, drops and refreshes: links, masses, memory, equal bytes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.nearest import N_NEAR, Nearest

N_ITEMS, DIM, ONE = 48, 6, 127.0**2
# Few vectors, so that equal ones, returns to an old one, and opposite ones happen.
VECTORS = np.random.default_rng(21).normal(size=(30, DIM)).astype(np.float32)
VECTORS[7], VECTORS[8], VECTORS[9] = -VECTORS[6], VECTORS[5], 0.0

puts = st.tuples(st.integers(0, N_ITEMS - 1), st.integers(0, len(VECTORS) - 1))
drops = st.tuples(st.integers(0, N_ITEMS - 1), st.none())
steps = st.one_of(puts, puts, puts, puts, drops)
# Long ones fill rows to the last slot: more than 33 of the 48 rows are held.
logs = st.one_of(st.lists(steps, max_size=20), st.lists(steps, min_size=100, max_size=250))
fast = settings(max_examples=40, deadline=None)


def play(nearest, log):
    """Each step of the log; the object."""
    for row, which in log:
        if which is None:
            nearest.drop(row)
        else:
            nearest.put(row, VECTORS[which])
    return nearest


def held(log):
    """Whole-number vectors by row after a log."""
    codes = {}
    for row, which in log:
        if which is None or not VECTORS[which].any():
            codes.pop(row, None)
        else:
            wide = VECTORS[which].astype(np.float64)
            codes[row] = np.rint(127.0 * wide / np.linalg.norm(wide))
    return codes


def cosine(a, b):
    """Of two whole-number vectors."""
    return float(np.clip(a @ b / ONE, -1.0, 1.0))


def check_links(nearest, codes):
    """Every listed row is held, another one, listed once, and at its present similarity."""
    for row in range(N_ITEMS):
        items = nearest.table.item[row]
        listed = (items[items > 0] - 1).tolist()
        assert len(listed) == len(set(listed))
        assert set(listed) <= codes.keys() - {row}
        assert row in codes or not listed
        for other, similar in zip(listed, nearest.table.similarity[row][items > 0].tolist(), strict=True):
            assert abs(similar - cosine(codes[row], codes[other])) < 1e-6
        assert not nearest.table.similarity[row][items == 0].any()


@fast
@given(logs)
def test_exact_links_and_masses_are_those_of_a_full_scan(log) -> None:
    """After any log and the refreshes it asks for, rows hold their true nearest, and masses are exact even before."""
    nearest, codes = play(Nearest(N_ITEMS, DIM), log), held(log)
    assert nearest.n_held == len(codes)
    check_links(nearest, codes)
    masses = nearest.table.mass.copy()
    nearest.refresh(N_ITEMS)
    check_links(nearest, codes)
    assert nearest.n_lost == 0
    assert nearest.table.mass.tobytes() == masses.tobytes()
    for row, code in codes.items():
        cosines = {other: cosine(code, codes[other]) for other in codes if other != row}
        best = sorted(cosines, key=lambda other: (-cosines[other], other))[:N_NEAR]
        items = nearest.table.item[row]
        assert sorted(items[items > 0] - 1) == sorted(best)
        true = sum(np.exp((similar - 1.0) / 0.12) for similar in cosines.values())
        assert abs(masses[row] - true) < 1e-5 * (1.0 + true)


@fast
@given(logs, st.integers(0, 20), st.integers(1, 10))
def test_graphs_keep_the_links_sound(log, n_exact, n_segment) -> None:
    """Also when most rows sit in small graphs that come and go, no link is false, and nothing dropped is proposed."""
    nearest, codes = play(Nearest(N_ITEMS, DIM, n_exact, n_segment), log), held(log)
    assert nearest.n_held == len(codes)
    check_links(nearest, codes)
    rows, _ = nearest.search(VECTORS[0], N_ITEMS)
    assert set(rows.tolist()) <= codes.keys()
    assert len(set(rows.tolist())) == len(rows)


@fast
@given(logs, st.integers(0, 250), st.integers(0, 20), st.integers(1, 10))
def test_a_snapshot_anywhere_changes_nothing(log, at, n_exact, n_segment) -> None:
    """Digests are equal whether or not the state went through a snapshot, and a snapshot keeps nothing of the live state."""
    whole = play(Nearest(N_ITEMS, DIM, n_exact, n_segment), log[:at])
    snapshot = whole.snapshot()
    play(whole, log[at:])
    restored = Nearest(N_ITEMS, DIM, n_exact, n_segment)
    restored.restore(snapshot)
    play(restored, log[at:])
    assert restored.digest() == whole.digest()


@fast
@given(st.permutations(list(range(len(VECTORS)))))
def test_the_order_of_puts_does_not_matter_while_search_is_exact(order) -> None:
    """Any order of first puts gives the same neighbours and the same masses."""
    log = [(row, row) for row in range(len(VECTORS))]
    first, second = play(Nearest(N_ITEMS, DIM), log), play(Nearest(N_ITEMS, DIM), [log[n] for n in order])
    assert np.sort(first.table.item).tobytes() == np.sort(second.table.item).tobytes()
    assert first.table.mass.tobytes() == second.table.mass.tobytes()


@fast
@given(logs)
def test_inputs_are_neither_changed_nor_kept(log) -> None:
    """What the caller does with a vector after a put is of no consequence."""
    nearest, vector = Nearest(N_ITEMS, DIM), np.zeros(DIM, np.float32)
    for row, which in log:
        vector[:] = VECTORS[which or 0]
        before = vector.tobytes()
        nearest.put(row, vector)
        assert vector.tobytes() == before
        vector[:] = 0.5
    check_links(nearest, held([(row, which or 0) for row, which in log]))
