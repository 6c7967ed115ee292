"""Where workers keep vectors of texts so that none is made twice: on Redis, Valkey or a cluster of either."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from streamer.adapters.redis.connection import RedisConnection

# The log has the vector of every text that counts, so one that nobody asked for in so long makes room.
TEXT_TTL_S: Final = 30 * 86_400


class RedisTextCache(RedisConnection):
    """`ports.TextCache` on Redis: `<prefix>text:<key>` holds a vector (some 0.9 kB) until nobody asked for it in `TEXT_TTL_S`.

    Args:
        url, prefix, kwargs: As `RedisConnection` has them.

    Raises:
        ConfigError: the URL is none, or contradicts `cluster`.
    """

    def __init__(self, url: str, prefix: str = "streamer:", **kwargs: Any) -> None:
        super().__init__(url, prefix, **kwargs)
        self._text_prefix = f"{prefix}text:"

    def read(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Key -> vector of those that are held."""
        values = self._run(("GETEX", self._text_prefix + key, "EX", TEXT_TTL_S) for key in keys)
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    def write(self, vectors: Mapping[str, bytes]) -> None:
        """Hold these, in place of what was held for the same keys; returns when all are acknowledged."""
        self._run(
            ("SET", self._text_prefix + key, vector, "EX", TEXT_TTL_S) for key, vector in vectors.items()
        )
