"""Lines for `streamer produce`: where one ends, however long it is."""

import io

from streamer.cli.produce import _lines
from streamer.events import MAX_MESSAGE_BYTES


def test_a_line_that_is_too_long_is_one_line() -> None:
    """It is cut to more than a message may be, and what is left of it is no other line; the next one is whole."""
    long = b"x" * (3 * MAX_MESSAGE_BYTES)
    first, second, last = _lines(io.BytesIO(b"a\r\n" + long + b"\n" + b"b"))
    assert (first, last) == (b"a", b"b")
    assert MAX_MESSAGE_BYTES < len(second) < len(long)
