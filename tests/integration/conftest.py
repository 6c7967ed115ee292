"""Fixtures of the tests that kill workers: topics, a shop, and workers on them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shop import N_PARTITIONS, PAUSE_S, Shop
from workers import Worker

SEED = 11


@pytest.fixture
def shop_kafka(request: pytest.FixtureRequest) -> str:
    """Bootstrap servers: of the mock cluster, or of a real broker where a test asks for "real"."""
    return str(request.getfixturevalue(f"{getattr(request, 'param', 'mock')}_kafka"))


@pytest.fixture
def shop_topics(shop_kafka: str, make_topic: Callable[..., str]) -> dict[str, str]:
    """Kind -> topic; interactions have two partitions."""
    n_partitions = {"interactions": N_PARTITIONS}
    kinds = ("interactions", "catalog", "profiles", "texts", "dead_letters")
    return {kind: make_topic(shop_kafka, kind, n_partitions=n_partitions.get(kind, 1)) for kind in kinds}


@pytest.fixture
def shop(shop_kafka: str, shop_topics: dict[str, str]) -> Iterator[Shop]:
    """With its catalog on the log, and not open yet."""
    shop = Shop(shop_kafka, shop_topics, SEED, PAUSE_S)
    shop.stock(280)
    yield shop
    shop.close()


@pytest.fixture
def make_own_worker(
    make_topic: Callable[..., str], redis_url: str, prefix: str, tmp_path: Path
) -> Iterator[Callable[[str], Worker]]:
    """A worker on topics of its own, not started, by its Kafka."""
    made: list[Worker] = []

    def make(kafka: str) -> Worker:
        kinds = ("interactions", "catalog", "profiles", "texts", "dead_letters")
        topics = {kind: make_topic(kafka, kind) for kind in kinds}
        made.append(Worker(tmp_path, kafka, redis_url, prefix, topics))
        return made[-1]

    yield make
    for worker in made:
        worker.kill()


@pytest.fixture
def make_shop_worker(
    shop_kafka: str, shop_topics: dict[str, str], tmp_path: Path, prefix: str
) -> Iterator[Any]:
    """A worker, by the URL of its Redis."""
    made: list[Worker] = []

    def make(redis_url: str) -> Worker:
        made.append(Worker(tmp_path, shop_kafka, redis_url, prefix, shop_topics))
        return made[-1]

    yield make
    for worker in made:
        worker.kill()
