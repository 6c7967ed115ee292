"""Retirement and erasure on the embedded servers: raw values in Redis, seen from outside."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner
from workers import Producer, Worker

import streamer.cli.verify
from streamer.adapters.redis import RedisLists
from streamer.cli import app
from streamer.events import ANONYMOUS

N_USERS = 2000
GONE = "gone"
LIMIT_S = 2.0  # as the contract has it
COMPILE_TIMEOUT_S = 100

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def worker(mock_kafka: str, make_own_worker: Callable[[str], Worker]) -> Worker:
    """On topics of its own; not started."""
    return make_own_worker(mock_kafka)


def holders(lists: RedisLists, owners: list[str]) -> list[str]:
    """Whose raw list has the item."""
    keys = [("GET", lists._list_prefix + owner) for owner in owners]
    has_it = b'"id":"%b"' % GONE.encode()
    return [owner for owner, value in zip(owners, lists._run(keys), strict=True) if value and has_it in value]


def test_retired_items_and_erased_users_are_gone_in_time(
    worker: Worker,
    redis_url: str,
    prefix: str,
    poll_until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An item on two thousand lists is off them all within two seconds; an erased user's keys go, and a receipt comes."""
    producer, lists = Producer(worker.kafka, worker.topics), RedisLists(redis_url, prefix)
    owners = [*(f"u{n}" for n in range(N_USERS)), ANONYMOUS]
    for n in range(N_USERS):
        event = {"user_id": f"u{n}", "item_id": f"i{n % 3}", "type": "view", "timestamp": 1000 * n}
        producer.send("interactions", f"u{n}".encode(), json.dumps(event).encode())
    for n in range(20):
        event = {"user_id": "fan", "item_id": GONE, "type": "view", "timestamp": 3_000_000 + n}
        producer.send("interactions", b"fan", json.dumps(event).encode())
    worker.start(without="vectors", max_users=4000, max_items=1000, max_nodes=1000, max_taken=100_000)
    poll_until(lambda: worker.logged("live"), timeout_s=COMPILE_TIMEOUT_S, what="catching up")
    assert len(poll_until(lambda: holders(lists, owners), what="lists with the item")) >= N_USERS

    producer.send("catalog", GONE.encode(), None)
    began_s = time.monotonic()
    producer.close()
    poll_until(lambda: not holders(lists, owners), what="lists without the item")
    assert time.monotonic() - began_s < LIMIT_S

    given = {"kafka": worker.kafka, "redis": redis_url, "prefix": prefix, "group": worker.group}
    given |= {f"topic_{kind}": topic for kind, topic in worker.topics.items()}
    environment = {f"STREAMER_{name.upper()}": value for name, value in given.items()}
    erased = CliRunner().invoke(app, ["erase", "u7", "--json"], env=environment)
    assert erased.exit_code == 0, erased.stderr
    receipt = json.loads(erased.stdout)
    assert receipt["removed"] == {"history": 1, "taken": 1, "profile": False, "list": True, "vector": False}
    assert lists.read("u7") is None
    assert lists.read("u8") is not None
    assert worker.end() == 0
    none = CliRunner().invoke(app, ["erase", "u8", "--wait", "0"], env=environment)  # nobody reads it
    assert (none.exit_code, none.stdout) == (3, "")
    assert "no receipt within 0 s" in none.stderr
    monkeypatch.setattr(streamer.cli.verify, "LOOK_AGAIN_S", 0.01)  # nothing is on its way
    verified_and_tampered_with(lists, environment)
    lists.close()


def verified_and_tampered_with(lists: RedisLists, environment: dict[str, str]) -> None:
    """`streamer verify` finds the one tombstone that no worker has read, and whatever we do to the lists."""
    verify = ["verify", "--wait", "0"]
    found = json.loads(CliRunner().invoke(app, [*verify, "--json"], env=environment).stdout)
    assert found["differences"] == [{"kind": "nobody", "user_id": "u8", "item_id": ""}]
    assert (found["n_lists"], found["n_users"], found["n_behind"]) == (N_USERS + 1, N_USERS - 1, 1)
    lists.delete(["u3", "u8"])
    value = lists.read("u4")
    assert value is not None
    lists.write(
        [("u4", value.replace(b'"id":"i', b'"id":"gone","was":"i', 1)), ("ghost\x1b", value)], ttl_s=60
    )
    told = CliRunner().invoke(app, verify, env=environment)
    assert told.exit_code == 1
    for line in ("missing u3", "retired u4 gone", "nobody ghost\\x1b"):
        assert f"    {line}\n" in told.stdout
    assert "3 differences" in told.stdout
