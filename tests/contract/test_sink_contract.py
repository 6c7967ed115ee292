"""One suite for every `ports.Sink`: in memory, on the mock cluster, on a real Kafka."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from backends import KafkaBackend, Log, MemoryBackend, read

from streamer.errors import Unavailable
from streamer.ports import Sink
from streamer.servers import EmbeddedKafka


@pytest.fixture(params=["memory", "mock", pytest.param("real", marks=pytest.mark.kafka)])
def log(request: pytest.FixtureRequest, make_topic: Callable[..., str]) -> Log:
    """The log under test."""
    if request.param == "memory":
        return MemoryBackend()
    if request.param == "mock":
        mock = request.getfixturevalue("mock_cluster")
        return KafkaBackend(mock.bootstrap, make_topic, mock)
    return KafkaBackend(request.getfixturevalue("real_kafka"), make_topic)


@pytest.fixture
def sink(log: Log) -> Iterator[Sink]:
    """A sink on that log."""
    sink = log.sink()
    yield sink
    sink.close()


def test_what_is_sent_is_on_the_log(log: Log, sink: Sink) -> None:
    """After `flush`, keys, values, tombstones, empty values and headers lie on the log, in the order of
    sending."""
    topic = log.topic()
    sent = [(b"k", b"v"), (None, b"no key"), (b"gone", None), (b"empty", b"")]
    for key, value in sent:
        sink.send(topic, key, value)
    sink.send(topic, b"h", b"v", {"reason": b"json", "offset": b"17"})
    sink.flush(30)

    source = log.source([topic])
    records = read(source, 5)
    source.close()
    assert [(r.key, r.value) for r in records] == [*sent, (b"h", b"v")]
    assert [r.headers for r in records[:4]] == [()] * 4
    assert records[4].headers == (("reason", b"json"), ("offset", b"17"))


def test_one_key_one_partition_in_order(log: Log, sink: Sink) -> None:
    """Messages of one key keep to one partition and to their order; several keys spread over several
    partitions."""
    topic = log.topic(3)
    keys = [f"user{i}".encode() for i in range(20)]
    for n in range(10):
        for key in keys:
            sink.send(topic, key, b"%d" % n)
    sink.flush(30)

    source = log.source([topic])
    records = read(source, 200)
    source.close()
    for key in keys:
        mine = [r for r in records if r.key == key]
        assert [r.value for r in mine] == [b"%d" % n for n in range(10)]
        assert len({r.partition for r in mine}) == 1
    assert len({r.partition for r in records}) == 3


def test_close_flushes(log: Log) -> None:
    """`close` delivers what is queued and may be called twice; a closed sink refuses with `Unavailable`."""
    topic = log.topic()
    sink = log.sink()
    sink.send(topic, b"k", b"v")
    sink.close()
    sink.close()
    with pytest.raises(Unavailable, match="closed"):
        sink.send(topic, b"k", b"v")

    source = log.source([topic])
    assert [r.value for r in read(source, 1)] == [b"v"]
    source.close()


# Not on the mock cluster, which makes topics on use.
@pytest.mark.parametrize("log", ["memory", pytest.param("real", marks=pytest.mark.kafka)], indirect=True)
def test_a_missing_topic_is_unavailable_and_named(log: Log, sink: Sink) -> None:
    """Sending to a topic that does not exist raises `Unavailable` with its name, at the latest on `flush`."""
    missing = uuid.uuid4().hex
    with pytest.raises(Unavailable, match=f"{missing}.*create it"):  # noqa: PT012  either call may tell
        sink.send(missing, b"k", b"v")
        sink.flush(30)


@pytest.mark.parametrize("kind", ["memory", "mock"])
def test_a_log_that_is_away_raises_and_comes_back(kind: str, make_topic: Callable[..., str]) -> None:
    """A message that cannot be delivered raises `Unavailable` by `flush`; sent again when the log is back, it
    arrives."""
    with EmbeddedKafka({"topic": 1}) as own:  # others share the session's cluster
        log: Log = KafkaBackend(own.bootstrap, make_topic, own) if kind == "mock" else MemoryBackend()
        if kind == "memory":
            log.create("topic", 1)
        sink = log.sink()
        sink.send("topic", b"k", b"before")
        sink.flush(30)

        log.stop()
        with pytest.raises(Unavailable):  # noqa: PT012  either call may tell
            sink.send("topic", b"k", b"lost")
            sink.flush(0.5)

        log.start()
        sink.send("topic", b"k", b"again")
        sink.flush(30)
        source = log.source(["topic"])
        values = [r.value for r in read(source, 3, timeout_s=1)]
        assert (values[0], values[-1]) == (b"before", b"again")
        source.close()
        sink.close()
