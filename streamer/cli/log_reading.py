"""A topic from its beginning to where it ends now, for commands that look at what lies on the log."""

import time
from collections.abc import Iterator, Mapping

from streamer.ports import Record, Source, TopicPartition

_N_RECORDS = 4096
_POLL_S = 0.2
# The last offsets of a partition may be markers, or compacted away: this much silence means nothing more is there.
_QUIET_S = 3.0


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
    left = {tp for tp, offset in end.items() if begin.get(tp, 0) < offset}
    quiet_since_s = time.monotonic()
    while left and time.monotonic() - quiet_since_s < _QUIET_S:
        records = source.poll(_N_RECORDS, _POLL_S)
        if records:
            quiet_since_s = time.monotonic()
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            if record.offset + 1 >= end.get(tp, 0):
                left.discard(tp)
            if record.offset < end.get(tp, 0):
                yield record
