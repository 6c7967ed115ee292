"""A start, from nothing or from a checkpoint: where the fold begins, and what must be done once more before it goes on."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from streamer.config import Settings
from streamer.errors import InvalidEvent
from streamer.events import CatalogItem, decode
from streamer.ports import Clock, Record, Source, TopicPartition
from streamer.runner.patience import KAFKA, Patience
from streamer.runner.recovery import Found
from streamer.runner.texts import Texts
from streamer.silence import Silence
from streamer.texts import content_key, content_of

_log = logging.getLogger("streamer.runner")

_N_RECORDS = 4096

Offsets = Mapping[TopicPartition, int]


class LogBounds(NamedTuple):
    """The log as it stood at the start; partition -> offset."""

    begin: Offsets  # oldest record
    end: Offsets  # behind the newest one
    committed: Offsets  # what an earlier worker was done with


def look(source: Source, patience: Patience, limit_s: float) -> LogBounds:
    """Ask the log.

    Raises:
        Unavailable: it stays away for longer than `limit_s`.
    """
    return LogBounds(
        patience(KAFKA, source.begin_offsets, limit_s),
        patience(KAFKA, source.end_offsets, limit_s),
        patience(KAFKA, source.committed, limit_s),
    )


def must_read(bounds: LogBounds, found: Found | None) -> tuple[Offsets, Offsets]:
    """What a worker that resumes there would have to read and cannot: for `Intake.look_at_start`."""
    if found is None:
        return bounds.begin, bounds.committed
    positions = found.positions
    return {tp: offset for tp, offset in bounds.begin.items() if offset > positions.get(tp, 0)}, positions


def ask_for_texts(
    settings: Settings,
    source: Source,
    bounds: LogBounds,
    found: Found,
    missing: set[str],
    texts: Texts,
    patience: Patience,
    clock: Clock,
) -> None:
    """Read the catalog that a checkpoint holds once more, for texts that it knows by their key alone.

    Nothing is folded. Afterwards the source stands anywhere: seek.

    Args:
        missing: Keys of the texts that no vector came for.
    """
    left = {
        tp: offset
        for tp, offset in found.positions.items()
        if missing and tp.topic == settings.topic_catalog and bounds.begin.get(tp, 0) < offset
    }
    if not left:
        return
    _log.info("asking_for_texts", extra={"n_texts": len(missing)})
    patience(KAFKA, lambda: source.seek({tp: bounds.begin[tp] for tp in left}))
    patience(KAFKA, lambda: source.hold([tp for tp in bounds.end if tp not in left]))
    silence, due = Silence(source, clock), {tp: bounds.begin.get(tp, 0) for tp in left}
    while due and not patience(KAFKA, lambda: silence.is_the_end(due)):
        records = patience(KAFKA, lambda: source.poll(_N_RECORDS, 0.01))
        if records:
            silence.broken()
        texts.follow(item for record in records if (item := _item(record, settings.text_model, missing)))
        for record in records:
            tp = record.tp
            if record.offset + 1 < left.get(tp, 0):
                due[tp] = record.offset + 1
            else:
                due.pop(tp, None)


def _item(record: Record, model: str, missing: set[str]) -> CatalogItem | None:
    """The item of this record, where its text is one of those."""
    try:
        event = decode("catalog", record.key, record.value)
    except InvalidEvent:
        return None
    if isinstance(event, CatalogItem) and content_key(model, content_of(event)) in missing:
        return event
    return None
