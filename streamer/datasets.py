"""Data sets on disk -> wire messages, in log order. What `replay` folds, and what `demo` publishes.

A set is a directory with `events.csv` and `items.csv`, and optionally `users.csv`; each as it is or gzipped
(`.csv.gz`), UTF-8, first line names the columns:

- events: user_id, item_id, value, timestamp (epoch seconds). The order of the file is the order of the log.
- items: item_id, title, text, categories (`|` between), then further columns.
- users: user_id, then further columns.

A further column whose every value is a finite number, or one of the words for "unknown" (NA, NaN, null, ...), is numerical, any
other is categorical. Columns that
were read off at the time of the dump, or over the whole span, know the future of the events before it; they
are never used.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streamer.errors import DataError, InvalidEvent
from streamer.events import MAX_TIMESTAMP_MS, Kind, decode, id_problem, user_id_problem

INTERACTION_TYPE = "interaction"  # the sets do not say what kind of interaction it was
MAX_LINE_CHARS = 262_144  # a file without line ends must not fill the memory
MAX_COLUMNS = 64
MAX_SIDE_FILE_CHARS = 1 << 30  # items and users are held in memory; a gzip bomb must not be

_FUTURE_SUFFIXES = ("_at_dump", "_unix")
_FUTURE_COLUMNS = frozenset({"price_median"})
_RENAMED = {"price_first": "price", "categories": "category"}
_UNKNOWN = frozenset({"na", "n/a", "nan", "null", "none"})  # as tables of numbers write it, whatever the case
_ITEM_TEXT_COLUMNS = frozenset({"title", "text", "categories"})
_EVENT_COLUMNS = ("user_id", "item_id", "value", "timestamp")

Row = dict[str, str]


class Message(NamedTuple):
    """One message as a producer would send it: JSON on the wire format of `events`."""

    kind: Kind
    key: bytes
    value: bytes


@dataclass(frozen=True)
class Dataset:
    """A data set, ready to be read as messages any number of times.

    Args:
        name: The directory's name; event ids begin with it.
        n_interactions: Interactions that `messages` gives.
        titles: Item id -> title, of every item in the items file that has one.
    """

    name: str
    n_interactions: int
    titles: dict[str, str]
    events_path: Path
    catalog_first: bool
    catalog: dict[str, bytes]
    profiles: dict[str, bytes]

    def messages(self) -> Iterator[Message]:
        """Give all messages in log order, from the beginning, one file line in memory at a time.

        Profiles come before interactions. With `catalog_first` the whole catalog comes before both. Without
        it an item's record comes right after the item's first interaction, so that neither its existence nor
        its text can help to foresee that interaction; items nobody touches never come.

        Raises:
            DataError: A line of the events file is not what it should be.
        """
        pending = dict(self.catalog)
        if self.catalog_first:
            for item_id, value in self.catalog.items():
                yield Message("catalog", item_id.encode(), value)
            pending.clear()
        for user_id, value in self.profiles.items():
            yield Message("profiles", user_id.encode(), value)
        for item_id, message in _interactions(self.name, self.events_path, self.n_interactions):
            yield message
            value_or_none = pending.pop(item_id, None)
            if value_or_none is not None:
                yield Message("catalog", item_id.encode(), value_or_none)


def load(directory: Path, *, catalog_first: bool, max_events: int | None = None) -> Dataset:
    """Read a set's items and users, and count its events; `Dataset.messages` reads the events themselves.

    Catalog and profile records carry the time of the log's first interaction: the time of their own first
    event would tell of it before it comes.

    Args:
        directory: Where the files are.
        catalog_first: Whether the whole catalog comes first, or each item after its first interaction.
        max_events: Give only this many interactions, the first ones. None: all.

    Raises:
        DataError: A file is missing or is not what it should be: which, on which line, what was expected.
    """
    if not directory.is_dir():
        raise DataError(
            f"{directory}: expected a directory with events.csv and items.csv, gzipped or not; found none"
        )
    events_path = _required(directory, "events")
    items_path = _required(directory, "items")
    users_path = _find(directory, "users")
    # Pooled tags of all times stand in `text` when the dated tags lie beside it: they know the future.
    use_text = _find(directory, "tag_events") is None
    n_interactions, first_ms = _survey(events_path, max_events)
    item_rows = _read_side_file(items_path, "item_id")
    return Dataset(
        name=directory.resolve().name,
        n_interactions=n_interactions,
        titles={item_id: row["title"] for item_id, row in item_rows.items() if row.get("title")},
        events_path=events_path,
        catalog_first=catalog_first,
        catalog=_checked("catalog", items_path, _encode_items(item_rows, first_ms, use_text)),
        profiles=_checked("profiles", users_path, _encode_users(users_path, first_ms)) if users_path else {},
    )


def _find(directory: Path, stem: str) -> Path | None:
    for suffix in (".csv.gz", ".csv"):
        path = directory / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None


def _required(directory: Path, stem: str) -> Path:
    path = _find(directory, stem)
    if path is None:
        raise DataError(f"{directory}: expected {stem}.csv.gz or {stem}.csv there, found neither")
    return path


def _lines(file: io.TextIOBase, path: Path) -> Iterator[str]:
    n = 0
    while line := file.readline(MAX_LINE_CHARS):
        n += 1
        if len(line) == MAX_LINE_CHARS and not line.endswith("\n"):
            raise DataError(
                f"{path}:{n}: expected a line of fewer than {MAX_LINE_CHARS} characters, got a longer one"
            )
        yield line


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of every row that is not empty, header first; what goes wrong is a DataError."""
    line = 1
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else path.open("r", encoding="utf-8-sig", newline="")
        ) as file:
            reader = csv.reader(_lines(file, path), strict=True)
            for row in reader:
                line = reader.line_num
                if row:
                    yield line, row
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as exc:
        kind = "gzipped CSV" if path.suffix == ".gz" else "CSV"
        raise DataError(f"{path}: expected {kind} in UTF-8; after line {line}: {exc}") from exc


