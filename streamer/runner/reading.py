"""Records from the log, the next batch while this one is folded: kernels leave the interpreter to others meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from streamer.ports import Clock, Record, Source
from streamer.runner.admission import Admitted

# A batch as long as this has more behind it, as a rule. Shorter ones are waited for, and a thread would only cost time.
WORTHWHILE = 256


class Batch(NamedTuple):
    """Records as they came, and what they come to."""

    records: Sequence[Record]
    admitted: Admitted
    received_s: float  # monotonic clock
    received_ms: int  # wall clock


NOTHING = Batch((), Admitted([], [], [], []), 0.0, 0)


class Reading:
    """Polls and decodes; the source belongs to its thread within `ahead`, and to the caller else.

    Args:
        source: The log.
        admit: What records come to; called in any thread.
        clock: Time.
    """

    def __init__(self, source: Source, admit: Callable[[Sequence[Record]], Admitted], clock: Clock) -> None:
        self._source = source
        self._admit = admit
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reading")
        self._next: Future[Batch] | None = None

    def next(self, max_records: int, timeout_s: float) -> Batch:
        """What was read ahead, else what comes within `timeout_s`; no records when nothing does.

        Raises:
            Unavailable: Kafka is away, now or when it was read ahead; the call may be repeated.
        """
        ahead, self._next = self._next, None
        if ahead is not None:
            batch = ahead.result()
            if batch.records:
                return batch
        return self._read(max_records, timeout_s)

    @contextmanager
    def ahead(self, batch: Batch, max_records: int) -> Iterator[None]:
        """Read the next batch meanwhile, if this one is long; on leaving, the source is the caller's again."""
        if len(batch.records) >= WORTHWHILE:
            self._next = self._pool.submit(self._read, max_records, 0.0)
        try:
            yield
        finally:
            if self._next is not None:
                self._next.exception()  # waits; it is raised when the batch is asked for

    def close(self) -> None:
        """End the thread. What was read ahead and not asked for was not read, for all that anybody knows. Idempotent."""
        self._pool.shutdown()

    def _read(self, max_records: int, timeout_s: float) -> Batch:
        records = self._source.poll(max_records, timeout_s)
        received_s, received_ms = self._clock.monotonic_s(), self._clock.now_ms()
        return Batch(records, self._admit(records), received_s, received_ms)
