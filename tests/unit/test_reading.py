"""Reading ahead: the same records in the same order, and one thread at the log at a time."""

import threading
from collections.abc import Sequence

import pytest

from streamer.adapters.memory import ManualClock
from streamer.errors import Unavailable
from streamer.ports import Record
from streamer.runner.admission import Admitted, admit_all
from streamer.runner.reading import WORTHWHILE, Reading

N_RECORDS = 10 * WORTHWHILE
VALUE = b'{"user_id":"u","item_id":"i","type":"view","timestamp":1}'


class Log:
    """Gives records in order; fails when told to; notices two readers at once."""

    def __init__(self) -> None:
        self.records = [Record("interactions", 0, n, 0, b"u", VALUE) for n in range(N_RECORDS)]
        self.n_failures = 0
        self.readers: list[str] = []
        self.n_done = 0
        self.latency_s = 0.0
        self._lock = threading.Lock()

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:  # noqa: ARG002  it never waits
        """The next ones."""
        assert self._lock.acquire(blocking=False), "two readers at once"
        try:
            self.readers.append(threading.current_thread().name)
            if self.n_failures:
                self.n_failures -= 1
                raise Unavailable("the log is away")
            given, self.records = self.records[:max_records], self.records[max_records:]
            threading.Event().wait(self.latency_s)
            return given
        finally:
            self.n_done += 1
            self._lock.release()


def admit(records: Sequence[Record]) -> Admitted:
    """The front door."""
    return admit_all(records, {"interactions": "interactions"}, 1000)


@pytest.fixture
def log() -> Log:
    """Ten long batches."""
    return Log()


@pytest.fixture
def reading(log: Log) -> Reading:
    """Of the log."""
    return Reading(log, admit, ManualClock())  # type: ignore[arg-type]  # of a source, `poll` is all that is used


def test_every_record_comes_once_in_order_whoever_reads_it(log: Log, reading: Reading) -> None:
    """Long batches are read ahead, by another thread; short ones are not."""
    offsets: list[int] = []
    n_max = WORTHWHILE
    while (batch := reading.next(n_max, 0.0)).records:
        offsets += [record.offset for record in batch.records]
        assert len(batch.admitted.events) == len(batch.records)
        with reading.ahead(batch, n_max):
            pass
        n_max = WORTHWHILE - 1 if len(offsets) > N_RECORDS // 2 else WORTHWHILE
    reading.close()
    assert offsets == list(range(N_RECORDS))
    here = threading.current_thread().name
    ahead = [name != here for name in log.readers]
    assert ahead[0] is False
    assert all(ahead[1:6])
    assert not any(ahead[8:])


def test_within_ahead_nobody_else_reads_and_after_it_the_thread_is_done(log: Log, reading: Reading) -> None:
    """What was read ahead is at hand when `ahead` is left: the source is the caller's again."""
    batch = reading.next(WORTHWHILE, 0.0)
    log.latency_s = 0.1  # longer than the fold, which is done at once
    with reading.ahead(batch, WORTHWHILE):
        pass
    assert log.n_done == 2
    assert log.poll(1, 0.0)[0].offset == 2 * WORTHWHILE  # two readers at once would be noticed
    assert reading.next(1, 0.0).records[0].offset == WORTHWHILE


def test_a_failure_is_told_when_the_batch_is_asked_for_and_loses_nothing(log: Log, reading: Reading) -> None:
    """Not while the batch before is folded; the call is repeated, and goes on where it failed."""
    batch = reading.next(WORTHWHILE, 0.0)
    log.n_failures = 2
    with reading.ahead(batch, WORTHWHILE):
        pass
    for _ in range(2):
        with pytest.raises(Unavailable):
            reading.next(WORTHWHILE, 0.0)
    assert reading.next(WORTHWHILE, 0.0).records[0].offset == WORTHWHILE


def test_an_error_of_the_fold_goes_through(reading: Reading) -> None:
    """And the thread is waited for all the same."""
    batch = reading.next(WORTHWHILE, 0.0)
    with pytest.raises(ValueError, match="folded wrong"), reading.ahead(batch, WORTHWHILE):
        raise ValueError("folded wrong")
    assert reading.next(1, 0.0).records[0].offset == WORTHWHILE
