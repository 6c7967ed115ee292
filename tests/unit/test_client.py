"""`streamer.client`: what an app sees, on a real Redis and on a cluster of one."""

import json
import logging
import struct
import subprocess
import sys
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from streamer.adapters.redis import RedisLists
from streamer.adapters.redis.vectors import RedisVectors
from streamer.client import MAX_SEGMENTS, Recommendation, Recommendations
from streamer.errors import Unavailable
from streamer.events import ANONYMOUS, segment_list_id
from streamer.ports import VectorEntry

NOW_MS = 1_700_000_000_000


class Shop:
    """A Redis with lists in it, and a client that reads them at `NOW_MS`."""

    def __init__(self, redis: Redis | RedisCluster, prefix: str) -> None:
        self.redis, self.prefix = redis, prefix
        self.client = Recommendations(redis, prefix, now_ms=lambda: NOW_MS)

    def publish(self, user_id: str, item_ids: str, generated_at: int = NOW_MS, **changes) -> None:
        """Write a list of one-letter items, as a worker does."""
        items = [
            {"id": name, "score": 1 / (rank + 2), "path": "sequence"} for rank, name in enumerate(item_ids)
        ]
        value = {
            "version": "recommendations.v1",
            "user_id": user_id,
            "items": items,
            "generated_at": generated_at,
            "event_time": None,
            "model": f"model of {user_id}",
            "position": {"interactions-0": 3},
        }
        self.redis.set(f"{self.prefix}list:{user_id}", json.dumps({**value, **changes}))

    def retire(self, item_ids: str) -> None:
        """Mark one-letter items as retired, as a worker does."""
        for item_id in item_ids:
            self.redis.set(f"{self.prefix}retired:{item_id}", "1")

    def store(self, kind: str, name: str, vector: list[float], version: int) -> None:
        """Write a vector, as a worker does."""
        fields = {"vector": struct.pack(f"<{len(vector)}e", *vector), "model": version}
        self.redis.hset(f"{self.prefix}{kind}:{name}", mapping=fields)

    def shown(self, user_id: str, k: int = 20) -> str:
        """The one-letter items that a user sees."""
        return "".join(item.id for item in self.client.get(user_id, k).items)


@pytest.fixture(params=["bytes", "str", "cluster"])
def shop(request, redis_url, prefix):
    """A shop on a client that answers in bytes, in str, and on a cluster."""
    if request.param == "cluster":
        redis = RedisCluster.from_url(request.getfixturevalue("redis_cluster_url"))
    else:
        redis = Redis.from_url(redis_url, decode_responses=request.param == "str")
    with redis:
        yield Shop(redis, prefix)
        for key in redis.scan_iter(match=prefix + "*", count=1000):
            redis.delete(key)


def test_a_user_gets_the_list_as_it_was_published(shop):
    """A user who has a list gets it as it was published, best first."""
    shop.publish(ANONYMOUS, "xyz")
    shop.publish("u", "abc", generated_at=NOW_MS - 2_500)
    found = shop.client.get("u")
    assert found.items == (
        Recommendation("a", 1 / 2, "sequence"),
        Recommendation("b", 1 / 3, "sequence"),
        Recommendation("c", 1 / 4, "sequence"),
    )
    assert (found.age_s, found.fallback, found.model) == (2.5, False, "model of u")


def test_at_most_k_items_are_given(shop):
    """At most k items, 20 unless told otherwise."""
    shop.publish("u", "abcdefghijklmnopqrstuvwxyz")
    assert shop.shown("u", k=3) == "abc"
    assert shop.shown("u", k=100) == "abcdefghijklmnopqrstuvwxyz"
    assert len(shop.client.get("u").items) == 20
    with pytest.raises(ValueError, match="got 0"):
        shop.client.get("u", k=0)


def test_a_user_without_a_list_gets_the_anonymous_one(shop):
    """A user without a list gets the one for users nobody knows, and its age."""
    shop.publish(ANONYMOUS, "xyz", generated_at=NOW_MS - 60_000)
    found = shop.client.get("nobody", k=2)
    assert [item.id for item in found.items] == ["x", "y"]
    assert (found.age_s, found.fallback, found.model) == (60.0, True, f"model of {ANONYMOUS}")


def test_before_the_first_list_there_is_an_empty_one(shop):
    """Before the first list there is an empty one, not an error."""
    found = shop.client.get("nobody")
    assert (found.items, found.age_s, found.fallback, found.model) == ((), None, True, "")


