"""What the adapters of vectors add to their port: keys and fields on Redis, bounds in memory."""

import json

import pytest
import redis

from streamer.adapters.memory import ManualClock
from streamer.adapters.memory.vectors import MemoryVectors
from streamer.adapters.redis.vectors import RedisVectors
from streamer.errors import ConfigError, Unavailable
from streamer.ports import VectorEntry


def test_keys_and_fields_are_the_public_contract(redis_url: str, prefix: str) -> None:
    """Any app can read the hashes: four fields, as the README names them; vectors expire, encoders do not."""
    vectors = RedisVectors(redis_url, prefix)
    vectors.write_users([VectorEntry("u 1", b"\x00\x3c\x00\xc0", 7, 123, {"country": "France"})], ttl_s=100)
    vectors.write_items([VectorEntry("i:1", b"", 8, -1, {})], ttl_s=200)
    vectors.write_encoders(b"{}")
    with redis.Redis.from_url(redis_url) as client:
        user = client.hgetall(f"{prefix}user:u 1")
        assert json.loads(user.pop(b"features")) == {"country": "France"}
        assert user == {b"vector": b"\x00\x3c\x00\xc0", b"model": b"7", b"event_time": b"123"}
        assert client.hget(f"{prefix}item:i:1", "model") == b"8"
        assert 90 < client.ttl(f"{prefix}user:u 1") <= 100
        assert 190 < client.ttl(f"{prefix}item:i:1") <= 200
        assert client.get(f"{prefix}encoders") == b"{}"
        assert client.ttl(f"{prefix}encoders") == -1
        keys = {f"{prefix}user:u 1", f"{prefix}item:i:1", f"{prefix}encoders"}
        assert {key.decode() for key in client.scan_iter(match=prefix + "*")} == keys
    vectors.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"vector": "ab"},
        {"vector": "ab", "model": "x", "event_time": "1", "features": "{}"},
        {"vector": "ab", "model": "1", "event_time": "", "features": "{}"},
        {"vector": "ab", "model": "1", "event_time": "1", "features": "[]"},
        {"vector": "ab", "model": "1", "event_time": "1", "features": '{"a": 1}'},
        {"vector": "ab", "model": "1", "event_time": "1", "features": b"\xff"},
        {"model": "1", "event_time": "1", "features": "{}"},
    ],
)
def test_what_we_did_not_write_is_no_entry(redis_url: str, prefix: str, fields: dict) -> None:
    """A hash of somebody else under our key reads as none."""
    vectors = RedisVectors(redis_url, prefix)
    with redis.Redis.from_url(redis_url) as client:
        client.hset(f"{prefix}user:u", mapping=fields)
        assert vectors.read_user("u") is None
        vectors.write_users([VectorEntry("u", b"ab", 1, 1, {})], ttl_s=60)
        assert vectors.read_user("u") == VectorEntry("u", b"ab", 1, 1, {})
    vectors.close()


def test_vectors_in_memory_are_bounded() -> None:
    """A full store refuses as Redis does; what expired makes room, and so do overwriting and deleting."""
    clock = ManualClock()
    vectors = MemoryVectors(clock=clock, max_bytes=10)
    vectors.write_users([VectorEntry("a", b"1234", 1, 1, {"b": ""})], ttl_s=10)
    vectors.write_items([VectorEntry("a", b"1234", 1, 1, {})], ttl_s=20)
    with pytest.raises(Unavailable, match="full"):
        vectors.write_items([VectorEntry("b", b"12", 1, 1, {})], ttl_s=10)
    vectors.write_items([VectorEntry("a", b"4321", 1, 1, {"c": ""})], ttl_s=20)
    clock.advance(10)
    vectors.write_items([VectorEntry("b", b"1234", 1, 1, {"d": ""})], ttl_s=10)
    vectors.delete_items(["b"])
    vectors.write_users([VectorEntry("c", b"12345", 1, 1, {})], ttl_s=10)
    assert vectors.read_user("a") is None
    with pytest.raises(ConfigError, match="max_bytes"):
        MemoryVectors(max_bytes=0)
