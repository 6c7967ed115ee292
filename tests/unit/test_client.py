"""`streamer.client`: what an app sees, on a real Redis and on a cluster of one."""

import json
import subprocess
import sys

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry

from streamer.adapters.redis import RedisLists
from streamer.client import Recommendation, Recommendations
from streamer.errors import Unavailable
from streamer.events import ANONYMOUS

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


def test_the_list_of_a_user(shop):
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


def test_k(shop):
    """At most k items, 20 unless told otherwise."""
    shop.publish("u", "abcdefghijklmnopqrstuvwxyz")
    assert shop.shown("u", k=3) == "abc"
    assert shop.shown("u", k=100) == "abcdefghijklmnopqrstuvwxyz"
    assert len(shop.client.get("u").items) == 20
    with pytest.raises(ValueError, match="got 0"):
        shop.client.get("u", k=0)


def test_a_cold_user(shop):
    """A user without a list gets the one for users nobody knows, and its age."""
    shop.publish(ANONYMOUS, "xyz", generated_at=NOW_MS - 60_000)
    found = shop.client.get("nobody", k=2)
    assert [item.id for item in found.items] == ["x", "y"]
    assert (found.age_s, found.fallback, found.model) == (60.0, True, f"model of {ANONYMOUS}")


def test_nothing_was_published(shop):
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
        17,
        b"u",
    ],
)
def test_odd_users(shop, user_id):
    """An id that no event could have is a user nobody knows; apps pass on what browsers send."""
    shop.publish(ANONYMOUS, "xyz")
    found = shop.client.get(user_id)
    assert [item.id for item in found.items] == ["x", "y", "z"]
    assert found.fallback


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


def test_a_list_of_retired_items_alone(shop):
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


def test_clocks_apart(shop):
    """A worker whose clock is ahead of ours makes lists of age 0, not of the future."""
    shop.publish("u", "a", generated_at=NOW_MS + 5_000)
    assert shop.client.get("u").age_s == 0.0


@pytest.mark.parametrize(
    "value",
    ["", "null", "{}", "[1]", "not json", b"\xff\xfe", '{"version": "recommendations.v2", "items": []}'],
)
def test_lists_that_cannot_be_read(shop, value, caplog):
    """What is no list of our version is as good as none; the log says so, without naming the user."""
    shop.redis.set(f"{shop.prefix}list:u", value)
    shop.publish(ANONYMOUS, "x")
    assert shop.client.get("u").fallback
    assert shop.shown("u") == "x"
    assert {record.message for record in caplog.records} == {"list_unreadable"}


def test_what_the_worker_writes(redis_url, prefix):
    """The client looks where the worker's adapter writes lists, and sees marks of items come and go."""
    lists = RedisLists(redis_url, prefix)
    with Redis.from_url(redis_url) as redis:
        shop = Shop(redis, prefix)
        shop.publish("seed", "ab")
        lists.write([("u", lists.read("seed"))], ttl_s=60)
        lists.retire(["a"])
        assert shop.shown("u") == "b"
        lists.restore(["a"])
        assert shop.shown("u") == "ab"
        lists.delete(["u"])
        assert shop.client.get("u").fallback
    lists.close()


def test_fields_to_come(shop):
    """A newer worker may say more than this client knows."""
    shop.publish("u", "a", segment="x", items=[{"id": "a", "score": 1, "path": "new", "why": ["b"]}])
    assert shop.client.get("u").items == (Recommendation("a", 1.0, "new"),)


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


def test_round_trips(shop):
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


def test_the_default_clock(shop):
    """Without a clock of the caller's, age is told by the wall clock."""
    shop.publish("u", "a", generated_at=0)
    found = Recommendations(shop.redis, shop.prefix).get("u")
    assert found.age_s > 50 * 365 * 86_400


def test_redis_away():
    """An app can tell "no list" from "no Redis"."""
    retry = Retry(NoBackoff(), retries=0)
    with Redis(port=1, retry=retry) as nowhere, pytest.raises(Unavailable, match="streamer:"):
        Recommendations(nowhere).get("u")


def test_redis_refuses(shop):
    """A key of another kind under our prefix is a Redis that refuses us, not a crash of another kind."""
    shop.redis.rpush(f"{shop.prefix}list:u", "a")
    with pytest.raises(Unavailable, match="WRONGTYPE"):
        shop.client.get("u")


def test_importing_the_client_is_light():
    """An app that reads lists loads neither kernels nor Kafka."""
    program = "import sys, streamer.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"numba", "numpy", "confluent_kafka", "pydantic", "prometheus_client", "typer", "rich", "torch"}
    assert heavy.isdisjoint(done.stdout.split())
