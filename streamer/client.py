"""For apps: read a user's list from Redis.

```python
from redis import Redis
from streamer.client import Recommendations

recommendations = Recommendations(Redis.from_url("redis://localhost:6379/0"))
for item in recommendations.get("17850", k=10).items:
    print(item.id, item.path)
```
"""

import logging
import time
from collections.abc import Callable
from typing import Literal

import msgspec
from redis import Redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from streamer.errors import Unavailable
from streamer.events import ANONYMOUS, user_id_problem

log = logging.getLogger(__name__)


class Recommendation(msgspec.Struct, frozen=True):
    """One item of a list, with the path through the graph that put it there."""

    id: str
    score: float
    path: str


class RecommendationList(msgspec.Struct, frozen=True):
    """What to show a user, best first.

    Attributes:
        items: At most the k asked for; fewer where the list is shorter or items were retired; none where
            Redis holds no list that could serve.
        age_s: Seconds since the list was made, >= 0; None without a list.
        fallback: The list is the one for users nobody knows, or there is none.
        model: Name of the model that made the list; "" without a list.
    """

    items: tuple[Recommendation, ...]
    age_s: float | None
    fallback: bool
    model: str


class _Published(msgspec.Struct):
    """The part of `schemas/recommendations.v1.schema.json` that readers need."""

    version: Literal["recommendations.v1"]
    items: list[Recommendation]
    generated_at: int
    model: str


_DECODER = msgspec.json.Decoder(_Published)


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Recommendations:
    """Reads lists. Safe to share between threads, as the redis client is.

    Two round trips for a user who has a list, three for one who has none. Every command names one key, so
    that a cluster can answer it wherever the key lies.

    Args:
        redis: A client or a cluster client (sync); its timeouts and retries are the caller's to choose.
        prefix: As the worker's setting of that name.
        now_ms: Wall clock in epoch milliseconds, for the age of lists.
    """

    def __init__(
        self,
        redis: Redis | RedisCluster,
        prefix: str = "streamer:",
        now_ms: Callable[[], int] = _wall_clock_ms,
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self._now_ms = now_ms

    def get(self, user_id: str, k: int = 20) -> RecommendationList:
        """The list of a user, or else the list for users nobody knows.

        An unknown user, an id that no event could have, a list that cannot be read, and a list of which every
        item was retired are all answered with the anonymous list, or with an empty one where there is none.

        Args:
            user_id: As in the events.
            k: Longest list wanted, >= 1.

        Raises:
            Unavailable: Redis is away, or refuses us.
            ValueError: k < 1.
        """
        if k < 1:
            raise ValueError(f"expected k >= 1, got {k}")
        try:
            return self._first_list(user_id, k)
        except (RedisError, RedisClusterException, OSError) as exc:
            what = f"{type(exc).__name__}: {exc}"
            raise Unavailable(
                f"lists under {self._prefix!r}: expected an answer of Redis, got {what}"
            ) from exc

    def _first_list(self, user_id: str, k: int) -> RecommendationList:
        is_possible = isinstance(user_id, str) and user_id_problem(user_id) is None
        for owner in (user_id, ANONYMOUS) if is_possible else (ANONYMOUS,):
            published = self._read(owner)
            items = self._listable(published.items)[:k] if published else []
            if published and items:
                age_s = max(0, self._now_ms() - published.generated_at) / 1000
                return RecommendationList(tuple(items), age_s, owner == ANONYMOUS, published.model)
        return RecommendationList((), None, fallback=True, model="")

    def _read(self, owner: str) -> _Published | None:
        try:
            value = self._redis.get(self._key("list", owner))
            return None if value is None else _DECODER.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.warning("list_unreadable", extra={"anonymous": owner == ANONYMOUS})
            return None

    def _listable(self, items: list[Recommendation]) -> list[Recommendation]:
        """Without the retired ones. All are asked about, as any of the first k may have to be replaced."""
        if not items:
            return []
        with self._redis.pipeline(transaction=False) as pipeline:
            for item in items:
                pipeline.exists(self._key("retired", item.id))
            retired = pipeline.execute()
        return [item for item, is_retired in zip(items, retired, strict=True) if not is_retired]

    def _key(self, kind: str, name: str) -> bytes:
        return f"{self._prefix}{kind}:{name}".encode()