@pytest.mark.parametrize(
    "user_id",
    [
        "",
        "\ud800",
        "a\nb",
        "\x00",
        "x" * 257,
        "é" * 129,
        "x" * 100_000,
        ANONYMOUS,
        "__streamer_x",
        "é",
        "*",
        None,
        b"u",
    ],
)
def test_an_id_that_no_event_could_have_is_a_user_nobody_knows(shop, user_id):
    """An id that no event could have is a user nobody knows; apps pass on what browsers send."""
    shop.publish(ANONYMOUS, "xyz")
    found = shop.client.get(user_id)
    assert [item.id for item in found.items] == ["x", "y", "z"]
    assert found.fallback


@pytest.mark.parametrize("number", [17, 17.0, np.int64(17), Decimal(17), UUID(int=17)])
def test_a_number_is_no_stranger_but_a_mistake(shop, number):
    """Ids come from databases as numbers: everybody would get the anonymous list, and nobody would notice."""
    shop.publish("17", "abc")
    for use in (
        lambda: shop.client.get(number),
        lambda: shop.client.user_vector(number),
        lambda: shop.client.item_vector(number),
        lambda: shop.client.similarity("17", number),
    ):
        with pytest.raises(TypeError, match=f"_id: expected a str, .* got {type(number).__name__}"):
            use()


def test_reserved_lists_cannot_be_read_by_name(shop):
    """Lists under reserved ids are not an app's to ask for."""
    shop.publish("__streamer_segment", "s")
    shop.publish(ANONYMOUS, "x")
    assert shop.shown("__streamer_segment") == "x"


def test_retired_items_are_dropped(shop):
    """Items retired after the list was made are gone, and the next ones move up to fill k."""
    shop.publish("u", "abcdef")
    shop.retire("ac")
    assert shop.shown("u", k=3) == "bde"
    assert shop.shown("u") == "bdef"


def test_retired_items_are_dropped_from_the_fallback(shop):
    """The same holds for the anonymous list."""
    shop.publish(ANONYMOUS, "xyz")
    shop.retire("y")
    assert shop.shown("nobody") == "xz"


def test_the_anonymous_list_stands_in_for_one_of_retired_items_alone(shop):
    """When nothing is left of the user's own list, the anonymous one is better than none."""
    shop.publish("u", "ab")
    shop.publish("v", "")
    shop.retire("ab")
    assert shop.client.get("u").items == ()
    shop.publish(ANONYMOUS, "axb")
    for user_id in ("u", "v"):
        found = shop.client.get(user_id)
        assert [item.id for item in found.items] == ["x"]
        assert found.fallback


def test_a_list_from_the_future_is_of_age_0(shop):
    """A worker whose clock is ahead of ours makes lists of age 0, not of the future."""
    shop.publish("u", "a", generated_at=NOW_MS + 5_000)
    assert shop.client.get("u").age_s == 0.0


@pytest.mark.parametrize(
    "value",
    [
        *("", "null", "{}", "[1]", "not json", b"\xff\xfe"),
        '{"version": "recommendations.v2", "items": []}',
        '{"version": "recommendations.v1", "deep": ' + 2_000 * "[" + 2_000 * "]" + "}",
        f'{{"version": "recommendations.v1", "items": [], "model": "m", "generated_at": -1{400 * "0"}}}',
    ],
)
def test_a_list_that_cannot_be_read_is_as_good_as_none(shop, value, caplog):
    """What is no list of our version is as good as none; the log says so, without naming the user."""
    shop.redis.set(f"{shop.prefix}list:u", value)
    shop.publish(ANONYMOUS, "x")
    assert shop.client.get("u").fallback
    assert shop.shown("u") == "x"
    assert {record.message for record in caplog.records} == {"list_unreadable"}


def test_the_client_looks_where_the_worker_writes_lists(redis_url, prefix):
    """The client looks where the worker's adapter writes lists, and sees marks of items come and go."""
    lists = RedisLists(redis_url, prefix)
    with Redis.from_url(redis_url) as redis:
        shop = Shop(redis, prefix)
        shop.publish("seed", "ab")
        lists.write([("u", lists.read("seed"))], ttl_s=60)
        lists.retire(["a"], ttl_s=60)
        assert shop.shown("u") == "b"
        lists.restore(["a"])
        assert shop.shown("u") == "ab"
        lists.delete(["u"])
        assert shop.client.get("u").fallback
    lists.close()


def test_fields_to_come_are_ignored(shop):
    """A newer worker may say more than this client knows."""
    shop.publish("u", "a", segment="x", items=[{"id": "a", "score": 1, "path": "new", "why": ["b"]}])
    assert shop.client.get("u").items == (Recommendation("a", 1.0, "new"),)


# --- segments


def _segment(feature: str) -> str:
    return segment_list_id(f"profile:{feature}")


