"""Baselines on the second half of a log: trained on the first and frozen, and trained again every so many events."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.classic import Als, ItemKnn, Model, Popularity
from baselines.protocol import NO_CANDIDATE, Log, figures, ranks, read
from baselines.sasrec import Sasrec
from streamer import replay
from streamer.config import Settings
from streamer.outcomes import Outcomes

RETRAIN_EVERY = 10_000  # events, or a tenth of the second half where that is less
_CHUNK = 512  # events scored at once

Progress = Callable[[str, float], None]  # what is going on, and which share of it is done


def models() -> dict[str, Callable[[], Model]]:
    """Name on the command line -> a new model."""
    return {
        "most-popular": Popularity,
        "item-knn-cosine": lambda: ItemKnn("cosine"),
        "item-knn-bm25": lambda: ItemKnn("BM25"),
        "als": Als,
        "sasrec": Sasrec,
    }


def read_log(directory: Path, settings: Settings, max_events: int | None) -> Log:
    """The log under the rules of these settings."""
    return read(
        directory,
        repeats=settings.repeats,
        session_gap_ms=settings.session_gap_s * 1000,
        max_events=max_events,
    )


def of_streamer(
    directory: Path, settings: Settings, max_events: int | None, log: Log, progress: Progress
) -> list[dict[str, Any]]:
    """Rows of streamer, trending and popularity as the fold measures them, on the counted events of the second half.

    Raises:
        ValueError: fold and protocol count different events.
    """
    outcomes: list[Outcomes] = []
    report = replay.run(
        directory,
        settings,
        max_events=max_events,
        progress=lambda n_done, n: progress("streamer", n_done / n),
        observe=outcomes.append,
    )
    flags = np.concatenate([part.flags for part in outcomes])
    n_differ = np.count_nonzero(flags != log.flags)
    if n_differ:
        raise ValueError(
            f"{directory}: expected the fold to judge all {flags.size} events as the baselines' protocol does, "
            f"got {n_differ} that it judges otherwise; see ops/bench/baselines/protocol.py"
        )
    events = log.counted(log.item.size // 2, log.item.size)
    columns = {"streamer": "rank", "trending": "rank_trending", "popularity": "rank_popularity"}
    rows = []
    for name, column in columns.items():
        found = np.concatenate([getattr(part, column) for part in outcomes])[events]
        seconds = report["timing"]["cpu_seconds"] if name == "streamer" else None
        rows.append(_row(name, "every event", seconds, figures(log, events, found)))
    return rows


def of_model(log: Log, model: Model, progress: Progress) -> list[dict[str, Any]]:
    """Two rows of a model on the counted events of the second half: frozen, and trained again every so many events.

    A user without a history gets what was most popular when the model was trained. Seconds are those of training, of CPU.
    """
    n, half = log.item.size, log.item.size // 2
    every = max(1, min(RETRAIN_EVERY, (n - half) // 10))
    events = log.counted(half, n)
    began_s = time.process_time()
    model.fit(log, half)
    first_s = time.process_time() - began_s
    frozen = found_ranks(log, model, half, half, n, progress)
    seconds, parts = first_s, [frozen[events < half + every]]
    for start in range(half + every, n, every):
        progress(f"{model.name}, trained again", (start - half) / (n - half))
        began_s = time.process_time()
        model.fit(log, start)
        seconds += time.process_time() - began_s
        parts.append(found_ranks(log, model, start, start, min(start + every, n), None))
    retrained = np.concatenate(parts)
    return [
        _row(model.name, "first half, then frozen", first_s, figures(log, events, frozen)),
        _row(model.name, f"again every {every:,} events", seconds, figures(log, events, retrained)),
    ]


def found_ranks(
    log: Log, model: Model, trained: int, start: int, stop: int, progress: Progress | None
) -> NDArray[np.int32]:
    """Ranks of the counted events of a part of the log, by a model that was trained on the events before `trained`."""
    events = log.counted(start, stop)
    n_trained = log.n_trained(trained)
    popular = np.bincount(log.item[:trained], minlength=log.n_items).astype(np.float32)
    parts = [np.empty(0, np.int32)]
    for at in range(0, events.size, _CHUNK):
        chunk = events[at : at + _CHUNK]
        scores = model.scores(log, chunk)
        scores[log.n_past[chunk] == 0] = popular
        scores[:, n_trained:] = NO_CANDIDATE
        parts.append(ranks(log, chunk, scores))
        if progress is not None:
            progress(model.name, at / events.size)
    return np.concatenate(parts)


def _row(name: str, training: str, seconds: float | None, slices: dict[str, Any]) -> dict[str, Any]:
    return {"row": name, "training": training, "training_cpu_seconds": seconds, "slices": slices}
