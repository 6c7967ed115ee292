"""Metrics on hand-worked ranks, slices, windows and months; totals that no cut of the log can change."""

import math

import numpy as np
import pytest

from streamer import measure
from streamer.measure import BLOCK, LISTS, SLICES, WINDOWS, Scoreboard
from streamer.outcomes import (
    COLD_ITEM,
    COLD_USER,
    COUNTED,
    FIRST_EVENT,
    MEASURED,
    NEW_SESSION,
    Outcomes,
    new_outcomes,
)
from streamer.paths import NAMES

BOTH = COUNTED | MEASURED


def outcomes(ranks, flags=BOTH, mixture=0, trending=0, popularity=0, path=-1, time_ms=0):
    """Outcomes with these ranks; scalars are for all."""
    n = len(ranks)
    out = new_outcomes(np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n, np.int64))
    columns = {
        "rank": ranks,
        "flags": flags,
        "rank_mixture": mixture,
        "rank_trending": trending,
        "rank_popularity": popularity,
        "path": path,
        "time_ms": time_ms,
    }
    for name, values in columns.items():
        getattr(out, name)[:] = values
    return out


def cut(out, start, stop):
    """A part of outcomes."""
    return Outcomes(*(column[start:stop] for column in out))


def random_outcomes(n, seed):
    """Outcomes as a long stream would give them."""
    rng = np.random.default_rng(seed)
    flags = np.where(rng.random(n) < 0.8, BOTH, FIRST_EVENT | MEASURED)
    for bit in (COLD_ITEM, COLD_USER, NEW_SESSION):
        flags = flags | np.where(rng.random(n) < 0.3, bit, 0)
    return outcomes(
        rng.integers(0, 40, n),
        flags,
        rng.integers(0, 40, n),
        rng.integers(0, 40, n),
        rng.integers(0, 300, n),
        rng.integers(-1, len(NAMES), n),
        1_600_000_000_000 + np.sort(rng.integers(0, 10**10, n)),
    )


def scored(out, *, served=None, size=None):
    """A scoreboard that was given the outcomes in batches of `size`."""
    board = Scoreboard()
    size = size or max(out.flags.size, 1)
    for start in range(0, out.flags.size, size):
        stop = start + size
        board.update(cut(out, start, stop), None if served is None else served[start:stop])
    return board


def test_metrics_by_hand():
    """Ranks 1, 3, 10, 11 and none: three hits of five; MRR counts the eleventh, MRR@k, MAP and NDCG do not."""
    metrics = scored(outcomes([1, 3, 10, 11, 0])).lists()["streamer"]["all"]
    assert metrics == pytest.approx(
        {
            "n": 5,
            "hit_ratio": 3 / 5,
            "ndcg": (1.0 + 1.0 / 2.0 + 1.0 / math.log2(11.0)) / 5,
            "mrr": (1.0 + 1.0 / 3.0 + 1.0 / 10.0 + 1.0 / 11.0) / 5,
            "map": (1.0 + 1.0 / 3.0 + 1.0 / 10.0) / 5,
            "mrr_at_k": (1.0 + 1.0 / 3.0 + 1.0 / 10.0) / 5,
        }
    )


def test_nothing_measured_is_none_not_zero():
    """Without events the ratios are unknown, and there is no list of served ones."""
    lists = Scoreboard().lists()
    assert set(lists) == set(LISTS) - {"served"}
    nothing = dict.fromkeys(("hit_ratio", "ndcg", "mrr", "map", "mrr_at_k"))
    assert lists["streamer"]["all"] == {"n": 0, **nothing}
    assert set(lists["streamer"]) == {*SLICES, "second_half"}


def test_slices_count_their_own_events():
    """Each event counts in the slices of its flags; an item's first event counts only in `first_events`."""
    flags = [
        BOTH,
        BOTH | COLD_ITEM,
        BOTH | COLD_USER | NEW_SESSION,
        FIRST_EVENT | MEASURED | COLD_ITEM | COLD_USER | NEW_SESSION,
        COLD_ITEM,
    ]
    slices = scored(outcomes([1, 0, 2, 1, 1], flags)).lists()["streamer"]
    assert {name: (slices[name]["n"], slices[name]["hit_ratio"]) for name in SLICES} == {
        "all": (3, pytest.approx(2 / 3)),
        "cold_items": (1, 0.0),
        "cold_users": (1, 1.0),
        "first_events": (1, 1.0),
        "new_sessions": (1, 1.0),
    }


def test_counted_but_not_measured_events_count_in_no_list():
    """An event that was not ranked (share of measured users) is counted in `n_counted` alone."""
    board = scored(outcomes([0, 5], [COUNTED, BOTH]))
    assert (board.n_events, board.n_counted) == (2, 2)
    assert board.lists()["streamer"]["all"]["n"] == 1


def test_lists_are_beside_each_other():
    """The mixture without its ranker, the baselines and the served lists: on the same events, each by its own rank."""
    out = outcomes([1, 0], mixture=[4, 4], trending=[2, 0], popularity=[20, 10])
    board = scored(out, served=np.array([0, 3], np.int32))
    mrr = {name: slices["all"]["mrr"] for name, slices in board.lists().items()}
    assert mrr == pytest.approx(
        {"streamer": 1 / 2, "mixture": 1 / 4, "trending": 1 / 4, "popularity": 0.15 / 2, "served": 1 / 6}
    )


