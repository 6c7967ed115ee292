"""Lines for `streamer produce`: where one ends, however long it is, and which are not sent."""

import io
import json
import time

from streamer.cli.produce import _checked, _Line, _lines, _Looks
from streamer.events import MAX_MESSAGE_BYTES, Kind

HOUR_MS = 3_600_000


def outcomes(kind: Kind, *lines: bytes) -> list[str]:
    """Of each line what is said of it; "" where it is sent."""
    found = _checked(io.BytesIO(b"\n".join(lines)), kind, _Looks([].append), max_skew_ms=HOUR_MS)
    return ["" if isinstance(one, _Line) else one for one in found]


def test_a_line_that_is_too_long_is_one_line() -> None:
    """It is cut to more than a message may be, and what is left of it is no other line; the next one is whole."""
    long = b"x" * (3 * MAX_MESSAGE_BYTES)
    first, second, last = _lines(io.BytesIO(b"a\r\n" + long + b"\n" + b"b"))
    assert (first, last) == (b"a", b"b")
    assert MAX_MESSAGE_BYTES < len(second) < len(long)


def test_what_a_worker_would_refuse_for_its_time_is_not_sent() -> None:
    """An event further ahead than max_skew_s would be a dead letter: reported, with the field, as any other unusable one."""
    now_ms = time.time_ns() // 1_000_000
    base = {"user_id": "u", "item_id": "i", "type": "view"}
    times = (now_ms, now_ms + HOUR_MS - 60_000, now_ms + 24 * HOUR_MS)
    lines = [json.dumps({**base, "timestamp": when}).encode() for when in times]
    *sent, early = outcomes("interactions", *lines)
    assert sent == ["", ""]
    assert (
        early == "line 3: $.timestamp: expected at most 3600 s after the log's own time, got 24.0 h; not sent"
    )


def test_a_line_that_is_null_says_what_to_do_instead() -> None:
    """It names no id, so it retires and erases nobody."""
    (item,), (user,) = outcomes("catalog", b"null"), outcomes("profiles", b" null ")
    assert item.startswith(
        'line 1: a line that is null names no id: "available": false in its record retires'
    )
    assert "streamer erase" in user
    assert "required" in outcomes("catalog", b"{}")[0]


def told(*lines: bytes) -> list[str]:
    """What is said beside the lines, all of which are sent."""
    said: list[str] = []
    found = _checked(io.BytesIO(b"\n".join(lines)), "interactions", _Looks(said.append), max_skew_ms=HOUR_MS)
    assert all(isinstance(one, _Line) for one in found)
    return said


def test_a_field_that_nobody_reads_may_hold_anything() -> None:
    """Its name is told; a number that no double can hold, deep in it, is the producer's own."""
    (said,) = told(
        b'{"user_id":"u","item_id":"i","type":"view","timestamp":1,"seen":{"by":[1e400]}}',
        b'{"user_id":"u","item_id":"i","type":"view","timestamp":2,"seen":1e400}',
    )
    assert said.startswith("line 1: 'seen' is ignored")


def test_an_event_id_that_two_events_share_is_told_once() -> None:
    """An order's id on each of its lines, as it stands in most shops: the worker would learn its first line alone."""
    base = {"user_id": "u", "type": "purchase", "timestamp": 1, "event_id": "order-1"}
    lines = [json.dumps({**base, "item_id": item}).encode() for item in ("a", "a", "b", "c")]
    (said,) = told(*lines)
    assert said.startswith("line 3: event_id 'order-1' is that of line 1, which is another event")
    assert told(*(line.replace(b"order-1", b"") for line in lines)) == []


def test_the_wrong_file_on_the_catalog_takes_nothing_away() -> None:
    """An interaction has all that a catalog record, or a profile, must have, and says nothing of its item or user."""
    view = b'{"user_id":"u","item_id":"i","type":"view","timestamp":1}'
    for kind in ("catalog", "profiles"):
        (said,) = outcomes(kind, view)
        assert said == "line 1: this is an interaction (it has user_id, item_id and type); not sent"
