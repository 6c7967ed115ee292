"""`ports.TextCache`: one suite for the twin in memory, Redis, a cluster, and the file of `replay`."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamer.adapters.memory.texts import MemoryTextCache
from streamer.adapters.redis.texts import TEXT_TTL_S, RedisTextCache
from streamer.adapters.text_cache import SqliteTextCache
from streamer.errors import Unavailable
from streamer.ports import TextCache
from streamer.texts import content_key

Make = Callable[[], TextCache]
KINDS = ["memory", "redis", "cluster", "sqlite"]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes caches; those of Redis and of the file share what they hold."""
    made: list[TextCache] = []

    def new() -> TextCache:
        if request.param == "memory":
            return MemoryTextCache()
        if request.param == "sqlite":
            return SqliteTextCache(tmp_path / "new" / "texts.sqlite")
        if request.param == "redis":
            return RedisTextCache(request.getfixturevalue("redis_url"), request.getfixturevalue("prefix"))
        return RedisTextCache(request.getfixturevalue("redis_cluster_url"), own, cluster=True)

    def make_() -> TextCache:
        made.append(new())
        return made[-1]

    own = f"test:{uuid.uuid4().hex}:"
    yield make_
    for cache in made:
        cache.close()


def test_what_was_written_is_read(make: Make) -> None:
    """Any bytes, by key; keys that are not held are left out; more keys than one round trip takes."""
    cache = make()
    vectors = {content_key("m", str(n)): bytes([n % 256, 0, 255]) for n in range(2500)}
    absent = content_key("m", "absent")
    assert cache.read([absent, *vectors]) == {}
    cache.write(vectors)
    assert cache.read([absent, *vectors]) == vectors
    assert cache.read([absent]) == {}


def test_nothing_is_nothing(make: Make) -> None:
    """Neither reading nor writing nothing is an error."""
    cache = make()
    cache.write({})
    assert cache.read([]) == {}


def test_the_last_write_counts(make: Make) -> None:
    """In place of what was held."""
    cache, key = make(), content_key("m", "x")
    cache.write({key: b"old"})
    cache.write({key: b"new"})
    assert cache.read([key, key]) == {key: b"new"}


def test_a_closed_cache_is_unavailable(make: Make) -> None:
    """Closing twice is fine; using it afterwards is an error that tells."""
    cache = make()
    cache.write({content_key("m", "x"): b"1"})
    cache.close()
    cache.close()
    for use in (
        lambda: cache.read([content_key("m", "x")]),
        lambda: cache.write({content_key("m", "x"): b"1"}),
    ):
        with pytest.raises(Unavailable, match="closed"):
            use()


@pytest.mark.parametrize("make", KINDS[1:], indirect=True)
def test_another_one_finds_what_was_written(make: Make) -> None:
    """At once, and while the first is still open."""
    one, other, key = make(), make(), content_key("m", "x")
    one.write({key: b"1"})
    assert other.read([key]) == {key: b"1"}
    other.write({key: b"2"})
    assert one.read([key]) == {key: b"2"}


def test_the_keys_in_redis_are_those_of_the_design(redis_url: str, prefix: str) -> None:
    """`<prefix>text:<key>`, the bytes as they are; one that nobody asked for in a month makes room, or each
    text that was ever edited away would stay."""
    import redis

    cache, key = RedisTextCache(redis_url, prefix), content_key("m", "x")
    cache.write({key: b"\x00\x3c"})
    with redis.Redis.from_url(redis_url) as client:
        assert client.get(f"{prefix}text:{key}") == b"\x00\x3c"
        assert TEXT_TTL_S - 10 < client.ttl(f"{prefix}text:{key}") <= TEXT_TTL_S
        client.expire(f"{prefix}text:{key}", 100)
        assert cache.read([key]) == {key: b"\x00\x3c"}
        assert TEXT_TTL_S - 10 < client.ttl(f"{prefix}text:{key}") <= TEXT_TTL_S
        assert cache.read(["absent"]) == {}
        assert client.exists(f"{prefix}text:absent") == 0
    cache.close()


def test_a_redis_that_is_away_is_unavailable() -> None:
    """A server that cannot be reached raises `Unavailable`, not an error of the library."""
    cache = RedisTextCache("redis://127.0.0.1:1", timeout_s=0.2)
    with pytest.raises(Unavailable):
        cache.read(["k"])


# --- the file ---


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_broken_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, is_cut: bool) -> None:
    """With a warning; a new one is begun, and the old one stays beside it."""
    path, key = tmp_path / "texts.sqlite", content_key("m", "x")
    if is_cut:
        whole = SqliteTextCache(path)
        whole.write({content_key("m", str(n)): bytes(768) for n in range(500)})
        whole.close()
        raw = path.read_bytes()
        path.write_bytes(raw[:4096] + b"\xff" * (len(raw) - 4096))
    else:
        path.write_bytes(b"this is no database" * 100)
    cache = SqliteTextCache(path)
    assert cache.read([key]) == {}
    cache.write({key: b"1"})
    assert cache.read([key]) == {key: b"1"}
    cache.close()
    assert [record.message for record in caplog.records] == ["text_cache_set_aside"]
    assert len(list(tmp_path.glob("texts.sqlite.broken-*"))) == 1


def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="text cache"):
        SqliteTextCache(tmp_path / "file" / "texts.sqlite").read(["k"])


def test_writes_of_one_call_are_all_or_none(tmp_path: Path) -> None:
    """A value that cannot be stored takes the others of its call with it."""
    cache = SqliteTextCache(tmp_path / "texts.sqlite")
    with pytest.raises(Unavailable):
        cache.write({"a": b"1", "b": None})  # type: ignore[dict-item]
    assert cache.read(["a"]) == {}
    cache.close()
    assert list(tmp_path.glob("*.broken-*")) == []


def test_the_cache_in_memory_is_bounded() -> None:
    """One too many, and the older half goes: of a, b, c, d, e, where four have room, the newer two stay."""
    cache = MemoryTextCache(max_texts=4)
    for key in "abcde":
        cache.write({key: b"v"})
    assert set(cache.read(list("abcde"))) == {"d", "e"}
