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
from typing import Any

from streamer.config import Settings
from streamer.errors import Unavailable
from streamer.events import Event
from streamer.pipeline import StepInfo
from streamer.ports import Clock, Lists, Receipts, Sink, Source, TopicPartition, Vectors
from streamer.runner.admission import Admitted, admit_all
from streamer.runner.checkpoint_writer import CheckpointPorts
from streamer.runner.checkpoints import Checkpointer
from streamer.runner.figures import Figures
from streamer.runner.interval import Every
from streamer.runner.lag import Lag
from streamer.runner.model import Chances, Model
from streamer.runner.opening import Opening
from streamer.runner.outgoing import Outgoing
from streamer.runner.patience import KAFKA, REDIS, Patience
from streamer.runner.phases import Phase
from streamer.runner.publishing import NO_USERS, Publishing
from streamer.runner.reading import NOTHING, Batch, Reading
from streamer.runner.refold import Refolded, Refolding
from streamer.runner.texts import TextPorts, Texts
from streamer.telemetry import Telemetry
from streamer.training import ThreadTrainer

_log = logging.getLogger("streamer.runner")

# A commit is a round trip and moves nothing but monitoring: not one a batch.
COMMIT_INTERVAL_S = 0.5
GAUGES_INTERVAL_S = 1.0
LAG_INTERVAL_S = 5.0
# A broker that hangs answers neither, after seconds each time, while others go on: who waits for lists must not wait for that.
RETRY_S = 60.0
REPORT_TIMEOUT_S = 5.0


class Runner:
    """One worker.

    Args:
        settings: See `config`.
        source: The log, from its beginning.
        sink: For dead letters, and the lists where they are sent to a topic, too.
        lists: Where lists are published.
        clock: Time.
        telemetry: Metrics and health.
        text_ports: Embed the texts of items, where the settings want that. None: this worker embeds nothing, and folds
            what others have put on the log.
        trainer: Of the attention network; closed by whoever made it. None: there are no vectors.
        vectors: Where vectors, and the readable state of the encoders, are published. None: nowhere.
        checkpoint_ports: Where checkpoints and the log of folds are kept. None: a start reads the log from its beginning.
        receipts: Where it is written what was removed of erased users. None: nowhere.
    """

    def __init__(
        self,
        settings: Settings,
        source: Source,
        sink: Sink,
        lists: Lists,
        *,
        clock: Clock,
        telemetry: Telemetry,
        text_ports: TextPorts | None = None,
        trainer: ThreadTrainer | None = None,
        vectors: Vectors | None = None,
        checkpoint_ports: CheckpointPorts | None = None,
        receipts: Receipts | None = None,
    ) -> None:
        self._checkpoint_ports = checkpoint_ports
        self._text_ports = text_ports if settings.has_texts() else None
        self._settings = settings
        self._source = source
        self._sink = sink
        self._lists = lists
        self._vectors = vectors
        self._clock = clock
        self._telemetry = telemetry
        telemetry.begin(settings.kinds())
        self._model = Model(settings, trainer)
        self._figures = Figures(clock, telemetry)
        self._receipts = receipts
        self.is_compiling = False  # at the start, for minutes the first time: nothing is owed to anybody then
        self._lock = threading.Lock()  # `report` comes from another thread
        self._began_s = clock.monotonic_s()
        self._phase = Phase.LOADING_ITEMS
        self._due_commit = Every(clock, COMMIT_INTERVAL_S)
        self._due_gauges = Every(clock, GAUGES_INTERVAL_S)
        self._due_lag = Every(clock, LAG_INTERVAL_S)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then finish the batch, write, commit and return.

        Raises:
            Unavailable: a dependency was away at the start, or while stopping, for too long.
            TooManyInvalid: more messages in a row were invalid than the settings allow.
            LogGap: interactions are missing from the log, and the settings say to stop.
            ConfigError: a dependency refuses us in a way that no waiting heals.
        """
        settings = self._settings
        self._stop = stop
        self._patience = Patience(
            stop, settings.backoff_max_s, settings.drain_timeout_s, self._clock, self._telemetry
        )
        self._outgoing = Outgoing(self._sink, self._patience)
        self._admit = partial(
            admit_all, kinds=settings.kinds(), max_skew_ms=round(settings.max_skew_s * 1000)
        )
        self._reading = Reading(self._source, self._admit, self._clock)
        self._texts: Texts | None = None
        if self._text_ports is not None:
            self._texts = Texts(settings, self._text_ports, self._outgoing, self._telemetry)
        self._publishing = Publishing(
            settings,
            self._model,
            self._lists,
            self._vectors,
            self._receipts,
            outgoing=self._outgoing,
            patience=self._patience,
            figures=self._figures,
            clock=self._clock,
            telemetry=self._telemetry,
        )
        self._checkpointer: Checkpointer | None = None
        self._refolding: Refolding | None = None
        try:
            self._work(stop)
        finally:
            self._reading.close()
            if self._checkpointer is not None:
                self._checkpointer.close()
            if self._texts is not None:
                self._texts.close()

    def _work(self, stop: threading.Event) -> None:
        try:
            self._start()
            while not stop.is_set():
                self._telemetry.health.turn()
                if self._refolding is not None and self._checkpointer is not None:
                    self._refold(self._refolding, self._checkpointer)
                    continue
                batch = self._next_batch()
                with self._lock:
                    self._turn(batch)
        except Unavailable:
            if stop.is_set() and self._phase < Phase.LIVE:
                _log.info("stopped", extra={"phase": self._phase.name.lower()})
                return  # nothing that we owe anybody was still on its way
            raise
        self._drain()

    def report(self) -> dict[str, Any]:
        """What was measured so far; may be called from any thread. The work stands still while it is made.

        Raises:
            Unavailable: a batch is at work all the time: Redis or Kafka is away, or it catches up.
        """
        if not self._lock.acquire(timeout=REPORT_TIMEOUT_S):
            raise Unavailable(
                f"no batch ended within {REPORT_TIMEOUT_S} s: see /ready for what is away; ask again"
            )
        try:
            took_s = round(self._clock.monotonic_s() - self._began_s, 3)
            return {**self._model.report(), "timing": {"worker_s": took_s}}
        finally:
            self._lock.release()

    # --- from the start to live ---

    def _start(self) -> None:
        opening = Opening(
            self._settings,
            self._source,
            self._model,
            self._publishing,
            lists=self._lists,
            vectors=self._vectors,
            checkpoint_ports=self._checkpoint_ports,
            texts=self._texts,
            outgoing=self._outgoing,
            figures=self._figures,
            patience=self._patience,
            clock=self._clock,
            telemetry=self._telemetry,
        )
        opened = opening.open(self._compile, self._stop.is_set)
        self._positions, self._intake, self._catch_up, self._checkpointer, self._refolding, n_logged = opened
        self._n_logged = n_logged
        self._committed = self._positions.snapshot()
        self._lag = Lag(self._source, self._positions)
        if self._refolding is not None:
            self._phase = Phase.REFOLDING
        else:
            self._phase = self._catch_up.begin(seek=False)
        self._telemetry.health.begin()

    def _compile(self) -> None:
        self.is_compiling = True
        self._model.warm_up()
        self.is_compiling = False

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
        info = self._model.fold(admitted.events, received_ms, is_serving, admitted.log_ms)
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