def _header(path: Path, rows: Iterator[tuple[int, list[str]]], expected: Iterable[str]) -> list[str]:
    _, columns = next(rows, (1, []))
    missing = [name for name in expected if name not in columns]
    if missing:
        got = ",".join(columns)[:200] or "nothing"
        raise DataError(f"{path}:1: expected a header with {', '.join(missing)}; got {got}")
    if len(columns) > MAX_COLUMNS or len(set(columns)) < len(columns):
        raise DataError(f"{path}:1: expected at most {MAX_COLUMNS} columns with names of their own")
    return columns


def _survey(path: Path, max_events: int | None) -> tuple[int, int]:
    """How many interactions there are, up to `max_events`, and the time of the first (ms; 0 when none)."""
    rows = _rows(path)
    columns = _header(path, rows, _EVENT_COLUMNS)
    first = next(rows, None)
    if first is None or max_events == 0:
        return 0, 0
    line, row = first
    first_ms = _timestamp_ms(_cell(row, columns.index("timestamp"), path, line), path, line)
    rest = rows if max_events is None else islice(rows, max_events - 1)
    return 1 + sum(1 for _ in rest), first_ms


def _cell(row: list[str], index: int, path: Path, line: int) -> str:
    if index >= len(row):
        raise DataError(f"{path}:{line}: expected at least {index + 1} fields, got {len(row)}")
    return row[index]


# the same few thousand ids come again and again
_ID_PROBLEMS = {
    "user_id": lru_cache(maxsize=65_536)(user_id_problem),
    "item_id": lru_cache(maxsize=65_536)(id_problem),
}


def _checked_id(text: str, column: str, path: Path, line: int) -> str:
    problem = _ID_PROBLEMS[column](text)
    if problem is not None:
        raise DataError(f"{path}:{line}: expected {column} to be an id, got {problem}")
    return text


def _timestamp_ms(text: str, path: Path, line: int) -> int:
    # isdecimal and the length first: int() takes "1_000", and a long digit string costs quadratic time.
    if len(text) <= 12 and text.isdecimal() and (time_ms := int(text) * 1000) <= MAX_TIMESTAMP_MS:
        return time_ms
    raise DataError(f"{path}:{line}: expected timestamp in epoch seconds, got {text[:40]!r}")


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_unknown(text: str) -> bool:
    return not text or text.lower() in _UNKNOWN


def _interactions(name: str, path: Path, n_interactions: int) -> Iterator[tuple[str, Message]]:
    """(item id, message) of the first `n_interactions` events."""
    rows = _rows(path)
    columns = _header(path, rows, _EVENT_COLUMNS)
    at_user, at_item, at_value, at_time = (columns.index(column) for column in _EVENT_COLUMNS)
    n_fields = len(columns)
    encode = msgspec.json.Encoder().encode
    for n, (line, row) in enumerate(islice(rows, n_interactions)):
        if len(row) != n_fields:
            raise DataError(f"{path}:{line}: expected {n_fields} fields, got {len(row)}")
        user_id = _checked_id(row[at_user], "user_id", path, line)
        item_id = _checked_id(row[at_item], "item_id", path, line)
        record: dict[str, Any] = {
            "event_id": f"{name}-{n}",
            "user_id": user_id,
            "item_id": item_id,
            "type": INTERACTION_TYPE,
            "timestamp": _timestamp_ms(row[at_time], path, line),
        }
        if row[at_value]:
            value = _finite(row[at_value])
            if value is None:
                raise DataError(
                    f"{path}:{line}: expected value to be a finite number, got {row[at_value][:40]!r}"
                )
            record["value"] = value
        yield item_id, Message("interactions", user_id.encode(), encode(record))


