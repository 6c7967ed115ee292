"""What a Redis says about itself: for `streamer check`."""

import re
from typing import NamedTuple

from redis.exceptions import RedisClusterException, RedisError

from streamer.adapters.redis.connection import RedisConnection


class ServerFacts(NamedTuple):
    """Of one node where it is a cluster."""

    max_bytes: int  # of memory, 0 = no limit
    eviction: str  # what it does when that is full, as `maxmemory-policy` has it
    now_ms: int  # its clock, epoch milliseconds
    system_bytes: int = 0  # memory of its machine, 0 = it does not say
    version: tuple[int, ...] = ()  # as `redis_version` has it, () = it does not say


class RedisServer(RedisConnection):
    """A server that is asked about itself.

    Args:
        url, prefix, cluster, options, timeout_s: As `RedisConnection` has them.
    """

    def facts(self) -> ServerFacts | None:
        """None where it does not tell us: a worker's user needs no right to ask."""
        try:
            client = self._connect()
            memory, server = client.info("memory"), client.info("server")
            seconds, microseconds = client.time()
            return ServerFacts(
                int(memory["maxmemory"]),
                str(memory["maxmemory_policy"]),
                int(seconds) * 1000 + int(microseconds) // 1000,
                int(memory.get("total_system_memory", 0)),
                tuple(int(part) for part in re.findall(r"\d+", str(server.get("redis_version", "")))[:2]),
            )
        except (RedisError, RedisClusterException, KeyError, TypeError, ValueError):
            return None
