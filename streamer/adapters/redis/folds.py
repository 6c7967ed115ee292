"""The log of folds on Redis, Valkey or a cluster of either."""

from streamer.adapters.redis import fold_stream
from streamer.adapters.redis.connection import RedisConnection
from streamer.ports import Fold


class RedisFolds(RedisConnection):
    """`ports.Folds` on Redis: the stream `<prefix>folds`. XTRIM MINID needs Redis 6.2.

    Args:
        url, prefix, cluster, options, timeout_s: As `RedisConnection` has them.
    """

    def append(self, fold: Fold) -> bool:
        """Put a batch at the end; the same again does nothing."""
        return fold_stream.append(self._run, self._prefix, fold, self._where, self.token)

    def read(self, after: int, n_max: int) -> list[Fold]:
        """The next batches behind this number, in order, at most `n_max`."""
        return fold_stream.read(self._run, self._prefix, f"{after + 1}-0", "+", n_max)

    def last(self) -> int:
        """Number of the newest batch that was ever appended since the last `clear`, dropped or not; 0 before the first."""
        return fold_stream.last(self._run, self._prefix)

    def trim(self, until: int) -> None:
        """Drop the batches up to and with this number."""
        self._run([("XTRIM", fold_stream.key_of(self._prefix), "MINID", f"{until + 1}-0")])

    def clear(self) -> None:
        """Drop all; numbers may begin anew."""
        self._run([("DEL", fold_stream.key_of(self._prefix))])
