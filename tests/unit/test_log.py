"""Log lines: one a record, fields kept, nothing hostile raw."""

import io
import json
import logging
import math
from collections.abc import Iterator

import pytest

from streamer.log import printable, set_up

log = logging.getLogger("streamer.test")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("streamer")
    handlers, levels = list(root.handlers), (root.level, own.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_has_the_event_and_its_fields() -> None:
    """Elsewhere than on a terminal a line is a JSON object; numbers stay numbers."""
    stream = io.StringIO()
    set_up("info", "auto", stream)
    log.info("batch_folded", extra={"n_events": 3, "topic": "catalog", "share": 0.5, "odd": (1, 2)})
    log.debug("not_shown")
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields == {
        "level": "info",
        "event": "batch_folded",
        "logger": "streamer.test",
        "n_events": 3,
        "topic": "catalog",
        "share": 0.5,
        "odd": "(1, 2)",
    }


def test_a_line_is_json_whatever_the_number() -> None:
    """NaN and Infinity are no JSON: other readers than Python's refuse the line."""
    stream = io.StringIO()
    set_up("info", "json", stream)
    log.info("odd", extra={"ratio": math.nan, "table": {"a": math.inf, "b": 1.5}, "share": -math.inf})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    fields = json.loads(stream.getvalue(), parse_constant=refuse)
    assert (fields["ratio"], fields["table"], fields["share"]) == ("nan", "{'a': inf, 'b': 1.5}", "-inf")


def test_text_on_a_terminal() -> None:
    """On a terminal a line is for people."""
    stream = _Terminal()
    set_up("info", "auto", stream)
    log.warning("redis_away", extra={"error": "no route", "n": 1, "empty": ""})
    assert stream.getvalue().endswith('WARNING redis_away error="no route" n=1 empty=""\n')


def test_names_and_numbers_stay_an_object() -> None:
    """Positions are read by programs: a JSON object, not the text of one; what is no table of numbers is text."""
    stream = io.StringIO()
    set_up("info", "json", stream)
    log.info("live", extra={"positions": {"interactions-0": 3, "catalog-0": 1}, "odd": {"a": [1]}})
    fields = json.loads(stream.getvalue())
    assert fields["positions"] == {"interactions-0": 3, "catalog-0": 1}
    assert fields["odd"] == "{'a': [1]}"
    stream = io.StringIO()
    set_up("info", "text", stream)
    log.info("live", extra={"positions": {"a-0": 3, "\x1b[2J\n": 1}})
    assert stream.getvalue().endswith('live positions="a-0:3 \\x1b[2J\\n:1"\n')


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_hostile_fields_neither_break_lines_nor_drive_the_terminal(log_format: str) -> None:
    """Line ends, escape sequences and bidi marks in a field or message are written as escapes."""
    stream = io.StringIO()
    set_up("info", log_format, stream)  # type: ignore[arg-type]
    hostile = "a\nb\x1b[2Jc\u202ed\x9b"
    log.info("x%s", hostile, extra={"id": hostile})
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()


def test_long_fields_are_cut() -> None:
    """A field cannot fill the disk."""
    stream = io.StringIO()
    set_up("info", "json", stream)
    log.info("x", extra={"id": "a" * 100_000})
    assert len(stream.getvalue()) < 1000


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_tracebacks_are_kept(log_format: str) -> None:
    """An exception shows where it came from."""
    stream = io.StringIO()
    set_up("info", log_format, stream)  # type: ignore[arg-type]
    try:
        raise ValueError("boom\x1b")
    except ValueError:
        log.exception("failed")
    assert "test_log.py" in stream.getvalue()
    assert "boom" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_printable_leaves_plain_text_alone() -> None:
    """Letters of any script stay; what a terminal would act on does not."""
    assert printable("Köln 東京 x_1") == "Köln 東京 x_1"
    assert printable("a\x1b[0m\ud800") == "a\\x1b[0m\\ud800"


def test_others_stay_at_warnings() -> None:
    """The level is that of our own lines: what other packages chatter follows no naming of ours."""
    stream = io.StringIO()
    set_up("debug", "text", stream)
    logging.getLogger("somebody.else").info("chatter")
    logging.getLogger("somebody.else").warning("trouble")
    log.debug("ours")
    assert [line.split()[2] for line in stream.getvalue().splitlines()] == ["trouble", "ours"]
