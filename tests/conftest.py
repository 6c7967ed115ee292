"""Servers for the tests, one of each a session; names and keys are unique, and every test removes its own.

A server that cannot be had is a skip on a laptop and a failure where CI is set.
"""

import gc
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kafka_cluster import create_on_broker, kafka_cluster, skip_or_fail

from streamer.errors import ConfigError
from streamer.servers import EmbeddedKafka, EmbeddedRedis

REPO_ROOT = Path(__file__).resolve().parent.parent

MakeTopic = Callable[..., str]
T = TypeVar("T")


def _poll_until(look: Callable[[], T], *, timeout_s: float = 10.0, what: str = "it") -> T:
    give_up_at_s = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > give_up_at_s:
            pytest.fail(f"{what} did not happen within {timeout_s} s; last seen: {found!r}")
        time.sleep(0.01)
    return found


@pytest.fixture(scope="session")
def poll_until() -> Callable[..., Any]:
    """`poll_until(look, timeout_s=10, what="...")`: the first true result of `look`, or a failed test."""
    return _poll_until


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis for the whole session: STREAMER_TEST_REDIS, else an embedded one."""
    if url := os.environ.get("STREAMER_TEST_REDIS"):
        yield url
        return
    try:
        server = EmbeddedRedis()
    except ConfigError as exc:
        skip_or_fail(str(exc))
    with server:
        yield server.url


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    """A Redis Cluster of one node that owns all slots."""
    try:
        server = EmbeddedRedis(cluster=True)
    except ConfigError as exc:
        skip_or_fail(str(exc))
    with server:
        yield server.url


@pytest.fixture
def interpreter_as_before() -> Iterator[None]:
    """What a worker sets for its whole process, which is ours, is put back."""
    interval_s, thresholds = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(interval_s)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.fixture
def prefix(redis_url: str) -> Iterator[str]:
    """A key prefix of this test's own; its keys are removed afterwards."""
    import redis

    own = f"test:{uuid.uuid4().hex}:"
    yield own
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=own + "*", count=1000):
            client.delete(key)


@pytest.fixture(scope="session")
def mock_cluster() -> Iterator[EmbeddedKafka]:
    """librdkafka's mock cluster, for tests that have to reach into it."""
    with EmbeddedKafka() as kafka:
        yield kafka


@pytest.fixture(scope="session")
def mock_kafka(mock_cluster: EmbeddedKafka) -> str:
    """Bootstrap servers of the mock cluster."""
    return mock_cluster.bootstrap


@pytest.fixture(scope="session")
def real_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real broker: STREAMER_TEST_KAFKA, else ../shared/kafka for this session."""
    if bootstrap := os.environ.get("STREAMER_TEST_KAFKA"):
        yield bootstrap
        return
    with kafka_cluster(tmp_path_factory.mktemp("kafka"), 1) as cluster:
        yield cluster.bootstrap


@pytest.fixture
def make_topic(request: pytest.FixtureRequest) -> Iterator[MakeTopic]:
    """Factory of topics with unique names: `make_topic(bootstrap, "catalog", n_partitions=3) -> name`."""
    made: dict[str, list[str]] = {}

    def make(bootstrap: str, name: str = "topic", *, n_partitions: int = 1) -> str:
        topic = f"{name}-{uuid.uuid4().hex[:12]}"
        mock = request.getfixturevalue("mock_cluster")
        if bootstrap == mock.bootstrap:
            mock.create_topic(topic, n_partitions)  # the mock forgets everything at the end of the session
        else:
            create_on_broker(bootstrap, topic, n_partitions)
            made.setdefault(bootstrap, []).append(topic)
        return topic

    yield make
    for bootstrap, topics in made.items():
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": bootstrap})  # must live until its requests are answered
        for deleted in admin.delete_topics(topics).values():
            deleted.result(timeout=30)
