"""The in-memory twin of receipts: as `adapters.memory`, beside it to keep both short."""

from collections.abc import Sequence

from streamer.adapters.memory import SystemClock
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
        self._closed = False

    def write(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the receipt of each user, expiring after `ttl_s`."""
        self._check()
        for user_id, value in entries:
            self._receipts.pop(user_id, None)
            self._receipts[user_id] = (value, self._now_s() + ttl_s)
        while len(self._receipts) > self._max_receipts:
            del self._receipts[next(iter(self._receipts))]

    def read(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User -> his receipt, of those who have one."""
        self._check()
        found = {user_id: self._receipts[user_id] for user_id in user_ids if user_id in self._receipts}
        return {user_id: value for user_id, (value, until_s) in found.items() if self._now_s() < until_s}

    def close(self) -> None:
        """Leave the store. Idempotent."""
        self._closed = True

    def _check(self) -> None:
        if self.down or self._closed:
            raise Unavailable("receipts in memory are " + ("closed" if self._closed else "down"))
