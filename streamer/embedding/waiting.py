"""Texts that wait for a model: some in memory, the rest in a file, so that neither a large catalog nor a model that is away
fills the memory."""

import tempfile
from collections import deque
from typing import IO, NamedTuple

import msgspec


class Text(NamedTuple):
    """What is to be embedded, and the key of its vector."""

    key: str
    content: str


class Waiting:
    """First in, first out. Not safe to share between threads.

    Args:
        max_in_memory: Texts held in memory; more are written to a temporary file, which has no name and goes with us.
    """

    def __init__(self, max_in_memory: int) -> None:
        self._max_in_memory = max_in_memory
        self._first: deque[Text] = deque()
        self._file: IO[bytes] | None = None
        self._n_in_file = 0
        self._read_at = 0
        self._decoder = msgspec.json.Decoder(Text)

    def __len__(self) -> int:
        return len(self._first) + self._n_in_file

    def put(self, text: Text) -> None:
        """Take one more.

        Raises:
            OSError: it belongs into the file, and cannot be written there.
        """
        if not self._n_in_file and len(self._first) < self._max_in_memory:
            self._first.append(text)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="streamer-texts-")  # noqa: SIM115  closed by `close`
        end = self._file.seek(0, 2)
        try:
            self._file.write(msgspec.json.encode(text) + b"\n")
            self._file.flush()
        except OSError:
            self._file.truncate(end)  # half a line would spoil the next one
            raise
        self._n_in_file += 1

    def take(self) -> Text:
        """The next one.

        Raises:
            IndexError: there is none.
            OSError: the file cannot be read.
        """
        if not self._first:
            self._refill()
        return self._first.popleft()

    def close(self) -> None:
        """Forget everything. Idempotent."""
        self._first.clear()
        self._n_in_file = self._read_at = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _refill(self) -> None:
        if self._file is None:
            return
        self._file.seek(self._read_at)
        for _ in range(min(self._n_in_file, self._max_in_memory)):
            line = self._file.readline()
            self._first.append(self._decoder.decode(line))
            self._n_in_file -= 1
            self._read_at += len(line)
        if not self._n_in_file:
            self._file.truncate(0)
            self._read_at = 0