def _read_side_file(path: Path, id_column: str) -> dict[str, Row]:
    """Id -> row, in file order."""
    rows = _rows(path)
    columns = _header(path, rows, (id_column,))
    _check_fields(path, columns)
    at_id = columns.index(id_column)
    table: dict[str, Row] = {}
    n_chars = 0
    for line, row in rows:
        if len(row) != len(columns):
            raise DataError(f"{path}:{line}: expected {len(columns)} fields, got {len(row)}")
        n_chars += sum(map(len, row))
        if n_chars > MAX_SIDE_FILE_CHARS:
            raise DataError(
                f"{path}:{line}: expected at most {MAX_SIDE_FILE_CHARS} characters in all, got more"
            )
        outside_id = _checked_id(row[at_id], id_column, path, line)
        if outside_id in table:
            raise DataError(f"{path}:{line}: expected each {id_column} once, got {outside_id[:40]!r} again")
        table[outside_id] = dict(zip(columns, row, strict=True))
    return table


def _check_fields(path: Path, columns: list[str]) -> None:
    """Raise a DataError where two columns would be one field."""
    columns_of: dict[str, str] = {}
    for column in filter(_usable, columns):
        field = _RENAMED.get(column, column)
        if field in columns_of:
            raise DataError(
                f"{path}:1: columns {columns_of[field]} and {column} are both the field {field!r}; leave one out"
            )
        columns_of[field] = column


def _usable(column: str) -> bool:
    return column not in _FUTURE_COLUMNS and not column.endswith(_FUTURE_SUFFIXES)


def _feature_columns(rows: dict[str, Row], apart: frozenset[str]) -> tuple[list[str], list[str]]:
    """Numerical and categorical columns among those that are not set apart and do not know the future."""
    first = next(iter(rows.values()), {})
    columns = [column for column in first if column not in apart and _usable(column)]
    numerical = [
        column
        for column in columns
        # Ids of makers and the like are names that happen to be written in digits.
        if not column.endswith("_id")
        and all(_finite(row[column]) is not None for row in rows.values() if not _is_unknown(row[column]))
        and any(not _is_unknown(row[column]) for row in rows.values())
    ]
    return numerical, [column for column in columns if column not in numerical]


def _features(row: Row, numerical: list[str], categorical: list[str]) -> dict[str, Any]:
    numbers = {
        _RENAMED.get(column, column): float(row[column])
        for column in numerical
        if not _is_unknown(row[column])
    }
    values = {_RENAMED.get(column, column): [row[column]] for column in categorical if row[column]}
    return {"categorical": values, "numerical": numbers}


def _encode_items(rows: dict[str, Row], timestamp_ms: int, use_text: bool) -> dict[str, bytes]:
    numerical, categorical = _feature_columns(rows, _ITEM_TEXT_COLUMNS | {"item_id"})
    encoder = msgspec.json.Encoder()
    catalog: dict[str, bytes] = {}
    for item_id, row in rows.items():
        features = _features(row, numerical, categorical)
        # dict.fromkeys: each category once, in the file's order.
        categories = list(dict.fromkeys(part for part in row.get("categories", "").split("|") if part))
        if categories:
            features["categorical"]["category"] = categories
        catalog[item_id] = encoder.encode(
            {
                "item_id": item_id,
                "title": row.get("title", ""),
                "text": row.get("text", "") if use_text else "",
                **features,
                "available": True,
                "timestamp": timestamp_ms,
            }
        )
    return catalog


def _encode_users(path: Path, timestamp_ms: int) -> dict[str, bytes]:
    rows = _read_side_file(path, "user_id")
    numerical, categorical = _feature_columns(rows, frozenset({"user_id"}))
    encoder = msgspec.json.Encoder()
    return {
        user_id: encoder.encode(
            {"user_id": user_id, **_features(row, numerical, categorical), "timestamp": timestamp_ms}
        )
        for user_id, row in rows.items()
    }


def _checked(kind: Kind, path: Path, records: dict[str, bytes]) -> dict[str, bytes]:
    """The records as they came, once the contract takes every one; too many categories, say, are found."""
    for outside_id, record in records.items():
        try:
            decode(kind, outside_id.encode(), record)
        except InvalidEvent as exc:
            raise DataError(f"{path}: the row of {outside_id[:40]!r} makes no {kind} message: {exc}") from exc
    return records
