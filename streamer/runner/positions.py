"""How far each partition was read, and whether records went missing on the way."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from streamer.ports import Record, TopicPartition


class Jump(NamedTuple):
    """Offsets that did not follow each other."""

    tp: TopicPartition
    expected: int
    got: int


class Positions:
    """The next offset of every partition.

    A jump forward is a loss only where the log's oldest record has moved past the offset that was due:
    compaction and the markers of transactions leave holes of their own. A jump back means that the log was
    cut off or made anew.

    Args:
        begin: Oldest offset of every partition, where reading starts.
        committed: What was committed when we started: records below were dealt with by an earlier worker.
    """

    def __init__(self, begin: Mapping[TopicPartition, int], committed: Mapping[TopicPartition, int]) -> None:
        self._next = dict(begin)
        self._read_before = dict(committed)

    def advance(self, records: Sequence[Record]) -> list[Jump]:
        """Note a batch of records; a `Jump` for each that does not follow the one before it on its partition."""
        jumps: list[Jump] = []
        topic, partition, expected = "", -1, -1  # of the run at hand: most records follow the one before
        for record in records:
            if record.offset == expected and record.partition == partition and record.topic == topic:
                expected += 1
                continue
            if expected >= 0:
                self._next[TopicPartition(topic, partition)] = expected
            topic, partition = record.topic, record.partition
            tp = TopicPartition(topic, partition)
            due = self._next.get(tp, record.offset)
            if record.offset != due:
                jumps.append(Jump(tp, due, record.offset))
            expected = record.offset + 1
        if expected >= 0:
            self._next[TopicPartition(topic, partition)] = expected
        return jumps

    def was_read_before(self, record: Record) -> bool:
        """Whether the record had been dealt with before this worker started."""
        return record.offset < self._read_before.get(record.tp, 0)

    def before(self, rest: Sequence[Record]) -> dict[TopicPartition, int]:
        """Partition -> next offset, as of before `rest`, the end of the last batch; never behind what was committed."""
        first = {record.tp: record.offset for record in reversed(rest)}
        return {
            tp: max(offset, self._read_before.get(tp, 0)) for tp, offset in {**self._next, **first}.items()
        }

    def snapshot(self) -> dict[TopicPartition, int]:
        """Partition -> next offset, as of now."""
        return dict(self._next)

    def by_name(self) -> dict[str, int]:
        """`topic-partition` -> next offset: what a published list says about where it comes from."""
        return {tp.key: offset for tp, offset in self._next.items()}

    def lag(self, end: Mapping[TopicPartition, int]) -> dict[str, int]:
        """Topic -> records that were not read yet."""
        lag: dict[str, int] = {}
        for tp, end_offset in end.items():
            lag[tp.topic] = lag.get(tp.topic, 0) + max(0, end_offset - self._next.get(tp, 0))
        return lag

    def left(
        self, end: Mapping[TopicPartition, int], topics: Collection[str] | None = None
    ) -> dict[TopicPartition, int]:
        """Partitions of these topics, or of all, that were not read up to `end` yet -> the next offset there."""
        return {
            tp: self._next.get(tp, 0)
            for tp, offset in end.items()
            if (topics is None or tp.topic in topics) and self._next.get(tp, 0) < offset
        }


def n_lost(jump: Jump, begin: Mapping[TopicPartition, int]) -> int | None:
    """Records that we never read and that are gone: 0 for a harmless hole, None for an unknown number.

    Args:
        jump: What was seen.
        begin: Oldest offsets, asked for after the jump.
    """
    if jump.got < jump.expected:
        return None
    return max(0, min(jump.got, begin.get(jump.tp, 0)) - jump.expected)
