"""One suite for every `ports.Source`: in memory, on the mock cluster, on a real Kafka."""

import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from backends import KafkaBackend, Log, MemoryBackend, read
from confluent_kafka import Producer

from streamer.errors import Unavailable
from streamer.ports import Source, TopicPartition
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
def opened(log: Log) -> Iterator[Callable[..., Source]]:
    """Opens sources, and closes them when the test is over."""
    sources: list[Source] = []

    def open_source(*topics: str, group: str = "group") -> Source:
        sources.append(log.source(topics, group))
        return sources[-1]

    yield open_source
    for source in sources:
        source.close()


def numbered(n: int, name: str = "") -> list[tuple[bytes | None, bytes | None]]:
    """n messages that say which they are."""
    return [(f"key{i}".encode(), f"{name}{i}".encode()) for i in range(n)]


def test_records_come_in_order_with_all_they_carry(log: Log, opened: Callable[..., Source]) -> None:
    """Offsets count up by one from 0; keys, values, tombstones and empty values come as they were written."""
    topic = log.topic()
    written: list[tuple[bytes | None, bytes | None]] = [
        (b"k", b"v"),
        (None, b"no key"),
        (b"gone", None),
        (b"empty", b""),
        (b"", b"v"),
    ]
    before_ms = time.time_ns() // 1_000_000
    log.append(topic, 0, written)

    records = read(opened(topic), len(written))

    assert [(r.key, r.value) for r in records] == written
    assert [(r.topic, r.partition, r.offset) for r in records] == [(topic, 0, i) for i in range(len(written))]
    after_ms = time.time_ns() // 1_000_000
    assert all(before_ms <= r.timestamp_ms <= after_ms for r in records)


def test_every_partition_of_every_topic_is_read(log: Log, opened: Callable[..., Source]) -> None:
    """A source reads all partitions of all its topics, each from its first record and in order; other topics
    are not read."""
    one, three, other = log.topic(1), log.topic(3), log.topic(1)
    partitions = [TopicPartition(one, 0), *(TopicPartition(three, p) for p in range(3))]
    for tp in partitions:
        log.append(*tp, numbered(50, f"{tp}"))
    log.append(other, 0, numbered(5))

    source = opened(one, three)
    records = read(source, 200)

    assert source.poll(1, 0.1) == []
    for tp in partitions:
        mine = [r for r in records if (r.topic, r.partition) == tp]
        assert [(r.key, r.value) for r in mine] == numbered(50, f"{tp}")
    assert set(source.end_offsets()) == set(partitions)


def test_no_more_than_asked_for(log: Log, opened: Callable[..., Source]) -> None:
    """A poll never returns more than `max_records`, and what it leaves comes next."""
    topic = log.topic()
    log.append(topic, 0, numbered(20))
    source = opened(topic)

    sizes, values = [], []
    while len(values) < 20:
        records = source.poll(3, 5)
        assert records, "a poll of 5 s found nothing"
        sizes.append(len(records))
        values += [r.value for r in records]

    assert max(sizes) <= 3
    assert values == [value for _, value in numbered(20)]
    assert len(opened(topic).poll(1, 5)) == 1


def test_a_poll_returns_as_soon_as_there_is_something(log: Log, opened: Callable[..., Source]) -> None:
    """A poll does not wait to fill `max_records`; with nothing there it returns [] when its time is up."""
    topic = log.topic()
    source = opened(topic)
    source.end_offsets()  # connected
    began_s = time.monotonic()
    assert source.poll(100, 0.2) == []
    assert 0.15 < time.monotonic() - began_s < 2

    log.append(topic, 0, numbered(2))
    began_s = time.monotonic()
    assert source.poll(100, 30)
    assert time.monotonic() - began_s < 5


