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


def open_fold(parts: Parts, compile_kernels: Callable[[], None], is_stopping: Callable[[], bool]) -> Opened:
    """Put the fold where it was.

    Args:
        parts: Of the worker. The model is empty, and may resume from a checkpoint; whoever is told of it is told here.
        compile_kernels: Called once everybody was asked: it may take minutes.
        is_stopping: Whether to give up.

    Raises:
        Unavailable: a dependency is away for too long, or we are stopping.
        LogGap: interactions are missing from the log, and the settings say to stop.
        ConfigError: a dependency refuses us in a way that no waiting heals.
    """
    settings, source, patience, ports = parts.settings, parts.source, parts.patience, parts.checkpoint_ports
    limit_s = settings.start_timeout_s
    patience(REDIS, parts.lists.ping, limit_s)
    if parts.vectors is not None:
        patience(REDIS, parts.vectors.ping, limit_s)  # connects now, not between two lists
    # before the log: whoever appends a batch after that is at work beside us
    n_logged = patience(REDIS, ports.folds.last, limit_s) if ports is not None else 0
    bounds = look(source, patience, limit_s)
    found = _find(parts, bounds, limit_s)
    folded = found.positions if found is not None else {}
    begin = {tp: max(offset, folded.get(tp, 0)) for tp, offset in bounds.begin.items()}
    positions = Positions(begin, _on_this_log(bounds))
    begin_offsets = lambda: patience(KAFKA, source.begin_offsets)  # noqa: E731
    commit = lambda done: patience(KAFKA, lambda: source.commit(done))  # noqa: E731
    intake = Intake(settings, positions, parts.outgoing, begin_offsets, commit, parts.telemetry)
    intake.look_at_start(*must_read(bounds, found))
    if is_stopping():  # it cannot be told to stop for minutes then
        raise Unavailable("stopped before the kernels were compiled")
    compile_kernels()
    on_items_known = parts.texts.start if parts.texts is not None else lambda: None
    catch_up = CatchUp(settings, source, positions, bounds.end, patience, parts.clock, on_items_known)
    if ports is None:
        return Opened(positions, intake, catch_up, None, None, n_logged)
    with ExitStack() as stack:
        checkpointer = Checkpointer(
            settings, ports, parts.model, positions, parts.outgoing, parts.clock, parts.telemetry
        )
        stack.callback(checkpointer.close)
        if found is not None:
            _go_on_from(parts, found, bounds, positions, checkpointer)
        n_batches = checkpointer.n_batches
        refolding = Refolding(source, ports.folds, n_batches, bounds.end, parts.clock, is_stopping)
        patience(KAFKA, lambda: source.seek(begin))
        stack.pop_all()
    return Opened(positions, intake, catch_up, checkpointer, refolding, n_logged)


def _find(parts: Parts, bounds: LogBounds, limit_s: float) -> Found | None:
    if parts.checkpoint_ports is None:
        return None
    store, trainer = parts.checkpoint_ports.store, parts.model.trainer
    return parts.patience(
        CHECKPOINTS,
        lambda: newest_good(parts.settings, store, trainer, bounds.end, parts.telemetry),
        limit_s,
    )


def _go_on_from(
    parts: Parts, found: Found, bounds: LogBounds, positions: Positions, checkpointer: Checkpointer
) -> None:
    parts.model.restore(found.restored, found.meta.event_time_ms)
    checkpointer.go_on_from(found)
    parts.telemetry.checkpoint_time.set(found.meta.made_ms / 1000)
    parts.figures.restored(parts.model.state, parts.model.scoreboard)
    parts.publishing.restored()
    where = {"n_batches": found.meta.n_batches, "positions": positions.by_name()}
    _log.info("restored", extra=where)
    if parts.texts is not None:
        known, missing = parts.model.texts()
        parts.texts.known(known)
        ask_for_texts(
            parts.settings,
            parts.source,
            bounds,
            found,
            missing,
            parts.texts,
            parts.patience,
            parts.clock,
        )


def _on_this_log(bounds: LogBounds) -> dict[TopicPartition, int]:
    """What was committed, where the log is as long: a shorter one was cut off or made anew, and nobody has read it."""
    return {tp: offset for tp, offset in bounds.committed.items() if offset <= bounds.end.get(tp, 0)}
