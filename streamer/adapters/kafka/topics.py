"""How Kafka keeps topics: for `streamer check`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # ConfigResource is public; its types forgot to say so
    AdminClient,
    ConfigResource,
)

from streamer.adapters.kafka.connection import Connection, make_client, merged_config

KEPT_FOR_EVER = -1


class Keeping(NamedTuple):
    """For how long a topic keeps what is on it; times in milliseconds, -1 = for ever."""

    is_compacted: bool
    is_deleted: bool  # what is older than the retention, or over its size
    retention_ms: int
    retention_bytes: int  # of a partition, -1 = without limit
    null_values_ms: int  # how long compaction keeps a null value
    is_dated_by_log: bool  # a message's time is the broker's, when it came; else its producer's


def how_kept(
    bootstrap: str, topics: Sequence[str], config: Mapping[str, str] | None = None, timeout_s: float = 2.0
) -> dict[str, Keeping]:
    """Topic -> how it is kept. Those of which Kafka does not tell (no right, no such topic, the embedded broker) are left out.

    Raises:
        ConfigError: librdkafka refuses a setting.
    """
    client = make_client(AdminClient, merged_config(bootstrap, {}, config, {}), config, Connection(bootstrap))
    asked = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    known: dict[str, Keeping] = {}
    for resource, answer in client.describe_configs(asked, request_timeout=timeout_s).items():
        try:
            known[resource.name] = _keeping(answer.result())
        except (KafkaException, KeyError, ValueError):
            continue
    return known


def _keeping(entries: Mapping[str, Any]) -> Keeping:
    policy = str(entries["cleanup.policy"].value).split(",")
    return Keeping(
        is_compacted="compact" in policy,
        is_deleted="delete" in policy,
        retention_ms=int(entries["retention.ms"].value),
        retention_bytes=int(entries["retention.bytes"].value),
        null_values_ms=int(entries["delete.retention.ms"].value),
        is_dated_by_log=entries["message.timestamp.type"].value == "LogAppendTime",
    )