def test_served_lists_are_looked_at_on_all_events():
    """Also on those that were not ranked, which are in no other hit ratio."""
    board = Scoreboard()
    board.update(outcomes([0, 5], [COUNTED, BOTH]), np.array([1, 3], np.int32))
    lists = board.lists()
    assert (lists["served"]["all"]["n"], lists["popularity"]["all"]["n"]) == (2, 1)
    assert lists["served"]["all"]["mrr"] == pytest.approx((1 + 1 / 3) / 2)


@pytest.mark.parametrize("size", [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 1_700])
def test_batches_change_no_bit(size):
    """However the log was cut, lists, months, paths and windows are equal to the last bit."""
    out = random_outcomes(3 * BLOCK + 100, 4)
    served = np.random.default_rng(5).integers(0, 21, out.flags.size).astype(np.int32)
    whole, parts = scored(out, served=served), scored(out, served=served, size=size)
    for read in (Scoreboard.lists, Scoreboard.months, Scoreboard.paths, Scoreboard.windows):
        assert read(parts) == read(whole)
    assert (parts.n_events, parts.n_counted) == (whole.n_events, whole.n_counted)


def test_reading_changes_nothing():
    """Asking in the middle gives the same result at the end, and asking twice the same answer."""
    out = random_outcomes(2 * BLOCK + 30, 6)
    board = Scoreboard()
    for start in range(0, out.flags.size, 100):
        board.update(cut(out, start, start + 100))
        assert board.lists() == board.lists()
        board.months(), board.paths(), board.windows()
    whole = scored(out)
    assert (board.lists(), board.months(), board.paths()) == (whole.lists(), whole.months(), whole.paths())


def test_totals_equal_plain_means():
    """Sums by block, month and path equal means over all events at once."""
    out = random_outcomes(5 * BLOCK + 11, 7)
    board = scored(out, size=100)
    counted = (out.flags & COUNTED) > 0
    rank = out.rank[counted]
    got = board.lists()["streamer"]["all"]
    assert got["n"] == rank.size
    assert got["hit_ratio"] == pytest.approx(np.mean((rank >= 1) & (rank <= 10)))
    months = out.time_ms[counted].astype("datetime64[ms]").astype("datetime64[M]").astype(str)
    by_month = board.months()
    assert list(by_month) == sorted(set(months.tolist()))
    for month, lists in by_month.items():
        own = rank[months == month]
        assert lists["streamer"]["n"] == own.size
        assert lists["streamer"]["map"] == pytest.approx(
            np.mean(np.where((own >= 1) & (own <= 10), 1 / np.maximum(own, 1), 0))
        )
    for at, name in enumerate(NAMES):
        own = rank[out.path[counted] == at]
        assert board.paths()[name] == {"seen_coming": own.size, "hits": int(((own >= 1) & (own <= 10)).sum())}


def test_second_half_is_the_second_half():
    """Misses first, hits later: the second half begins at the block that holds the middle event."""
    n = 6 * BLOCK
    out = outcomes(np.where(np.arange(n) < n // 2, 0, 1))
    half = scored(out, size=77).lists()["streamer"]["second_half"]
    assert (half["n"], half["hit_ratio"]) == (n // 2, 1.0)


@pytest.mark.parametrize("n_blocks", [4, 5, 6, 9, 13, 31])
def test_blocks_are_bounded_and_lose_no_event(monkeypatch, n_blocks):
    """When blocks are merged to stay few, the second half still has half of all events, give or take a merged block."""
    monkeypatch.setattr(measure, "_MAX_BLOCKS", 4)
    board = scored(outcomes([1] * n_blocks * BLOCK), size=BLOCK)
    assert len(board._blocks) <= 4
    assert sum(block[0, 0] for block in board._blocks) == n_blocks * BLOCK
    half = board.lists()["streamer"]["second_half"]["n"]
    assert n_blocks * BLOCK / 2 <= half <= n_blocks * BLOCK / 2 + board._block_size


def test_windows_forget_the_old():
    """A window is the hit ratio of its last events only; with fewer events it is over those there are."""
    short, long = WINDOWS
    board = scored(outcomes([0] * (long - short // 2) + [1] * (short // 2)), size=333)

    def hit_ratio(window):
        return board.windows()["streamer", window, "all"]["hit_ratio"]

    assert hit_ratio(short) == 0.5
    assert hit_ratio(long) == (short // 2) / long
    board.update(outcomes([1] * 3 * long))
    assert hit_ratio(long) == 1.0
    board.update(outcomes([0] * short))
    assert hit_ratio(short) == 0.0
    assert ("served", short, "all") not in board.windows()


def test_windows_by_hand():
    """Ranks 2, 10, 11, 300 and none: two hits of five, and their gains; a rank is not cut to fit the ring."""
    window = scored(outcomes([2, 10, 11, 300, 0])).windows()["streamer", WINDOWS[0], "all"]
    assert window == pytest.approx(
        {
            "hit_ratio": 2 / 5,
            "ndcg": (1.0 / math.log2(3.0) + 1.0 / math.log2(11.0)) / 5,
            "mrr_at_k": (1.0 / 2.0 + 1.0 / 10.0) / 5,
        }
    )


def test_made_up_months_do_not_fill_the_memory(monkeypatch):
    """Beyond the most months kept, further ones are left out; those that are known go on."""
    monkeypatch.setattr(measure, "_MAX_MONTHS", 3)
    month_ms = 31 * 86_400_000
    out = outcomes([1] * 10 * BLOCK, time_ms=np.arange(10 * BLOCK) // BLOCK * month_ms)
    board = scored(out)
    assert list(board.months()) == ["1970-01", "1970-02", "1970-03"]
    assert board.lists()["streamer"]["all"]["n"] == 10 * BLOCK
