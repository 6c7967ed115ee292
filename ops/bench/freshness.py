"""Bench of the time from an event to its user's new list, at constant rates."""

import random
import time

import msgspec
import numpy as np
import whole
from figures import Row
from options import Options
from redis import Redis
from servers import Log, Stage, measured_percent, staged

from streamer.datasets import load
from streamer.demo.worker import quantile
from streamer.errors import ConfigError
from streamer.events import Interaction, decode

FRESHNESS_S = 15
WARM_UP_S = 2.0  # first connections and first pages of the tables are no steady state
LOOK_EVERY_S = 0.0003
MAX_EVENTS_OF_MAXIMUM = 60_000
BEHIND = 1.1  # times the seconds that sending takes: who needs longer to follow does not sustain the rate
QUANTILES = {"p50": 0.50, "p99": 0.99, "p99.9": 0.999}
# What Redis held, and what there would have been; label of the metric.
LISTS = {"served": 'list="served"', "ranked right before": 'list="streamer"'}


def freshness(options: Options) -> list[Row]:
    """Milliseconds: event received -> list acknowledged, and sent -> seen by a reader, at every rate.

    The first is the worker's histogram, linear within a bucket, over all events after a warm-up. The second
    is looked at from outside, one event after the other: a reader waits for an event to be sent and reads its user's
    list over and over until its position has passed the event.
    """
    return [row for name, rate in _rates(options).items() for row in _at(options, name, rate)]


def _rates(options: Options) -> dict[str, float]:
    """Name of each rate -> interactions a second; the maximum is measured where a rate is a share of it."""
    rates, maximum = {}, None
    for text in options.rates:
        number, name = _number(text), text
        if text.endswith("%"):
            if maximum is None:
                n = min(options.max_events or MAX_EVENTS_OF_MAXIMUM, MAX_EVENTS_OF_MAXIMUM)
                maximum = whole.maximum(options, load(options.data, catalog_first=True, max_events=n))
            number *= maximum / 100.0
            name = f"{text} of the maximum, {number:,.0f}"
        rates[f"{name}/s"] = number
    return rates


def _number(text: str) -> float:
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = 0.0
    if not 0.0 < number < 1e6:
        raise ConfigError(f"--rate: expected interactions a second, or 80% of the maximum; got {text}")
    return number


def _at(options: Options, name: str, rate: float) -> list[Row]:
    n_events = min(int(rate * FRESHNESS_S), options.max_events or 1 << 30)
    log = load(options.data, catalog_first=True, max_events=n_events)
    users = _users_of(log)
    rows = {
        (what, q): Row("freshness", f"{name}, {what}, {q}", "ms")
        for what in ("received -> written", "sent -> seen")
        for q in QUANTILES
    }
    measured = Row("freshness", f"{name}, measured", "% of counted")
    hits = {label: Row("freshness", f"{name}, HR@10, {what}", "%") for what, label in LISTS.items()}
    for _ in range(options.n_runs):
        with staged(log, rate, options.kafka, options.settings) as stage:
            before = stage.metrics()
            _run(stage, users, rate, rows)
            measured.add(measured_percent(before, stage))
            metrics = stage.metrics()
            for label, row in hits.items():
                row.add(100.0 * metrics.total("streamer_hit_ratio", label, 'window="total"', 'slice="all"'))
    return [*rows.values(), measured, *hits.values()]


def _run(stage: Stage, users: list[str], rate: float, rows: dict[tuple[str, str], Row]) -> None:
    before_s = stage.cpu_s()
    stage.go()
    n_warm = min(WARM_UP_S * rate, len(users) / 2)
    while stage.progress.n_sent.value < n_warm:
        time.sleep(0.01)
    buckets_before = _latency_buckets(stage)
    seen_ms = _watch(stage, users)
    stage.wait_until_read()
    after_s = stage.cpu_s()
    grown = sorted((le, n - buckets_before.get(le, 0.0)) for le, n in _latency_buckets(stage).items())
    wall_s = stage.wall_s(stage.metrics())
    is_behind = wall_s > BEHIND * len(users) / rate + 0.5
    cpu_s = {name: after_s[name] - before_s[name] for name in after_s}
    for row in rows.values():
        row.note = "rate not sustained" if is_behind else row.note or f"{stage.broker.kind} Kafka"
    for name, q in QUANTILES.items():
        rows["received -> written", name].add(1000 * quantile(q, grown), wall_s, cpu_s)
        rows["sent -> seen", name].add(float(np.quantile(seen_ms, q)) if seen_ms else float("nan"))


def _latency_buckets(stage: Stage) -> dict[float, float]:
    return stage.metrics().buckets("streamer_event_to_list_seconds", 'origin="received"')


class _Position(msgspec.Struct):
    position: dict[str, int]


def _watch(stage: Stage, users: list[str]) -> list[float]:
    """Milliseconds from an event's send until a reader sees a list that knows it."""
    decoder, rng, latencies_ms = msgspec.json.Decoder(_Position), random.Random(0), []
    with Redis.from_url(stage.redis.url) as client:
        while stage.is_sending():
            # any place of a batch, not just its first
            at = stage.progress.n_sent.value + rng.randrange(1, 20)
            if at >= len(users):
                break
            while stage.progress.sent_s[at] == 0.0:
                time.sleep(LOOK_EVERY_S)
            key = f"streamer:list:{users[at]}"
            while True:
                value = client.get(key)
                if value is not None and decoder.decode(value).position.get("interactions-0", 0) > at:
                    break
                time.sleep(LOOK_EVERY_S)
            latencies_ms.append(1000 * (time.monotonic() - stage.progress.sent_s[at]))
    return latencies_ms


def _users_of(log: Log) -> list[str]:
    events = (decode(message.kind, message.key, message.value) for message in log.messages())
    return [event.user_id for event in events if isinstance(event, Interaction)]
