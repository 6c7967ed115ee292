"""Receipts of erased users on Redis, Valkey or a cluster of either."""

from collections.abc import Sequence

from streamer.adapters.expiry import check_ttl
from streamer.adapters.redis.connection import RedisConnection


class RedisReceipts(RedisConnection):
    """`ports.Receipts` on Redis: `<prefix>receipt:<user>`, and notes in `<prefix>erasing:<user>`.

    Args:
        url, prefix, cluster, timeout_s: As `RedisConnection` has them.
    """

    def begin(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the note of each user, expiring after `ttl_s`."""
        check_ttl(ttl_s)
        self._run(("SET", self._key("erasing", user_id), value, "EX", ttl_s) for user_id, value in entries)

    def begun(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User -> his note, of those who have one."""
        return self._found("erasing", user_ids)

    def write(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the receipt of each user, expiring after `ttl_s`; his note goes when all are acknowledged."""
        check_ttl(ttl_s)
        self._run(("SET", self._key("receipt", user_id), value, "EX", ttl_s) for user_id, value in entries)
        self._run(("DEL", self._key("erasing", user_id)) for user_id, _ in entries)

    def read(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User -> his receipt, of those who have one."""
        return self._found("receipt", user_ids)

    def _found(self, kind: str, user_ids: Sequence[str]) -> dict[str, bytes]:
        values = self._run(("GET", self._key(kind, user_id)) for user_id in user_ids)
        return {user_id: value for user_id, value in zip(user_ids, values, strict=True) if value is not None}

    def _key(self, kind: str, user_id: str) -> str:
        return f"{self._prefix}{kind}:{user_id}"
