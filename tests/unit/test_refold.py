"""Batches once more, as the log of folds has them: what ends it, and how much waits meanwhile."""

from collections.abc import Mapping

import pytest

from streamer.adapters.memory import ManualClock, MemoryLog, MemorySource
from streamer.adapters.memory.checkpoints import MemoryFolds
from streamer.ports import Fold, Span, TopicPartition
from streamer.runner import refold
from streamer.runner.refold import Refolded, Refolding

ONE, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def refolding(lengths: Mapping[TopicPartition, int], *folds: Fold) -> Refolding:
    """Over partitions of these lengths, from their beginnings."""
    log, kept, clock = MemoryLog({"t": 2}), MemoryFolds(), ManualClock()
    for tp, n in lengths.items():
        for at in range(n):
            log.append(*tp, None, b"%d" % at)
    for fold in folds:
        kept.append(fold)
    source = MemorySource(log, ["t"], "g", clock=clock)
    return Refolding(source, kept, 0, dict(lengths), clock, lambda: False)


def test_batches_come_as_they_were() -> None:
    """Record for record, in the order of their spans, whatever the log hands out first."""
    first = Fold(1, (Span(*OTHER, 0, 2), Span(*ONE, 0, 3)), 5)
    second = Fold(2, (Span(*ONE, 3, 4),), 1)
    batches = refolding({ONE: 4, OTHER: 2}, first, second)
    for fold in (first, second):
        again = following(batches)
        assert again is not None
        assert again.fold == fold
        places = [(r.topic, r.partition, r.offset) for r in again.records]
        assert places == [(s.topic, s.partition, at) for s in fold.spans for at in range(s.begin, s.end)]
    assert following(batches) is None
    assert not batches.was_cut


def following(batches: Refolding) -> Refolded | None:
    """The next batch, as the loop asks for it."""
    batches.look()
    return batches.next()


def test_records_between_the_batches_end_it() -> None:
    """The log holds records, before a span, that no batch names: what was folded then is not what lies there now."""
    batches = refolding({ONE: 9, OTHER: 0}, Fold(1, (Span(*ONE, 0, 3),), 3), Fold(2, (Span(*ONE, 5, 9),), 4))
    assert following(batches) is not None
    assert following(batches) is None
    assert batches.was_cut


def test_what_waits_for_its_turn_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition whose records come much later is held back, and nothing of it is lost."""
    monkeypatch.setattr(refold, "MAX_WAITING", 3)
    monkeypatch.setattr(refold, "_N_RECORDS", 2)
    folds = Fold(1, (Span(*OTHER, 0, 50),), 50), Fold(2, (Span(*ONE, 0, 60),), 60)
    batches = refolding({ONE: 60, OTHER: 50}, *folds)
    assert following(batches) is not None
    assert len(batches._waiting[ONE]) <= 3 + 2
    again = following(batches)
    assert again is not None
    assert [r.offset for r in again.records] == list(range(60))


def test_records_that_the_log_has_dropped_are_counted() -> None:
    """Compaction takes single ones out of a batch: it is repeated without them, and how many went is reported."""
    batches = refolding(
        {ONE: 5, OTHER: 3}, Fold(1, (Span(*ONE, 0, 5),), 7), Fold(2, (Span(*OTHER, 0, 3),), 4)
    )
    assert following(batches) is not None
    assert batches.n_gone == 2
    assert following(batches) is not None
    assert batches.n_gone == 3
    assert not batches.was_cut
