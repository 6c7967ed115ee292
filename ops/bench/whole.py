"""Benches of the whole: producer -> Kafka -> worker -> Redis, every part a process of its own."""

import random
import time
from pathlib import Path

import msgspec
import numpy as np
from figures import Row
from redis import Redis
from servers import Stage, staged

from streamer.datasets import load
from streamer.demo.worker import quantile
from streamer.events import Interaction, decode

SHARES = (0.0, 0.05, 1.0)
FRESHNESS_S = 15
WARM_UP_S = 2.0  # first connections and first pages of the tables are no steady state
LOOK_EVERY_S = 0.0003
QUANTILES = {"p50": 0.50, "p99": 0.99, "p99.9": 0.999}


def loop(data: Path, max_events: int | None, n_runs: int) -> list[Row]:
    """Events a second from the first message sent to the last list acknowledged by Redis."""
    n_events = load(data, catalog_first=True, max_events=max_events).n_interactions
    rows = []
    for share in SHARES:
        case = f"measure_share={share:g}"
        speed, written = Row("loop", case, "events/s"), Row("loop", f"{case}: lists written", "lists/s")
        for _ in range(n_runs):
            with staged(data, n_events, None, share) as stage:
                _run_loop(stage, n_events, speed, written)
        rows += [speed, written]
    return rows


def _run_loop(stage: Stage, n_events: int, speed: Row, written: Row) -> None:
    before_s = stage.cpu_s()
    n_lists_before = stage.metrics().total("streamer_lists_written_total")
    stage.go()
    stage.wait_until_read()
    after_s, metrics = stage.cpu_s(), stage.metrics()
    # The worker's own clock: when its last batch was written, not when we asked.
    wall_s = metrics.total("streamer_last_batch_timestamp_seconds") - stage.progress.began_s.value
    speed.add(n_events / wall_s, wall_s, {name: after_s[name] - before_s[name] for name in after_s})
    written.add((metrics.total("streamer_lists_written_total") - n_lists_before) / wall_s)


def freshness(data: Path, rate: float, n_runs: int) -> list[Row]:
    """Milliseconds at a constant rate: event received -> list acknowledged, and sent -> seen by a reader.

    The first is the worker's histogram, linear within a bucket, over all events after a warm-up. The second
    is looked at from outside, one event after the other: a reader waits for an event to be sent and reads its user's
    list over and over until its position has passed the event.
    """
    users = _users_of(data, int(rate * FRESHNESS_S))
    rows = {
        (what, name): Row("freshness", f"{what}, {name}", "ms")
        for what in ("received -> written", "sent -> seen")
        for name in QUANTILES
    }
    for _ in range(n_runs):
        with staged(data, len(users), rate, 1.0) as stage:
            _run_freshness(stage, users, rate, rows)
    return list(rows.values())


def _run_freshness(stage: Stage, users: list[str], rate: float, rows: dict[tuple[str, str], Row]) -> None:
    before_s = stage.cpu_s()
    stage.go()
    while stage.progress.n_sent.value < WARM_UP_S * rate:
        time.sleep(0.01)
    buckets_before = _latency_buckets(stage)
    seen_ms = _watch(stage, users)
    stage.wait_until_read()
    after_s = stage.cpu_s()
    grown = sorted((le, n - buckets_before.get(le, 0.0)) for le, n in _latency_buckets(stage).items())
    wall_s = len(users) / rate
    cpu_s = {name: after_s[name] - before_s[name] for name in after_s}
    for name, q in QUANTILES.items():
        rows["received -> written", name].add(1000 * quantile(q, grown), wall_s, cpu_s)
        rows["sent -> seen", name].add(float(np.quantile(seen_ms, q)))


def _latency_buckets(stage: Stage) -> dict[float, float]:
    return stage.metrics().buckets("streamer_event_to_list_seconds", 'origin="received"')


class _Position(msgspec.Struct):
    position: dict[str, int]


def _watch(stage: Stage, users: list[str]) -> list[float]:
    """Milliseconds from an event's send until a reader sees a list that knows it."""
    decoder, rng, latencies_ms = msgspec.json.Decoder(_Position), random.Random(0), []
    with Redis.from_url(stage.redis.url) as client:
        while stage.is_sending():
            at = stage.progress.n_sent.value + rng.randrange(
                1, 20
            )  # any place of a batch, not just its first
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


def _users_of(data: Path, n_events: int) -> list[str]:
    messages = load(data, catalog_first=True, max_events=n_events).messages()
    events = (decode(message.kind, message.key, message.value) for message in messages)
    return [event.user_id for event in events if isinstance(event, Interaction)]
