"""Coverage, novelty, similarity and cold share on hand-worked lists; no cut of the log can change them."""

import numpy as np
import pytest

from streamer.beyond import Beyond
from streamer.measure import BLOCK, Scoreboard
from streamer.outcomes import N_LISTED, Outcomes, new_outcomes

NAN = float("nan")


def outcomes(lists):
    """Outcomes with one (listed rows, novelty, similarity, cold items) an event; None = not sampled."""
    n = len(lists)
    out = new_outcomes(np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n, np.int64))
    for at, sampled in enumerate(lists):
        if sampled is not None:
            rows, out.novelty[at], out.similarity[at], out.n_cold_listed[at] = sampled
            out.listed[at, : len(rows)] = rows
    return out


def random_outcomes(n, seed):
    """One list in four sampled, some of them empty or of one item."""
    rng = np.random.default_rng(seed)
    lists = []
    for _ in range(n):
        rows = rng.choice(500, rng.integers(0, N_LISTED + 1), replace=False)
        novelty = rng.gamma(4.0, 2.0) if rows.size else NAN
        similarity = rng.random() if rows.size > 1 else NAN
        lists.append((rows, novelty, similarity, rng.integers(0, rows.size + 1)))
    return outcomes([made if rng.random() < 0.25 else None for made in lists])


def figures(out, n_items=1_000, size=None):
    """Figures of outcomes that came in batches of `size`."""
    beyond = Beyond()
    size = size or max(out.flags.size, 1)
    for start in range(0, out.flags.size, size):
        beyond.update(Outcomes(*(column[start : start + size] for column in out)))
    return beyond.figures(n_items)


def test_figures_by_hand():
    """Lists {2, 5} and {5}, an empty one, and one that was not sampled, of 8 items: what is undefined is left out."""
    got = figures(outcomes([([2, 5], 3.0, 0.25, 1), ([5], 6.0, NAN, 0), None, ([], NAN, NAN, 0)]), n_items=8)
    assert got == {
        "n": 3,
        "coverage": 2 / 8,
        "novelty": (3.0 + 6.0) / 2,
        "intra_list_similarity": 0.25,
        "cold_share": 1 / 3,
    }


def test_nothing_sampled_is_none_not_zero():
    """Without a sampled list, or without an item, the figures are unknown."""
    unknown = dict.fromkeys(("coverage", "novelty", "intra_list_similarity", "cold_share"))
    assert Beyond().figures(10) == {"n": 0, **unknown}
    assert figures(outcomes([None, None])) == {"n": 0, **unknown}
    assert figures(outcomes([([], NAN, NAN, 0)]), n_items=0) == {"n": 1, **unknown, "cold_share": 0.0}


@pytest.mark.parametrize("size", [1, 7, BLOCK, 1_700])
def test_batches_change_no_bit(size):
    """However the log was cut, all figures are equal to the last bit."""
    out = random_outcomes(2_000, 3)
    assert figures(out, size=size) == figures(out)


def test_totals_equal_plain_means():
    """Means over whole units equal means over the numbers, to a unit; coverage counts distinct rows."""
    out = random_outcomes(3_000, 4)
    sampled = out.n_cold_listed >= 0
    got = figures(out, n_items=600, size=50)
    assert got["n"] == np.count_nonzero(sampled)
    assert got["novelty"] == pytest.approx(np.nanmean(out.novelty.astype(np.float64)), abs=2.0**-24)
    assert got["intra_list_similarity"] == pytest.approx(
        np.nanmean(out.similarity.astype(np.float64)), abs=2.0**-24
    )
    assert got["coverage"] == len(set(out.listed[sampled].ravel().tolist()) - {-1}) / 600
    assert got["cold_share"] == np.mean(out.n_cold_listed[sampled] > 0)


def test_the_scoreboard_passes_them_on():
    """What a scoreboard says of the lists is what `Beyond` says of the same outcomes."""
    out = random_outcomes(300, 5)
    board = Scoreboard()
    board.update(out)
    assert board.beyond(700) == figures(out, n_items=700)


def test_a_row_that_changed_hands_was_not_listed():
    """Rows 2 and 5 were listed; row 5 becomes another item's: one of the eight known items was listed, until it is again."""
    beyond = Beyond()
    beyond.update(outcomes([([2, 5], 3.0, 0.25, 1)]))
    beyond.forget(np.array([5, 700], np.int64))
    assert beyond.figures(8)["coverage"] == 1 / 8
    beyond.update(outcomes([([5], 3.0, NAN, 1)]))
    assert beyond.figures(8)["coverage"] == 2 / 8
