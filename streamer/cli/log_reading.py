"""A topic from its beginning to where it ends now, for commands that look at what lies on the log."""

from collections.abc import Iterator, Mapping

from streamer.adapters.memory import SystemClock
from streamer.ports import Record, Source, TopicPartition
from streamer.silence import Silence

_N_RECORDS = 4096
_POLL_S = 0.2


def records_until(source: Source, end: Mapping[TopicPartition, int]) -> Iterator[Record]:
    """What there is before these offsets, from the oldest record on; a record behind them is left out.

    Args:
        source: Stands anywhere.
        end: Partition -> offset, of every partition that the source reads.

    Raises:
        Unavailable: the log is away.
    """
    begin = source.begin_offsets()
    source.seek(begin)
    left = {tp: begin.get(tp, 0) for tp, offset in end.items() if begin.get(tp, 0) < offset}
    silence = Silence(source, SystemClock())
    while left and not silence.is_the_end(left):
        records = source.poll(_N_RECORDS, _POLL_S)
        for record in records:
            tp = record.tp
            if record.offset + 1 >= end.get(tp, 0):
                left.pop(tp, None)
            else:
                left[tp] = record.offset + 1
            if record.offset < end.get(tp, 0):
                yield record
        if records:
            silence.broken()  # now: whoever takes them may take his time
