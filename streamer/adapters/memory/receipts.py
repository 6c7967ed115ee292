"""Receipts in memory."""

from collections.abc import Sequence

from streamer.adapters.expiry import check_ttl
from streamer.adapters.memory.clock import SystemClock
from streamer.errors import Unavailable
from streamer.ports import Clock


class MemoryReceipts:
    """`ports.Receipts` in a dict. Set `down = True` to make every access raise `Unavailable`.

    Args:
        clock: Decides when receipts expire.
        max_receipts: Most receipts held; beyond that those that came first go.
    """

    def __init__(self, *, clock: Clock | None = None, max_receipts: int = 1_000_000) -> None:
        self.down = False
        self._now_s = (clock or SystemClock()).monotonic_s
        self._max_receipts = max_receipts
        self._receipts: dict[str, tuple[bytes, float]] = {}  # user -> (receipt, expires at)
        self._notes: dict[str, tuple[bytes, float]] = {}  # user -> (note, expires at)
        self._closed = False

    def begin(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the note of each user, expiring after `ttl_s`."""
        self._put(self._notes, entries, ttl_s)

    def begun(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User -> his note, of those who have one."""
        return self._found(self._notes, user_ids)

    def write(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the receipt of each user, expiring after `ttl_s`; his note goes."""
        self._put(self._receipts, entries, ttl_s)
        for user_id, _ in entries:
            self._notes.pop(user_id, None)

    def read(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User -> his receipt, of those who have one."""
        return self._found(self._receipts, user_ids)

    def close(self) -> None:
        """Leave the store. Idempotent."""
        self._closed = True

    def _put(
        self, table: dict[str, tuple[bytes, float]], entries: Sequence[tuple[str, bytes]], ttl_s: int
    ) -> None:
        self._check()
        check_ttl(ttl_s)
        for user_id, value in entries:
            table.pop(user_id, None)
            table[user_id] = (value, self._now_s() + ttl_s)
        while len(table) > self._max_receipts:
            del table[next(iter(table))]

    def _found(self, table: dict[str, tuple[bytes, float]], user_ids: Sequence[str]) -> dict[str, bytes]:
        self._check()
        found = {user_id: table[user_id] for user_id in user_ids if user_id in table}
        return {user_id: value for user_id, (value, until_s) in found.items() if self._now_s() < until_s}

    def _check(self) -> None:
        if self.down or self._closed:
            raise Unavailable("receipts in memory are " + ("closed" if self._closed else "down"))
