"""A data set through the fold without Kafka and Redis, at full speed: the same messages, the same figures as the demo."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from streamer import pipeline, report
from streamer.adapters.text_cache import SqliteTextCache, default_cache_path
from streamer.adapters.text_model import load_text_model
from streamer.config import Settings
from streamer.datasets import Dataset, load
from streamer.embedding import InlineTexts
from streamer.events import CatalogItem, Event, decode
from streamer.measure import Scoreboard
from streamer.outcomes import Outcomes
from streamer.propagate.learner import Learner
from streamer.training import ThreadTrainer

BATCH_SIZE = 512


def run(
    directory: Path,
    settings: Settings,
    batch_size: int = BATCH_SIZE,
    max_events: int | None = None,
    catalog_first: bool = False,
    progress: Callable[[int, int], None] | None = None,
    text_progress: Callable[[int, int], None] | None = None,
    texts: InlineTexts | None = None,
    observe: Callable[[Outcomes], None] | None = None,
) -> dict[str, Any]:
    """Replay a set and return its report.

    Args:
        directory: A set in the format of `datasets`.
        settings: Those of the fold, of texts, and `measure_share` matter.
        batch_size: Messages a step. Changes no figure: events are measured and learned one by one.
        max_events: Only this many interactions.
        catalog_first: The whole catalog comes before the first interaction; else each item's record comes right after its
            first event.
        progress: Called with interactions done and to do.
        text_progress: Called with texts embedded, or found in the cache, and to do; that comes first and is not timed.
        texts: Embeds, where the settings want texts. None: with their model, and a cache in the user's cache directory.
        observe: Called with the outcomes of every step, in log order; they are the caller's to keep.

    Raises:
        DataError: The set cannot be read.
        ConfigError: The text model cannot be loaded.
        Unavailable: The text model does not work.
    """
    dataset = load(directory, catalog_first=catalog_first, max_events=max_events)
    texts = _embedded(dataset, settings, max_events, texts, text_progress) if settings.has_texts() else None
    pipeline.warm_up(settings.fold(), settings.measure_share, settings.k)
    # it waits for training, and takes all of a core for it: a replay is exact, and has nothing else to do
    with closing(ThreadTrainer(Learner())) as trainer:
        state, scoreboard = pipeline.new_state(settings.fold(), trainer), Scoreboard()
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        for events in _batches(dataset, batch_size, texts):
            state, info = pipeline.step(state, events, settings.measure_share)
            scoreboard.forget(np.array(info.evicted_item_rows, np.int64))
            scoreboard.update(info.outcomes)
            scoreboard.forget(pipeline.rows_of_nobody(state, info))  # lists of this batch may show them
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


def _embedded(
    dataset: Dataset,
    settings: Settings,
    max_events: int | None,
    texts: InlineTexts | None,
    progress: Callable[[int, int], None] | None,
) -> InlineTexts:
    """All texts that will come, embedded."""
    with ExitStack() as stack:
        if texts is None:
            cache = stack.enter_context(closing(SqliteTextCache(default_cache_path())))
            name, n_threads, download = settings.text_model, settings.text_threads, settings.text_download
            texts = InlineTexts(name, lambda: load_text_model(name, n_threads, download=download), cache)
        texts.prefetch(_catalog(dataset, everything=max_events is None), progress)
    return texts


def _catalog(dataset: Dataset, *, everything: bool) -> Iterator[CatalogItem]:
    """The items that will come; with `everything` all there are, which spares a look through the events."""
    if everything:
        values = iter(dataset.catalog.values())
    else:
        values = (message.value for message in dataset.messages() if message.kind == "catalog")
    for value in values:
        event = decode("catalog", None, value)
        if isinstance(event, CatalogItem):
            yield event


def _batches(dataset: Dataset, batch_size: int, texts: InlineTexts | None) -> Iterator[list[Event]]:
    """The log, cut into batches. The vector of a text comes right behind its item, whatever the cache holds."""
    batch: list[Event] = []
    for message in dataset.messages():
        event = decode(message.kind, message.key, message.value)
        batch.append(event)
        embedded = texts.event(event) if texts is not None and isinstance(event, CatalogItem) else None
        if embedded is not None:
            batch.append(embedded)
        if len(batch) >= batch_size:
            yield batch
            batch = []
    if batch:
        yield batch
