"""Records -> events: what cannot be used goes to dead letters, what is missing from the log is noticed."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from streamer.config import Settings
from streamer.errors import InvalidEvent, LogGap, TooManyInvalid
from streamer.events import Kind
from streamer.pipeline.delivery import Skipped
from streamer.ports import Record, TopicPartition, place
from streamer.runner.admission import Admitted
from streamer.runner.outgoing import Outgoing, dead_letter
from streamer.runner.positions import Jump, Positions, n_lost
from streamer.telemetry import Telemetry

_log = logging.getLogger("streamer.runner")
_TOPIC = attrgetter("topic")


class Intake:
    """Takes batches in the order they come.

    Args:
        settings: Topics, limits, what to do about a gap.
        positions: Moved on by every record, usable or not.
        outgoing: Takes the dead letters.
        oldest_offsets: Asks the log, patiently, for its oldest offsets; called after a suspicious jump only.
        commit: Commits positions, patiently; called before too many invalid messages stop the worker.
        telemetry: Counts.
    """

    def __init__(
        self,
        settings: Settings,
        positions: Positions,
        outgoing: Outgoing,
        oldest_offsets: Callable[[], Mapping[TopicPartition, int]],
        commit: Callable[[Mapping[TopicPartition, int]], None],
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._positions = positions
        self._outgoing = outgoing
        self._oldest_offsets = oldest_offsets
        self._commit = commit
        self._telemetry = telemetry
        self._topics: dict[Kind, str] = {kind: topic for topic, kind in settings.kinds().items()}
        self._n_invalid_in_a_row = 0
        self._told: set[tuple[str, str]] = set()  # topic and reason of dead letters that a warning named

    def take(self, records: Sequence[Record], admitted: Admitted) -> Mapping[str, int]:
        """Take the next batch in.

        Args:
            admitted: What they come to: see `admit_all`.

        Returns:
            Topic -> records that became events.

        Raises:
            TooManyInvalid: more messages in a row were invalid than the settings allow.
            LogGap: interactions are missing, and the settings say to stop; or the log was cut off or made anew.
            Unavailable: Kafka stays away while we are stopping.
        """
        self._look_for_gaps(self._positions.advance(records))
        for n in admitted.in_seconds:
            self._tell_of_seconds(records[n])
        n_usable = Counter(map(_TOPIC, records))
        n_seen = 0
        for n, error in admitted.refused:
            if n > n_seen:
                self._n_invalid_in_a_row = 0
            n_seen = n + 1
            n_usable[records[n].topic] -= 1
            self._refuse(records[n], error)
            if self._n_invalid_in_a_row > self._settings.max_invalid_in_a_row:
                self._outgoing.settle()
                # else the next start would send the same letters, and stop at the same place
                self._commit(self._positions.before(records[n_seen:]))
                raise TooManyInvalid(self._too_many(records[n], error))
        if n_seen < len(records):
            self._n_invalid_in_a_row = 0
        self._outgoing.send()
        return n_usable

    def count(self, n_usable: Mapping[str, int], n_skipped: Skipped) -> None:
        """Count what became of a batch that was folded.

        Args:
            n_usable: As `take` gave it.
            n_skipped: (kind, why) -> events that the fold left out.
        """
        n_learned = dict(n_usable)
        for (kind, why), n_events in n_skipped.items():
            topic = self._topics[kind]
            n_learned[topic] -= n_events
            self._telemetry.events.labels(topic, why).inc(n_events)
        for topic, n_records in n_learned.items():
            self._telemetry.events.labels(topic, "learned").inc(n_records)

    def look_at_start(self, begin: Mapping[TopicPartition, int], read: Mapping[TopicPartition, int]) -> None:
        """Tell when the log has lost its beginning; it is a gap where records went that nobody had read.

        Args:
            begin: Offset of the oldest record, of the partitions whose beginning matters.
            read: Up to where records are folded already, or were by an earlier worker.

        Raises:
            LogGap: there is a gap, and the settings say to stop.
        """
        for tp, offset in begin.items():
            if tp.topic == self._settings.topic_interactions and offset > 0:
                fields = {"topic": tp.topic, "partition": tp.partition, "begin": offset}
                _log.warning("log_begins_late", extra=fields)
                n_unread = offset - read.get(tp, offset)
                if n_unread > 0:
                    self._on_gap(Jump(tp, offset - n_unread, offset), n_unread)

    def _refuse(self, record: Record, error: InvalidEvent) -> None:
        self._telemetry.events.labels(record.topic, "invalid").inc()
        if self._positions.was_read_before(record):
            return  # its dead letter was on the log before that commit
        self._telemetry.dead_letters.labels(error.reason).inc()
        self._outgoing.add(dead_letter(self._settings.topic_dead_letters, record, error))
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        kind = record.topic, error.reason
        # the first of its kind is news; a flood of them is for the metric and the topic
        level = logging.DEBUG if kind in self._told else logging.WARNING
        self._told.add(kind)
        _log.log(level, "dead_letter", extra={**where, "reason": error.reason, "path": error.path})
        self._n_invalid_in_a_row += 1

    def _tell_of_seconds(self, record: Record) -> None:
        """Once a topic: sessions would never end, and every user would be a returning one, and nothing else would tell."""
        kind = record.topic, "seconds"
        if kind not in self._told:
            self._told.add(kind)
            where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            hint = "milliseconds since 1970 are expected: times 1,000?"
            _log.warning("timestamps_in_seconds", extra={**where, "hint": hint})

    def _too_many(self, record: Record, error: InvalidEvent) -> str:
        where = place(*record.tp, record.offset)
        return (
            f"{where}: {self._n_invalid_in_a_row} messages in a row could not be used, the last for {error}; "
            f"all are in {self._settings.topic_dead_letters!r}. Find out who writes them, or raise "
            "max_invalid_in_a_row"
        )

    def _look_for_gaps(self, jumps: Sequence[Jump]) -> None:
        of_interactions = self._settings.topic_interactions
        # compacted topics have holes by design
        suspicious = [jump for jump in jumps if jump.tp.topic == of_interactions or jump.got < jump.expected]
        if not suspicious:
            return
        # a round trip, and each marker of a transaction is a jump: one a batch
        begin = self._oldest_offsets()
        for jump in suspicious:
            lost = n_lost(jump, begin)
            if lost != 0:
                self._on_gap(jump, lost)

    def _on_gap(self, jump: Jump, n_records: int | None) -> None:
        tp = jump.tp
        self._telemetry.log_gaps.labels(tp.topic).inc()
        self._telemetry.log_gap_records.labels(tp.topic).inc(n_records or 0)
        fields = {"topic": tp.topic, "partition": tp.partition, "expected": jump.expected, "got": jump.got}
        _log.error("log_gap", extra={**fields, "n_lost": n_records})
        where = f"{tp.topic}[{tp.partition}]: expected offset {jump.expected}, got {jump.got}"
        if n_records is None:
            # whatever the settings say: what lies there was learned, or is of another log
            raise LogGap(
                f"{where}: the log was cut off or made anew; a restart resumes from a checkpoint of before that, or folds "
                "the log from its beginning"
            )
        if self._settings.on_log_gap == "stop":
            raise LogGap(
                f"{where}: {n_records} records are gone; stopped because of on_log_gap = stop, and so will each start: "
                "with --set on_log_gap=continue it goes on without them"
            )
