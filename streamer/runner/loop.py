"""The order of things: poll -> decode -> fold -> rank -> write -> commit.

Nothing is folded twice and nothing is committed early: a batch is folded once, in memory; each call to a
dependency that follows is repeated until it works, at the place where it failed. A start resumes from the newest checkpoint,
repeats the batches that were folded since, and publishes nothing until it has seen all that was on the log when it started;
without a checkpoint it reads the log from its beginning.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from streamer.errors import Unavailable
from streamer.events import Event
from streamer.pipeline import StepInfo
from streamer.ports import TopicPartition
from streamer.publish import NO_USERS
from streamer.runner.admission import Admitted, admit_all
from streamer.runner.checkpoints import Checkpointer
from streamer.runner.interval import Every
from streamer.runner.lag import Lag
from streamer.runner.model import Chances
from streamer.runner.opening import Opened
from streamer.runner.parts import Parts
from streamer.runner.patience import KAFKA, REDIS
from streamer.runner.phases import Phase
from streamer.runner.reading import NOTHING, Batch, Reading
from streamer.runner.refold import Refolded, Refolding

_log = logging.getLogger("streamer.runner")

# A commit is a round trip and moves nothing but monitoring: not one a batch.
COMMIT_INTERVAL_S = 0.5
GAUGES_INTERVAL_S = 1.0
LAG_INTERVAL_S = 5.0
# A broker that hangs answers neither, after seconds each time, while others go on: who waits for lists must not wait for that.
RETRY_S = 60.0


class Loop:
    """Goes round, from where a start has put the fold, until it is told to stop.

    Args:
        parts: Of the worker.
        opened: Where the fold stands, and what resumes there; closed by whoever opened it.
        stop: Tells to stop.
        lock: Held while a batch is at work: the model is whole when it is free.
    """

    def __init__(self, parts: Parts, opened: Opened, stop: threading.Event, lock: threading.Lock) -> None:
        self._settings = settings = parts.settings
        self._source = parts.source
        self._lists = parts.lists
        self._checkpoint_ports = parts.checkpoint_ports
        self._model = parts.model
        self._publishing = parts.publishing
        self._texts = parts.texts
        self._outgoing = parts.outgoing
        self._figures = parts.figures
        self._patience = parts.patience
        self._clock = parts.clock
        self._telemetry = parts.telemetry
        self._stop, self._lock = stop, lock
        self._positions = opened.positions
        self._intake = opened.intake
        self._catch_up = opened.catch_up
        self._checkpointer = opened.checkpointer
        self._refolding = opened.refolding
        self._n_logged = opened.n_logged
        self._committed = opened.positions.snapshot()
        self._lag = Lag(parts.source, opened.positions)
        max_skew_ms = round(settings.max_skew_s * 1000)
        self._admit = partial(admit_all, kinds=settings.kinds(), max_skew_ms=max_skew_ms)
        self._reading = Reading(parts.source, self._admit, parts.clock)
        self._phase = Phase.LOADING_ITEMS if opened.refolding is None else Phase.REFOLDING
        self._due_commit = Every(parts.clock, COMMIT_INTERVAL_S)
        self._due_gauges = Every(parts.clock, GAUGES_INTERVAL_S)
        self._due_lag = Every(parts.clock, LAG_INTERVAL_S)

    def run(self) -> None:
        """Until told to stop; then finish the batch, write and commit.

        Raises:
            Unavailable: a dependency stays away while we are stopping.
            TooManyInvalid: more messages in a row were invalid than the settings allow.
            LogGap: interactions are missing from the log, and the settings say to stop.
            ConfigError: a dependency refuses us in a way that no waiting heals.
        """
        try:
            if self._refolding is None:
                self._phase = self._catch_up.begin(seek=False)
            self._telemetry.health.begin()
            while not self._stop.is_set():
                self._telemetry.health.turn()
                if self._refolding is not None and self._checkpointer is not None:
                    self._refold(self._refolding, self._checkpointer)
                    continue
                batch = self._next_batch()
                with self._lock:
                    self._turn(batch)
        except Unavailable:
            if self._stop.is_set() and self._phase < Phase.LIVE:
                _log.info("stopped", extra={"phase": self._phase.name.lower()})
                return  # nothing that we owe anybody was still on its way
            raise
        self._drain()

    def close(self) -> None:
        """Read no more. Idempotent."""
        self._reading.close()

    # --- from the start to live ---

    def _refold(self, refolding: Refolding, checkpointer: Checkpointer) -> None:
        """Repeat the next batch of the log of folds; when that is done, read what else there is."""
        try:
            self._patience(REDIS, refolding.look)
            batch = self._patience(KAFKA, refolding.next)
        except Unavailable:
            if self._stop.is_set():
                return
            raise
        if batch is not None:
            with self._lock:
                self._fold_again(batch)
            checkpointer.count_again(batch)
            self._telemetry.refolded.inc()
        elif not self._stop.is_set():
            self._end_refolding(refolding, checkpointer)

    def _fold_again(self, batch: Refolded) -> None:
        admitted = self._admit(batch.records)
        n_usable = self._intake.take(batch.records, admitted)
        self._publishing.read(batch.records)
        if admitted.events:
            chances = Chances(batch.fold.rounds, batch.fold.served, batch.fold.max_measured)
            info = self._model.refold(admitted.events, self._clock.now_ms(), chances, admitted.log_ms)
            self._after_fold(info, admitted.events, self._clock.monotonic_s())
            self._intake.count(n_usable, info.n_skipped)

    def _end_refolding(self, refolding: Refolding, checkpointer: Checkpointer) -> None:
        was_cut, n_gone = refolding.was_cut, refolding.n_gone
        _log.info(
            "refolded", extra={"n_batches": checkpointer.n_batches, "was_cut": was_cut, "n_gone": n_gone}
        )
        if was_cut:
            self._telemetry.folds_left.inc()
            checkpointer.hasten()
        if self._checkpoint_ports is not None:
            folds = self._checkpoint_ports.folds
            if self._patience(REDIS, folds.last) > checkpointer.n_batches:
                # those that came since we looked at the log are of another worker, who is alive and needs them all
                self._patience(REDIS, lambda: self._lists.check(self._n_logged))
                # what comes now is folded in another order than before: there is nothing to be repeated from any more
                self._patience(REDIS, folds.clear)
        self._refolding = None
        self._publishing.goes_on_after(checkpointer.n_batches)
        self._phase = self._catch_up.begin(seek=True)

    def _look_whether_read(self, any_records: bool) -> None:
        """Move on to the next phase once everything that was on the log at the start has been read."""
        self._phase = self._catch_up.look(self._phase, any_records)
        if self._phase is Phase.PUBLISHING:
            _log.info("caught_up", extra={"n_users": self._publishing.begin()})

    # --- one turn ---

    @property
    def _max_batch(self) -> int:
        is_catching_up = self._phase < Phase.PUBLISHING
        return self._settings.max_batch_catch_up if is_catching_up else self._settings.max_batch

    def _next_batch(self) -> Batch:
        timeout_s = 0.0 if self._publishing.is_busy else self._settings.poll_timeout_ms / 1000
        try:
            return self._patience(KAFKA, lambda: self._reading.next(self._max_batch, timeout_s))
        except Unavailable:
            if self._stop.is_set():
                return NOTHING  # nothing was read, so nothing is lost
            raise

    def _turn(self, batch: Batch) -> None:
        records = batch.records
        n_usable = self._intake.take(records, batch.admitted)
        self._publishing.read(records)
        with self._reading.ahead(batch, self._max_batch):
            info = self._fold(batch.admitted, batch.received_s, batch.received_ms)
        touched = info.touched_users if info is not None else NO_USERS
        fold = self._checkpointer.count(records) if self._checkpointer is not None else None
        if self._texts is not None:
            self._texts.send()
        is_serving = self._phase >= Phase.PUBLISHING
        if not is_serving:
            if fold is not None:
                self._publishing.note(fold)
            self._look_whether_read(bool(records))
        else:
            has_lost = self._publishing.publish(touched, self._positions.by_name(), fold)
            if has_lost and self._checkpointer is not None:
                self._checkpointer.hasten()
            self._look_whether_live()
            if info is not None:
                self._figures.followed(info.outcomes.time_ms, batch.received_s, batch.received_ms)
        if self._phase is Phase.LIVE:
            self._publishing.publish_vectors()
            if self._due_commit():
                self._try_to_commit()
        if is_serving and self._checkpointer is not None:  # before, deletions may wait for the first lists
            self._checkpointer.turn()
        if info is not None:
            self._intake.count(n_usable, info.n_skipped)
        if records:
            self._telemetry.batch_size.observe(len(records))
            self._telemetry.last_batch.set(self._clock.now_ms() / 1000)
        self._show()

    def _fold(self, admitted: Admitted, received_s: float, received_ms: int) -> StepInfo | None:
        if not admitted.events:
            return None
        began_s = self._clock.monotonic_s()
        is_serving = self._phase >= Phase.PUBLISHING
        n_left = 0 if is_serving else self._catch_up.n_left()
        info = self._model.fold(admitted.events, received_ms, is_serving, admitted.log_ms, n_left)
        self._telemetry.step.observe(self._clock.monotonic_s() - began_s)
        self._after_fold(info, admitted.events, received_s)
        return info

    def _after_fold(self, info: StepInfo, events: Sequence[Event], received_s: float) -> None:
        self._figures.folded(
            info, received_s, is_serving=self._phase >= Phase.PUBLISHING, is_live=self._phase is Phase.LIVE
        )
        self._publishing.folded(info, is_serving=self._phase >= Phase.PUBLISHING)
        if self._texts is not None:
            self._texts.follow(events)

    def _look_whether_live(self) -> None:
        if self._phase is Phase.PUBLISHING and not self._publishing.has_backlog:
            self._phase = Phase.LIVE
            self._telemetry.health.catching_up = False
            self._telemetry.catching_up.set(0)
            self._commit()
            if self._model.trainer is not None:
                self._model.trainer.warm_up()
            _log.info("live", extra={"positions": self._positions.by_name()})

    def _try_to_commit(self) -> None:
        """Commit, if Kafka takes it now: it moves nothing but monitoring."""
        self._outgoing.settle()
        try:
            self._commit_by(self._source.commit)
        except Unavailable as exc:
            self._telemetry.unavailable.labels(KAFKA).inc()
            self._due_commit.put_off(RETRY_S)
            _log.warning("not_committed", extra={"error": str(exc), "again_in_s": RETRY_S})

    def _commit(self) -> None:
        """Commit what was read: its lists are written, and its dead letters are on the log by now."""
        self._outgoing.settle()
        self._commit_by(lambda positions: self._patience(KAFKA, lambda: self._source.commit(positions)))

    def _commit_by(self, commit: Callable[[Mapping[TopicPartition, int]], None]) -> None:
        positions = self._positions.snapshot()
        if positions != self._committed:
            commit(positions)
            self._committed = positions

    def _drain(self) -> None:
        if self._texts is not None:
            self._texts.send()
        if self._phase is Phase.LIVE:
            self._publishing.finish(self._positions.by_name())
            self._commit()
            if self._checkpointer is not None:
                self._checkpointer.at_the_end()
        else:
            self._outgoing.settle()
        self._show_model()
        _log.info(
            "stopped", extra={"phase": self._phase.name.lower(), "positions": self._positions.by_name()}
        )

    # --- figures ---

    def _show(self) -> None:
        if self._due_gauges():
            self._show_model()
            if self._texts is not None:
                self._texts.show()
        if self._due_lag():
            try:
                lag = self._lag.look(may_ask=self._phase is Phase.LIVE)
            except Unavailable:
                self._telemetry.unavailable.labels(KAFKA).inc()
                self._due_lag.put_off(RETRY_S)
                return  # the next poll tells
            for topic, n_records in lag.items():
                self._telemetry.lag.labels(topic).set(n_records)

    def _show_model(self) -> None:
        self._figures.show(self._model.state, self._model.scoreboard, self._model.trainer)
        self._publishing.show()
