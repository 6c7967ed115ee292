"""Bench of new items: how soon the text of one that just entered the catalog is something that lists are made from."""

import time

import msgspec
from figures import Row
from options import Options
from servers import Stage, staged

from streamer.adapters.kafka import KafkaSink, KafkaSource
from streamer.datasets import load

RATE = 1_000.0  # interactions a second meanwhile
N_ITEMS = 20
PAUSE_S = 0.5
MAX_EVENTS = int(RATE * (N_ITEMS + 10) * PAUSE_S)
LONGEST_S = 10.0
POLL_S = 0.002


def arrivals(options: Options) -> list[Row]:
    """Milliseconds from an item's catalog event being sent to the vector of its text being on the log.

    The worker folds that vector with its next batch, and from then on every list may hold the item for its text. By its features
    it may hold it from the catalog event on. One item after the other, while users do what they do.
    """
    n_events = min(MAX_EVENTS, options.max_events or MAX_EVENTS)
    n_items = max(1, min(N_ITEMS, int(n_events / RATE / PAUSE_S)))
    log = load(options.data, catalog_first=True, max_events=n_events)
    row = Row("arrivals", f"{RATE:,.0f}/s, catalog event sent -> vector on the log", "ms")
    for _ in range(options.n_runs):
        with staged(log, RATE, options.kafka, options.settings) as stage:
            stage.go()
            for value in _arrive(stage, n_items):
                row.add(value)
            row.note = f"{stage.broker.kind} Kafka"
    return [row]


def _arrive(stage: Stage, n_items: int) -> list[float]:
    config = {name.removeprefix("kafka_config."): value for name, value in stage.broker.settings.items()}
    source = KafkaSource(stage.broker.bootstrap, ["texts"], "bench", config=config)
    sink = KafkaSink(stage.broker.bootstrap)
    try:
        while source.poll(10_000, 1.0):
            pass  # the vectors of the catalog
        return [_one(source, sink, n) for n in range(n_items)]
    finally:
        sink.close()
        source.close()


def _one(source: KafkaSource, sink: KafkaSink, n: int) -> float:
    time.sleep(PAUSE_S)
    item = {
        "item_id": f"arrival-{n}",
        "title": f"SET OF {n + 2} VINTAGE LANTERNS",
        "timestamp": int(time.time() * 1000),
    }
    began_s = time.monotonic()
    sink.send("catalog", f"arrival-{n}".encode(), msgspec.json.encode(item))
    sink.flush(LONGEST_S)
    while not source.poll(10, POLL_S):
        if time.monotonic() - began_s > LONGEST_S:
            raise TimeoutError(f"no vector of arrival-{n} within {LONGEST_S:g} s")
    return 1000 * (time.monotonic() - began_s)
