"""What the Kafka adapters add to their ports: settings, secrets, limits, and errors that say what to do."""

import logging
import os
import random
import time
from collections.abc import Callable

import pytest
from backends import read
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streamer.adapters.kafka import KafkaSink, KafkaSource, Keeping, headers, how_kept
from streamer.adapters.kafka.committer import Committer
from streamer.adapters.kafka.connection import Connection
from streamer.adapters.kafka.partitioner import JAVA, LIBRDKAFKA, partition_of
from streamer.errors import ConfigError, InvalidEvent, Unavailable
from streamer.ports import TopicPartition
from streamer.servers import EmbeddedKafka

NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize("bootstrap", [NOBODY, "no-such-host.invalid:9092"])
def test_a_wrong_broker_is_named_in_time(bootstrap: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A broker that does not answer is `Unavailable` with its address within the time set, and stderr stays
    clean."""
    source = KafkaSource(bootstrap, ["t"], "g", timeout_s=0.5)
    began_s = time.monotonic()
    with pytest.raises(Unavailable, match=f"Kafka at {bootstrap}"):
        source.poll(1, 0.1)
    assert time.monotonic() - began_s < 3
    source.close()

    sink = KafkaSink(bootstrap, timeout_s=1.0)
    sink.send("t", b"k", b"v")
    with pytest.raises(Unavailable, match=f"Kafka at {bootstrap}"):
        sink.flush(0.5)
    sink.close()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"no.such.setting": "hunter2"}, "no.such.setting"),
        ({"socket.timeout.ms": "hunter2"}, "socket.timeout.ms"),
        ({"security.protocol": "hunter2"}, "security.protocol"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/hunter2"}, "refused"),
    ],
)
def test_bad_settings_are_refused_without_their_values(config: dict[str, str], says: str) -> None:
    """What librdkafka refuses is a `ConfigError` that names the setting, never its value: it may be a
    password."""
    for make in (
        lambda: KafkaSource(NOBODY, ["t"], "g", config=config),
        lambda: KafkaSink(NOBODY, config=config),
    ):
        with pytest.raises(ConfigError, match=says) as refused:
            make()
        assert "hunter2" not in str(refused.value)
        assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    "setting", ["auto.offset.reset", "enable.auto.commit", "group.id", "bootstrap.servers"]
)
def test_settings_of_the_fold_cannot_be_passed_through(setting: str) -> None:
    """Settings that would skip records, or commit what was not folded, are ours alone."""
    with pytest.raises(ConfigError, match=setting):
        KafkaSource(NOBODY, ["t"], "g", config={setting: "latest"})


def test_settings_reach_librdkafka(mock_cluster: EmbeddedKafka, make_topic: Callable[..., str]) -> None:
    """What is passed through is used: a small `message.max.bytes` makes a message too large, which no retry
    can heal."""
    sink = KafkaSink(mock_cluster.bootstrap, config={"message.max.bytes": "2000"})
    topic = make_topic(mock_cluster.bootstrap)
    sink.send(topic, b"k", b"x" * 1000)
    with pytest.raises(InvalidEvent, match="larger") as refused:
        sink.send(topic, b"k", b"x" * 5000)
    assert refused.value.reason == "size"
    sink.flush(10)
    sink.close()


def test_which_partition_a_key_has_can_be_set(
    mock_cluster: EmbeddedKafka, make_topic: Callable[..., str]
) -> None:
    """By default it is that of Java clients, which differs from librdkafka's own; a setting makes it that one. Keys "a" to "d":
    (murmur2 & 0x7fffffff) % 4 and crc32 % 4, computed without Kafka."""
    murmur2, crc32 = [0, 0, 2, 1], [3, 1, 3, 0]
    for config, expected in ({}, murmur2), ({"partitioner": "consistent_random"}, crc32):
        topic = make_topic(mock_cluster.bootstrap, n_partitions=4)
        sink = KafkaSink(mock_cluster.bootstrap, config=config)
        source = KafkaSource(mock_cluster.bootstrap, [topic], "g", config=config)
        for key in (b"a", b"b", b"c", b"d"):
            sink.send(topic, key, b"x")
        sink.close()
        records = read(source, 4)
        source.close()
        assert [partition for _, partition in sorted((r.key, r.partition) for r in records)] == expected


@pytest.mark.parametrize("partitioner", [JAVA, LIBRDKAFKA])
def test_we_know_where_a_key_goes(
    mock_cluster: EmbeddedKafka, make_topic: Callable[..., str], partitioner: str
) -> None:
    """`partition_of` says what librdkafka does, for keys of any length and bytes."""
    draw = random.Random(7)
    keys = {draw.randbytes(n_bytes) for n_bytes in range(1, 40) for _ in range(5)}
    topic = make_topic(mock_cluster.bootstrap, n_partitions=7)
    sink = KafkaSink(mock_cluster.bootstrap, config={"partitioner": partitioner})
    source = KafkaSource(mock_cluster.bootstrap, [topic], "g")
    for key in sorted(keys):
        sink.send(topic, key, b"x")
    sink.close()
    found = {record.key: record.partition for record in read(source, len(keys))}
    source.close()
    assert found == {key: partition_of(key, 7, partitioner) for key in keys}


@pytest.mark.kafka
def test_what_the_broker_finds_too_large_is_no_outage(
    real_kafka: str, make_topic: Callable[..., str]
) -> None:
    """A message over the broker's limit is `InvalidEvent` by `flush`, and goes on, up to that limit."""
    sink = KafkaSink(real_kafka)
    topic = make_topic(real_kafka)
    with pytest.raises(InvalidEvent, match="larger"):  # noqa: PT012  either call may tell
        sink.send(topic, b"k", os.urandom(2_000_000))
        sink.flush(30)
    sink.send(topic, b"k", os.urandom(1_040_000), {"reason": b"size"})  # its limit: 1,048,588 a batch
    sink.flush(30)
    sink.close()


def test_how_topics_are_kept(real_kafka: str, make_topic: Callable[..., str]) -> None:
    """As the broker has it for each topic; one that is not there is left out."""
    from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

    plain, kept = make_topic(real_kafka), make_topic(real_kafka)
    wanted = {
        "cleanup.policy": "compact,delete",
        "retention.ms": "-1",
        "delete.retention.ms": "3153600000000",
        "message.timestamp.type": "LogAppendTime",
    }
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in wanted.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, kept, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": real_kafka})  # kept: its answers end with it
    (done,) = admin.incremental_alter_configs([resource]).values()
    done.result(timeout=10)
    assert how_kept(real_kafka, [plain, kept, "no-such-topic"]) == {
        plain: Keeping(False, True, 7 * 86_400_000, -1, 86_400_000, False),  # Kafka's defaults
        kept: Keeping(True, True, -1, -1, 3_153_600_000_000, True),
    }


def test_a_broker_that_does_not_tell_how_topics_are_kept(
    mock_kafka: str, make_topic: Callable[..., str]
) -> None:
    """Nothing is known then, and nothing raised."""
    assert how_kept(mock_kafka, [make_topic(mock_kafka)], timeout_s=0.5) == {}


def test_a_full_queue_waits_then_raises() -> None:
    """`send` blocks while the queue is full, for no longer than the time set."""
    sink = KafkaSink(
        NOBODY, config={"queue.buffering.max.messages": "10", "message.timeout.ms": "60000"}, timeout_s=0.3
    )
    for _ in range(10):
        sink.send("t", b"k", b"v")
    began_s = time.monotonic()
    with pytest.raises(Unavailable, match=NOBODY):
        sink.send("t", b"k", b"v")
    assert 0.3 <= time.monotonic() - began_s < 3


def test_librdkafka_logs_for_debugging_only(caplog: pytest.LogCaptureFixture) -> None:
    """What librdkafka has to say goes to our logger, below the level that people see by default."""
    with caplog.at_level(logging.DEBUG, logger="streamer.adapters.kafka"):
        source = KafkaSource(NOBODY, ["t"], "g", timeout_s=0.5)
        with pytest.raises(Unavailable):
            source.poll(1, 0.1)
        source.close()
    lines = [record for record in caplog.records if record.name == "streamer.adapters.kafka"]
    assert any("Connection refused" in line.getMessage() for line in lines)
    assert {line.levelno for line in lines} == {logging.DEBUG}


def test_credentials_refused_from_the_start_are_a_config_error(mock_kafka: str) -> None:
    """A broker that refuses to log us in is no outage: no waiting heals it. The password is not shown."""
    config = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "somebody",
        "sasl.password": "hunter2",
    }
    source = KafkaSource(mock_kafka, ["t"], "g", config=config, timeout_s=0.5)
    with pytest.raises(ConfigError, match=f"{mock_kafka}.*SASL.*check mechanism") as refused:
        source.poll(1, 0.1)
    assert "hunter2" not in str(refused.value)
    source.close()


