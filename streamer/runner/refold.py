"""Recovery: the batches of the log of folds once more, record for record, in their order."""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from streamer.ports import Clock, Fold, Folds, Record, Source, Span, TopicPartition
from streamer.silence import Silence

_log = logging.getLogger("streamer.runner")

MAX_WAITING = 20_000  # records of a partition that wait for their turn, before it is held back
_N_FOLDS = 1000  # read at once
_N_RECORDS = 4096


class Refolded(NamedTuple):
    """A batch as it was."""

    fold: Fold
    records: list[Record]


def spans_of(records: Sequence[Record]) -> tuple[Span, ...]:
    """Where these records lie on the log, in their order: a span for each run of one partition."""
    spans: list[Span] = []
    begin = end = -1
    topic, partition = "", -1
    for record in records:
        if record.topic == topic and record.partition == partition and record.offset >= end:
            end = record.offset + 1
            continue
        if end >= 0:
            spans.append(Span(topic, partition, begin, end))
        topic, partition, begin, end = record.topic, record.partition, record.offset, record.offset + 1
    if end >= 0:
        spans.append(Span(topic, partition, begin, end))
    return tuple(spans)


class Refolding:
    """Reads what the log of folds names, a batch at a time.

    It ends at the first batch that cannot be read as it was: one that is missing, or whose records are gone. What comes then is
    read in any order.

    Args:
        source: Stands where the first batch begins.
        folds: The log of folds.
        after: Number of the last batch that need not be repeated.
        end: Where each partition ends.
        clock: Says when to stop waiting for a record.
        is_stopping: Whether to give up.
    """

    def __init__(
        self,
        source: Source,
        folds: Folds,
        after: int,
        end: Mapping[TopicPartition, int],
        clock: Clock,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._source = source
        self._folds = folds
        self._end = end
        self._clock = clock
        self._is_stopping = is_stopping
        self._number = after
        self._next: deque[Fold] = deque()
        self._waiting: dict[TopicPartition, deque[Record]] = {}
        self._full: set[TopicPartition] = set()
        self.n_gone = 0  # records that were folded then, and are not on the log any more
        self.was_cut = False  # there are batches that cannot be repeated

    def look(self) -> None:
        """Read which batches come next, where none is known.

        Raises:
            Unavailable: the log of folds is away; the call may be repeated.
        """
        if not self._next:
            self._next.extend(self._folds.read(self._number, _N_FOLDS))

    def next(self) -> Refolded | None:
        """The next batch, after `look`; None when all were repeated, or no more can be.

        Raises:
            Unavailable: the log is away; the call may be repeated.
        """
        if not self._next:
            return None
        fold = self._next[0]
        why = self._why_not(fold)
        # taken out of what waits only when all are there, so that the call can be repeated
        if why is None and not all(self._is_here(span) for span in fold.spans):
            why = "stopping" if self._is_stopping() else "its records do not come"
        records = self._take(fold) if why is None else None
        if records is None:
            self.was_cut = not self._is_stopping()
            _log.warning(
                "refolding_ends", extra={"n_batches": self._number, "why": why or "other records lie between"}
            )
            return None
        self._next.popleft()
        self._number = fold.number
        self.n_gone += fold.n_records - len(records)
        return Refolded(fold, records)

    def _why_not(self, fold: Fold) -> str | None:
        if fold.number != self._number + 1:
            return f"batch {self._number + 1} is missing"
        for span in fold.spans:
            if span.end > self._end.get(TopicPartition(span.topic, span.partition), 0):
                return f"{span.topic}[{span.partition}] ends before {span.end}"
        return None

    def _is_here(self, span: Span) -> bool:
        """Read until the span is complete; False when nothing more of it comes."""
        tp = TopicPartition(span.topic, span.partition)
        waiting = self._waiting.setdefault(tp, deque())
        silence = Silence(self._source, self._clock)  # the last record of a span may be compacted away
        while not waiting or waiting[-1].offset < span.end - 1:
            if self._is_stopping():
                return False
            if self._read(tp):
                silence.broken()
            elif silence.is_the_end({tp: waiting[-1].offset + 1 if waiting else span.begin}):
                return bool(waiting) and waiting[0].offset < span.end
        return True

    def _read(self, wanted: TopicPartition) -> bool:
        # never the one that is waited for: a span may be longer than that
        # and once it is full until half of it is gone: to fetch it again costs a round trip
        self._full = {
            tp
            for tp, records in self._waiting.items()
            if len(records) > (MAX_WAITING // 2 if tp in self._full else MAX_WAITING) and tp != wanted
        }
        self._source.hold(self._full)
        records = self._source.poll(_N_RECORDS, 0.01)
        for record in records:
            self._waiting.setdefault(record.tp, deque()).append(record)
        return bool(records)

    def _take(self, fold: Fold) -> list[Record] | None:
        """Its records; None when they are not the next ones of their partition."""
        taken: list[Record] = []
        for span in fold.spans:
            waiting = self._waiting[TopicPartition(span.topic, span.partition)]
            if waiting and waiting[0].offset < span.begin:
                return None
            while waiting and waiting[0].offset < span.end:
                taken.append(waiting.popleft())
        return taken
