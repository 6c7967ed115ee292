"""The embedded Kafka: the mock cluster of librdkafka."""

import ctypes
from collections.abc import Mapping
from typing import Any

from streamer.errors import ConfigError, Unavailable
from streamer.servers.process import Server

# For consumers of the embedded Kafka: it answers an empty fetch after all of the wait, whatever has come meanwhile, where a real
# broker answers as soon as there is something. As settings of `streamer`.
READER_SETTINGS = {"kafka_config.fetch.wait.max.ms": "2"}

_BROKER_ID = 1  # the mock cluster numbers its brokers from 1
_PRODUCER = 0  # RD_KAFKA_PRODUCER
_ERRSTR_BYTES = 512


def _librdkafka() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka brought along, with the signatures of its mock cluster.

    Raises:
        ConfigError: this build of confluent-kafka does not show the mock cluster.
    """
    from confluent_kafka import cimpl  # noqa: PLC0415  only whoever embeds a Kafka pays for the import

    # Opening the extension module itself finds its librdkafka too, whatever the wheel named that file.
    lib = ctypes.CDLL(cimpl.__file__)
    handle, text, number, code = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int
    partition, offset = ctypes.c_int32, ctypes.c_int64
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "rd_kafka_conf_new": (handle, []),
        "rd_kafka_conf_set_log_cb": (None, [handle, handle]),
        "rd_kafka_new": (handle, [number, handle, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [handle]),
        "rd_kafka_err2name": (text, [code]),
        "rd_kafka_mock_cluster_new": (handle, [handle, number]),
        "rd_kafka_mock_cluster_destroy": (None, [handle]),
        "rd_kafka_mock_cluster_bootstraps": (text, [handle]),
        "rd_kafka_mock_topic_create": (code, [handle, text, number, number]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [handle, partition]),
        "rd_kafka_mock_broker_set_down": (code, [handle, partition]),
        "rd_kafka_mock_broker_set_up": (code, [handle, partition]),
    }
    # Newer than the oldest librdkafka we accept: only `truncate` needs it.
    if hasattr(lib, "rd_kafka_mock_partition_delete_records"):
        signatures["rd_kafka_mock_partition_delete_records"] = (code, [handle, text, partition, offset])
    try:
        for name, (result, arguments) in signatures.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as exc:
        raise ConfigError(
            f"the embedded Kafka needs librdkafka's mock cluster, and this confluent-kafka hides it ({exc}); "
            "install confluent-kafka from its binary wheel, or name a real broker with --kafka"
        ) from exc
    return lib


class EmbeddedKafka(Server):
    """librdkafka's mock cluster, one broker, inside this process; other processes may connect to it.

    It keeps about 5 MiB of *compressed* bytes a partition, then drops the oldest without a word: 200-byte
    JSON messages kept are some 25 thousand uncompressed, 100 thousand with lz4, 165 thousand with zstd. A
    producer that can outrun its readers by more than that has to pace itself. It has consumer groups, commits
    and headers, but no admin requests, no compaction and no durability.

    Args:
        topics: Topic -> number of partitions. Topics named nowhere are made on first produce, with 4
            partitions.

    Raises:
        ConfigError: this build of librdkafka has no mock cluster to offer.
        Unavailable: the cluster could not be started.
    """

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        self._lib = _librdkafka()
        self._cluster: int | None = None
        conf = self._lib.rd_kafka_conf_new()
        self._lib.rd_kafka_conf_set_log_cb(conf, None)  # its own log lines are of no use, and go to stderr
        reason = ctypes.create_string_buffer(_ERRSTR_BYTES)
        self._client = self._lib.rd_kafka_new(_PRODUCER, conf, reason, _ERRSTR_BYTES)
        if not self._client:
            raise Unavailable(
                f"embedded Kafka: librdkafka did not start: {reason.value.decode(errors='replace')}"
            )
        self._cluster = self._lib.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            self.close()
            raise Unavailable("embedded Kafka: the mock cluster did not start; is a loopback port free?")
        self._lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap: str = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        try:
            for topic, n_partitions in (topics or {}).items():
                self.create_topic(topic, n_partitions)
        except Unavailable:
            self.close()
            raise

    def create_topic(self, topic: str, n_partitions: int = 1) -> None:
        """Make a topic.

        Raises:
            Unavailable: the cluster refuses it, most likely because it is there already.
        """
        error = self._lib.rd_kafka_mock_topic_create(self._open(), topic.encode(), n_partitions, 1)
        self._check(error, f"create topic {topic!r} with {n_partitions} partitions")

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Drop the records below offset `before`, as retention does.

        Raises:
            ConfigError: librdkafka is too old to do this (confluent-kafka 2.16 can).
            Unavailable: no such partition or offset.
        """
        drop = getattr(self._lib, "rd_kafka_mock_partition_delete_records", None)
        if drop is None:
            raise ConfigError(
                "embedded Kafka: this librdkafka cannot delete records; use confluent-kafka >= 2.16"
            )
        self._check(drop(self._open(), topic.encode(), partition, before), f"truncate {topic}[{partition}]")

    def stop(self) -> None:
        """Take the broker off the network; its data and its port stay."""
        self._check(self._lib.rd_kafka_mock_broker_set_down(self._open(), _BROKER_ID), "stop the broker")

    def start(self) -> None:
        """Bring the broker back after `stop`."""
        self._check(self._lib.rd_kafka_mock_broker_set_up(self._open(), _BROKER_ID), "start the broker")

    def close(self) -> None:
        """End the cluster and forget its data. Idempotent."""
        if self._cluster:
            self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
            self._cluster = None
        if self._client:
            self._lib.rd_kafka_destroy(self._client)
            self._client = None

    def _open(self) -> int:
        # A closed cluster is a null pointer, and librdkafka would follow it.
        if self._cluster is None:
            raise Unavailable("embedded Kafka: used after close")
        return self._cluster

    def _check(self, error: int, what: str) -> None:
        if error:
            raise Unavailable(
                f"embedded Kafka: could not {what}: {self._lib.rd_kafka_err2name(error).decode()}"
            )
