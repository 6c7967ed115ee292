"""Redis and Kafka go and come back in the middle of a stream: one worker lives through it, nothing is lost or doubled."""

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from equality import ends_equal
from redis_proxy import RedisProxy
from shop import N_KILLS, OFTEN, SETTINGS, Poll, Shop, Watch, everything, wait_until_live
from workers import Worker

from streamer.adapters.redis import RedisLists
from streamer.servers import EmbeddedKafka, EmbeddedRedis

SEED = 17
DELAY_S = 0.5
N_FAULTS = 7
N_ROUNDS = -(-N_KILLS // N_FAULTS)  # of all faults
PAUSE_S = max(0.1, 0.03 * N_ROUNDS)  # the embedded Kafka keeps some 100,000 events

pytestmark = pytest.mark.timeout(200 + 60 * N_ROUNDS)


@pytest.fixture
def shop(shop_kafka: str, shop_topics: dict[str, str]) -> Iterator[Shop]:
    """A quiet one: most of the time of these tests is folding its events again."""
    shop = Shop(shop_kafka, shop_topics, SEED, PAUSE_S)
    shop.stock(280)
    yield shop
    shop.close()


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A Redis that keeps its data over a kill."""
    with EmbeddedRedis(persist=True) as server:
        yield server


@pytest.fixture
def proxy(server: EmbeddedRedis) -> Iterator[RedisProxy]:
    """Before it."""
    with RedisProxy(server.port) as proxy:
        yield proxy


def n_away(worker: Worker, dependency: str) -> int:
    """How often the worker has said that it is away."""
    return sum(line["dependency"] == dependency for line in worker.logged_at_all("dependency_away"))


def faults(
    proxy: RedisProxy, server: EmbeddedRedis, kafka: EmbeddedKafka, worker: Worker, poll_until: Poll
) -> dict[str, Callable[[], None]]:
    """Each returns once it is over for the servers; the worker may not have noticed yet."""

    def slow() -> None:
        proxy.delay_s = DELAY_S
        time.sleep(2 * DELAY_S)
        proxy.delay_s = 0.0

    def broken_in(command: bytes) -> None:
        proxy.break_in = command
        poll_until(lambda: proxy.break_in is None, what=f"a write with {command!r}")

    def broken_after(command: bytes) -> None:
        proxy.break_after = command
        poll_until(lambda: proxy.break_after is None, what=f"a write with {command!r}")

    def killed() -> None:
        n_before = n_away(worker, "redis")
        server.stop(kill=True)
        # redis-py tries once more by itself: a server that is back at once was never missed
        poll_until(lambda: n_away(worker, "redis") > n_before, timeout_s=30, what="missing Redis")
        server.start()

    def kafka_away() -> None:
        n_before = n_away(worker, "kafka")
        kafka.stop()
        poll_until(lambda: n_away(worker, "kafka") > n_before, timeout_s=30, what="missing Kafka")
        kafka.start()

    return {
        "connections to Redis cut": proxy.cut,
        "Redis answers in 500 ms": slow,
        "reset in the middle of a write of lists": lambda: broken_in(b"SET"),
        "lists written and logged, the answer lost": lambda: broken_after(b"XADD"),
        "vectors written, the answer lost": lambda: broken_after(b"HSET"),
        "Redis killed (-9), with its data": killed,
        "Kafka away, its connections cut": kafka_away,
    }


def test_a_stream_survives_every_fault(
    make_shop_worker: Any,
    shop: Shop,
    server: EmbeddedRedis,
    proxy: RedisProxy,
    mock_cluster: EmbeddedKafka,
    prefix: str,
    poll_until: Poll,
) -> None:
    """One after the other, at random moments, in random order: batches and state are as if nothing had happened."""
    rng = random.Random(SEED)
    worker = make_shop_worker(f"redis://127.0.0.1:{proxy.port}")
    watch = Watch(server.url, prefix)  # past the proxy
    worker.start(**SETTINGS, **OFTEN)
    shop.open()
    wait_until_live(worker, poll_until)
    all_of_them = faults(proxy, server, mock_cluster, worker, poll_until)
    assert len(all_of_them) == N_FAULTS
    for _ in range(N_ROUNDS):
        for name in rng.sample(sorted(all_of_them), len(all_of_them)):
            time.sleep(rng.random() / 2)
            n_batches = max(watch.seen)
            all_of_them[name]()
            poll_until(
                lambda n_batches=n_batches: max(watch.seen) > n_batches + 3,
                timeout_s=30,
                what=f"batches after: {name}",
            )
    shop.close()
    ends_equal(worker, watch, shop, poll_until)


def test_a_redis_that_comes_back_empty_is_filled_again(
    make_shop_worker: Any, shop: Shop, prefix: str, poll_until: Poll
) -> None:
    """Killed (-9) without its data under a live worker: it notices, and writes every list again, also of who does nothing.

    The log of folds lost what it held, so what is compared is what no order changes: every message was learned once.
    """
    settings = {**SETTINGS, "without": "vectors", "text_model": "none"}
    with EmbeddedRedis() as server:
        worker, lists = make_shop_worker(server.url), RedisLists(server.url, prefix)
        worker.start(**settings, **OFTEN)
        shop.open()
        wait_until_live(worker, poll_until)
        poll_until(lambda: worker.logged("checkpoint"), what="a checkpoint")
        for _ in range(N_ROUNDS):
            before = {user for user, _ in lists.everything() if not user.startswith("visitor")}  # these go
            server.stop(kill=True)
            server.start()
            poll_until(
                lambda before=before: before <= {user for user, _ in lists.everything()},
                timeout_s=30,
                what="every list in a Redis that was empty",
            )
        worker.kill()  # whether or not it had a new checkpoint
        shop.close()
        worker.start(**settings, **OFTEN)
        wait_until_live(worker, poll_until)
        poll_until(lambda: worker.get("/ready")[0] == 200, what="readiness")
        # it is live once it has read what was there when it started, and that was all
        users = {
            record.key.decode()
            for tp, some in everything(worker).items()
            for record in some
            if tp.topic == worker.topics["interactions"]
        }
        assert all(lists.read(user) is not None for user in users - {"u"})
        assert worker.end() == 0
        assert json.loads(worker.report_path.read_text())["events"] == shop.n_interactions
        lists.close()
