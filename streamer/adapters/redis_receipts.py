"""Receipts of erased users on Redis, Valkey or a cluster of either."""

from collections.abc import Sequence

from streamer.adapters.redis import RedisConnection


class RedisReceipts(RedisConnection):
    """`ports.Receipts` on Redis: `<prefix>receipt:<user>`.

    Args:
        url, prefix, cluster, timeout_s: As `RedisConnection` has them.
    """

    def write(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the receipt of each user, expiring after `ttl_s`."""
        self._run(("SET", self._key(user_id), value, "EX", ttl_s) for user_id, value in entries)

    def read(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User -> his receipt, of those who have one."""
        values = self._run(("GET", self._key(user_id)) for user_id in user_ids)
        return {user_id: value for user_id, value in zip(user_ids, values, strict=True) if value is not None}

    def _key(self, user_id: str) -> str:
        return f"{self._prefix}receipt:{user_id}"
