"""A data set through the fold without Kafka and Redis, at full speed: the same messages, the same figures as the demo."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from streamer import pipeline, report
from streamer.config import Settings
from streamer.datasets import Dataset, load
from streamer.events import Event, decode
from streamer.measure import Scoreboard
from streamer.prequential import Outcomes

BATCH_SIZE = 512


def run(
    directory: Path,
    settings: Settings,
    batch_size: int = BATCH_SIZE,
    max_events: int | None = None,
    catalog_first: bool = False,
    progress: Callable[[int, int], None] | None = None,
    observe: Callable[[Outcomes], None] | None = None,
) -> dict[str, Any]:
    """Replay a set and return its report.

    Args:
        directory: A set in the format of `datasets`.
        settings: Those of the fold and `measure_share` matter.
        batch_size: Messages a step. Changes no figure: events are measured and learned one by one.
        max_events: Only this many interactions.
        catalog_first: The whole catalog comes before the first interaction; else each item's record comes right after its
            first event.
        progress: Called with interactions done and to do.
        observe: Called with the outcomes of every step, in log order; they are the caller's to keep.

    Raises:
        DataError: The set cannot be read.
    """
    dataset = load(directory, catalog_first=catalog_first, max_events=max_events)
    pipeline.warm_up(settings.fold(), settings.measure_share, settings.k)
    state, scoreboard = pipeline.new_state(settings.fold()), Scoreboard()
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    for events in _batches(dataset, batch_size):
        state, info = pipeline.step(state, events, settings.measure_share)
        scoreboard.update(info.outcomes)
        if observe is not None:
            observe(info.outcomes)
        if progress is not None:
            progress(scoreboard.n_events, dataset.n_interactions)
    seconds = time.monotonic() - began_s
    document = report.build(dataset.name, {"measure_share": settings.measure_share}, state, scoreboard)
    document["timing"] = {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - began_cpu_s,
        "events_per_second": scoreboard.n_events / seconds if seconds > 0.0 else None,
        "batch_size": batch_size,
    }
    return document


def _batches(dataset: Dataset, batch_size: int) -> Iterator[list[Event]]:
    batch: list[Event] = []
    for message in dataset.messages():
        batch.append(decode(message.kind, message.key, message.value))
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch
