"""Dead letters of erased users, on real servers: `streamer dlq replay` and the worker leave them out, each for itself."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result
from workers import Producer, Worker

from streamer.adapters.kafka import KafkaSink
from streamer.adapters.redis import RedisLists
from streamer.cli import app
from streamer.letters import LOG_MS

START_TIMEOUT_S = 100  # the first start on a machine compiles the kernels
SETTINGS: dict[str, Any] = {
    "without": "vectors",
    "max_users": 1000,
    "max_items": 1000,
    "max_nodes": 100,
    "max_taken": 10_000,
}

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

Cli = Callable[..., Result]


def view(user_id: str) -> bytes:
    """That he looked at something."""
    return json.dumps({"user_id": user_id, "item_id": "i1", "type": "view", "timestamp": 1}).encode()


def n_events(worker: Worker, outcome: str) -> float:
    """Interactions with this outcome, as the worker counts them."""
    name = f'streamer_events_total{{outcome="{outcome}",topic="{worker.topics["interactions"]}"}} '
    lines = worker.get("/metrics")[1].splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


@pytest.fixture
def worker(real_kafka: str, make_own_worker: Callable[[str], Worker]) -> Worker:
    """On topics of its own; not started."""
    return make_own_worker(real_kafka)


@pytest.fixture
def cli(worker: Worker) -> Cli:
    """`streamer ...` on its topics."""
    given = {"kafka": worker.kafka, "redis": worker.redis_url, "prefix": worker.prefix, "group": worker.group}
    given |= {f"topic_{kind}": topic for kind, topic in worker.topics.items()}
    environment = {f"STREAMER_{name.upper()}": value for name, value in given.items()}

    def run(*arguments: str, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(app, list(arguments), stdin, {**environment, "TERM": "dumb"})

    return run


def test_a_letter_brings_no_erased_user_back(
    worker: Worker, cli: Cli, redis_url: str, prefix: str, poll_until: Callable[..., Any]
) -> None:
    """The replay leaves it out and says so; where that does not know, the worker does, also when it reads all anew."""
    producer, lists = Producer(worker.kafka, worker.topics), RedisLists(redis_url, prefix)
    for user_id in ("gone", "here"):
        producer.send("interactions", user_id.encode(), view(user_id))
        producer.send("interactions", b"somebody", view(user_id))  # a key that is not its id: a letter
    producer.close()
    written_ms = time.time_ns() // 1_000_000
    worker.start(**SETTINGS)
    poll_until(lambda: worker.logged("live"), timeout_s=START_TIMEOUT_S, what="catching up")
    poll_until(lambda: lists.read("gone"), what="a list")
    erased = cli("erase", "gone")
    assert erased.exit_code == 0, erased.stderr
    refused = cli("dlq", "replay", "0:0", "--value", "-", "--key", "gone", stdin=view("gone"))
    assert (refused.exit_code, refused.stdout) == (7, "0 sent, 1 not sent, 0 sent before\n")
    assert "letter 0:0: its user was erased after it was written; not sent" in refused.stderr
    # as if the tombstone had not been there yet, or not any more
    sink = KafkaSink(worker.kafka)
    sink.send(worker.topics["interactions"], b"gone", view("gone"), {LOG_MS: b"%d" % written_ms})
    sink.close()
    sent = cli("dlq", "replay", "0:1", "--value", "-", "--key", "here", stdin=view("here"))
    assert sent.stdout == "1 sent, 0 not sent, 0 sent before\n"

    poll_until(lambda: n_events(worker, "learned") == 3, what="two views and a replay")
    assert n_events(worker, "erased") == 1
    assert lists.read("gone") is None
    assert worker.end() == 0
    assert json.loads(worker.report_path.read_text())["events"] == 3

    for key in lists._keys(prefix):
        lists._run([("DEL", key)])
    worker.start(**SETTINGS)
    poll_until(lambda: worker.logged("live"), timeout_s=START_TIMEOUT_S, what="catching up")
    poll_until(lambda: lists.read("here"), what="a list")
    assert lists.read("gone") is None
    assert n_events(worker, "erased") == 2  # and what he did before, since profiles are read first
    lists.close()