def test_a_new_user_gets_the_list_of_a_segment(shop):
    """Nobody knows the user, but the app knows a country: the list of that segment, before the anonymous one."""
    shop.publish(ANONYMOUS, "xyz")
    shop.publish(_segment("country=France"), "fgh", generated_at=NOW_MS - 3_000)
    found = shop.client.get("nobody", k=2, profile={"country": "France"})
    assert [item.id for item in found.items] == ["f", "g"]
    assert (found.age_s, found.fallback, found.segment) == (3.0, True, "country=France")
    assert found.model == "model of __streamer_segment__country=France"
    other = shop.client.get("nobody", profile={"country": "Norway"})
    assert ([item.id for item in other.items], other.segment) == (["x", "y", "z"], "")


def test_a_list_of_one_s_own_goes_first(shop):
    """A profile does not take a user's own list away."""
    shop.publish("u", "abc")
    shop.publish(_segment("country=France"), "fgh")
    found = shop.client.get("u", profile={"country": "France"})
    assert ([item.id for item in found.items], found.fallback, found.segment) == (["a", "b", "c"], False, "")


def test_segments_are_tried_in_the_order_of_the_profile(shop):
    """The first feature whose list can serve: fields as given, and within a field its values."""
    shop.publish(_segment("likes=jazz"), "j")
    shop.publish(_segment("likes=folk"), "f")
    shop.publish(_segment("age=45-54"), "r")
    shop.redis.set(f"{shop.prefix}list:{_segment('age=0-9')}", b"\xff broken")
    shop.retire("r")
    profile = {"age": ["0-9", "45-54"], "country": "Norway", "likes": ["pop", "folk", "jazz"]}
    found = shop.client.get("nobody", profile=profile)
    assert ([item.id for item in found.items], found.segment) == (["f"], "likes=folk")


@pytest.mark.parametrize(
    "profile",
    [{}, {"country": []}, {"country": "\ud800"}, {"a": ["x"] * 100_000}, {"a": None, "b": 5, "c": [None, 5]}],
)
def test_a_profile_that_no_event_could_have_is_none(shop, profile):
    """A profile that no event could have is none; apps pass on what browsers send."""
    shop.publish(ANONYMOUS, "xyz")
    found = shop.client.get("nobody", profile=profile)
    assert [item.id for item in found.items] == ["x", "y", "z"]


def test_few_features_are_looked_up(shop):
    """At most MAX_SEGMENTS, however many are given."""
    profile = {"field": [str(n) for n in range(MAX_SEGMENTS + 1)]}
    shop.publish(_segment(f"field={MAX_SEGMENTS}"), "x")
    assert shop.client.get("nobody", profile=profile).items == ()
    shop.publish(_segment(f"field={MAX_SEGMENTS - 1}"), "y")
    assert [item.id for item in shop.client.get("nobody", profile=profile).items] == ["y"]


# --- vectors


def test_vectors_are_read_as_they_were_stored(shop):
    """float16 on Redis, float32 here, with the version; users and items are apart; who has none gets None."""
    shop.store("user", "u", [1.0, -0.5, 0.0, 2.0], version=7)
    shop.store("item", "u", [3.0], version=8)
    user, item = shop.client.user_vector("u"), shop.client.item_vector("u")
    assert (user.vector.tolist(), user.vector.dtype, user.version) == ([1.0, -0.5, 0.0, 2.0], "float32", 7)
    assert (item.vector.tolist(), item.version) == ([3.0], 8)
    user.vector[0] = 5.0  # it is the caller's own
    assert shop.client.user_vector("nobody") is None
    assert shop.client.item_vector("nothing") is None


def test_similarity_is_the_dot_product(shop):
    """The dot product: 1 * 2 - 0.5 * 4 + 3 * 0.25."""
    shop.store("user", "u", [1.0, -0.5, 3.0], version=7)
    shop.store("item", "i", [2.0, 4.0, 0.25], version=7)
    assert shop.client.similarity("u", "i") == 0.75
    assert shop.client.similarity("u", "j") is None
    assert shop.client.similarity("v", "i") is None


def test_a_vector_never_meets_one_of_another_version(shop, caplog):
    """Nor one of another width: no number is better than a wrong one."""
    shop.store("user", "u", [1.0, 2.0], version=7)
    shop.store("item", "i", [1.0, 2.0], version=8)
    assert shop.client.similarity("u", "i") is None
    assert caplog.records == []  # it passes within seconds
    shop.store("item", "i", [1.0], version=7)
    assert shop.client.similarity("u", "i") is None
    assert [record.message for record in caplog.records] == ["vectors_of_two_widths"]
    shop.store("item", "i", [1.0, 2.0], version=7)
    assert shop.client.similarity("u", "i") == 5.0


