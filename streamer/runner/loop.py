"""The order of things: poll -> decode -> fold -> rank -> write -> commit.

Nothing is folded twice and nothing is committed early: a batch is folded once, in memory; each call to a
dependency that follows is repeated until it works, at the place where it failed. A start goes on from the newest checkpoint,
repeats the batches that were folded since, and publishes nothing until it has seen all that was on the log when it started;
without a checkpoint it reads the log from its beginning.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.config import Settings
from streamer.errors import Unavailable
from streamer.events import Event
from streamer.pipeline import StepInfo
from streamer.ports import Clock, Fold, Lists, Receipts, Record, Sink, Source, Vectors
from streamer.publish import ANONYMOUS_ROW
from streamer.runner.checkpoint_writer import CheckpointPorts
from streamer.runner.checkpoints import Checkpointer
from streamer.runner.erasures import Erasures
from streamer.runner.figures import Figures
from streamer.runner.intake import Intake, Taken
from streamer.runner.interval import Every
from streamer.runner.model import Chances, Changes, Entries, Made, Model
from streamer.runner.outgoing import Message, Outgoing
from streamer.runner.patience import CHECKPOINTS, KAFKA, REDIS, Patience
from streamer.runner.phases import CatchUp, Phase
from streamer.runner.positions import Positions
from streamer.runner.recovery import Found, newest_good
from streamer.runner.refold import Refolded, Refolding
from streamer.runner.retirement import Retirement, users_of
from streamer.runner.start import LogBounds, ask_for_texts, look, must_read
from streamer.runner.texts import TextPorts, Texts
from streamer.runner.vectors import VectorWriter
from streamer.telemetry import Telemetry
from streamer.training import ThreadTrainer

_log = logging.getLogger("streamer.runner")

# A commit is a round trip and moves nothing but monitoring: not one a batch.
COMMIT_INTERVAL_S = 0.5
GAUGES_INTERVAL_S = 1.0
LAG_INTERVAL_S = 5.0
NO_USERS: NDArray[np.int32] = np.empty(0, np.int32)


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
        self._model = Model(settings, trainer)
        self._figures = Figures(clock, telemetry)
        self._erasures = Erasures(settings, receipts, clock)
        self._retirement = Retirement(self._model.holders, clock, telemetry)
        self._lock = threading.Lock()  # `report` comes from another thread
        self._began_s = clock.monotonic_s()
        self._phase = Phase.LOADING_ITEMS
        self._is_touched = np.zeros(
            settings.max_users, np.bool_
        )  # by what was folded before publishing began
        self._backlog = NO_USERS  # still to be published after catching up
        self._anonymous_changed = False
        self._due_anonymous = Every(clock, settings.anonymous_interval_s)
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
        self._texts: Texts | None = None
        if self._text_ports is not None:
            self._texts = Texts(settings, self._text_ports, self._outgoing, self._telemetry)
        self._writer: VectorWriter | None = None
        if self._vectors is not None:
            self._writer = VectorWriter(settings, self._vectors, self._patience, self._clock, self._telemetry)
        self._checkpointer: Checkpointer | None = None
        try:
            self._work(stop)
        finally:
            if self._checkpointer is not None:
                self._checkpointer.close()
            if self._texts is not None:
                self._texts.close()

    def _work(self, stop: threading.Event) -> None:
        try:
            self._start()
            while not stop.is_set():
                self._telemetry.health.turn()
                if self._phase is Phase.REFOLDING and self._checkpointer is not None:
                    self._refold(self._checkpointer)
                    continue
                records = self._poll()
                with self._lock:
                    self._turn(records)
        except Unavailable:
            if stop.is_set() and self._phase < Phase.LIVE:
                _log.info("stopped", extra={"phase": self._phase.name.lower()})
                return  # nothing that we owe anybody was still on its way
            raise
        self._drain()

    def report(self) -> dict[str, Any]:
        """What was measured so far; may be called from any thread."""
        with self._lock:
            took_s = round(self._clock.monotonic_s() - self._began_s, 3)
            return {**self._model.report(), "timing": {"worker_s": took_s}}

    # --- from the start to live ---

    def _start(self) -> None:
        limit_s = self._settings.start_timeout_s
        self._patience(REDIS, self._lists.ping, limit_s)
        if self._vectors is not None:
            self._patience(REDIS, self._vectors.ping, limit_s)  # connects now, not between two lists
        bounds = look(self._source, self._patience, limit_s)
        found = self._find(bounds, limit_s)
        folded = found.positions if found is not None else {}
        begin = {tp: max(offset, folded.get(tp, 0)) for tp, offset in bounds.begin.items()}
        self._positions = Positions(begin, bounds.committed)
        self._intake = Intake(
            self._settings,
            self._positions,
            self._outgoing,
            lambda: self._patience(KAFKA, self._source.begin_offsets),
            self._telemetry,
        )
        self._intake.look_at_start(*must_read(bounds, found))
        self._committed = self._positions.snapshot()
        self._model.warm_up()
        self._catch_up = CatchUp(
            self._settings,
            self._source,
            self._positions,
            bounds.end,
            self._patience,
            self._clock,
            on_items_known=self._texts.start if self._texts is not None else lambda: None,
        )
        if self._checkpoint_ports is None:
            self._phase = self._catch_up.begin(seek=False)
            return
        self._checkpointer = Checkpointer(
            self._settings,
            self._checkpoint_ports,
            self._model,
            self._positions,
            self._outgoing,
            self._clock,
            self._telemetry,
        )
        if found is not None:
            self._go_on_from(found, bounds, self._checkpointer)
        self._refolding = Refolding(
            self._source,
            self._checkpoint_ports.folds,
            self._checkpointer.n_batches,
            bounds.end,
            self._clock,
            self._stop.is_set,
        )
        self._patience(KAFKA, lambda: self._source.seek(begin))
        self._phase = Phase.REFOLDING

    def _find(self, bounds: LogBounds, limit_s: float) -> Found | None:
        if self._checkpoint_ports is None:
            return None
        store, trainer = self._checkpoint_ports.store, self._model.trainer
        return self._patience(
            CHECKPOINTS,
            lambda: newest_good(self._settings, store, trainer, bounds.end, self._telemetry),
            limit_s,
        )

    def _go_on_from(self, found: Found, bounds: LogBounds, checkpointer: Checkpointer) -> None:
        self._model.restore(found.restored, found.meta.event_time_ms)
        checkpointer.n_batches = found.meta.n_batches
        self._figures.restored(self._model.state)
        if self._writer is not None:
            self._writer.restored(self._model.state)
        where = {"n_batches": found.meta.n_batches, "positions": self._positions.by_name()}
        _log.info("restored", extra=where)
        if self._texts is not None:
            known, missing = self._model.texts()
            self._texts.known(known)
            ask_for_texts(
                self._settings, self._source, bounds, found, missing, self._texts, self._patience, self._clock
            )

    def _refold(self, checkpointer: Checkpointer) -> None:
        """Repeat the next batch of the log of folds; when that is done, read what else there is."""
        try:
            batch = self._patience(KAFKA, self._refolding.next)
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
            self._end_refolding(checkpointer)

    def _fold_again(self, batch: Refolded) -> None:
        taken = self._intake.take(batch.records)
        self._erasures.read(batch.records)
        if taken.events:
            chances = Chances(batch.fold.rounds, batch.fold.served)
            info = self._model.refold(taken.events, self._clock.now_ms(), chances, taken.log_ms)
            self._after_fold(info, taken.events, self._clock.monotonic_s())

    def _end_refolding(self, checkpointer: Checkpointer) -> None:
        was_cut, n_gone = self._refolding.was_cut, self._refolding.n_gone
        _log.info(
            "refolded", extra={"n_batches": checkpointer.n_batches, "was_cut": was_cut, "n_gone": n_gone}
        )
        if was_cut:
            self._telemetry.folds_left.inc()
            checkpointer.hasten()
        if self._checkpoint_ports is not None:
            folds = self._checkpoint_ports.folds
            if self._patience(REDIS, folds.last) > checkpointer.n_batches:
                # what comes now is folded in another order than before: there is nothing to be repeated from any more
                self._patience(REDIS, folds.clear)
        self._phase = self._catch_up.begin(seek=True)

    def _look_whether_read(self, any_records: bool) -> None:
        """Move on to the next phase once everything that was on the log at the start has been read."""
        self._phase = self._catch_up.look(self._phase, any_records)
        if self._phase is Phase.PUBLISHING:
            # those whom the last records touched first: their lists are the ones that are wrong
            everyone = self._model.all_users()
            is_touched = self._is_touched[everyone]
            self._backlog = np.concatenate([everyone[is_touched], everyone[~is_touched]])
            _log.info("caught_up", extra={"n_users": len(self._backlog)})

    # --- one turn ---

    def _poll(self) -> list[Record]:
        settings = self._settings
        n_max = settings.max_batch_catch_up if self._phase < Phase.PUBLISHING else settings.max_batch
        is_busy = self._backlog.size or self._retirement.is_waiting
        timeout_s = 0.0 if is_busy else settings.poll_timeout_ms / 1000
        try:
            return self._patience(KAFKA, lambda: self._source.poll(n_max, timeout_s))
        except Unavailable:
            if self._stop.is_set():
                return []  # nothing was read, so nothing is lost
            raise

    def _turn(self, records: Sequence[Record]) -> None:
        received_s, received_ms = self._clock.monotonic_s(), self._clock.now_ms()
        taken = self._intake.take(records)
        self._erasures.read(records)
        info = self._fold(taken, received_s, received_ms)
        touched = info.touched_users if info is not None else NO_USERS
        fold = self._checkpointer.count(records) if self._checkpointer is not None else None
        if self._texts is not None:
            self._texts.send()
        if self._phase < Phase.PUBLISHING:
            if fold is not None:
                self._patience(REDIS, lambda: self._lists.write([], self._settings.list_ttl_s, fold))
            self._look_whether_read(bool(records))
        else:
            self._publish(touched, fold)
            self._figures.followed(taken.events, received_s, received_ms)
        if self._phase is Phase.LIVE:
            if self._writer is not None:
                self._writer.write(self._model.state)
            if self._due_commit():
                self._commit()
        if self._phase >= Phase.PUBLISHING and self._checkpointer is not None:
            self._checkpointer.turn()
        if info is not None:
            self._intake.count(taken, info.n_skipped)
        if records:
            self._telemetry.batch_size.observe(len(records))
            self._telemetry.last_batch.set(self._clock.now_ms() / 1000)
        self._show()

    def _fold(self, taken: Taken, received_s: float, received_ms: int) -> StepInfo | None:
        if not taken.events:
            return None
        began_s = self._clock.monotonic_s()
        is_serving = self._phase >= Phase.PUBLISHING
        info = self._model.fold(taken.events, received_ms, is_serving, taken.log_ms)
        self._telemetry.step.observe(self._clock.monotonic_s() - began_s)
        self._after_fold(info, taken.events, received_s)
        return info

    def _after_fold(self, info: StepInfo, events: Sequence[Event], received_s: float) -> None:
        self._figures.folded(
            info, received_s, is_serving=self._phase >= Phase.PUBLISHING, is_live=self._phase is Phase.LIVE
        )
        self._erasures.folded(info.erased)
        if self._writer is not None:
            self._writer.follow(self._model.state, info)
        if self._texts is not None:
            self._texts.follow(events)
        if self._phase < Phase.PUBLISHING:
            self._is_touched[info.touched_users] = True
        else:
            self._retirement.retire(self._model.item_rows(info.retired_item_ids))
            self._retirement.make_again(self._model.take_wrong())
        self._anonymous_changed = True

    def _publish(self, touched: NDArray[np.int32], fold: Fold | None) -> None:
        """Write the lists of these users, of those who left, of those with a retired item, of the next ones of the backlog.

        And the anonymous one, if it is due or holds a retired item.
        """
        wrong = self._retirement.take(self._settings.max_batch)
        n_more = 0 if self._retirement.is_waiting else self._settings.max_batch_catch_up
        more, self._backlog = self._backlog[:n_more], self._backlog[n_more:]
        rows = np.unique(np.concatenate([touched, self._model.returning_users(), users_of(wrong), more]))
        is_anonymous_due = self._anonymous_changed and self._due_anonymous()
        self._write(rows, is_anonymous_due or ANONYMOUS_ROW in wrong, fold)
        self._retirement.written(wrong.size)
        if self._phase is Phase.PUBLISHING and not self._backlog.size:
            self._phase = Phase.LIVE
            self._telemetry.health.catching_up = False
            self._telemetry.catching_up.set(0)
            self._commit()
            _log.info("live", extra={"positions": self._positions.by_name()})

    def _write(self, user_rows: NDArray[np.int32], with_anonymous: bool, fold: Fold | None = None) -> None:
        began_s = self._clock.monotonic_s()
        made: Made | None = None
        if user_rows.size or with_anonymous:
            now_ms, positions = self._clock.now_ms(), self._positions.by_name()
            made = self._model.lists(user_rows, with_anonymous, now_ms, positions)
            self._telemetry.rank.observe(self._clock.monotonic_s() - began_s)
        if with_anonymous:
            self._anonymous_changed = False
        changes = self._model.take_changes()
        entries = made.entries if made is not None else []
        if not entries and changes is None and fold is None:
            return
        began_s = self._clock.monotonic_s()
        self._patience(REDIS, lambda: self._write_once(entries, changes, fold))
        self._telemetry.write.observe(self._clock.monotonic_s() - began_s)
        if made is not None:
            self._figures.listed(made.item_rows, made.is_cold, made.n_explored)
        if self._settings.publish_recommendations:
            self._send_lists(entries, changes)

    def _write_once(self, entries: Entries, changes: Changes | None, fold: Fold | None) -> None:
        """Nothing that could not be repeated; erased users first, since one may have come back."""
        if changes is not None:
            self._erasures.deleted(lists=self._lists.delete(changes.erased_user_ids))
            self._lists.retire(changes.retired_item_ids)
            self._lists.restore(changes.restored_item_ids)
            if self._writer is not None:
                had = self._writer.delete(changes.erased_user_ids, changes.retired_item_ids)
                self._erasures.deleted(vectors=had)
            self._erasures.write()
        if fold is not None:
            self._lists.write(entries, self._settings.list_ttl_s, fold)
        else:
            self._lists.write(entries, self._settings.list_ttl_s)

    def _send_lists(self, entries: Entries, changes: Changes | None) -> None:
        topic = self._settings.topic_recommendations
        for user_id in changes.erased_user_ids if changes is not None else ():
            self._outgoing.add(Message(topic, user_id.encode(), None))
        for user_id, value in entries:
            self._outgoing.add(Message(topic, user_id.encode(), value))
        self._outgoing.send()

    def _commit(self) -> None:
        """Commit what was read: its lists are written, and its dead letters are on the log by now."""
        self._outgoing.settle()
        positions = self._positions.snapshot()
        if positions != self._committed:
            self._patience(KAFKA, lambda: self._source.commit(positions))
            self._committed = positions

    def _drain(self) -> None:
        if self._texts is not None:
            self._texts.send()
        if self._phase is Phase.LIVE:
            self._write(NO_USERS, self._anonymous_changed)
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
                end = self._source.end_offsets()
            except Unavailable:
                return  # the next poll tells
            for topic, n_records in self._positions.lag(end).items():
                self._telemetry.lag.labels(topic).set(n_records)

    def _show_model(self) -> None:
        self._figures.show(self._model.state, self._model.scoreboard, self._model.trainer)
        if self._writer is not None:
            self._writer.show()
