"""Published vectors in memory."""

from collections.abc import Callable, Sequence

from streamer.adapters.expiry import check_ttl
from streamer.adapters.memory.clock import SystemClock
from streamer.errors import ConfigError, Unavailable
from streamer.ports import Clock, VectorEntry

_Entries = dict[str, tuple[VectorEntry, float]]  # id -> (entry, expires at)


class MemoryVectors:
    """`ports.Vectors` in dicts. Set `down = True` to make every access raise `Unavailable`.

    Args:
        clock: Decides when vectors expire.
        max_bytes: Most bytes of vectors and fields held; more is refused as a full server refuses it.
    """

    def __init__(self, *, clock: Clock | None = None, max_bytes: int = 1 << 30) -> None:
        if max_bytes <= 0:
            raise ConfigError(f"MemoryVectors: max_bytes must be positive, got {max_bytes}")
        self.down = False
        self._now_s: Callable[[], float] = (clock or SystemClock()).monotonic_s
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._users: _Entries = {}
        self._items: _Entries = {}
        self._encoders: bytes | None = None
        self._closed = False

    def write_users(self, entries: Sequence[VectorEntry], ttl_s: int) -> None:
        """Overwrite the vector of each user, expiring after `ttl_s`."""
        self._write(self._users, entries, ttl_s)

    def write_items(self, entries: Sequence[VectorEntry], ttl_s: int) -> None:
        """Overwrite the vector of each item, expiring after `ttl_s`."""
        self._write(self._items, entries, ttl_s)

    def delete_users(self, user_ids: Sequence[str]) -> None:
        """Remove the vectors of these users; unknown ones are ignored."""
        self.ping()
        for user_id in user_ids:
            self._drop(self._users, user_id)

    def held_users(self, user_ids: Sequence[str]) -> set[str]:
        """Who of these users has a vector."""
        self.ping()
        return {user_id for user_id in user_ids if self._read(self._users, user_id) is not None}

    def delete_items(self, item_ids: Sequence[str]) -> None:
        """Remove the vectors of these items; unknown ones are ignored."""
        self.ping()
        for item_id in item_ids:
            self._drop(self._items, item_id)

    def read_user(self, user_id: str) -> VectorEntry | None:
        """The entry as it was written, or None."""
        return self._read(self._users, user_id)

    def read_item(self, item_id: str) -> VectorEntry | None:
        """The entry as it was written, or None."""
        return self._read(self._items, item_id)

    def write_encoders(self, state: bytes) -> None:
        """Overwrite the readable state of the encoders (JSON); it does not expire."""
        self.ping()
        self._encoders = state

    def read_encoders(self) -> bytes | None:
        """That state as it was written, or None."""
        self.ping()
        return self._encoders

    def ping(self) -> None:
        """Return when the store answers."""
        if self.down or self._closed:
            raise Unavailable("vectors in memory are " + ("closed" if self._closed else "down"))

    def close(self) -> None:
        """Leave the store. Idempotent."""
        self._closed = True

    def _write(self, kept: _Entries, entries: Sequence[VectorEntry], ttl_s: int) -> None:
        self.ping()
        check_ttl(ttl_s)
        for entry in entries:
            self._drop(kept, entry.id)
            n_bytes = _n_bytes(entry)
            if self._n_bytes + n_bytes > self._max_bytes:
                self._drop_expired()
            if self._n_bytes + n_bytes > self._max_bytes:
                raise Unavailable(f"vectors in memory are full ({self._max_bytes} bytes)")
            # Fields are copied: the caller may go on to change his.
            kept[entry.id] = (entry._replace(fields=dict(entry.fields)), self._now_s() + ttl_s)
            self._n_bytes += n_bytes

    def _read(self, kept: _Entries, name: str) -> VectorEntry | None:
        self.ping()
        entry, expires_at_s = kept.get(name, (None, 0.0))
        if entry is None or self._now_s() >= expires_at_s:
            return None
        return entry._replace(fields=dict(entry.fields))

    def _drop(self, kept: _Entries, name: str) -> None:
        entry, _ = kept.pop(name, (None, 0.0))
        if entry is not None:
            self._n_bytes -= _n_bytes(entry)

    def _drop_expired(self) -> None:
        now_s = self._now_s()
        for kept in (self._users, self._items):
            for name in [name for name, (_, expires_at_s) in kept.items() if expires_at_s <= now_s]:
                self._drop(kept, name)


def _n_bytes(entry: VectorEntry) -> int:
    return len(entry.vector) + sum(len(name) + len(text) for name, text in entry.fields.items())
