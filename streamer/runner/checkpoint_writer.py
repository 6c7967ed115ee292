"""Checkpoints on their way to where they belong, in a thread of their own while the fold goes on."""

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from streamer.checkpoint import Arrays, Kept, Meta, Room, pointer, written
from streamer.errors import CheckpointRefused, StreamerError
from streamer.ports import Checkpoints, Clock, Folds
from streamer.telemetry import Telemetry

_log = logging.getLogger("streamer.runner")

T = TypeVar("T")

_ABANDONED_MS = 3_600_000  # nobody writes for that long: what is older, and does not count, is nobody's


class CheckpointPorts(NamedTuple):
    """Where a worker keeps what it resumes from. Used by one thread at a time; closed by whoever made them."""

    store: Checkpoints
    folds: Folds


class CheckpointWriter:
    """Writes one checkpoint at a time; what went wrong is logged and counted, never raised.

    Args:
        ports: Used by the thread alone, from the first `write` on.
        n_kept: Checkpoints that count; older ones are removed.
        n_folded: How many batches this worker has counted by now; asked by the thread.
        clock: Time.
        telemetry: Told of each.
    """

    def __init__(
        self,
        ports: CheckpointPorts,
        n_kept: int,
        n_folded: Callable[[], int],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._ports = ports
        self._n_kept = n_kept
        self._n_folded = n_folded
        self._clock = clock
        self._telemetry = telemetry
        self._thread = _Thread("checkpoint")
        self._at_work: Future[type[Exception] | None] | None = None
        self._room: Future[Room] | None = None
        self._failed: set[str] = set()  # names of which something may be left
        self.refused: frozenset[str] = frozenset()  # names that do not count, whatever the pointer says

    @property
    def is_busy(self) -> bool:
        """Whether one is on its way."""
        return self._at_work is not None and not self._at_work.done()

    def take_failure(self) -> type[BaseException] | None:
        """What kind of error the last one ended with; reported once."""
        if self._at_work is None or not self._at_work.done():
            return None
        at_work, self._at_work = self._at_work, None
        failure = at_work.exception()
        return at_work.result() if failure is None else type(failure)

    def make_room(self, room: Callable[[], Room]) -> bool:
        """Whether there is room for a copy; until then it is made in the thread, and the fold goes on."""
        if self._room is None:
            self._room = self._thread.submit(room)
        return self._room.done()

    def take_room(self) -> Room | None:
        """The room that was made, where it is there."""
        made, self._room = self._room, None
        return made.result() if made is not None and made.done() and made.exception() is None else None

    def write(self, frozen: Callable[[], Arrays], meta: Meta, n_events: int) -> None:
        """Write this one; returns at once. None is on its way.

        Args:
            frozen: See `checkpoint.freeze`.
            meta: What it stands for.
            n_events: Interactions in it.
        """
        self._at_work = self._thread.submit(partial(self._try_to_write, frozen, meta, n_events))

    def wait(self, timeout_s: float) -> None:
        """Until the last one is written, or the time is over."""
        if self._at_work is not None and not wait([self._at_work], timeout_s).done:
            _log.warning("checkpoint_left_behind")

    def close(self) -> None:
        """End the thread when it is done with the one at hand, or with the process. Idempotent."""
        self._thread.close()

    # --- in the thread ---

    def _try_to_write(
        self, frozen: Callable[[], Arrays], meta: Meta, n_events: int
    ) -> type[Exception] | None:
        began_s, name = self._clock.monotonic_s(), pointer.new_name(meta.n_batches, meta.made_ms)
        try:
            kept = self._write(name, frozen(), meta, n_events)
        except Exception as exc:  # noqa: BLE001  whatever goes wrong here, lists must go on
            self._telemetry.checkpoint_failures.inc()
            where = {"where": self._ports.store.where, "error": str(exc)}
            _log.error("checkpoint_failed", extra=where, exc_info=not isinstance(exc, StreamerError))
            self._failed.add(name)
            with contextlib.suppress(Exception):  # the next one tries again
                self._sweep(meta.made_ms)
            return type(exc)  # not the error: it would hold what was to be written
        took_s = self._clock.monotonic_s() - began_s
        self._telemetry.checkpoint_write.observe(took_s)
        self._telemetry.checkpoint_time.set(meta.made_ms / 1000)
        self._telemetry.checkpoint_bytes.set(kept.n_bytes)
        figures = {"n_bytes": kept.n_bytes, "n_batches": meta.n_batches, "took_s": round(took_s, 3)}
        _log.info("checkpoint", extra={"checkpoint": kept.name, **figures})
        return None

    def _write(self, name: str, arrays: Arrays, meta: Meta, n_events: int) -> Kept:
        store, folds = self._ports
        self._sweep(meta.made_ms)
        pieces = written(meta, arrays)
        store.check_size(pieces.n_bytes)
        store.write(name, pieces)
        newest = Kept(name, meta.n_batches, n_events, meta.made_ms, pieces.n_bytes, meta.made_by)
        kept = [newest, *self._kept_before(name)][: self._n_kept]
        n_newest = folds.last()
        if n_newest > self._n_folded():
            raise CheckpointRefused(f"batch {n_newest} is another worker's: it has resumed from here")
        store.write_pointer(pointer.encode(kept))
        # only now: until then a start would resume from an older one
        for other in store.names() - {one.name for one in kept}:
            store.delete(other)
        folds.trim(min(one.n_batches for one in kept))
        return newest

    def _sweep(self, now_ms: int) -> None:
        """Remove what was begun and never counted, or it fills the store, and no checkpoint, nor list, finds room any more.

        What is newer than the newest that counts may be of a worker that is writing it now, and stays for an hour.
        """
        store = self._ports.store
        names, old = store.names(), pointer.new_name(0, max(now_ms - _ABANDONED_MS, 0))
        try:
            counting = {one.name for one in pointer.decode(store.read_pointer())}
            newest = max(counting | {old})
        except CheckpointRefused:  # of a newer version, perhaps: what it names is not ours to remove
            counting, newest = set(), ""
        for name in names - counting:
            if name < newest or name in self._failed:
                store.delete(name)
        self._failed.clear()

    def _kept_before(self, name: str) -> list[Kept]:
        try:
            kept = pointer.decode(self._ports.store.read_pointer())
            return [one for one in kept if one.name != name and one.name not in self.refused]
        except CheckpointRefused as exc:
            _log.warning("checkpoint_pointer_replaced", extra={"error": str(exc)})
            return []


class _Thread:
    """Does one thing after the other, and ends with the process at the latest.

    The interpreter joins the thread of an executor, for as long as a store that hangs likes: after SIGTERM, too.
    """

    def __init__(self, name: str) -> None:
        self._actions: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def submit(self, action: Callable[[], T]) -> Future[T]:
        """What comes of it, once what was submitted before is done."""
        if self._thread.ident is None:
            self._thread.start()
        future: Future[T] = Future()
        self._actions.put(partial(_settle, future, action))
        return future

    def close(self) -> None:
        """Do nothing after what is at hand."""
        self._is_closed = True
        self._actions.put(None)

    def _work(self) -> None:
        while (action := self._actions.get()) is not None and not self._is_closed:
            action()


def _settle(future: Future[T], action: Callable[[], T]) -> None:
    try:
        result = action()
    except BaseException as exc:  # noqa: BLE001  whoever asks for the result gets it
        future.set_exception(exc)
    else:
        future.set_result(result)
