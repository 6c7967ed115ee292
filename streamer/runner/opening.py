"""What a start does before its first batch: ask everybody, find a checkpoint, compile the kernels, put the fold where it was."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from streamer.errors import Unavailable
from streamer.ports import TopicPartition
from streamer.runner.checkpoints import Checkpointer
from streamer.runner.intake import Intake
from streamer.runner.parts import Parts
from streamer.runner.patience import CHECKPOINTS, KAFKA, REDIS
from streamer.runner.phases import CatchUp
from streamer.runner.positions import Positions
from streamer.runner.recovery import Found, newest_good
from streamer.runner.refold import Refolding
from streamer.runner.start import LogBounds, ask_for_texts, look, must_read

_log = logging.getLogger("streamer.runner")


class Opened(NamedTuple):
    """Where the fold stands, and what resumes there."""

    positions: Positions
    intake: Intake
    catch_up: CatchUp
    checkpointer: Checkpointer | None  # to be closed; None: a start reads the log from its beginning
    refolding: Refolding | None  # the batches to be repeated first, where there are checkpoints
    n_logged: int  # number of the newest batch on the log of folds when the log was looked at


class Opening:
    """One start.

    Args:
        parts: Of the worker. The model is empty, and may resume from a checkpoint; whoever is told of it is told here.
    """

    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        self._source = parts.source
        self._model = parts.model
        self._publishing = parts.publishing
        self._lists = parts.lists
        self._vectors = parts.vectors
        self._ports = parts.checkpoint_ports
        self._texts = parts.texts
        self._outgoing = parts.outgoing
        self._figures = parts.figures
        self._patience = parts.patience
        self._clock = parts.clock
        self._telemetry = parts.telemetry

    def open(self, compile_kernels: Callable[[], None], is_stopping: Callable[[], bool]) -> Opened:
        """Do it all.

        Args:
            compile_kernels: Called once everybody was asked: it may take minutes.
            is_stopping: Whether to give up.

        Raises:
            Unavailable: a dependency is away for too long, or we are stopping.
            LogGap: interactions are missing from the log, and the settings say to stop.
            ConfigError: a dependency refuses us in a way that no waiting heals.
        """
        limit_s = self._settings.start_timeout_s
        self._patience(REDIS, self._lists.ping, limit_s)
        if self._vectors is not None:
            self._patience(REDIS, self._vectors.ping, limit_s)  # connects now, not between two lists
        # before the log: whoever appends a batch after that is at work beside us
        n_logged = self._patience(REDIS, self._ports.folds.last, limit_s) if self._ports is not None else 0
        bounds = look(self._source, self._patience, limit_s)
        found = self._find(bounds, limit_s)
        folded = found.positions if found is not None else {}
        begin = {tp: max(offset, folded.get(tp, 0)) for tp, offset in bounds.begin.items()}
        positions = Positions(begin, _on_this_log(bounds))
        begin_offsets = lambda: self._patience(KAFKA, self._source.begin_offsets)  # noqa: E731
        commit = lambda done: self._patience(KAFKA, lambda: self._source.commit(done))  # noqa: E731
        intake = Intake(self._settings, positions, self._outgoing, begin_offsets, commit, self._telemetry)
        intake.look_at_start(*must_read(bounds, found))
        if is_stopping():  # it cannot be told to stop for minutes then
            raise Unavailable("stopped before the kernels were compiled")
        compile_kernels()
        on_items_known = self._texts.start if self._texts is not None else lambda: None
        catch_up = CatchUp(
            self._settings, self._source, positions, bounds.end, self._patience, self._clock, on_items_known
        )
        if self._ports is None:
            return Opened(positions, intake, catch_up, None, None, n_logged)
        with ExitStack() as stack:
            checkpointer = Checkpointer(
                self._settings,
                self._ports,
                self._model,
                positions,
                self._outgoing,
                self._clock,
                self._telemetry,
            )
            stack.callback(checkpointer.close)
            if found is not None:
                self._go_on_from(found, bounds, positions, checkpointer)
            n_batches = checkpointer.n_batches
            refolding = Refolding(
                self._source, self._ports.folds, n_batches, bounds.end, self._clock, is_stopping
            )
            self._patience(KAFKA, lambda: self._source.seek(begin))
            stack.pop_all()
        return Opened(positions, intake, catch_up, checkpointer, refolding, n_logged)

    def _find(self, bounds: LogBounds, limit_s: float) -> Found | None:
        if self._ports is None:
            return None
        store, trainer = self._ports.store, self._model.trainer
        return self._patience(
            CHECKPOINTS,
            lambda: newest_good(self._settings, store, trainer, bounds.end, self._telemetry),
            limit_s,
        )

    def _go_on_from(
        self, found: Found, bounds: LogBounds, positions: Positions, checkpointer: Checkpointer
    ) -> None:
        self._model.restore(found.restored, found.meta.event_time_ms)
        checkpointer.go_on_from(found)
        self._telemetry.checkpoint_time.set(found.meta.made_ms / 1000)
        self._figures.restored(self._model.state, self._model.scoreboard)
        self._publishing.restored()
        where = {"n_batches": found.meta.n_batches, "positions": positions.by_name()}
        _log.info("restored", extra=where)
        if self._texts is not None:
            known, missing = self._model.texts()
            self._texts.known(known)
            ask_for_texts(
                self._settings, self._source, bounds, found, missing, self._texts, self._patience, self._clock
            )


def _on_this_log(bounds: LogBounds) -> dict[TopicPartition, int]:
    """What was committed, where the log is as long: a shorter one was cut off or made anew, and nobody has read it."""
    return {tp: offset for tp, offset in bounds.committed.items() if offset <= bounds.end.get(tp, 0)}
