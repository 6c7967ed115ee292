"""The log in memory: its broker, who reads it, who writes it."""

from collections.abc import Collection, Mapping, Sequence

from streamer.adapters.memory.clock import SystemClock
from streamer.errors import Unavailable
from streamer.ports import Clock, Record, TopicPartition

MAX_RECORDS = 1_000_000


class _Partition:
    """Records of one partition: offsets `begin` up to, not including, `end`."""

    def __init__(self, max_records: int) -> None:
        self.begin = 0
        self._records: list[Record] = []
        # dropped records still at the head of the list: removing one at a time would move all others
        self._n_dead = 0
        self._max_records = max_records

    @property
    def end(self) -> int:
        return self.begin + len(self._records) - self._n_dead

    def append(self, record: Record) -> None:
        self._records.append(record)
        if self.end - self.begin > self._max_records:
            self.drop_before(self.begin + 1)

    def read(self, begin: int, end: int) -> list[Record]:
        shift = self._n_dead - self.begin
        return self._records[begin + shift : end + shift]

    def drop_before(self, offset: int) -> None:
        n_dropped = min(max(0, offset - self.begin), self.end - self.begin)
        self.begin += n_dropped
        self._n_dead += n_dropped
        if self._n_dead * 2 > len(self._records):
            del self._records[: self._n_dead]
            self._n_dead = 0


