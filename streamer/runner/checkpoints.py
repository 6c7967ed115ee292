"""When a checkpoint is taken, and how it gets where it belongs while the fold goes on."""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from streamer.checkpoint import Arrays, Kept, Meta, Room, pointer, written
from streamer.config import Settings
from streamer.errors import CheckpointRefused, StreamerError
from streamer.ports import Checkpoints, Clock, Folds
from streamer.telemetry import Telemetry

_log = logging.getLogger("streamer.runner")

RETRY_S = 30.0  # after a failure, where that is sooner than the next one is due


class CheckpointPorts(NamedTuple):
    """Where a worker keeps what it goes on from. Used by one thread at a time; closed by whoever made them."""

    store: Checkpoints
    folds: Folds


class Checkpointer:
    """Takes checkpoints: the fold waits for a copy, a thread writes it.

    Args:
        settings: How often, and how many are kept.
        ports: Used by the thread alone, from the first `take` on.
        clock: Time.
        telemetry: Told of each.
    """

    def __init__(
        self, settings: Settings, ports: CheckpointPorts, clock: Clock, telemetry: Telemetry
    ) -> None:
        self._settings = settings
        self._ports = ports
        self._clock = clock
        self._telemetry = telemetry
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._at_work: Future[None] | None = None
        self._room: Future[Room] | None = None
        self._n_records = 0  # folded since the last one
        self._due_s = clock.monotonic_s()  # the first as soon as there is something to keep

    def folded(self, n_records: int) -> None:
        """So many more records were folded."""
        self._n_records += n_records

    @property
    def is_due(self) -> bool:
        """Whether it is time, and the last one is done."""
        if not self.is_worthwhile:
            return False
        is_time = self._clock.monotonic_s() >= self._due_s
        return is_time or self._n_records >= self._settings.checkpoint_interval_events

    def make_room(self, room: Callable[[], Room]) -> bool:
        """Whether there is room for the copy; until then it is made in the thread, and the fold goes on."""
        if self._room is None:
            self._room = self._pool.submit(room)
        return self._room.done()

    @property
    def is_worthwhile(self) -> bool:
        """Whether one may be taken, and would not hold the same as the last one."""
        is_busy = self._at_work is not None and not self._at_work.done()
        return self._settings.checkpoint_interval_s > 0 and self._n_records > 0 and not is_busy

    def hasten(self) -> None:
        """The next one is due now: what it would be repeated from is gone."""
        self._n_records, self._due_s = max(self._n_records, 1), self._clock.monotonic_s()

    def take(self, freeze: Callable[[Room | None], Callable[[], Arrays]], meta: Meta, n_events: int) -> None:
        """Copy the state now, and write it in the thread.

        Args:
            freeze: Copies the state, into this room where there is some: see `checkpoint.freeze`.
            meta: What the state stands for.
            n_events: Interactions in it.
        """
        made, self._room = self._room, None
        room = made.result() if made is not None and made.done() and made.exception() is None else None
        began_s = self._clock.monotonic_s()
        frozen = freeze(room)
        now_s = self._clock.monotonic_s()
        self._telemetry.checkpoint_pause.observe(now_s - began_s)
        self._n_records, self._due_s = 0, now_s + self._settings.checkpoint_interval_s
        self._at_work = self._pool.submit(self._try_to_write, frozen, meta, n_events)

    def wait(self, timeout_s: float) -> None:
        """Until the last one is written, or the time is over."""
        if self._at_work is not None and not wait([self._at_work], timeout_s).done:
            _log.warning("checkpoint_left_behind")

    def close(self) -> None:
        """End the thread when it is done with the one at hand. Idempotent."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- in the thread ---

    def _try_to_write(self, frozen: Callable[[], Arrays], meta: Meta, n_events: int) -> None:
        began_s = self._clock.monotonic_s()
        try:
            kept = self._write(frozen(), meta, n_events)
        except Exception as exc:  # noqa: BLE001  whatever goes wrong here, lists must go on
            self._telemetry.checkpoint_failures.inc()
            self._due_s = min(self._due_s, self._clock.monotonic_s() + RETRY_S)
            self._n_records = max(self._n_records, 1)
            _log.error(
                "checkpoint_failed",
                extra={"where": self._ports.store.where, "error": str(exc)},
                exc_info=not isinstance(exc, StreamerError),
            )
            return
        took_s = self._clock.monotonic_s() - began_s
        self._telemetry.checkpoint_write.observe(took_s)
        self._telemetry.checkpoint_time.set(meta.made_ms / 1000)
        self._telemetry.checkpoint_bytes.set(kept.n_bytes)
        _log.info(
            "checkpoint",
            extra={
                "checkpoint": kept.name,
                "n_bytes": kept.n_bytes,
                "n_batches": meta.n_batches,
                "took_s": round(took_s, 3),
            },
        )

    def _write(self, arrays: Arrays, meta: Meta, n_events: int) -> Kept:
        store, folds = self._ports
        name, counted = pointer.new_name(meta.n_batches, meta.made_ms), _Counted(written(meta, arrays))
        store.write(name, counted)
        newest = Kept(name, meta.n_batches, n_events, meta.made_ms, counted.n_bytes, meta.made_by)
        kept = [newest, *self._kept_before(name)][: self._settings.checkpoint_keep]
        store.write_pointer(pointer.encode(kept))
        # only now: until then a start would go on from an older one
        for other in store.names() - {one.name for one in kept}:
            store.delete(other)
        folds.trim(min(one.n_batches for one in kept))
        return newest

    def _kept_before(self, name: str) -> list[Kept]:
        try:
            return [one for one in pointer.decode(self._ports.store.read_pointer()) if one.name != name]
        except CheckpointRefused as exc:
            _log.warning("checkpoint_pointer_replaced", extra={"error": str(exc)})
            return []


class _Counted(Iterable[bytes | memoryview]):
    """The same pieces, and how many bytes they were."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces = pieces
        self.n_bytes = 0

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for piece in self._pieces:
            self.n_bytes += len(piece)
            yield piece
