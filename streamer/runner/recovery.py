"""A start: the newest checkpoint that can be resumed."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from streamer import checkpoint
from streamer.checkpoint import Header, Kept, Meta, Reader, Restored, pointer
from streamer.config import Settings
from streamer.errors import CheckpointRefused
from streamer.ports import Checkpoints, TopicPartition, place
from streamer.propagate.learner import Trainer
from streamer.telemetry import Telemetry

_log = logging.getLogger("streamer.runner")


class Found(NamedTuple):
    """What to resume from."""

    meta: Meta
    restored: Restored
    refused: frozenset[str] = frozenset()  # names of newer ones that cannot be gone on from

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """Partition -> offset of the first record that is not folded yet."""
        return {TopicPartition(topic, partition): offset for topic, partition, offset in self.meta.positions}


def newest_good(
    settings: Settings,
    store: Checkpoints,
    trainer: Trainer | None,
    end: Mapping[TopicPartition, int],
    telemetry: Telemetry,
) -> Found | None:
    """The newest checkpoint that is whole and ours; None where there is none.

    Args:
        trainer: A new one; it gets its state.
        end: Where the log ends: a checkpoint that stands for more is of another log.

    Raises:
        Unavailable: the store is away; the call may be repeated.
    """
    try:
        kept = pointer.decode(store.read_pointer())
    except CheckpointRefused as exc:
        _refused(telemetry, "pointer", exc)
        return None
    for n, one in enumerate(kept):
        try:
            found = _load(settings, store, trainer, end, one)
        except CheckpointRefused as exc:
            _refused(telemetry, one.name, exc)
        else:
            return found._replace(refused=frozenset(newer.name for newer in kept[:n]))
    return None


def _refused(telemetry: Telemetry, name: str, exc: CheckpointRefused) -> None:
    telemetry.checkpoint_refused.inc()
    _log.error("checkpoint_refused", extra={"checkpoint": name, "error": str(exc)})


def _load(
    settings: Settings,
    store: Checkpoints,
    trainer: Trainer | None,
    end: Mapping[TopicPartition, int],
    one: Kept,
) -> Found:
    reader = Reader(store.read(one.name))
    header = checkpoint.read_header(reader)
    checkpoint.check_config(header.meta.config, checkpoint.config_of(settings.fold(), settings.measure_share))
    _check_log(header, settings, end)
    return Found(header.meta, checkpoint.restore(header, reader, settings.fold(), trainer))


def _check_log(header: Header, settings: Settings, end: Mapping[TopicPartition, int]) -> None:
    """Refuse what stands for another log.

    Raises:
        CheckpointRefused: it knows topics that we do not read, or more of a partition than there is.
    """
    for topic, partition, offset in header.meta.positions:
        tp = TopicPartition(topic, partition)
        if topic not in settings.kinds() or offset > end.get(tp, 0):
            there = f"ends at {end[tp]}" if tp in end else "is not read"
            raise CheckpointRefused(f"it stands for another log: {place(*tp, offset)}, and ours {there}")