def test_a_producer_that_lost_its_place_is_replaced(
    mock_kafka: str, make_topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fatal error ends a producer of librdkafka for good: the sink raises once, then works with a new
    one."""

    class Lost:
        def produce(self, *_: object, **__: object) -> None:
            raise KafkaException(KafkaError(KafkaError._FATAL, "out of sequence"))

    sink = KafkaSink(mock_kafka)
    topic = make_topic(mock_kafka)
    monkeypatch.setattr(sink, "_producer", Lost())
    with pytest.raises(Unavailable, match="out of sequence"):
        sink.send(topic, b"k", b"v")
    sink.send(topic, b"k", b"v")
    sink.flush(10)
    sink.close()


@pytest.mark.kafka
def test_a_topic_that_vanishes_is_told_until_it_is_back(
    real_kafka: str, make_topic: Callable[..., str], poll_until: Callable[..., object]
) -> None:
    """A topic deleted under us is `Unavailable` at every poll; made anew, it is read from its beginning."""
    from confluent_kafka.admin import AdminClient, NewTopic

    topic = make_topic(real_kafka)
    sink = KafkaSink(real_kafka)
    sink.send(topic, b"k", b"old")
    sink.flush(30)
    source = KafkaSource(real_kafka, [topic], "g", metadata_interval_s=1.0)
    assert poll_until(lambda: source.poll(1, 0.1), what="the record")

    admin = AdminClient({"bootstrap.servers": real_kafka})
    admin.delete_topics([topic])[topic].result(timeout=30)

    def missing() -> bool:
        try:
            return bool(source.poll(1, 0.05))
        except Unavailable as exc:
            return f"'{topic}' does not exist" in str(exc)

    poll_until(missing, what="Unavailable")
    assert all(missing() for _ in range(3))

    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(timeout=30)

    def back() -> list[bytes | None]:
        try:
            sink.send(topic, b"k", b"new")
            sink.flush(10)
            return [record.value for record in source.poll(1, 0.1)]
        except Unavailable:
            return []

    assert poll_until(back, timeout_s=30, what="the new topic's record") == [b"new"]
    source.close()
    sink.close()


class _MessageWithAStrangeHeader:
    def headers(self) -> None:
        raise SystemError("returned a result with an exception set")


def test_a_header_name_that_is_no_text_costs_the_headers_alone() -> None:
    """Whoever writes messages may write any bytes as a name: the client cannot read them, the worker goes on."""
    assert headers(_MessageWithAStrangeHeader()) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("n_before", [0, 1, 2])
def test_a_client_that_goes_back_to_the_beginning_is_sent_on(
    mock_cluster: EmbeddedKafka,
    make_topic: Callable[..., str],
    poll_until: Callable[..., object],
    n_before: int,
) -> None:
    """Records from before the offset that is due are never delivered, and those behind it all are: librdkafka has been
    seen to read from the beginning after a seek, before its first record or after some, which the assignment in the middle
    stands for."""
    topic = make_topic(mock_cluster.bootstrap)
    sink = KafkaSink(mock_cluster.bootstrap)
    for n in range(10):
        sink.send(topic, b"k", str(n).encode())
    sink.flush(30)
    sink.close()
    source = KafkaSource(mock_cluster.bootstrap, [topic], "g")
    place = TopicPartition(topic, 0)
    source.seek({place: 7})
    offsets: list[int] = []

    def read(n_most: int, n_records: int) -> None:
        def all_read() -> bool:
            offsets.extend(record.offset for record in source.poll(n_most, 0.1))
            return len(offsets) >= n_records

        poll_until(all_read, what="the records")

    for n in range(n_before):
        read(1, n + 1)
    source._go_to({place: 0})
    read(100, 3)
    assert offsets == [7, 8, 9]
    source.close()


def test_what_is_watched_after_a_seek_is_let_go(
    mock_cluster: EmbeddedKafka, make_topic: Callable[..., str], poll_until: Callable[..., object]
) -> None:
    """A partition costs a look at each record for `timeout_s` after a seek, and until its first record."""
    topic = make_topic(mock_cluster.bootstrap)
    source = KafkaSource(mock_cluster.bootstrap, [topic], "g", timeout_s=0.5)
    source.seek({TopicPartition(topic, 0): 0})
    assert source.poll(1, 0.6) == []
    sink = KafkaSink(mock_cluster.bootstrap)
    assert source._sought == {TopicPartition(topic, 0): 0}
    sink.send(topic, b"k", b"0")
    sink.flush(30)
    poll_until(lambda: bool(source.poll(10, 0.1)), what="the record")
    assert source._sought == {}
    sink.close()
    source.close()


def test_wrong_credentials_are_a_config_error_until_kafka_answered_once() -> None:
    """No waiting heals them at the start; later it is the server that changed, so we wait for it."""
    kafka, refused = Connection("h:1"), KafkaError(KafkaError.SASL_AUTHENTICATION_FAILED)
    with pytest.raises(ConfigError, match="check mechanism, user name and password"):
        kafka.fail("reading", refused)
    kafka.answered = True
    with pytest.raises(Unavailable, match="Kafka at h:1: reading"):
        kafka.fail("reading", refused)


def test_missing_rights_are_a_config_error_until_kafka_let_us_do_it_once() -> None:
    """For each thing by itself: what was allowed once is waited for; what was not, while others are, is not."""
    for code in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ):
        kafka, refused = Connection("h:1"), KafkaError(code)
        kafka.answered = True
        kafka.passed.add("reading topic 'b'")
        with pytest.raises(ConfigError, match=r"h:1: reading topic 'a': .*; check the ACLs of the user"):
            kafka.fail("reading topic 'a'", refused)
        with pytest.raises(ConfigError, match="ACLs"):
            kafka.fail("the end of a", refused, right="reading topic 'a'")
        with pytest.raises(Unavailable, match="Kafka at h:1: reading topic 'b'"):
            kafka.fail("reading topic 'b'", refused)
        with pytest.raises(Unavailable, match="the end of b"):
            kafka.fail("the end of b", refused, right="reading topic 'b'")


def test_the_first_broken_connection_says_why() -> None:
    """After it librdkafka tells that all brokers are down, which says nothing."""
    kafka = Connection("h:1")
    kafka.on_error(KafkaError(KafkaError._SSL, "certificate has expired"))
    kafka.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    with pytest.raises(Unavailable, match="certificate has expired"):
        kafka.fail("reading", KafkaError(KafkaError._TIMED_OUT))


class LateClient:
    """Answers a commit only when the next one is made."""

    def __init__(self, told: Callable[..., None]) -> None:
        self._told = told
        self._unanswered: list[list[KafkaPartition]] = []

    def commit(self, *, offsets: list[KafkaPartition], asynchronous: bool) -> None:
        """Take a commit; the answer to the one before is on its way now."""
        assert asynchronous
        self._unanswered.append(offsets)

    def poll(self, timeout_s: float) -> None:
        """Give the answer to the commit before the last one, once."""
        if len(self._unanswered) > 1 or (self._unanswered and timeout_s == 0):
            self._told(None, self._unanswered.pop(0))

    def close(self) -> None:
        """Nothing to leave."""


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_commit_s() -> None:
    """A commit that was given up may be answered later: the next one waits for an answer of its own."""
    committer = Committer(LateClient)  # type: ignore[arg-type]  # all of a consumer that it calls
    first, second = [KafkaPartition("t", 0, 1)], [KafkaPartition("t", 0, 2)]
    with pytest.raises(KafkaException):
        committer.commit(first, 0.01)
    with pytest.raises(KafkaException):
        committer.commit(second, 0.01)
