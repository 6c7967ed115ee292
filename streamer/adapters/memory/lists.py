"""Published lists in memory."""

from collections.abc import Callable, Iterator, Sequence

from streamer.adapters.expiry import check_ttl
from streamer.adapters.memory.checkpoints import MemoryFolds
from streamer.adapters.memory.clock import SystemClock
from streamer.errors import ConfigError, Unavailable
from streamer.ports import Clock, Fold


class MemoryLists:
    """`ports.Lists` in a dict. Set `down = True` to make every access raise `Unavailable`.

    Args:
        clock: Decides when lists expire.
        max_bytes: Most bytes of values held; more is refused as a full server refuses it.
        folds: Where batches are appended that come with their lists. None: lists come without.
    """

    def __init__(
        self, *, clock: Clock | None = None, max_bytes: int = 1 << 30, folds: MemoryFolds | None = None
    ) -> None:
        if max_bytes <= 0:
            raise ConfigError(f"MemoryLists: max_bytes must be positive, got {max_bytes}")
        self.down = False
        self._now_s: Callable[[], float] = (clock or SystemClock()).monotonic_s
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._lists: dict[str, tuple[bytes, float]] = {}  # user -> (list, expires at)
        self._retired: dict[str, float] = {}  # item -> its mark expires at
        self._closed = False
        self._folds = folds or MemoryFolds()

    def claim(self, fold: Fold) -> bool:
        """Append the batch that the next lists are made after to the log of folds."""
        self.ping()
        return self._folds.append(fold, self)

    def check(self, number: int) -> None:
        """Return when nobody has appended a batch behind this one."""
        self.ping()
        if self._folds.last() > number:
            raise ConfigError(f"batch {number + 1} was folded by another worker")

    def write(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the list of each user id, expiring after `ttl_s`."""
        self.ping()
        check_ttl(ttl_s)
        for user_id, value in entries:
            self._drop(user_id)
            if self._n_bytes + len(value) > self._max_bytes:
                self._drop_expired()
            if self._n_bytes + len(value) > self._max_bytes:
                raise Unavailable(f"lists in memory are full ({self._max_bytes} bytes)")
            self._lists[user_id] = (value, self._now_s() + ttl_s)
            self._n_bytes += len(value)

    def delete(self, user_ids: Sequence[str]) -> None:
        """Remove the lists of these users; unknown ones are ignored."""
        self.ping()
        for user_id in user_ids:
            self._drop(user_id)

    def held(self, user_ids: Sequence[str]) -> set[str]:
        """Who of these users has a list."""
        return set(self.read_each(user_ids))

    def read(self, user_id: str) -> bytes | None:
        """The list as it was written, or None."""
        self.ping()
        value, expires_at_s = self._lists.get(user_id, (None, 0.0))
        return value if self._now_s() < expires_at_s else None

    def read_each(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User id -> list as it was written, of those who have one."""
        self.ping()
        return {user: value for user in user_ids if (value := self.read(user)) is not None}

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Every (user id, list), in no order."""
        for user_id in list(self._lists):
            value = self.read(user_id)
            if value is not None:
                yield user_id, value

    def retire(self, item_ids: Sequence[str], ttl_s: int) -> None:
        """Mark items that readers must drop from lists already published, for `ttl_s`: as long as such a list may live."""
        self.ping()
        check_ttl(ttl_s)
        now_s = self._now_s()
        self._retired = {item: until_s for item, until_s in self._retired.items() if now_s < until_s}
        self._retired |= dict.fromkeys(item_ids, now_s + ttl_s)

    def restore(self, item_ids: Sequence[str]) -> None:
        """Take the mark of `retire` off again."""
        self.ping()
        for item_id in item_ids:
            self._retired.pop(item_id, None)

    def retired(self, item_ids: Sequence[str]) -> set[str]:
        """Which of these items carry the mark of `retire`."""
        self.ping()
        now_s = self._now_s()
        return {item_id for item_id in item_ids if now_s < self._retired.get(item_id, now_s)}

    def ping(self) -> None:
        """Return when the store answers."""
        if self.down or self._closed:
            raise Unavailable("lists in memory are " + ("closed" if self._closed else "down"))

    def close(self) -> None:
        """Leave the store. Idempotent."""
        self._closed = True

    def _drop(self, user_id: str) -> None:
        value, _ = self._lists.pop(user_id, (b"", 0.0))
        self._n_bytes -= len(value)

    def _drop_expired(self) -> None:
        now_s = self._now_s()
        for user_id in [user for user, (_, expires_at_s) in self._lists.items() if expires_at_s <= now_s]:
            self._drop(user_id)
