"""What the contract suites need of a log or a store beyond its port: to create, cut and break it."""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

from streamer.adapters.kafka import KafkaSink, KafkaSource
from streamer.adapters.memory import ManualClock, MemoryLists, MemoryLog, MemorySink, MemorySource
from streamer.adapters.redis import RedisLists
from streamer.ports import Lists, Record, Sink, Source, TopicPartition
from streamer.servers import EmbeddedKafka, EmbeddedRedis

READ_TIMEOUT_S = 15.0

_QUIET = logging.getLogger("tests.librdkafka")  # brokers come and go here
_QUIET.setLevel(logging.CRITICAL)


def read(source: Source, n_records: int, timeout_s: float = READ_TIMEOUT_S) -> list[Record]:
    """Poll until `n_records` came, or the deadline; whatever came is returned."""
    give_up_at_s = time.monotonic() + timeout_s
    records: list[Record] = []
    while len(records) < n_records and time.monotonic() < give_up_at_s:
        records += source.poll(n_records - len(records), 0.05)
    return records


class MemoryBackend:
    """A `MemoryLog`."""

    def __init__(self) -> None:
        self.log = MemoryLog()

    def topic(self, n_partitions: int = 1) -> str:
        """A new topic with a name of its own."""
        topic = uuid.uuid4().hex
        self.create(topic, n_partitions)
        return topic

    def create(self, topic: str, n_partitions: int) -> None:
        """Make a topic of this name."""
        self.log.create_topic(topic, n_partitions)

    grow = create

    def append(
        self, topic: str, partition: int, messages: Sequence[tuple[bytes | None, bytes | None]]
    ) -> None:
        """Write messages to one partition."""
        for key, value in messages:
            self.log.append(topic, partition, key, value)

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Drop the records below `before`, as retention does."""
        self.log.truncate(TopicPartition(topic, partition), before)

    def source(self, topics: Sequence[str], group: str = "group") -> Source:
        """A source that reads these topics."""
        return MemorySource(self.log, topics, group)

    def sink(self) -> Sink:
        """A sink."""
        return MemorySink(self.log)

    def stop(self) -> None:
        """Take the log away."""
        self.log.down = True

    def start(self) -> None:
        """Bring it back."""
        self.log.down = False


class KafkaBackend:
    """A Kafka broker, by its bootstrap servers; `mock` where it is the embedded one."""

    def __init__(
        self,
        bootstrap: str,
        make_topic: Callable[..., str],
        mock: EmbeddedKafka | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        from confluent_kafka import Producer

        self._timeout_s = timeout_s

        self.bootstrap = bootstrap
        self.mock = mock
        self._make_topic = make_topic
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0}, logger=_QUIET)

    def topic(self, n_partitions: int = 1) -> str:
        """A new topic with a name of its own."""
        return self._make_topic(self.bootstrap, "contract", n_partitions=n_partitions)

    def create(self, topic: str, n_partitions: int) -> None:
        """Make a topic of this name."""
        if self.mock:
            self.mock.create_topic(topic, n_partitions)
            return
        from confluent_kafka.admin import NewTopic

        self._admin.create_topics([NewTopic(topic, n_partitions, 1)])[topic].result(timeout=30)

    def grow(self, topic: str, n_partitions: int) -> None:
        """Give a topic more partitions."""
        from confluent_kafka.admin import NewPartitions

        self._admin.create_partitions([NewPartitions(topic, n_partitions)])[topic].result(timeout=30)

    def append(
        self, topic: str, partition: int, messages: Sequence[tuple[bytes | None, bytes | None]]
    ) -> None:
        """Write messages to one partition."""
        for key, value in messages:
            self._producer.produce(topic, value, key, partition)
        assert self._producer.flush(30) == 0

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Drop the records below `before`, as retention does."""
        if self.mock:
            self.mock.truncate(topic, partition, before)
            return
        from confluent_kafka import TopicPartition as KafkaPartition

        asked = KafkaPartition(topic, partition, before)
        self._admin.delete_records([asked])[asked].result(timeout=30)

    def source(self, topics: Sequence[str], group: str = "group") -> Source:
        """A source that reads these topics."""
        group = f"{topics[0]}-{group}"
        return KafkaSource(self.bootstrap, topics, group, timeout_s=self._timeout_s, metadata_interval_s=0.2)

    def sink(self) -> Sink:
        """A sink."""
        return KafkaSink(self.bootstrap)

    def stop(self) -> None:
        """Take the log away."""
        assert self.mock
        self.mock.stop()

    def start(self) -> None:
        """Bring it back."""
        assert self.mock
        self.mock.start()

    @cached_property
    def _admin(self) -> Any:
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.bootstrap}, logger=_QUIET)


class RedisPlace(NamedTuple):
    """A server, or a cluster, and the prefix of this test's keys."""

    url: str
    prefix: str
    is_cluster: bool


class MemoryStore:
    """`MemoryLists` on a clock of its own."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.lists: Lists = MemoryLists(clock=self.clock)

    def let_expire(self, ttl_s: int, user_id: str) -> bool:
        """Let time pass; whether the list is gone after `ttl_s` and was there just before."""
        return self._let_expire(ttl_s, lambda: self.lists.read(user_id) is not None)

    def let_mark_expire(self, ttl_s: int, item_id: str) -> bool:
        """The same of the mark of a retired item."""
        return self._let_expire(ttl_s, lambda: bool(self.lists.retired([item_id])))

    def _let_expire(self, ttl_s: int, is_there: Callable[[], bool]) -> bool:
        self.clock.advance(ttl_s - 0.001)
        was_there = is_there()
        self.clock.advance(0.001)
        return was_there and not is_there()

    @contextmanager
    def breakable(self) -> Iterator[tuple[Lists, Callable[[], None], Callable[[], None]]]:
        """Lists with a way to take their store away, and one to bring it back."""
        lists = MemoryLists()
        yield lists, lambda: setattr(lists, "down", True), lambda: setattr(lists, "down", False)


class RedisStore:
    """`RedisLists` on a server, or on a cluster."""

    def __init__(self, url: str, prefix: str, *, cluster: bool) -> None:
        self.cluster = cluster
        self.lists: Lists = RedisLists(url, prefix, cluster=cluster)

    def let_expire(self, ttl_s: int, user_id: str) -> bool:
        """Let time pass; whether the list was there, and is gone after `ttl_s`."""
        return self._let_expire(ttl_s, lambda: self.lists.read(user_id) is not None)

    def let_mark_expire(self, ttl_s: int, item_id: str) -> bool:
        """The same of the mark of a retired item."""
        return self._let_expire(ttl_s, lambda: bool(self.lists.retired([item_id])))

    def _let_expire(self, ttl_s: int, is_there: Callable[[], bool]) -> bool:
        give_up_at_s = time.monotonic() + ttl_s + 5
        was_there = is_there()
        while is_there() and time.monotonic() < give_up_at_s:
            time.sleep(0.02)
        return was_there and not is_there()

    @contextmanager
    def breakable(self) -> Iterator[tuple[Lists, Callable[[], None], Callable[[], None]]]:
        """Lists with a way to take their store away, and one to bring it back."""
        with EmbeddedRedis(cluster=self.cluster, persist=True) as server:
            lists = RedisLists(server.url, "breakable:", cluster=self.cluster, timeout_s=2.0)
            yield lists, lambda: server.stop(kill=True), server.start
            lists.close()


Log = MemoryBackend | KafkaBackend
Store = MemoryStore | RedisStore
Headers = Mapping[str, bytes]
