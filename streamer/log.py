"""Log set-up, called by `cli` only: a constant event name plus fields, one line each, on stderr.

Everybody else writes `log.info("batch_folded", extra={"n_events": 512})` with the standard library's loggers.
Fields never hold payloads or secrets. What they do hold may come from messages, so all of it is escaped on
its way to a terminal or a line-wise reader.
"""

import json
import logging
import math
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

_MAX_FIELD = 500  # characters of one field
_MAX_ENTRIES = 1000  # of a table of names and numbers
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "text"]


def set_up(level: Level = "info", log_format: Format = "auto", stream: TextIO | None = None) -> None:
    """Send the logs of the process to `stream` (stderr by default); replaces an earlier set-up."""
    stream = stream if stream is not None else sys.stderr
    as_json = log_format == "json" or (log_format == "auto" and not stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # Other packages stay at warnings: their chatter follows no naming of ours.
    logging.getLogger("streamer").setLevel(level.upper())


def printable(text: str) -> str:
    r"""The text with all that a terminal would act on written as an escape: `\x1b`, `\n`, bidi marks."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, ASCII only, so that no field can break the line or the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """`time`, `level`, `event`, `logger`, then the fields."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage()[:_MAX_FIELD],
            "logger": record.name,
            **dict(_fields(record)),
        }
        if record.exc_info:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, default=_cut)


class TextFormatter(logging.Formatter):
    """For people: `12:00:01.250 WARNING redis_away error="..."`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it if there is one."""
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        head = f"{clock} {record.levelname:<7} {printable(record.getMessage()[:_MAX_FIELD])}"
        text = " ".join([head, *(f"{name}={_quoted(value)}" for name, value in _fields(record))])
        if record.exc_info:
            lines = "".join(traceback.format_exception(*record.exc_info)).splitlines()
            text = "\n".join([text, *map(printable, lines)])
        return text


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for name, value in vars(record).items():
        if name not in _STANDARD:
            yield name, value if _is_plain(value) or _is_table(value) else _cut(value)


def _is_plain(value: object) -> bool:
    # NaN and Infinity are no JSON: as text they are
    return (
        value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    )


def _is_table(value: object) -> bool:
    """Names and numbers, as positions are: they stay a JSON object."""
    return (
        isinstance(value, dict)
        and len(value) <= _MAX_ENTRIES
        and all(isinstance(name, str) and _is_plain(entry) for name, entry in value.items())
    )


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MAX_FIELD else text[:_MAX_FIELD] + "..."


def _quoted(value: object) -> str:
    if isinstance(value, dict):
        value = " ".join(f"{name}:{entry}" for name, entry in value.items())
    if not isinstance(value, str):
        return str(value)
    text = printable(value)
    plain = text and not any(c in ' "=' for c in text)
    return text if plain else '"' + text.replace('"', '\\"') + '"'
