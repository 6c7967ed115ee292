"""Bench of reading: an app that asks for lists as fast as it can, while the worker writes as fast as it can."""

import random
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection

import numpy as np
from figures import Row
from options import Options
from processes import spawn
from redis import Redis
from servers import Log, Stage

from streamer.client import Recommendations
from streamer.datasets import load

IDLE_S = 3.0
QUANTILES = {"p50": 0.50, "p99": 0.99, "p99.9": 0.999}


def reading(options: Options) -> list[Row]:
    """Reads a second and milliseconds a read of one client, `Recommendations.get` of random users one after the other.

    During the loop at full speed, everything on, and again when the worker has nothing left to do.
    """
    log = load(options.data, catalog_first=True, max_events=options.max_events)
    users = sorted({message.key.decode() for message in log.messages() if message.kind == "interactions"})
    rows: dict[tuple[str, str], Row] = {}
    for _ in range(options.n_runs):
        with ExitStack() as stack:
            stage = Stage(stack, log, None, options.kafka, options.settings)
            pipe, _ = spawn(stack, _reader, stage.redis.url, users)
            pipe.recv()  # it is connected
            _run(stage, log, pipe, rows)
    return list(rows.values())


def _run(stage: Stage, log: Log, pipe: Connection, rows: dict[tuple[str, str], Row]) -> None:
    before_s = stage.cpu_s()
    pipe.send("go")
    stage.go()
    stage.wait_until_read()
    pipe.send("stop")
    wall_s = stage.wall_s(stage.metrics())
    after_s = stage.cpu_s()
    _add(
        rows, "under full write load", pipe.recv(), {name: after_s[name] - before_s[name] for name in after_s}
    )
    beside = rows.setdefault(("loop", ""), Row("reading", "events/s of the loop meanwhile", "events/s"))
    beside.add(log.n_interactions / wall_s, wall_s)
    pipe.send("go")
    time.sleep(IDLE_S)
    pipe.send("stop")
    _add(rows, "nothing written", pipe.recv(), {})


def _add(
    rows: dict[tuple[str, str], Row],
    when: str,
    read: tuple[list[float], float, float],
    cpu_s: dict[str, float],
) -> None:
    took_ms, wall_s, reader_s = read
    speed = rows.setdefault((when, "speed"), Row("reading", f"{when}: reads", "reads/s"))
    speed.add(len(took_ms) / wall_s, wall_s, {"reader": reader_s, **cpu_s})
    for name, q in QUANTILES.items():
        row = rows.setdefault((when, name), Row("reading", f"{when}: one read, {name}", "ms"))
        row.add(float(np.quantile(took_ms, q)))


def _reader(pipe: Connection, url: str, users: list[str]) -> None:
    """Between "go" and "stop": milliseconds of every read; wall and CPU seconds of all. Until "end"."""
    rng = random.Random(0)
    with Redis.from_url(url) as client:
        recommendations = Recommendations(client)
        recommendations.get(users[0])
        pipe.send("ready")
        while pipe.recv() == "go":
            took_ms, began_s, began_cpu_s = [], time.monotonic(), time.process_time()
            while not pipe.poll():
                at_s = time.monotonic()
                recommendations.get(rng.choice(users))
                took_ms.append(1000.0 * (time.monotonic() - at_s))
            pipe.recv()
            pipe.send((took_ms, time.monotonic() - began_s, time.process_time() - began_cpu_s))
