"""Kafka and the stores on Redis, as the settings name them.

Clients are imported inside, so that a command loads only the one it needs.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from streamer.config import Settings

if TYPE_CHECKING:
    from streamer.adapters.kafka import KafkaSink, KafkaSource
    from streamer.adapters.redis import RedisConnection

TIMEOUT_S: Final = 10.0  # for Kafka, where somebody waits for a command

Store = TypeVar("Store", bound="RedisConnection")


def source_of(settings: Settings, topics: Iterable[str]) -> "KafkaSource":
    """These topics of the settings' Kafka, read with their group; to be closed.

    Raises:
        ConfigError: no Kafka is set, or librdkafka refuses a setting.
    """
    from streamer.adapters.kafka import KafkaSource  # noqa: PLC0415

    return KafkaSource(settings.require_kafka(), list(topics), settings.group, config=settings.kafka_config)


def sink_of(settings: Settings, timeout_s: float = TIMEOUT_S) -> "KafkaSink":
    """A producer for the settings' Kafka; to be closed.

    Args:
        timeout_s: For a message to be acknowledged.

    Raises:
        ConfigError: no Kafka is set, or librdkafka refuses a setting.
    """
    from streamer.adapters.kafka import KafkaSink  # noqa: PLC0415

    return KafkaSink(settings.require_kafka(), config=settings.kafka_config, timeout_s=timeout_s)


def on_redis(kind: type[Store], settings: Settings) -> Store:
    """A store of this kind on the Redis of the settings, with their prefix, TLS, user and password; to be closed.

    Raises:
        ConfigError: no Redis is set, or it cannot be reached that way.
    """
    return kind(
        settings.require_redis(),
        settings.prefix,
        cluster=settings.redis_cluster,
        options=settings.redis_config,
    )
