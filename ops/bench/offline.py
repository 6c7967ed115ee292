"""Benches of the pure core: no Kafka, no Redis, one thread."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from figures import Row, markdown
from options import Options

from streamer import pipeline, replay
from streamer.config import Settings
from streamer.datasets import Message, load
from streamer.events import Event, Interaction, decode
from streamer.outcomes import new_outcomes
from streamer.prequential import fold_only
from streamer.publish import Publisher

BATCH_SIZE = 2048
NOW_MS = 1_700_000_000_000

Work = Callable[[], None]
E = TypeVar("E", bound=Event)


def learn(options: Options) -> list[Row]:
    """Events a second of learning alone: decoding, the step on decoded events, and the kernel within it.

    Each figure is that of its own part: what the worker does to learn is decoding plus the step.
    """
    settings = Settings()
    pipeline.warm_up(settings.fold(), 0.0, settings.k)
    messages = list(load(options.data, catalog_first=True, max_events=options.max_events).messages())
    interactions = [message for message in messages if message.kind == "interactions"]
    catalog, events = _decoded(messages)
    rows = [Row("learn", case, "events/s") for case in ("decode", "step", "kernel alone")]
    for _ in range(options.n_runs):
        _time(rows[0], len(interactions), lambda: _decode_all(interactions))
        _time(rows[1], len(events), _stepping(settings, catalog, events))
        _time(rows[2], len(events), _kernel(settings, catalog, events))
    return rows


def lists(options: Options) -> list[Row]:
    """Events a second when every event's user is ranked and encoded, a list an event, after each batch; and its parts."""
    settings = Settings()
    pipeline.warm_up(settings.fold(), 0.0, settings.k)
    catalog, events = _decoded(
        load(options.data, catalog_first=True, max_events=options.max_events).messages()
    )
    whole = Row("list", f"learn, rank and encode, k={settings.k}", "events/s")
    parts = {part: Row("list", f"{part} alone", "events/s") for part in ("learn", "rank", "encode")}
    for _ in range(options.n_runs):
        spent_s = dict.fromkeys(parts, 0.0)
        _time(whole, len(events), _listing(settings, catalog, events, spent_s))
        for part, row in parts.items():
            row.add(len(events) / spent_s[part], spent_s[part])
    return [whole, *parts.values()]


def quality(options: Options) -> tuple[str, list[dict[str, Any]]]:
    """Replay sets with one configuration; hit ratio at 10 by list and slice."""
    sets = options.sets
    names = options.set_names or sorted(path.name for path in sets.iterdir() if path.is_dir())
    reports = []
    for name in names:
        directory, _, repeats = name.partition(":")
        report = replay.run(sets / directory, Settings(repeats=bool(repeats)), BATCH_SIZE)
        reports.append({"set": name, **report})
    slices = list(reports[0]["lists"]["streamer"]) if reports else []
    lines = [
        [report["set"], list_name, *(_ratio(report["lists"][list_name][slice_]) for slice_ in slices)]
        for report in reports
        for list_name in report["lists"]
    ]
    return markdown(["set", "HR@10 of", *slices], lines), reports


def _ratio(metrics: dict[str, Any]) -> str:
    return "" if metrics["hit_ratio"] is None else f"{metrics['hit_ratio']:.4f}"


def _time(row: Row, n_events: int, work: Work) -> None:
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    work()
    wall_s = time.perf_counter() - began_s
    row.add(n_events / wall_s, wall_s, {"bench": time.process_time() - began_cpu_s})


def _decoded(messages: "Sequence[Message] | Iterator[Message]") -> tuple[list[Event], list[Interaction]]:
    """Catalog and profiles, and the interactions."""
    others: list[Event] = []
    interactions: list[Interaction] = []
    for message in messages:
        event = decode(message.kind, message.key, message.value)
        if isinstance(event, Interaction):
            interactions.append(event)
        else:
            others.append(event)
    return others, interactions


def _decode_all(messages: Sequence[Message]) -> None:
    for kind, key, value in messages:
        decode(kind, key, value)


def batches(events: Sequence[E], size: int = BATCH_SIZE) -> Iterator[Sequence[E]]:
    """One after the other, the last one shorter."""
    for begin in range(0, len(events), size):
        yield events[begin : begin + size]


def _with_catalog(settings: Settings, catalog: Sequence[Event]) -> pipeline.State:
    return pipeline.step(pipeline.new_state(settings.fold()), catalog, 0.0)[0]


def _stepping(settings: Settings, catalog: Sequence[Event], events: Sequence[Interaction]) -> Work:
    state = _with_catalog(settings, catalog)

    def work() -> None:
        for batch in batches(events):
            pipeline.step(state, batch, 0.0)

    return work


def _kernel(settings: Settings, catalog: Sequence[Event], events: Sequence[Interaction]) -> Work:
    state = _with_catalog(settings, catalog)
    outcomes = []
    for batch in batches(events):
        users = [state.ids.users.admit(event.user_id) for event in batch]
        items = [state.ids.items.admit(event.item_id) for event in batch]
        times = [event.timestamp_ms for event in batch]
        outcomes.append(
            new_outcomes(np.array(users, np.int32), np.array(items, np.int32), np.array(times, np.int64))
        )

    def work() -> None:
        for out in outcomes:
            fold_only(state.graph, out)

    return work


def _listing(
    settings: Settings, catalog: Sequence[Event], events: Sequence[Interaction], spent_s: dict[str, float]
) -> Work:
    """`spent_s`: part -> wall seconds, added to."""
    state = _with_catalog(settings, catalog)
    publisher = Publisher(settings.max_users, settings.k)

    def work() -> None:
        n_read = 0
        for batch in batches(events):
            began_s = time.perf_counter()
            _, info = pipeline.step(state, batch, 0.0)
            learned_s = time.perf_counter()
            ranking = pipeline.rank_users(state, info.outcomes.user_row, settings.k)
            ranked_s = time.perf_counter()
            n_read += len(batch)
            publisher.encode(state, ranking, NOW_MS, {"interactions-0": n_read})
            spent_s["learn"] += learned_s - began_s
            spent_s["rank"] += ranked_s - learned_s
            spent_s["encode"] += time.perf_counter() - ranked_s

    return work
