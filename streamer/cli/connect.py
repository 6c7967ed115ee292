"""Stores on Redis, as the settings name it."""

from typing import TypeVar

from streamer.adapters.redis import RedisConnection
from streamer.config import Settings

Store = TypeVar("Store", bound=RedisConnection)


def on_redis(kind: type[Store], settings: Settings) -> Store:
    """A store of this kind on the Redis of the settings, with their prefix, TLS, user and password; to be closed.

    Raises:
        ConfigError: no Redis is set, or it cannot be reached that way.
    """
    return kind(
        settings.require_redis(),
        settings.prefix,
        cluster=settings.redis_cluster,
        options=settings.redis_config,
    )
