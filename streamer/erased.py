"""Who was erased, and when: what users did before that stays forgotten, in whatever order the log is read."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

_ENTRY_BYTES = 160  # of the table in memory, an entry: two numbers and their place


class ErasedUsers:
    """The last users who were erased: hashes of their ids, never the ids, and the log's own time of their tombstones.

    Bounded: the one who was erased longest ago, in the order of the fold, is forgotten first.

    Args:
        max_users: Users remembered, >= 1.

    Attributes:
        n_forgotten: Users who made way for newer ones since this table was made; not part of the state.
    """

    def __init__(self, max_users: int) -> None:
        self.n_forgotten = 0
        self._max_users = max_users
        self._erased_ms: dict[int, int] = {}
        self._newest_ms = -1  # whatever is on the log after this needs no look-up

    def note(self, user_id: str, log_ms: int) -> None:
        """A tombstone with this log time; -1, when the log has no times, is not remembered."""
        if log_ms < 0:
            return
        key = _key(user_id)
        log_ms = max(log_ms, self._erased_ms.pop(key, -1))
        self._erased_ms[key] = log_ms
        self._newest_ms = max(self._newest_ms, log_ms)
        if len(self._erased_ms) > self._max_users:
            del self._erased_ms[next(iter(self._erased_ms))]
            self.n_forgotten += 1

    def covers(self, user_id: str, log_ms: int) -> bool:
        """Whether what this user did was on the log by the time of his tombstone; False where the log has no times."""
        return 0 <= log_ms <= self._newest_ms and log_ms <= self._erased_ms.get(_key(user_id), -1)

    def covers_any(self, log_ms: Sequence[int]) -> bool:
        """Whether any of what was on the log at these times could be of an erased user."""
        return self._newest_ms >= 0 and min(log_ms, default=self._newest_ms + 1) <= self._newest_ms

    def __len__(self) -> int:
        return len(self._erased_ms)

    def n_bytes(self) -> int:
        """About how many bytes the table takes in memory."""
        return _ENTRY_BYTES * len(self._erased_ms)

    def digest(self) -> bytes:
        """Equal tables have equal bytes."""
        return xxhash.xxh3_128_digest(b"".join(array.tobytes() for array in self.freeze()().values()))

    def freeze(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """The table as it is now; what comes back may be called later, in another thread, and gives it as arrays.

        users: (n,) uint64 hashes, in the order of erasure. log_ms: (n,) int64.
        """
        erased_ms = self._erased_ms.copy()

        def arrays() -> dict[str, NDArray[Any]]:
            n = len(erased_ms)
            return {
                "users": np.fromiter(erased_ms, np.uint64, n),
                "log_ms": np.fromiter(erased_ms.values(), np.int64, n),
            }

        return arrays

    @classmethod
    def thaw(cls, max_users: int, arrays: Mapping[str, NDArray[Any]]) -> "ErasedUsers":
        """The table whose `freeze` this is.

        Raises:
            ValueError: the arrays contradict each other, or do not fit into `max_users`.
        """
        users, log_ms = arrays["users"].tolist(), arrays["log_ms"].tolist()
        erased = cls(max_users)
        erased._erased_ms = dict(zip(users, log_ms, strict=True))
        if len(erased._erased_ms) != len(users) or len(users) > max_users or min(log_ms, default=0) < 0:
            raise ValueError(
                f"erased users: expected at most {max_users}, each once, with a time; got {len(users)}"
            )
        erased._newest_ms = max(log_ms, default=-1)
        return erased


def _key(user_id: str) -> int:
    return xxhash.xxh3_64_intdigest(user_id.encode())
