"""The log, read by one worker."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
)
from confluent_kafka import TopicPartition as KafkaPartition

from streamer.adapters.kafka.committer import Committer
from streamer.adapters.kafka.connection import Connection, make_client, merged_config
from streamer.adapters.kafka.records import records_of
from streamer.errors import Unavailable
from streamer.ports import Record, TopicPartition

_log = logging.getLogger("streamer.adapters.kafka")

_SOURCE = {
    # A broker holds a fetch back for this long while there is nothing new: the latency of a quiet topic.
    "fetch.wait.max.ms": 10,
    # With the queue full, look again soon: the default of a second is a pause that shows in the lag.
    "fetch.queue.backoff.ms": 50,
    "queued.max.messages.kbytes": 32_768,
    "allow.auto.create.topics": False,
}
_SOURCE_FIXED = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": False,
    # A lost position comes to us as an error, to be noticed; anything else skips records in silence.
    "auto.offset.reset": "error",
}

# The position is not on the log: before its oldest record (retention), or after its newest (a log cut off, or
# made anew).
_POSITION_LOST = {KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION, KafkaError.OFFSET_OUT_OF_RANGE}
_MIN_PROBE_S = 1.0
_PROBE_POLL_S = 0.1
_PLACE, _OFFSET = itemgetter(0, 1), itemgetter(2)  # of a `Record`


class KafkaSource:
    """`ports.Source` on Kafka: all partitions of the topics, from the oldest record, without rebalancing.

    It connects on first use, not when made. Where the position of a partition is no longer on the log
    (retention went past it, or the log was cut off or made anew) reading goes on at the oldest record: the
    caller sees offsets jump, forward or back. Compacted topics and transactions leave holes of their own: a
    jump is a loss only when `begin_offsets` has passed the offset that was due.

    Args:
        bootstrap: "HOST:PORT,HOST:PORT".
        topics: Topics to read.
        group: Whose positions `commit` and `committed` mean. No other consumer may be a *member* of it.
        config: More settings for librdkafka (TLS, SASL, sizes); their values are never shown.
        timeout_s: Longest wait for an answer of Kafka.
        metadata_interval_s: How often to look for new partitions.

    Raises:
        ConfigError: librdkafka refuses a setting, or it is one of those that the fold depends on.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        group: str,
        *,
        config: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
        metadata_interval_s: float = 30.0,
    ) -> None:
        self._topics = tuple(topics)
        self._timeout_s = timeout_s
        self._metadata_interval_s = metadata_interval_s
        self._metadata_due_s = 0.0
        self._known: set[TopicPartition] = set()  # all of our topics
        self._paused: set[str] = set()
        self._held: set[TopicPartition] = set()
        # Of these, those that are assigned to librdkafka. Its own pause is not used: one that follows an assignment closely, or
        # a resume that follows it, may be taken for outdated, and the partition is silent for ever (its issues 2190 and 5591).
        self._fetched: set[TopicPartition] = set()
        self._last: dict[tuple[str, int], int] = {}  # the offset before the one that is due
        self._sought: dict[TopicPartition, int] = {}  # the offset that is due, for a while after a seek
        self._came: set[TopicPartition] = set()  # of these, where a record came from since
        self._settled_at_s = 0.0  # monotonic: from then on those need no watching
        # of a topic, if of any; it came among records: reported when there are none
        self._trouble: tuple[str | None, KafkaError] | None = None
        self._unread = set(self._topics)  # no record of these came yet
        self._asking = f"asking for committed offsets of group {group!r}"
        self._committing = f"committing as group {group!r}"
        self._closed = False
        self._kafka = Connection(bootstrap)
        merged = merged_config(bootstrap, _SOURCE, config, {**_SOURCE_FIXED, "group.id": group})
        self._make_consumer: Callable[[Mapping[str, Any]], Consumer] = lambda more: make_client(
            Consumer, {**merged, **more}, config, self._kafka
        )
        self._consumer = self._make_consumer({})
        self._committer = Committer(lambda told: self._make_consumer({"on_commit": told}))

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """At most `max_records` records, in offset order within each partition.

        Returns as soon as anything is there, with all that is at hand; [] when nothing came in `timeout_s`.

        Raises:
            Unavailable: there is nothing to read because Kafka is away, or a topic is gone or refused to us.
            ConfigError: Kafka refuses the credentials, on first use.
        """
        self._look_for_partitions(reading=True)
        first = self._consumer.poll(timeout_s)
        if first is None:
            self._tell_trouble(timeout_s)
            return []
        # `consume` with a timeout would wait until it is full; with none it takes what has arrived.
        more = self._consumer.consume(max_records - 1, 0) if max_records > 1 else []
        records = records_of([first, *more])
        n_read = len(records)
        if self._sought:
            records = self._from_where_sought(records)
        # before the errors: a lost position goes back to the beginning
        self._last.update(zip(map(_PLACE, records), map(_OFFSET, records), strict=True))
        if n_read <= len(more):
            for message in (first, *more):
                if message.error() is not None:
                    self._on_message_error(message)
        if n_read:
            self._kafka.last_error = None
            if self._unread:
                self._note_read(records)
        else:
            self._tell_trouble(timeout_s)
        return records

    def end_offsets(self) -> dict[TopicPartition, int]:
        """Offset after the last record of every partition that is read, as the log stands now."""
        return self._offsets(OFFSET_END, "asking for end offsets")

    def begin_offsets(self) -> dict[TopicPartition, int]:
        """Offset of the oldest record the log still holds, of every partition that is read."""
        return self._offsets(OFFSET_BEGINNING, "asking for begin offsets")

    def has_records(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Whether the log holds a record at or behind one of these offsets; moves nothing.

        Asks with a reader of its own, that is told where a partition ends: what lies there may be no record.
        """
        self._look_for_partitions()
        prober, unknown = self._make_consumer({"enable.partition.eof": True}), set(offsets)
        until_s, errors = time.monotonic() + self._timeout_s, dict[TopicPartition, KafkaError]()
        try:
            prober.assign([KafkaPartition(*tp, offset) for tp, offset in offsets.items()])
            while unknown and time.monotonic() < until_s:
                message = prober.poll(_PROBE_POLL_S)
                if message is None:
                    continue
                error = message.error()
                if error is None or error.code() in _POSITION_LOST:
                    return True
                tp = TopicPartition(str(message.topic()), int(message.partition() or 0))
                errors[tp] = error
                if error.code() == KafkaError._PARTITION_EOF:
                    unknown.discard(tp)
        finally:
            prober.close()
        if unknown:
            tp = min(unknown & errors.keys() or unknown)
            what = f"looking for the end of {tp.topic}[{tp.partition}]"
            self._kafka.fail(what, errors.get(tp), right=_reading(tp.topic))
        return False

    def committed(self) -> dict[TopicPartition, int]:
        """Committed positions of our group; partitions without one are left out."""
        self._look_for_partitions()
        asked = [KafkaPartition(*tp) for tp in self._known]
        found = self._call(self._asking, lambda: self._committer.committed(asked, self._timeout_s))
        return {tp: offset for tp, offset in found.items() if offset >= 0}

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit the *next* offset to read for each partition, synchronously."""
        self._look_for_partitions()
        if positions:
            offsets = [KafkaPartition(tp.topic, tp.partition, offset) for tp, offset in positions.items()]
            self._call(self._committing, lambda: self._committer.commit(offsets, self._timeout_s))

    def pause(self, topics: Sequence[str]) -> None:
        """Stop delivering records of these topics until `resume`."""
        self._look_for_partitions()
        self._paused.update(topics)
        self._fetch()

    def resume(self, topics: Sequence[str]) -> None:
        """Deliver the topics again, from where they were paused."""
        self._look_for_partitions()
        self._paused.difference_update(topics)
        self._fetch()

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Go on reading at these offsets, whatever was fetched; partitions that are not named stay where they are."""
        self._look_for_partitions()
        known = {tp: offset for tp, offset in positions.items() if tp in self._known}
        self._sought.update(known)
        self._came.difference_update(known)
        self._settled_at_s = time.monotonic() + self._timeout_s
        self._go_to(known)

    def _note_read(self, records: Sequence[Record]) -> None:
        read = self._unread.intersection(record.topic for record in records)
        self._unread -= read
        self._kafka.passed.update(map(_reading, read))

    def _go_to(self, positions: Mapping[TopicPartition, int]) -> None:
        self._unassign(self._fetched & positions.keys())
        self._fetch_from(positions)

    def _from_where_sought(self, records: list[Record]) -> list[Record]:
        """Without records from before the offset that is due.

        An answer to "where does the partition begin?" that was on its way takes librdkafka back to the beginning, one seek in
        sixty, before its first record or after some: it is sent to the place once more. A log that was made anew comes as an
        error first, and is not watched any more then.
        """
        kept, behind = [], dict[TopicPartition, int]()
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            due = self._sought.get(tp)
            if tp in behind:
                continue
            if due is not None:
                if record.offset < due:
                    behind[tp] = due
                    continue
                self._sought[tp] = record.offset + 1
                self._came.add(tp)
            kept.append(record)
        if time.monotonic() >= self._settled_at_s:
            for tp in self._came - behind.keys():
                self._sought.pop(tp, None)
            self._came.intersection_update(behind)
        if behind:
            self._go_to(behind)
        return kept

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        """From now on deliver no records of exactly these partitions, beside those of paused topics."""
        self._look_for_partitions()
        self._held = self._known.intersection(partitions)
        self._fetch()

    def close(self) -> None:
        """Leave the log. Idempotent."""
        if not self._closed:
            self._closed = True
            self._consumer.close()
            self._committer.close()

    def _is_to_wait(self, tp: TopicPartition) -> bool:
        return tp.topic in self._paused or tp in self._held

    def _fetch_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Go on there, now or once they are not to wait any more; none of these is fetched now."""
        self._last.update((tp, offset - 1) for tp, offset in offsets.items())
        self._fetch()

    def _fetch(self) -> None:
        """Fetch what is to be fetched, and nothing else; what was fetched and not delivered is fetched again later."""
        wanted = {tp for tp in self._known if not self._is_to_wait(tp)}
        self._unassign(self._fetched - wanted)
        new = wanted - self._fetched
        if new:
            self._consumer.incremental_assign([KafkaPartition(*tp, self._last[tp] + 1) for tp in new])
            self._fetched |= new

    def _unassign(self, partitions: Collection[TopicPartition]) -> None:
        if partitions:
            self._consumer.incremental_unassign([KafkaPartition(*tp) for tp in partitions])
            self._fetched -= set(partitions)

    def _look_for_partitions(self, *, reading: bool = False) -> None:
        """Assign what is new: everything on first use, partitions added to a topic later.

        Raises:
            Unavailable: a topic does not exist, or Kafka does not answer; the latter not while `reading`,
                which goes on with what was fetched already.
        """
        if self._closed:
            raise Unavailable(f"Kafka at {self._kafka.bootstrap}: the source is closed")
        now_s = time.monotonic()
        if self._known and now_s < self._metadata_due_s:
            return
        self._metadata_due_s = now_s + self._metadata_interval_s
        present, missing = set[TopicPartition](), list[str]()
        try:
            present, missing = self._partitions_on_kafka()
        except Unavailable:
            if not (self._known and reading):
                raise
        if missing:
            self._metadata_due_s = now_s  # ask again at the next call, and until it is there
            names = ", ".join(repr(topic) for topic in missing)
            topics, do, them = ("topic", "does", "it") if len(missing) == 1 else ("topics", "do", "them")
            raise Unavailable(
                f"{topics} {names} {do} not exist on {self._kafka.bootstrap}; create {them} (the README has the commands), or "
                "name others by the settings topic_..."
            )
        new = sorted(present - self._known)
        if new:
            self._known.update(new)
            self._fetch_from(dict.fromkeys(new, OFFSET_BEGINNING))

    def _partitions_on_kafka(self) -> tuple[set[TopicPartition], list[str]]:
        """All partitions of our topics, and the topics that Kafka does not know."""
        present: set[TopicPartition] = set()
        missing: list[str] = []
        for topic in self._topics:
            metadata = self._metadata(topic, self._timeout_s)
            if metadata.error is not None and metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                missing.append(topic)
            elif metadata.error is not None and not metadata.partitions:
                self._kafka.fail(f"topic {topic!r}", metadata.error)
            else:
                self._kafka.passed.add(f"topic {topic!r}")
            present.update(TopicPartition(topic, partition) for partition in metadata.partitions)
        return present, missing

    def _metadata(self, topic: str, timeout_s: float) -> Any:
        try:
            metadata = self._consumer.list_topics(topic, timeout_s).topics[topic]
        except KafkaException as exc:
            if not self._known:
                # Lets librdkafka tell `on_error` why. Nothing is assigned yet, so no record comes with it.
                self._consumer.poll(0)
            self._kafka.fail(f"no answer within {timeout_s:g} s", exc.args[0], exc)
        self._kafka.last_error = None
        self._kafka.answered = True
        return metadata

    def _offsets(self, which: int, doing: str) -> dict[TopicPartition, int]:
        self._look_for_partitions()
        # By time, where the times -1 and -2 mean end and begin: one request a broker, not one a partition.
        asked = [KafkaPartition(*tp, which) for tp in self._known]
        return self._call(doing, lambda: self._consumer.offsets_for_times(asked, self._timeout_s))

    def _call(
        self, doing: str, request: Callable[[], list[KafkaPartition] | None]
    ) -> dict[TopicPartition, int]:
        try:
            answers = request() or []
        except KafkaException as exc:
            self._kafka.fail(doing, exc.args[0], exc)
        for answer in answers:
            if answer.error is not None:
                self._kafka.fail(f"{doing}, {answer.topic}[{answer.partition}]", answer.error, right=doing)
        self._kafka.last_error = None  # it answers
        self._kafka.passed.add(doing)
        return {TopicPartition(answer.topic, answer.partition): answer.offset for answer in answers}

    def _on_message_error(self, message: Message) -> None:
        error, topic, partition = message.error(), message.topic(), message.partition()
        assert error is not None  # noqa: S101  only messages with an error come here
        if error.code() in _POSITION_LOST and topic is not None and partition is not None:
            _log.warning(
                "kafka_position_lost", extra={"topic": topic, "partition": partition, "error": error.str()}
            )
            # Not `seek`: the partition has stopped, and librdkafka seeks only in those that run.
            tp = TopicPartition(topic, partition)
            self._sought.pop(tp, None)
            self._go_to({tp: OFFSET_BEGINNING})
        else:
            if self._trouble is None:  # reported now, too: other topics may keep `poll` from coming to it
                _log.warning(
                    "kafka_read_error", extra={"topic": topic, "partition": partition, "error": error.str()}
                )
            self._trouble = topic, error

    def _tell_trouble(self, timeout_s: float) -> None:
        """Raise `Unavailable` if there is a reason why nothing came."""
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            topic, error = trouble
            if topic is None:  # of the group: the client looks for its coordinator all the time
                self._kafka.fail("reading", error, right=self._asking)
            self._kafka.fail(_reading(topic), error)
        if self._kafka.last_error is not None:
            # A connection broke at some time since the last record. Only asking tells whether Kafka is away
            # now.
            self._metadata(self._topics[0], max(timeout_s, _MIN_PROBE_S))


def _reading(topic: str) -> str:
    return f"reading topic {topic!r}"
