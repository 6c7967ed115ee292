"""How many records wait on the log."""

from streamer.errors import Unavailable
from streamer.ports import Source, TopicPartition
from streamer.runner.positions import Positions

_LOOKS_BETWEEN_TRIES = 12  # after the log did not answer: the loop waits for it meanwhile

_Stretch = tuple[int, int]  # the next offset of a partition, and its end


class Lag:
    """Counts the records that were not read yet, and not what only looks like some.

    The end of a partition may be no record: the marker of a transaction, or what compaction left. No reader comes past it, and
    it would count as lag for as long as nothing else is written. So where nothing moved between two looks the log is asked, once,
    whether there is a record.

    Args:
        source: The log.
        positions: How far it was read.
    """

    def __init__(self, source: Source, positions: Positions) -> None:
        self._source = source
        self._positions = positions
        self._left: dict[TopicPartition, _Stretch] = {}  # at the last look
        self._empty: dict[TopicPartition, _Stretch] = {}  # of these, those without a record
        self._asked: dict[TopicPartition, _Stretch] = {}
        self._n_looks_off = 0

    def look(self, *, may_ask: bool) -> dict[str, int]:
        """Topic -> records that were not read yet.

        Args:
            may_ask: Whether nothing is held back, so that what does not move may be no record.

        Raises:
            Unavailable: the log does not answer.
        """
        end = self._source.end_offsets()
        left = {tp: (offset, end[tp]) for tp, offset in self._positions.left(end).items()}
        before, self._left = self._left, left
        self._empty = {tp: stretch for tp, stretch in self._empty.items() if left.get(tp) == stretch}
        still = {
            tp: stretch for tp, stretch in left.items() if before.get(tp) == stretch and tp not in self._empty
        }
        self._n_looks_off = max(0, self._n_looks_off - 1)
        if may_ask and still and still != self._asked and not self._n_looks_off:
            self._ask(still)
        return self._positions.lag({**end, **{tp: stretch[0] for tp, stretch in self._empty.items()}})

    def _ask(self, still: dict[TopicPartition, _Stretch]) -> None:
        try:
            has_records = self._source.has_records({tp: stretch[0] for tp, stretch in still.items()})
        except Unavailable:
            self._n_looks_off = _LOOKS_BETWEEN_TRIES
            raise
        self._asked = still
        if not has_records:
            self._empty.update(still)