def test_begin_and_end_offsets(log: Log, opened: Callable[..., Source]) -> None:
    """The end is the offset after the last record, the beginning that of the oldest still held; both as they
    are now."""
    topic = log.topic(2)
    source = opened(topic)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    assert source.begin_offsets() == source.end_offsets() == {first: 0, second: 0}

    log.append(topic, 0, numbered(10))
    assert source.end_offsets() == {first: 10, second: 0}
    log.truncate(topic, 0, 4)
    assert source.begin_offsets() == {first: 4, second: 0}
    assert source.end_offsets() == {first: 10, second: 0}
    assert [r.offset for r in read(opened(topic), 6)] == [4, 5, 6, 7, 8, 9]


def test_whether_anything_lies_behind_a_place(log: Log, opened: Callable[..., Source]) -> None:
    """One of several partitions is enough; the end holds nothing, a place that retention has passed is before what is left.
    Reading goes on where it was."""
    topic = log.topic(2)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    log.append(topic, 0, numbered(5))
    source = opened(topic)
    assert [r.offset for r in read(source, 2)] == [0, 1]
    assert source.has_records({first: 4})
    assert not source.has_records({first: 5, second: 0})
    assert not source.has_records({})
    log.append(topic, 1, numbered(1))
    assert source.has_records({first: 5, second: 0})
    log.truncate(topic, 0, 3)
    assert source.has_records({first: 1})
    assert {(r.partition, r.offset) for r in read(source, 4)} >= {(0, 3), (0, 4), (1, 0)}


