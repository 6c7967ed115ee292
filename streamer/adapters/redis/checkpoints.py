"""Checkpoints in chunks on Redis, Valkey or a cluster of either: the default, where the state is small."""

from collections.abc import Iterable, Iterator

from streamer.adapters.redis.connection import RedisConnection
from streamer.errors import CheckpointRefused, ConfigError

CHUNK_BYTES = 1 << 20
MAX_BYTES = 256 << 20  # of one checkpoint; Redis keeps several in memory beside the lists
_N_AT_ONCE = 8  # chunks a round trip


class RedisCheckpoints(RedisConnection):
    """`ports.Checkpoints` on Redis.

    `<prefix>checkpoint:pointer`   which checkpoints count
    `<prefix>checkpoint:names`     set: all that were begun
    `<prefix>checkpoint:at:<name>`     how many chunks it has; written last
    `<prefix>checkpoint:at:<name>:<n>` chunk n

    Args:
        url, prefix, cluster, options, timeout_s: As `RedisConnection` has them.
    """

    @property
    def where(self) -> str:
        """For messages."""
        return self._where

    def check_size(self, n_bytes: int) -> None:
        """Return when one of so many bytes may be written.

        Raises:
            ConfigError: it is too large to be held in the memory of Redis.
        """
        if n_bytes > MAX_BYTES:
            raise ConfigError(
                f"a checkpoint of {-(-n_bytes >> 20)} MiB does not belong into the memory of Redis, which holds "
                f"{MAX_BYTES >> 20}: set checkpoint_url to a directory or bucket"
            )

    def write(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Store a checkpoint; returns when all of it is acknowledged.

        Raises:
            ConfigError: it is too large to be held in the memory of Redis.
        """
        self._run([("SADD", self._key("names"), name)])
        n_chunks = 0
        for chunk in _chunks(pieces):
            try:
                self.check_size(n_chunks * CHUNK_BYTES + len(chunk))
            except ConfigError:
                self.delete(name)
                raise
            self._run([("SET", self._chunk(name, n_chunks), chunk)])
            n_chunks += 1
        self._run([("SET", self._key(f"at:{name}"), n_chunks)])

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a checkpoint, in pieces."""
        (n_chunks,) = self._run([("GET", self._key(f"at:{name}"))])
        if n_chunks is None or not n_chunks.isdigit():
            raise CheckpointRefused("it is gone")
        for begin in range(0, int(n_chunks), _N_AT_ONCE):
            numbers = range(begin, min(begin + _N_AT_ONCE, int(n_chunks)))
            for chunk in self._run([("GET", self._chunk(name, number)) for number in numbers]):
                if chunk is None:
                    raise CheckpointRefused("a part of it is gone")
                yield chunk

    def delete(self, name: str) -> None:
        """Remove a checkpoint, or what there is of it: from its end, so that a second try finds what a first one left."""
        for begin in reversed(range(0, self._n_chunks(name), _N_AT_ONCE)):
            self._run([("DEL", self._chunk(name, begin + n)) for n in range(_N_AT_ONCE)])
        self._run([("DEL", self._key(f"at:{name}"))])
        self._run([("SREM", self._key("names"), name)])

    def names(self) -> set[str]:
        """All that there are, whole or not."""
        (members,) = self._run([("SMEMBERS", self._key("names"))])
        return {member.decode("ascii", "replace") for member in members}

    def write_pointer(self, pointer: bytes) -> None:
        """Overwrite the pointer."""
        self._run([("SET", self._key("pointer"), pointer)])

    def read_pointer(self) -> bytes | None:
        """The pointer, None where none was written."""
        pointer: bytes | None = self._run([("GET", self._key("pointer"))])[0]
        return pointer

    def _n_chunks(self, name: str) -> int:
        """At least as many as there are: as it says itself, where it was finished, or as long as there are more."""
        (answer,) = self._run([("GET", self._key(f"at:{name}"))])
        n_chunks = int(answer) if answer is not None and answer.isdigit() else 0
        while any(self._run([("EXISTS", self._chunk(name, n_chunks + n)) for n in range(_N_AT_ONCE)])):
            n_chunks += _N_AT_ONCE
        return n_chunks

    def _key(self, name: str) -> str:
        return f"{self._prefix}checkpoint:{name}"

    def _chunk(self, name: str, number: int) -> str:
        return self._key(f"at:{name}:{number}")


def _chunks(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The same bytes, in pieces of one size."""
    waiting = bytearray()
    for piece in pieces:
        for begin in range(0, len(piece), CHUNK_BYTES):
            waiting += piece[begin : begin + CHUNK_BYTES]
            while len(waiting) >= CHUNK_BYTES:
                yield bytes(waiting[:CHUNK_BYTES])
                del waiting[:CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)
