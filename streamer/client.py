"""For apps: read lists, and the vectors behind them, from Redis.

```python
from redis import Redis
from streamer.client import Recommendations

# an app would rather show something else than wait; to connect, redis-py waits 5 s unless told otherwise
redis = Redis.from_url("redis://localhost:6379/0", socket_timeout=0.2, socket_connect_timeout=0.2)
recommendations = Recommendations(redis)
for item in recommendations.get("17850", k=10).items:
    print(item.id, item.path)
```
"""

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from redis import Redis
from redis.client import NEVER_DECODE
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from streamer.errors import Unavailable
from streamer.events import (
    ANONYMOUS,
    PROFILE_NODE,
    UNREADABLE,
    id_problem,
    profile_node,
    segment_list_id,
    user_id_problem,
)

if TYPE_CHECKING:  # reading lists alone does not load numpy
    import numpy as np
    from numpy.typing import NDArray

MAX_SEGMENTS = 64
"""Features of a profile that are looked up, at most: profiles may come from browsers."""

_MAX_TIME_MS = 2**53  # more is no time, and no float either

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
        fallback: The list is one for users nobody knows, or there is none.
        model: Name of the model that made the list; "" without a list.
        segment: The feature of the profile whose list it is, as `country=France`; "" for any other list.
    """

    items: tuple[Recommendation, ...]
    age_s: float | None
    fallback: bool
    model: str
    segment: str = ""


class StoredVector(NamedTuple):
    """The vector of a user or an item, and the version of the weights that made it.

    Vectors of two versions say nothing about each other, even of the same user.
    """

    vector: "NDArray[np.float32]"
    version: int


class _Published(msgspec.Struct):
    """The part of `schemas/recommendations.v1.schema.json` that readers need."""

    version: Literal["recommendations.v1"]
    items: list[Recommendation]
    generated_at: Annotated[int, msgspec.Meta(ge=0, le=_MAX_TIME_MS)]
    model: str


class _Candidate(NamedTuple):
    """A list that may serve."""

    published: _Published
    is_fallback: bool
    segment: str = ""


_DECODER = msgspec.json.Decoder(_Published)


def _decoded(value: bytes | str | None, kind: str) -> _Published | None:
    try:
        return None if value is None else _DECODER.decode(value)
    except UNREADABLE:
        log.warning("list_unreadable", extra={"list": kind})
        return None


def _segments(profile: Mapping[str, str | Sequence[str]]) -> dict[str, str]:
    """Feature -> owner of its list, of the first `MAX_SEGMENTS` that a profile event could have."""
    nodes = (
        profile_node(field, value)
        for field, values in profile.items()
        for value in ([values] if isinstance(values, str) else values if isinstance(values, Sequence) else ())
        if isinstance(value, str)
    )
    segments = {}
    for node in itertools.islice(nodes, MAX_SEGMENTS):
        with suppress(UnicodeEncodeError):  # browsers send half a surrogate pair now and then
            segments[node.removeprefix(PROFILE_NODE)] = segment_list_id(node)
    return segments


def _vector(stored: bytes | None, version: bytes | None) -> StoredVector | None:
    if stored is None:
        return None
    import numpy as np  # noqa: PLC0415  apps that read lists alone do not pay for it

    try:
        vector = np.frombuffer(stored, "<f2").astype(np.float32)
        found = StoredVector(vector, int(version or b""))
    except ValueError:
        found = None
    if found is None or not np.isfinite(found.vector).all():
        log.warning("vector_unreadable")
        return None
    return found


def _refuse_other_types(what: str, name: object) -> None:
    """Ids come from databases as numbers or UUIDs, too: everybody would be a stranger, and nobody would notice."""
    if not isinstance(name, str | bytes | None):
        raise TypeError(f"{what}: expected a str, as in the events, got {type(name).__name__}")


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Recommendations:
    """Reads lists and vectors. Safe to share between threads, as the redis client is.

    Two round trips for a user who has a list, three for one who has none, four where there is a profile to go by.
    Every command names one key, so that a cluster can answer it wherever the key lies.

    Args:
        redis: A client or a cluster client; its timeouts and retries are the caller's to choose. In an asyncio app call the
            methods in a thread: `await asyncio.to_thread(recommendations.get, user_id)`.
        prefix: As the worker's setting of that name.
        now_ms: Wall clock in epoch milliseconds, for the age of lists.

    Raises:
        TypeError: `redis` is a client of redis.asyncio.
    """

    def __init__(
        self,
        redis: Redis | RedisCluster,
        prefix: str = "streamer:",
        now_ms: Callable[[], int] = _wall_clock_ms,
    ) -> None:
        if any(cls.__module__.startswith("redis.asyncio") for cls in type(redis).__mro__):
            raise TypeError(
                "redis: expected a client of redis, got one of redis.asyncio; make one of redis, and call the methods by "
                "`await asyncio.to_thread(recommendations.get, user_id)`"
            )
        self._redis = redis
        self._prefix = prefix
        self._now_ms = now_ms

    def get(
        self, user_id: str, k: int = 20, profile: Mapping[str, str | Sequence[str]] | None = None
    ) -> RecommendationList:
        """The list of a user, or else of the first segment of his profile that has one, or the anonymous one.

        An unknown user, an id that no event could have, a list that cannot be read, and a list of which every
        item was retired are all answered with the next list of that order, or with an empty one where there is none.

        Args:
            user_id: As in the events.
            k: Longest list wanted, >= 1.
            profile: What the app knows about the user, as `categorical` of profile events has it: field -> value,
                or values. Fields are tried in the order given, at most `MAX_SEGMENTS` values of them.

        Raises:
            Unavailable: Redis is away, or refuses us.
            TypeError: `user_id` is a number or a UUID: ids are text, and 17 would be nobody.
            ValueError: k < 1.
        """
        _refuse_other_types("user_id", user_id)
        if k < 1:
            raise ValueError(f"expected k >= 1, got {k}")
        with self._answering("lists"):
            for candidate in self._candidates(user_id, profile or {}):
                items = self._listable(candidate.published.items)[:k]
                if items:
                    age_s = max(0, self._now_ms() - candidate.published.generated_at) / 1000
                    return RecommendationList(
                        tuple(items),
                        age_s,
                        candidate.is_fallback,
                        candidate.published.model,
                        candidate.segment,
                    )
        return RecommendationList((), None, fallback=True, model="")

    def user_vector(self, user_id: str) -> StoredVector | None:
        """The vector of a user; None where none is held or it cannot be read.

        Raises:
            Unavailable: Redis is away, or refuses us.
        """
        return self._vectors([("user", user_id)])[0]

    def item_vector(self, item_id: str) -> StoredVector | None:
        """The vector of an item; None where none is held or it cannot be read.

        Raises:
            Unavailable: Redis is away, or refuses us.
        """
        return self._vectors([("item", item_id)])[0]

    def similarity(self, user_id: str, item_id: str) -> float | None:
        """How well an item fits a user: the dot product of their vectors, to be compared among items of one user.

        One round trip.

        Returns:
            None where a vector is missing, and while the two are of different versions.

        Raises:
            Unavailable: Redis is away, or refuses us.
        """
        user, item = self._vectors([("user", user_id), ("item", item_id)])
        if user is None or item is None or user.version != item.version:
            return None
        if user.vector.shape != item.vector.shape:
            log.warning("vectors_of_two_widths", extra={"version": user.version})
            return None
        return float(user.vector @ item.vector)

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        """Turn what the redis client raises into `Unavailable`."""
        try:
            yield
        except (RedisError, RedisClusterException, OSError) as exc:
            got = f"{type(exc).__name__}: {exc}"
            raise Unavailable(
                f"{what} under {self._prefix!r}: expected an answer of Redis, got {got}"
            ) from exc

    def _candidates(self, user_id: str, profile: Mapping[str, str | Sequence[str]]) -> Iterator[_Candidate]:
        """Readable lists, best first, each read when it is asked for."""
        if isinstance(user_id, str) and user_id_problem(user_id) is None:
            published = self._read(user_id)
            if published:
                yield _Candidate(published, is_fallback=False)
        segments = _segments(profile)
        values = self._in_one_trip([("GET", self._key("list", owner)) for owner in segments.values()])
        for segment, value in zip(segments, values, strict=True):
            published = _decoded(value, "segment")
            if published:
                yield _Candidate(published, is_fallback=True, segment=segment)
        published = self._read(ANONYMOUS)
        if published:
            yield _Candidate(published, is_fallback=True)

    def _read(self, owner: str) -> _Published | None:
        kind = "anonymous" if owner == ANONYMOUS else "user"
        try:
            return _decoded(self._redis.get(self._key("list", owner)), kind)
        except UnicodeDecodeError:  # by a client that answers in str
            log.warning("list_unreadable", extra={"list": kind})
            return None

    def _vectors(self, names: list[tuple[str, str]]) -> list[StoredVector | None]:
        for kind, name in names:
            _refuse_other_types(f"{kind}_id", name)
        is_possible = [isinstance(name, str) and id_problem(name) is None for _, name in names]
        keys = [self._key(*name) for name, possible in zip(names, is_possible, strict=True) if possible]
        with self._answering("vectors"):
            replies = iter(self._in_one_trip([("HMGET", key, "vector", "model") for key in keys]))
        return [_vector(*next(replies)) if possible else None for possible in is_possible]

    def _in_one_trip(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Replies in bytes, whatever the client decodes: vectors are no text."""
        if not commands:
            return []
        with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command, **{NEVER_DECODE: []})
            return pipeline.execute()

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
