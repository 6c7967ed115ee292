"""Where the log ends, although its last offsets are no records: markers of transactions, or what compaction took."""

import logging
from collections.abc import Mapping

from streamer.ports import Clock, Source, TopicPartition

_log = logging.getLogger("streamer.silence")

QUIET_S = 3.0
_MOST_DOUBLED = 4  # times that this is doubled, while nothing comes of being put back


class Silence:
    """Whether a reader who hears nothing has heard all.

    That nothing comes does not say so: a broker that is away, or just back, is silent, too. So the log is asked, when nothing
    came for `QUIET_S`. Where it holds more, the reader is put there once more: a client that lost its place says nothing.

    Args:
        source: Where the reader listens.
        clock: Time.
    """

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self.broken()

    def broken(self) -> None:
        """Something came, or the reader waits for something else from now on."""
        self._since_s = self._clock.monotonic_s()
        self._n_put_back = 0

    def is_the_end(self, positions: Mapping[TopicPartition, int]) -> bool:
        """Whether there is no record at or behind these offsets; asked at most once in `QUIET_S`, and ever less often.

        Args:
            positions: What the reader waits for.

        Raises:
            Unavailable: the log does not answer; the call may be repeated.
        """
        # a log that is merely slow must have the time to answer a reader who was put back
        if self._clock.monotonic_s() - self._since_s < QUIET_S * 2 ** min(self._n_put_back, _MOST_DOUBLED):
            return False
        has_records = self._source.has_records(positions)
        if has_records:
            where = {tp.key: offset for tp, offset in positions.items()}
            _log.warning("silent_reader", extra={"put_back_to": where})
            self._source.seek(positions)
            self._n_put_back += 1
        self._since_s = self._clock.monotonic_s()
        return not has_records