@pytest.mark.parametrize("name", ["", "\ud800", "a\nb", "x" * 257, None, b"u"])
def test_an_id_that_no_event_could_have_owns_no_vector(shop, name):
    """An id that no event could have owns no vector."""
    shop.store("user", "u", [1.0], version=1)
    assert shop.client.user_vector(name) is None
    assert shop.client.item_vector(name) is None
    assert shop.client.similarity(name, "i") is None
    assert shop.client.similarity("u", name) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"vector": b"abc", "model": 1},
        {"vector": b"ab"},
        {"vector": b"ab", "model": "x"},
        {"vector": b"\x00\x7c", "model": 1},
    ],
)
def test_a_vector_that_cannot_be_read_is_as_good_as_none(shop, fields, caplog):
    """Odd bytes, no version, none that is a number, and infinity (0x7c00) are as good as none; the log says so."""
    shop.redis.hset(f"{shop.prefix}user:u", mapping=fields)
    with caplog.at_level(logging.WARNING):
        assert shop.client.user_vector("u") is None
    assert [record.message for record in caplog.records] == ["vector_unreadable"]


def test_the_client_looks_where_the_worker_writes_vectors(redis_url, prefix):
    """The client looks where the worker's adapter writes."""
    vectors = RedisVectors(redis_url, prefix)
    vectors.write_users([VectorEntry("u", struct.pack("<2e", 1, 2), 3, 5, {"country": "France"})], ttl_s=60)
    vectors.write_items([VectorEntry("i", struct.pack("<2e", 4, 8), 3, -1, {})], ttl_s=60)
    with Redis.from_url(redis_url) as redis:
        assert Recommendations(redis, prefix).similarity("u", "i") == 20.0
    vectors.close()


class _Counted:
    """Counts the round trips of a client: commands sent alone, and pipelines."""

    def __init__(self, redis: Redis | RedisCluster) -> None:
        self._redis, self.trips = redis, []

    def get(self, key):
        self.trips.append("get")
        return self._redis.get(key)

    def pipeline(self, *, transaction):
        assert transaction is False
        self.trips.append("pipeline")
        return self._redis.pipeline(transaction=transaction)


def test_two_round_trips_serve_a_list_and_three_a_fallback(shop):
    """Two for a user who has a list, three for one who has none, however many items there are."""
    shop.publish("u", "abcdefgh")
    shop.publish(ANONYMOUS, "xyz")
    counted = _Counted(shop.redis)
    client = Recommendations(counted, shop.prefix)
    client.get("u")
    assert counted.trips == ["get", "pipeline"]
    counted.trips.clear()
    client.get("nobody")
    assert counted.trips == ["get", "get", "pipeline"]
    counted.trips.clear()
    client.get("nobody", profile={"a": "b", "c": ["d", "e"]})
    assert counted.trips == ["get", "pipeline", "get", "pipeline"]
    counted.trips.clear()
    client.similarity("u", "i")
    assert counted.trips == ["pipeline"]


def test_age_is_by_the_wall_clock_unless_another_is_given(shop):
    """Without a clock of the caller's, age is told by the wall clock."""
    shop.publish("u", "a", generated_at=0)
    found = Recommendations(shop.redis, shop.prefix).get("u")
    assert found.age_s > 50 * 365 * 86_400


def test_a_redis_that_is_away_is_not_an_empty_list():
    """An app can tell "no list" from "no Redis"."""
    retry = Retry(NoBackoff(), retries=0)
    with Redis(port=1, retry=retry) as nowhere, pytest.raises(Unavailable, match="streamer:"):
        Recommendations(nowhere).get("u")
    with Redis(port=1, retry=retry) as nowhere, pytest.raises(Unavailable, match="vectors under 'streamer:'"):
        Recommendations(nowhere).similarity("u", "i")


def test_a_redis_that_refuses_is_unavailable(shop):
    """A key of another kind under our prefix is a Redis that refuses us, not a crash of another kind."""
    shop.redis.rpush(f"{shop.prefix}list:u", "a")
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        shop.client.get("u")
    shop.redis.rpush(f"{shop.prefix}user:u", "a")
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        shop.client.user_vector("u")


def test_importing_the_client_is_light():
    """An app that reads lists loads neither kernels nor Kafka."""
    program = "import sys, streamer.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"numba", "numpy", "confluent_kafka", "pydantic", "prometheus_client", "typer", "rich", "torch"}
    assert heavy.isdisjoint(done.stdout.split())


def test_a_client_of_asyncio_is_refused():
    """With what to do instead: its answers would be awaited by nobody."""
    with pytest.raises(TypeError, match=r"asyncio\.to_thread"):
        Recommendations(AsyncRedis())