class MemoryLog:
    """Topics with partitions and committed positions of groups: the broker of `MemorySource` and
    `MemorySink`.

    Set `down = True` to make every access raise `Unavailable`.

    Args:
        topics: Topic -> number of partitions. A topic must be named here or in `create_topic` before it is
            used.
        max_records: Most records a partition keeps; older ones are dropped, as a broker's retention does.
        clock: Stamps records that come without a time of their own.
    """

    def __init__(
        self,
        topics: Mapping[str, int] | None = None,
        *,
        max_records: int = MAX_RECORDS,
        clock: Clock | None = None,
    ) -> None:
        self.down = False
        self._clock = clock or SystemClock()
        self._max_records = max_records
        self._topics: dict[str, list[_Partition]] = {}
        self._committed: dict[str, dict[TopicPartition, int]] = {}
        for topic, n_partitions in (topics or {}).items():
            self.create_topic(topic, n_partitions)

    def create_topic(self, topic: str, n_partitions: int = 1) -> None:
        """Make a topic, or give one more partitions; existing records stay.

        Raises:
            ValueError: the topic would lose partitions, or have none.
        """
        partitions = self._topics.setdefault(topic, [])
        if n_partitions < max(1, len(partitions)):
            raise ValueError(
                f"topic {topic!r} has {len(partitions)} partitions and cannot have {n_partitions}"
            )
        partitions.extend(_Partition(self._max_records) for _ in range(n_partitions - len(partitions)))

    def append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp_ms: int | None = None,
        headers: Mapping[str, bytes] | None = None,
    ) -> int:
        """Write one record and return its offset.

        Raises:
            Unavailable: the log is down, or has no such topic or partition.
        """
        log = self.partition(TopicPartition(topic, partition))
        offset = log.end
        timestamp_ms = self._clock.now_ms() if timestamp_ms is None else timestamp_ms
        log.append(Record(topic, partition, offset, timestamp_ms, key, value, tuple((headers or {}).items())))
        return offset

    def truncate(self, tp: TopicPartition, offset: int) -> None:
        """Drop the records of one partition below `offset`, as retention does."""
        self.partition(tp).drop_before(offset)

    def partition(self, tp: TopicPartition) -> _Partition:
        """One partition.

        Raises:
            Unavailable: the log is down, or has no such topic or partition.
        """
        partitions = self.partitions(tp.topic)
        if not 0 <= tp.partition < len(partitions):
            raise Unavailable(
                f"topic {tp.topic!r} has no partition {tp.partition} in memory; it has {len(partitions)}"
            )
        return partitions[tp.partition]

    def partitions(self, topic: str) -> Sequence[_Partition]:
        """All partitions of a topic.

        Raises:
            Unavailable: the log is down, or has no such topic.
        """
        self.check()
        if topic not in self._topics:
            raise Unavailable(f"topic {topic!r} does not exist in memory; create it")
        return self._topics[topic]

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Committed positions of a group; to be changed by its `MemorySource` only."""
        self.check()
        return self._committed.setdefault(group, {})

    def records(self, topic: str) -> list[Record]:
        """Everything a topic holds, partition by partition: for tests and inspection."""
        return [record for log in self.partitions(topic) for record in log.read(log.begin, log.end)]

    def check(self) -> None:
        """Raise `Unavailable` while the log is down."""
        if self.down:
            raise Unavailable("the log in memory is down")


class MemorySource:
    """`ports.Source` over a `MemoryLog`.

    Args:
        log: The log to read.
        topics: Topics to read, all partitions of each, from their oldest record.
        group: Whose positions `commit` and `committed` mean.
        clock: Passes the time when `poll` finds nothing.
    """

    def __init__(
        self, log: MemoryLog, topics: Sequence[str], group: str, *, clock: Clock | None = None
    ) -> None:
        self._log = log
        self._topics = tuple(topics)
        self._group = group
        self._clock = clock or SystemClock()
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[str] = set()
        self._held: set[TopicPartition] = set()
        self._turn = 0
        self._closed = False

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """At most `max_records` records, in offset order within each partition; [] when none came in
        `timeout_s`."""
        records = self._take(max_records)
        if not records:
            self._clock.sleep(timeout_s)  # nobody can append while we, in the same thread, wait
        return records

    def _take(self, max_records: int) -> list[Record]:
        assigned = self._assigned()
        taken: list[Record] = []
        self._turn += 1  # begin with another partition each time, so that a busy one cannot starve the rest
        for i in range(len(assigned)):
            tp = assigned[(self._turn + i) % len(assigned)]
            if tp.topic in self._paused or tp in self._held:
                continue
            log = self._log.partition(tp)
            position = self._positions.get(tp, log.begin)
            if not log.begin <= position <= log.end:
                position = log.begin  # retention overtook us: the jump in offsets shows it
            end = min(log.end, position + max_records - len(taken))
            taken.extend(log.read(position, end))
            self._positions[tp] = end
        return taken

    def end_offsets(self) -> dict[TopicPartition, int]:
        """Offset after the last record of every partition that is read, as the log stands now."""
        return {tp: self._log.partition(tp).end for tp in self._assigned()}

    def begin_offsets(self) -> dict[TopicPartition, int]:
        """Offset of the oldest record the log still holds, of every partition that is read."""
        return {tp: self._log.partition(tp).begin for tp in self._assigned()}

    def has_records(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Whether the log holds a record at or behind one of these offsets."""
        self._assigned()
        return any(offset < self._log.partition(tp).end for tp, offset in offsets.items())

    def committed(self) -> dict[TopicPartition, int]:
        """Committed positions of our group; partitions without one are left out."""
        assigned = self._assigned()
        return {tp: offset for tp, offset in self._log.committed(self._group).items() if tp in assigned}

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit the *next* offset to read for each partition."""
        self._assigned()
        self._log.committed(self._group).update(positions)

    def pause(self, topics: Sequence[str]) -> None:
        """Stop delivering records of these topics until `resume`."""
        self._assigned()
        self._paused.update(topics)

    def resume(self, topics: Sequence[str]) -> None:
        """Deliver the topics again, from where they were paused."""
        self._assigned()
        self._paused.difference_update(topics)

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Go on reading at these offsets."""
        self._assigned()
        self._positions.update(positions)

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        """From now on deliver no records of exactly these partitions, beside those of paused topics."""
        self._assigned()
        self._held = set(partitions)

    def close(self) -> None:
        """Leave the log. Idempotent."""
        self._closed = True

    def _assigned(self) -> list[TopicPartition]:
        if self._closed:
            raise Unavailable("the source in memory is closed")
        return [
            TopicPartition(topic, p)
            for topic in self._topics
            for p in range(len(self._log.partitions(topic)))
        ]


class MemorySink:
    """`ports.Sink` over a `MemoryLog`: messages with a key always go to the same partition of a topic.

    Args:
        log: The log to write to.
    """

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._closed = False

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes] | None = None
    ) -> None:
        """Write one message."""
        if self._closed:
            raise Unavailable("the sink in memory is closed")
        # Not `hash`: it differs from process to process, and the same messages must give the same log.
        partition = sum(key or b"") % len(self._log.partitions(topic))
        self._log.append(topic, partition, key, value, headers=headers)

    def flush(self, timeout_s: float) -> None:  # noqa: ARG002  nothing is ever waiting
        """Return at once: `send` has written already."""
        self._log.check()

    def close(self) -> None:
        """Leave. Idempotent."""
        self._closed = True
