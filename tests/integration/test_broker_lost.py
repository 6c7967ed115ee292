"""One Kafka broker of three is lost: the worker goes on, and every message is folded once.

Three brokers, and every message on three of them, take longer than CI has: `ops/bench/kills --what broker` runs this.
"""

import os
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from equality import ends_equal
from kafka_cluster import KafkaCluster, create_on_broker, kafka_cluster
from shop import N_KILLS, N_PARTITIONS, OFTEN, SETTINGS, Poll, Shop, Watch, wait_until_live

SEED = 13
N_BROKERS = 3
KINDS = ("interactions", "catalog", "profiles", "texts", "dead_letters")

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.timeout(200 + 40 * N_KILLS),
    pytest.mark.skipif(
        os.environ.get("STREAMER_TEST_CLUSTER") != "all", reason="STREAMER_TEST_CLUSTER is not all"
    ),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three brokers, which take a message when two of them have it."""
    with kafka_cluster(tmp_path_factory.mktemp("cluster"), N_BROKERS) as cluster:
        yield cluster


@pytest.fixture
def shop_kafka(cluster: KafkaCluster) -> str:
    """All three of them."""
    return cluster.bootstrap


@pytest.fixture
def shop_topics(shop_kafka: str) -> dict[str, str]:
    """Kind -> topic, with all its messages on every broker."""
    topics = {kind: f"{kind}-{uuid.uuid4().hex[:12]}" for kind in KINDS}
    for kind, topic in topics.items():
        n_partitions = N_PARTITIONS if kind == "interactions" else 1
        create_on_broker(shop_kafka, topic, n_partitions, N_BROKERS)
    return topics


def leader_of(kafka: str, topic: str, partition: int) -> int:
    """The broker that takes its messages now."""
    metadata = AdminClient({"bootstrap.servers": kafka}).list_topics(topic, timeout=10)
    return int(metadata.topics[topic].partitions[partition].leader)


def n_in_sync(kafka: str, topics: dict[str, str]) -> int:
    """Brokers that have every message of the partition which fewest of them have."""
    found = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=10).topics
    return min(len(of.isrs) for topic in topics.values() for of in found[topic].partitions.values())


def test_a_broker_that_is_killed_loses_nothing(
    cluster: KafkaCluster,
    make_shop_worker: Any,
    shop: Shop,
    shop_topics: dict[str, str],
    redis_url: str,
    prefix: str,
    poll_until: Poll,
) -> None:
    """The one that leads a partition, killed (-9) and brought back, again and again: the worker never ends, and learns all along.

    Its list of batches holds every message once, and its state is that of these batches folded from nothing.
    """
    rng, worker, watch = random.Random(SEED), make_shop_worker(redis_url), Watch(redis_url, prefix)
    worker.start(**SETTINGS, **OFTEN)
    # before there is much to catch up with: three brokers leave a small machine little
    wait_until_live(worker, poll_until)
    shop.open()
    for n in range(N_KILLS):
        poll_until(
            lambda: n_in_sync(cluster.bootstrap, shop_topics) == N_BROKERS, timeout_s=60, what="all in sync"
        )
        time.sleep(rng.random() * 2)
        cluster.kill(leader_of(cluster.bootstrap, shop_topics["interactions"], n % N_PARTITIONS))
        n_batches = max(watch.seen)
        poll_until(
            lambda n_batches=n_batches: max(watch.seen) > n_batches + 20,
            timeout_s=60,
            what="batches without it",
        )
        assert n_in_sync(cluster.bootstrap, shop_topics) == N_BROKERS - 1
        cluster.bring_back()
    shop.close()
    ends_equal(worker, watch, shop, poll_until)
