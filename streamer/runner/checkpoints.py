"""What a restart resumes from: every batch counted for the log of folds, and now and then a checkpoint of all of them."""

from collections.abc import Sequence

from streamer import __version__
from streamer.checkpoint import Meta, config_of
from streamer.config import Settings
from streamer.errors import ConfigError
from streamer.ports import Clock, Fold, Record
from streamer.runner.checkpoint_writer import CheckpointPorts, CheckpointWriter
from streamer.runner.model import Model
from streamer.runner.outgoing import Outgoing
from streamer.runner.positions import Positions
from streamer.runner.recovery import Found
from streamer.runner.refold import Refolded, spans_of
from streamer.telemetry import Telemetry

RETRY_S = 30.0  # after a failure that may pass, where that is sooner than the next one is due


class Checkpointer:
    """Knows how far the fold is, and when that is worth keeping.

    Args:
        settings: How often, and how many are kept.
        ports: Where; for the writer's thread alone, once there was something to keep.
        model: What is kept.
        positions: What it stands for.
        outgoing: Settled first: what lies behind the positions is not read again.
        clock: Time.
        telemetry: Told of each.
    """

    def __init__(
        self,
        settings: Settings,
        ports: CheckpointPorts,
        model: Model,
        positions: Positions,
        outgoing: Outgoing,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._model = model
        self._positions = positions
        self._outgoing = outgoing
        self._clock = clock
        self._telemetry = telemetry
        self.n_batches = 0  # folded so far, by all workers
        self._writer = CheckpointWriter(
            ports, settings.checkpoint_keep, lambda: self.n_batches, clock, telemetry
        )
        self._n_records = 0  # folded since the last checkpoint
        self._due_s = clock.monotonic_s()  # the first as soon as there is something to keep

    def go_on_from(self, found: Found) -> None:
        """So many batches were folded before. What was refused on the way there is not kept: it would push out a good one."""
        self.n_batches, self._writer.refused = found.meta.n_batches, found.refused

    def count(self, records: Sequence[Record]) -> Fold | None:
        """The batch that was just folded, for the log of folds; None where there were no records."""
        if not records:
            return None
        self.n_batches += 1
        self._n_records += len(records)
        return Fold(self.n_batches, spans_of(records), len(records), *self._model.take_chances())

    def count_again(self, batch: Refolded) -> None:
        """A batch of the log of folds was folded once more."""
        self.n_batches = batch.fold.number
        self._n_records += len(batch.records)

    def hasten(self) -> None:
        """The next one is due now: what it would be repeated from is gone."""
        self._n_records, self._due_s = max(self._n_records, 1), self._clock.monotonic_s()

    def turn(self) -> None:
        """Take one if it is time; called when all that was folded is written, and on the log of folds.

        Raises:
            Unavailable: Kafka, which must have the dead letters first, stays away while we are stopping.
        """
        if (failure := self._writer.take_failure()) is not None:
            self._n_records = max(self._n_records, 1)
            if not issubclass(failure, ConfigError):  # a copy of all that there is, for nothing
                self._due_s = min(self._due_s, self._clock.monotonic_s() + RETRY_S)
        is_due = self._clock.monotonic_s() >= self._due_s
        is_due = is_due or self._n_records >= self._settings.checkpoint_interval_events
        if is_due and self._is_worthwhile and self._writer.make_room(self._model.room()):
            self._take()

    def at_the_end(self) -> None:
        """Take one, and wait for it: the next start has nothing to repeat then."""
        limit_s = self._settings.drain_timeout_s
        self._writer.wait(limit_s)
        if self._writer.take_failure() is not None:
            self._n_records = max(self._n_records, 1)
        if self._is_worthwhile:
            self._take()
            self._writer.wait(limit_s)

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._writer.close()

    @property
    def _is_worthwhile(self) -> bool:
        return self._n_records > 0 and not self._writer.is_busy

    def _take(self) -> None:
        self._outgoing.settle()
        positions = [(tp.topic, tp.partition, offset) for tp, offset in self._positions.snapshot().items()]
        meta = Meta(
            config=config_of(self._settings.fold(), self._settings.measure_share),
            positions=positions,
            n_batches=self.n_batches,
            event_time_ms=self._model.time_ms,
            made_ms=self._clock.now_ms(),
            made_by=__version__,
        )
        room = self._writer.take_room()
        began_s = self._clock.monotonic_s()
        frozen = self._model.freeze(room)
        now_s = self._clock.monotonic_s()
        self._telemetry.checkpoint_pause.observe(now_s - began_s)
        self._n_records, self._due_s = 0, now_s + self._settings.checkpoint_interval_s
        self._writer.write(frozen, meta, self._model.scoreboard.n_events)
