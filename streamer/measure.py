"""Hit ratio, NDCG, MAP and MRR of what was measured: by list, by slice, by window, by month; totals that do not depend on how
the log was cut into batches.

Every measured event has one relevant item, the one that was taken. With its rank r (1 = first, ties rank against the list,
no rank when it was not a candidate) and lists of k = 10:

    hit ratio@k = mean [r <= k]                   NDCG@k = mean [r <= k] / log2(1 + r)      (Jarvelin and Kekalainen 2002)
    MAP@k       = mean [r <= k] / r               MRR    = mean 1 / r, over all candidates  (Voorhees 1999)
    MRR@k       = mean [r <= k] / r: with one relevant item the same number as MAP@k, reported under both names
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.beyond import Beyond
from streamer.outcomes import COLD_ITEM, COLD_USER, COUNTED, FIRST_EVENT, MEASURED, NEW_SESSION, Outcomes
from streamer.paths import NAMES

K = 10  # length of the lists that are measured
LISTS = ("streamer", "mixture", "trending", "popularity", "served")
SERVED = LISTS.index("served")
# and second_half, made from blocks
SLICES = ("all", "cold_items", "cold_users", "first_events", "new_sessions")
METRICS = ("n", "hit_ratio", "ndcg", "mrr", "map")
WINDOW_METRICS = ("hit_ratio", "ndcg", "mrr_at_k")
WINDOWS = (1_000, 10_000)  # measured events
BLOCK = 512  # interactions that are summed together: always the same ones, so sums are equal to the last bit
_MAX_BLOCKS = 4_096
_MAX_MONTHS = 600
_RANKS = np.arange(1.0, K + 1)
_GAINS_BY_RANK = np.zeros((len(WINDOW_METRICS), K + 1))  # of one event, by its rank; column 0 is a miss
_GAINS_BY_RANK[:, 1:] = np.ones(K), 1.0 / np.log2(1.0 + _RANKS), 1.0 / _RANKS


class _Rows(NamedTuple):
    """Interactions waiting for their block to fill."""

    flags: NDArray[np.uint8]
    ranks: NDArray[np.int32]  # (n, len(LISTS)); -1 = this list was not looked up for this event
    path: NDArray[np.int8]
    time_ms: NDArray[np.int64]


class Scoreboard:
    """Sums of the metrics over all interactions so far. Bounded memory, whatever the length of the stream."""

    def __init__(self) -> None:
        self.n_events = 0
        self.n_counted = 0
        self._waiting: list[_Rows] = []
        self._n_waiting = 0
        self._n_summed = 0
        self._totals = np.zeros((len(LISTS), len(SLICES), len(METRICS)))
        self._blocks: list[NDArray[np.float64]] = []  # slice "all" of runs of `_block_size` interactions
        self._block_size = BLOCK
        self._months: dict[str, NDArray[np.float64]] = {}
        # most responsible for the taken item: of all, of the hits
        self._paths = np.zeros((len(NAMES), 2), np.int64)
        self._recent = _Recent()
        self._beyond = Beyond()

    def update(self, outcomes: Outcomes, served: NDArray[np.int32] | None = None) -> None:
        """Add interactions, in log order.

        Args:
            outcomes: As `pipeline.step` gave them.
            served: (n,) rank of each item on the list that its user could read, 0 when it was not on it. All of them count, also
                of events that were not ranked: those of a long batch that are come early in it, when the list was younger.
        """
        if not outcomes.flags.size:
            return
        ranks = np.full((outcomes.flags.size, len(LISTS)), -1, np.int32)
        measured = (outcomes.flags & MEASURED) > 0
        for column, rank in enumerate(
            (outcomes.rank, outcomes.rank_mixture, outcomes.rank_trending, outcomes.rank_popularity)
        ):
            ranks[measured, column] = rank[measured]
        if served is not None:
            ranks[:, SERVED] = served
        self._recent.update(outcomes.flags, ranks)
        self._beyond.update(outcomes)
        self._waiting.append(_Rows(outcomes.flags, ranks, outcomes.path, outcomes.time_ms))
        self._n_waiting += outcomes.flags.size
        self.n_events += outcomes.flags.size
        self.n_counted += int(np.count_nonzero(outcomes.flags & COUNTED))
        if self._n_waiting >= BLOCK:
            self._sum_full_blocks()

    def lists(self) -> dict[str, dict[str, dict[str, Any]]]:
        """list -> slice -> metrics; None where nothing was measured. "served" only where lists were served."""
        totals = self._totals.copy()
        blocks = list(self._blocks)
        if self._n_waiting:
            rest = _sums(_joined(self._waiting))
            totals += rest
            blocks.append(rest[:, 0])
        # the block in which the second half begins belongs to it as a whole
        second_half = sum(
            blocks[int(self.n_events / 2 / self._block_size) :], np.zeros((len(LISTS), len(METRICS)))
        )
        report = {}
        for at, name in enumerate(LISTS):
            slices = {key: _metrics(totals[at, n]) for n, key in enumerate(SLICES)}
            report[name] = {"all": slices.pop("all"), "second_half": _metrics(second_half[at]), **slices}
        if not report["served"]["all"]["n"]:
            del report["served"]
        return report

    def months(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Month of event time -> list -> metrics."""
        months = {month: sums.copy() for month, sums in self._months.items()}
        if self._n_waiting:
            _add_months(months, _joined(self._waiting))
        return {
            month: {
                name: _metrics(months[month][at]) for at, name in enumerate(LISTS) if months[month][at, 0] > 0
            }
            for month in sorted(months)
        }

    def paths(self) -> dict[str, dict[str, int]]:
        """Path -> of how many taken items it was the one most responsible, and of how many of those in the first ten."""
        counts = self._paths.copy()
        if self._n_waiting:
            _add_paths(counts, _joined(self._waiting))
        return {
            name: {"seen_coming": int(n), "hits": int(hits)}
            for name, (n, hits) in zip(NAMES, counts, strict=True)
        }

    def windows(self) -> dict[tuple[str, int, str], dict[str, float]]:
        """(list, window, slice) -> WINDOW_METRICS of the last `window` events of the slice that were looked up."""
        return self._recent.metrics()

    def beyond(self, n_items: int) -> dict[str, Any]:
        """What the lists are like beside their hits, of `n_items` known by now: see `beyond.Beyond.figures`."""
        return self._beyond.figures(n_items)

    def forget(self, item_rows: NDArray[np.int64]) -> None:
        """These item rows changed hands: see `beyond.Beyond.forget`."""
        self._beyond.forget(item_rows)

    def freeze(self) -> dict[str, NDArray[Any]]:
        """The state as arrays of its own."""
        rows = _joined(self._waiting) if self._waiting else _no_rows()
        months = sorted(self._months)
        n_metrics = (len(LISTS), len(METRICS))
        arrays = {
            "counts": np.array([self.n_events, self.n_counted, self._n_summed, self._block_size], np.int64),
            "totals": self._totals,
            "blocks": np.array(self._blocks).reshape(-1, *n_metrics),
            "month_names": np.array(months, "datetime64[M]").astype(np.int64),
            "month_sums": np.array([self._months[month] for month in months]).reshape(-1, *n_metrics),
            "paths": self._paths,
            **{f"waiting_{name}": column for name, column in rows._asdict().items()},
            **{f"recent_{name}": ring for name, ring in self._recent.arrays().items()},
        }
        beyond = {f"beyond_{name}": array for name, array in self._beyond.freeze().items()}
        return {name: array.copy() for name, array in arrays.items()} | beyond

    def thaw(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the state that `freeze` gave; what is measured from then on is added to it."""
        self.n_events, self.n_counted, self._n_summed, self._block_size = arrays["counts"].tolist()
        self._totals, self._paths = arrays["totals"].copy(), arrays["paths"].copy()
        self._blocks = list(arrays["blocks"].copy())
        months = map(str, arrays["month_names"].astype("datetime64[M]"))
        self._months = dict(zip(months, arrays["month_sums"].copy(), strict=True))
        self._waiting = [_Rows(*(arrays[f"waiting_{name}"].copy() for name in _Rows._fields))]
        self._n_waiting = self._waiting[0].flags.size
        for name, ring in self._recent.arrays().items():
            ring[:] = arrays[f"recent_{name}"]
        self._beyond.thaw({name: arrays[f"beyond_{name}"] for name in self._beyond.freeze()})

    def _sum_full_blocks(self) -> None:
        rows = _joined(self._waiting)
        n_full = self._n_waiting // BLOCK * BLOCK
        for start in range(0, n_full, BLOCK):
            block = _cut(rows, start, start + BLOCK)
            sums = _sums(block)
            self._totals += sums
            self._add_block(sums[:, 0])
            _add_months(self._months, block)
            _add_paths(self._paths, block)
        self._waiting = [_cut(rows, n_full, self._n_waiting)]
        self._n_waiting -= n_full

    def _add_block(self, sums: NDArray[np.float64]) -> None:
        n_before = self._n_summed // BLOCK
        self._n_summed += BLOCK
        if n_before % (self._block_size // BLOCK):
            self._blocks[-1] = self._blocks[-1] + sums
            return
        if len(self._blocks) == _MAX_BLOCKS:
            self._blocks = [a + b for a, b in zip(self._blocks[::2], self._blocks[1::2], strict=True)]
            self._block_size *= 2
        self._blocks.append(sums)


class _Recent:
    """The last looked-up events of every list and slice, as ranks in a ring."""

    def __init__(self) -> None:
        self._ranks = np.zeros((len(LISTS), len(SLICES), max(WINDOWS)), np.uint8)  # 0 = not among the first K
        self._n = np.zeros((len(LISTS), len(SLICES)), np.int64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"ranks": self._ranks, "n": self._n}

    def update(self, flags: NDArray[np.uint8], ranks: NDArray[np.int32]) -> None:
        for slice_at, in_slice in enumerate(_slice_masks(flags)):
            for list_at in range(len(LISTS)):
                looked_up = ranks[in_slice, list_at]
                looked_up = looked_up[looked_up >= 0][-max(WINDOWS) :]
                n = self._n[list_at, slice_at]
                places = np.arange(n, n + looked_up.size) % max(WINDOWS)
                self._ranks[list_at, slice_at, places] = np.where(looked_up <= K, looked_up, 0)
                self._n[list_at, slice_at] += looked_up.size

    def metrics(self) -> dict[tuple[str, int, str], dict[str, float]]:
        found = {}
        for list_at, name in enumerate(LISTS):
            for slice_at, slice_name in enumerate(SLICES):
                n = int(self._n[list_at, slice_at])
                for window in WINDOWS:
                    if n:
                        n_in = min(n, window)
                        places = np.arange(n - n_in, n) % max(WINDOWS)
                        by_rank = np.bincount(self._ranks[list_at, slice_at, places], minlength=K + 1)
                        means = _GAINS_BY_RANK @ by_rank / n_in
                        found[name, window, slice_name] = dict(
                            zip(WINDOW_METRICS, means.tolist(), strict=True)
                        )
        return found


def _no_rows() -> _Rows:
    return _Rows(
        np.zeros(0, np.uint8),
        np.zeros((0, len(LISTS)), np.int32),
        np.zeros(0, np.int8),
        np.zeros(0, np.int64),
    )


def _joined(rows: list[_Rows]) -> _Rows:
    if len(rows) == 1:
        return rows[0]
    flags, ranks, path, time_ms = zip(*rows, strict=True)
    return _Rows(np.concatenate(flags), np.concatenate(ranks), np.concatenate(path), np.concatenate(time_ms))


def _cut(rows: _Rows, start: int, stop: int) -> _Rows:
    return _Rows(
        rows.flags[start:stop], rows.ranks[start:stop], rows.path[start:stop], rows.time_ms[start:stop]
    )


def _slice_masks(flags: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
    """Which events belong to each of SLICES."""
    counted = (flags & COUNTED) > 0
    return [
        counted,
        counted & ((flags & COLD_ITEM) > 0),
        counted & ((flags & COLD_USER) > 0),
        (flags & FIRST_EVENT) > 0,
        counted & ((flags & NEW_SESSION) > 0),
    ]


def _gains(ranks: NDArray[np.int32]) -> NDArray[np.float64]:
    """(n, lists) ranks -> (n, lists, metrics) of one event each; zeros where a list was not looked up."""
    listed, hit = ranks >= 1, (ranks >= 1) & (ranks <= K)
    safe = np.maximum(ranks, 1).astype(np.float64)
    return np.stack([ranks >= 0, hit, hit / np.log2(1.0 + safe), listed / safe, hit / safe], axis=-1)


def _sums(rows: _Rows) -> NDArray[np.float64]:
    gains = _gains(rows.ranks)
    return np.stack([gains[mask].sum(axis=0) for mask in _slice_masks(rows.flags)], axis=1)


def _add_months(months: dict[str, NDArray[np.float64]], rows: _Rows) -> None:
    counted = (rows.flags & COUNTED) > 0
    if not counted.any():
        return
    gains, numbers = (
        _gains(rows.ranks[counted]),
        rows.time_ms[counted].astype("datetime64[ms]").astype("datetime64[M]"),
    )
    for month in np.unique(numbers):
        name = str(month)
        if name not in months and len(months) >= _MAX_MONTHS:
            continue  # timestamps are the producers' word; what they make up must not fill the memory
        months.setdefault(name, np.zeros((len(LISTS), len(METRICS))))
        months[name] += gains[numbers == month].sum(axis=0)


def _add_paths(counts: NDArray[np.int64], rows: _Rows) -> None:
    seen = ((rows.flags & COUNTED) > 0) & (rows.path >= 0)
    rank = rows.ranks[seen, 0]
    counts[:, 0] += np.bincount(rows.path[seen], minlength=len(NAMES))
    counts[:, 1] += np.bincount(rows.path[seen][(rank >= 1) & (rank <= K)], minlength=len(NAMES))


def _metrics(sums: NDArray[np.float64]) -> dict[str, Any]:
    n = int(sums[0])
    means = {name: float(sums[at]) / n if n else None for at, name in enumerate(METRICS) if at}
    return {"n": n, **means, "mrr_at_k": means["map"]}