@pytest.mark.kafka
def test_what_is_no_record_is_the_end(real_kafka: str, make_topic: Callable[..., str]) -> None:
    """Behind the last record of a transaction lies its marker: the offsets end one later than what can be read."""
    backend = KafkaBackend(real_kafka, make_topic)
    topic = backend.topic()
    producer = Producer({"bootstrap.servers": real_kafka, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"v")
    producer.commit_transaction(30)
    source = backend.source([topic])
    tp = TopicPartition(topic, 0)
    assert len(read(source, 1)) == 1
    assert source.end_offsets() == {tp: 2}
    assert not source.has_records({tp: 1})
    assert source.has_records({tp: 0})
    source.close()


def test_committed_positions_outlive_the_source(log: Log, opened: Callable[..., Source]) -> None:
    """Commits belong to the group, not to the source; a new source still reads from the beginning, and other
    groups see nothing."""
    topic = log.topic(2)
    log.append(topic, 0, numbered(5))
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    source = opened(topic)
    assert source.committed() == {}
    read(source, 5)
    assert source.committed() == {}, "only commit commits"
    source.commit({})
    source.commit({first: 3})
    assert source.committed() == {first: 3}
    source.commit({first: 5, second: 0})
    source.close()

    again = opened(topic)
    assert again.committed() == {first: 5, second: 0}
    assert [r.offset for r in read(again, 5)] == [0, 1, 2, 3, 4]
    assert opened(topic, group="another").committed() == {}


def test_pause_and_resume_lose_nothing(log: Log, opened: Callable[..., Source]) -> None:
    """A paused topic is silent while others go on; after `resume` every record of it comes exactly once, in
    order."""
    paused, other = log.topic(2), log.topic()
    for partition in range(2):
        log.append(paused, partition, numbered(500))
    source = opened(paused, other)
    early = read(source, 100)  # by now the client has fetched more than it handed out

    source.pause([paused])
    log.append(other, 0, numbered(300))
    log.append(paused, 0, numbered(10, "late"))
    during = read(source, 300)
    assert source.poll(1, 0.2) == []
    assert [(r.topic, r.offset) for r in during] == [(other, i) for i in range(300)]

    source.resume([paused])
    late = read(source, 910)
    assert source.poll(1, 0.1) == []
    for partition in range(2):
        offsets = [r.offset for r in early + late if (r.topic, r.partition) == (paused, partition)]
        assert offsets == list(range(510 if partition == 0 else 500))


def test_a_pause_right_after_the_first_look_loses_nothing(log: Log, opened: Callable[..., Source]) -> None:
    """As a start does it: before anything came, moved or not, and resumed at once; every partition is read from its place."""
    first, later = log.topic(8), log.topic(8)
    for partition in range(8):
        log.append(first, partition, numbered(3))
        log.append(later, partition, numbered(3))
    for sought in (0, 2):
        source = opened(first, later)
        source.end_offsets()
        source.pause([later])
        source.seek({TopicPartition(later, partition): sought for partition in range(8)})
        source.hold([TopicPartition(first, 0)])
        source.resume([later])
        source.hold([])
        records = read(source, 8 * (6 - sought))
        assert source.poll(1, 0.1) == []
        for topic, n_skipped in ((first, 0), (later, sought)):
            for partition in range(8):
                offsets = [r.offset for r in records if (r.topic, r.partition) == (topic, partition)]
                assert offsets == list(range(n_skipped, 3))


def test_retention_that_overtakes_the_reader_shows_as_a_jump(log: Log, opened: Callable[..., Source]) -> None:
    """When the next record is gone, reading goes on at the oldest: offsets jump, and `begin_offsets` says
    that it is a loss."""
    topic = log.topic()
    log.append(topic, 0, numbered(3))
    source = opened(topic)
    assert [r.offset for r in read(source, 3)] == [0, 1, 2]

    source.pause([topic])  # nothing may be fetched ahead
    log.append(topic, 0, [(None, b"x")] * 9)
    log.truncate(topic, 0, 8)
    source.resume([topic])

    assert [r.offset for r in read(source, 4)] == [8, 9, 10, 11]
    assert source.begin_offsets() == {TopicPartition(topic, 0): 8}


def test_missing_topics_are_named_and_awaited(log: Log, opened: Callable[..., Source]) -> None:
    """A topic that does not exist is `Unavailable` with its name; once it is made, the same source reads
    it."""
    there, missing = log.topic(), uuid.uuid4().hex
    source = opened(there, missing)
    with pytest.raises(Unavailable, match=f"{missing}.*does not exist.*create it"):
        source.poll(1, 0.1)
    with pytest.raises(Unavailable, match=missing):
        source.end_offsets()

    log.create(missing, 1)
    log.append(missing, 0, numbered(1))
    give_up_at_s = time.monotonic() + 10
    records = []
    while not records and time.monotonic() < give_up_at_s:
        try:
            records = source.poll(1, 0.1)
        except Unavailable:  # a broker tells of a new topic when it likes
            time.sleep(0.05)
    assert [r.topic for r in records] == [missing]


# Not on the mock cluster, which cannot add partitions.
@pytest.mark.parametrize("log", ["memory", pytest.param("real", marks=pytest.mark.kafka)], indirect=True)
def test_new_partitions_are_read_from_their_beginning(
    log: Log, opened: Callable[..., Source], poll_until: Callable[..., object]
) -> None:
    """Partitions added to a topic are found while reading goes on, and those of a paused topic stay
    paused."""
    topic = log.topic()
    source = opened(topic)
    assert source.poll(1, 0.01) == []
    source.pause([topic])
    log.grow(topic, 2)
    log.append(topic, 1, numbered(3))

    poll_until(lambda: len(source.end_offsets()) == 2, what="the new partition")
    assert source.poll(10, 0.3) == []
    source.resume([topic])
    assert [(r.partition, r.offset) for r in read(source, 3)] == [(1, 0), (1, 1), (1, 2)]


def test_nothing_after_close(log: Log) -> None:
    """`close` may be called twice; everything else then raises `Unavailable`."""
    topic = log.topic()
    log.append(topic, 0, numbered(3))
    source = log.source([topic])
    assert len(read(source, 1)) == 1
    source.close()
    source.close()
    tp = TopicPartition(topic, 0)
    uses: list[Callable[[], object]] = [
        lambda: source.poll(1, 0),
        source.end_offsets,
        source.begin_offsets,
        source.committed,
        lambda: source.commit({tp: 1}),
        lambda: source.pause([topic]),
        lambda: source.resume([topic]),
        lambda: source.has_records({tp: 0}),
    ]
    for use in uses:
        with pytest.raises(Unavailable, match="closed"):
            use()


@pytest.mark.parametrize("kind", ["memory", "mock"])
def test_a_log_that_is_away_raises_and_comes_back(
    kind: str, make_topic: Callable[..., str], poll_until: Callable[..., object]
) -> None:
    """While the log is away every call raises `Unavailable` in bounded time; when it is back, reading goes on
    where it was."""
    with EmbeddedKafka({"topic": 1}) as own:  # others share the session's cluster
        log: Log = (
            KafkaBackend(own.bootstrap, make_topic, own, timeout_s=1.0) if kind == "mock" else MemoryBackend()
        )
        if kind == "memory":
            log.create("topic", 1)
        tp = TopicPartition("topic", 0)
        log.append(*tp, numbered(3))
        source = log.source(["topic"])
        assert len(read(source, 3)) == 3

        log.stop()

        def away() -> bool:
            try:
                return bool(source.poll(1, 0.05))
            except Unavailable:
                return True

        poll_until(away, what="Unavailable")
        for use in (
            lambda: source.commit({tp: 3}),
            source.end_offsets,
            source.begin_offsets,
            source.committed,
            lambda: source.has_records({tp: 3}),
        ):
            began_s = time.monotonic()
            with pytest.raises(Unavailable):
                use()
            assert time.monotonic() - began_s < 4

        log.start()
        log.append(*tp, numbered(2))

        def back() -> list[int]:
            try:
                return [r.offset for r in source.poll(10, 0.1)]
            except Unavailable:
                return []

        assert poll_until(back, what="reading again") == [3, 4]
        source.commit({tp: 5})
        assert source.committed() == {tp: 5}
        source.close()


def test_reading_goes_on_where_it_is_told(log: Log, opened: Callable[..., Source]) -> None:
    """Back and forth, before the first record was read and after; other partitions stay where they are."""
    topic = log.topic(2)
    for partition in range(2):
        log.append(topic, partition, numbered(10))
    source = opened(topic)
    source.seek({TopicPartition(topic, 0): 7})
    records = read(source, 13)
    offsets = {p: [r.offset for r in records if r.partition == p] for p in range(2)}
    assert offsets == {0: [7, 8, 9], 1: list(range(10))}
    source.seek({TopicPartition(topic, 1): 2, TopicPartition(topic, 0): 9})
    records = read(source, 9)
    offsets = {p: [r.offset for r in records if r.partition == p] for p in range(2)}
    assert offsets == {0: [9], 1: list(range(2, 10))}
    assert source.poll(10, 0.2) == []


def test_partitions_are_held_back(log: Log, opened: Callable[..., Source]) -> None:
    """Exactly those named last, beside paused topics; what was held comes when it is let go, and nothing is lost."""
    topic, other = log.topic(2), log.topic(1)
    for name, partition in ((topic, 0), (topic, 1), (other, 0)):
        log.append(name, partition, numbered(10))
    source = opened(topic, other)
    source.hold([TopicPartition(topic, 0)])
    assert {(r.topic, r.partition) for r in read(source, 20)} == {(topic, 1), (other, 0)}
    source.hold([TopicPartition(topic, 1)])
    log.append(topic, 1, numbered(1))
    assert [(r.partition, r.offset) for r in read(source, 10)] == [(0, i) for i in range(10)]
    assert source.poll(10, 0.2) == []
    source.pause([topic])
    source.hold([])
    assert source.poll(10, 0.2) == []
    source.resume([topic])
    assert [(r.partition, r.offset) for r in read(source, 1)] == [(1, 10)]


def test_a_place_behind_the_end_is_none(log: Log, opened: Callable[..., Source]) -> None:
    """A log that was cut off or made anew is shorter than it was: reading goes on at its oldest record, and loses none."""
    topic = log.topic()
    log.append(topic, 0, numbered(5))
    source = opened(topic)
    assert len(read(source, 5)) == 5
    source.seek({TopicPartition(topic, 0): 100})
    assert [r.offset for r in read(source, 5)] == [0, 1, 2, 3, 4]
