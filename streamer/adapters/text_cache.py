"""Where `replay` keeps vectors of texts so that none is made twice: in a file, by SQLite. Workers keep them on Redis."""

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from streamer.errors import Unavailable

_log = logging.getLogger(__name__)

_KEYS_A_QUERY = 500
_LOCK_TIMEOUT_S = 10.0

T = TypeVar("T")


def default_cache_path() -> Path:
    """`streamer/texts.sqlite` in the user's cache directory, as XDG has it."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    directory = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return directory / "streamer" / "texts.sqlite"


class SqliteTextCache:
    """`ports.TextCache` in a file. Several processes may use it at once; threads may not share one of these.

    It is opened on first use. A file that is no database, or a broken one, is set aside beside itself, with a warning,
    and a new one is begun: all that is lost is time.

    Args:
        path: The file; it and its directory are made if need be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    def read(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Key -> vector of those that are held."""
        return self._do(lambda connection: dict(_select(connection, keys)))

    def write(self, vectors: Mapping[str, bytes]) -> None:
        """Hold these, in place of what was held for the same keys; returns when all are on disk, or all but."""

        def insert(connection: sqlite3.Connection) -> None:
            with connection:  # all of them or none
                connection.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?)", vectors.items())

        self._do(insert)

    def close(self) -> None:
        """Leave the file. Idempotent."""
        self._closed = True
        self._disconnect()

    def _do(self, action: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise Unavailable(f"text cache {self._path}: closed")
        try:
            try:
                return action(self._connect())
            except sqlite3.DatabaseError as exc:
                if type(exc) is not sqlite3.DatabaseError:
                    raise  # one of its kinds (locked, full, read-only, misused): the file itself is sound
                self._set_aside(exc)
                return action(self._connect())
        except (sqlite3.Error, OSError) as exc:
            self._disconnect()
            raise Unavailable(f"text cache {self._path}: {exc}") from exc

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._path, timeout=_LOCK_TIMEOUT_S)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # a crash may lose the last texts, nothing else
            self._connection.execute("PRAGMA synchronous = NORMAL")
            with self._connection:
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS texts (key TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
                )
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _set_aside(self, exc: sqlite3.DatabaseError) -> None:
        self._disconnect()
        aside = self._path.with_name(f"{self._path.name}.broken-{os.getpid()}")
        self._path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        _log.warning("text_cache_set_aside", extra={"path": str(aside), "error": str(exc)})


def _select(connection: sqlite3.Connection, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for at in range(0, len(keys), _KEYS_A_QUERY):
        some = keys[at : at + _KEYS_A_QUERY]
        marks = ", ".join("?" * len(some))
        query = f"SELECT key, vector FROM texts WHERE key IN ({marks})"  # noqa: S608  question marks alone
        with closing(connection.execute(query, some)) as rows:
            yield from rows
