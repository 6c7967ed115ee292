"""One suite for every `ports.Vectors`: in memory, on Redis, on a Redis Cluster."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from backends import RedisPlace

from streamer.adapters.memory import ManualClock
from streamer.adapters.memory.vectors import MemoryVectors
from streamer.adapters.redis.vectors import RedisVectors
from streamer.errors import Unavailable
from streamer.ports import VectorEntry, Vectors
from streamer.servers import EmbeddedRedis

Broken = tuple[Vectors, Callable[[], None], Callable[[], None]]


class MemoryStore:
    """`MemoryVectors` on a clock of its own."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.vectors: Vectors = MemoryVectors(clock=self.clock)

    def let_expire(self, ttl_s: int) -> None:
        """Let so much time pass."""
        self.clock.advance(ttl_s)

    @contextmanager
    def breakable(self) -> Iterator[Broken]:
        """Vectors with a way to take their store away, and one to bring it back."""
        vectors = MemoryVectors()
        yield vectors, lambda: setattr(vectors, "down", True), lambda: setattr(vectors, "down", False)


class RedisStore:
    """`RedisVectors` on a server, or on a cluster."""

    def __init__(self, url: str, prefix: str, *, cluster: bool) -> None:
        self.cluster = cluster
        self.vectors: Vectors = RedisVectors(url, prefix, cluster=cluster)

    def let_expire(self, ttl_s: int) -> None:
        """Wait until the entries of user and item "u" are gone, a while beyond `ttl_s` at most."""
        give_up_at_s = time.monotonic() + ttl_s + 5
        while time.monotonic() < give_up_at_s and (
            self.vectors.read_user("u") or self.vectors.read_item("u")
        ):
            time.sleep(0.02)

    @contextmanager
    def breakable(self) -> Iterator[Broken]:
        """Vectors with a way to take their store away, and one to bring it back."""
        with EmbeddedRedis(cluster=self.cluster, persist=True) as server:
            vectors = RedisVectors(server.url, "breakable:", cluster=self.cluster, timeout_s=2.0)
            yield vectors, lambda: server.stop(kill=True), server.start
            vectors.close()


Store = MemoryStore | RedisStore


@pytest.fixture
def store(redis_place: RedisPlace | None) -> Iterator[Store]:
    """The store under test."""
    if redis_place is None:
        yield MemoryStore()
        return
    store = RedisStore(redis_place.url, redis_place.prefix, cluster=redis_place.is_cluster)
    yield store
    store.vectors.close()


@pytest.fixture
def vectors(store: Store) -> Vectors:
    """Its vectors."""
    return store.vectors


def entry(name: str, vector: bytes = b"\x00\x3c", version: int = 1, **fields: str) -> VectorEntry:
    """An entry; 0x3c00 is 1.0 in float16."""
    return VectorEntry(name, vector, version, 1_700_000_000_000, fields)


def test_an_entry_is_read_as_it_was_written(vectors: Vectors) -> None:
    """Any bytes, any id, any text in the fields; no event yet is -1; who has no vector reads None."""
    names = ["u", "", "with space:and:colon", "ümläut-日本", "{tag}", "*", "a" * 256]
    entries = [
        VectorEntry(name, bytes(range(256)), 2**40, -1, {"": "", 'ü"\n': "price#3", "word~x": "日本"})
        for name in names
    ]
    vectors.write_users(entries, ttl_s=60)
    vectors.write_items(entries[:1], ttl_s=60)
    assert [vectors.read_user(name) for name in names] == entries
    assert vectors.read_item("u") == entries[0]
    assert vectors.read_user("nobody") is None
    assert vectors.read_item("") is None


def test_users_and_items_are_apart(vectors: Vectors) -> None:
    """A user and an item of the same id have nothing to do with each other."""
    vectors.write_users([entry("x", version=1)], ttl_s=60)
    vectors.write_items([entry("x", version=2)], ttl_s=60)
    assert vectors.held_users(["x", "nobody"]) == {"x"}
    vectors.delete_users(["x", "nobody"])
    assert vectors.held_users(["x"]) == set()
    assert vectors.read_user("x") is None
    assert vectors.read_item("x") == entry("x", version=2)
    vectors.delete_items(["x"])
    assert vectors.read_item("x") is None


def test_the_last_write_wins(vectors: Vectors) -> None:
    """Nothing of the older entry stays, fields and width included."""
    vectors.write_items([entry("i", b"12345678", 1, category="a", price="b"), entry("j")], ttl_s=60)
    last = entry("i", b"ab", 3, category="c")
    vectors.write_items([entry("i", b"1234", 2), last], ttl_s=60)
    assert vectors.read_item("i") == last
    assert vectors.read_item("j") == entry("j")


def test_what_was_written_is_a_copy(vectors: Vectors) -> None:
    """Changing the fields of an entry afterwards, or of one that was read, changes nothing."""
    fields = {"category": "a"}
    vectors.write_items([VectorEntry("i", b"ab", 1, 5, fields)], ttl_s=60)
    fields["category"] = "b"
    read = vectors.read_item("i")
    assert read is not None
    assert isinstance(read.fields, dict)
    read.fields["category"] = "c"
    assert vectors.read_item("i") == VectorEntry("i", b"ab", 1, 5, {"category": "a"})


def test_large_writes_arrive_whole(vectors: Vectors) -> None:
    """A batch larger than one round trip is written to the last entry."""
    vectors.write_users([entry(f"user{i}", version=i) for i in range(1501)], ttl_s=60)
    for i in (0, 499, 500, 999, 1000, 1500):
        assert vectors.read_user(f"user{i}") == entry(f"user{i}", version=i)


def test_vectors_expire(store: Store) -> None:
    """An entry is gone when its time is up, counted from its last write; there is none without an end."""
    vectors = store.vectors
    vectors.write_users([entry("u"), entry("v")], ttl_s=1)
    vectors.write_items([entry("u")], ttl_s=1)
    vectors.write_users([entry("v")], ttl_s=1000)
    vectors.write_encoders(b"{}")
    assert vectors.read_user("u") == vectors.read_item("u") == entry("u")
    store.let_expire(1)
    assert vectors.read_user("u") is None
    assert vectors.read_item("u") is None
    assert vectors.read_user("v") == entry("v")
    assert vectors.read_encoders() == b"{}"
    for write in (vectors.write_users, vectors.write_items):
        with pytest.raises(ValueError, match="ttl_s"):
            write([entry("u")], ttl_s=0)


def test_the_state_of_the_encoders(vectors: Vectors) -> None:
    """None before the first write; then the last one."""
    assert vectors.read_encoders() is None
    vectors.write_encoders(b'{"price": 1}')
    vectors.write_encoders(b'{"price": 2}')
    assert vectors.read_encoders() == b'{"price": 2}'


def test_nothing_to_do_is_fine(vectors: Vectors) -> None:
    """Empty arguments change nothing and raise nothing."""
    vectors.write_users([entry("u")], ttl_s=60)
    vectors.write_items([entry("i")], ttl_s=60)
    vectors.write_users([], ttl_s=60)
    vectors.write_items([], ttl_s=60)
    vectors.delete_users([])
    vectors.delete_items([])
    assert (vectors.read_user("u"), vectors.read_item("i")) == (entry("u"), entry("i"))


def test_nothing_after_close(store: Store) -> None:
    """`close` may be called twice; everything else then raises `Unavailable`."""
    vectors = store.vectors
    vectors.ping()
    vectors.close()
    vectors.close()
    for use in _uses(vectors):
        with pytest.raises(Unavailable, match="closed"):
            use()


def test_a_store_that_is_away_raises_and_comes_back(store: Store) -> None:
    """While the store is away every call raises `Unavailable`; when it is back the same object works, and
    vectors are still there."""
    with store.breakable() as (vectors, stop, start):
        vectors.write_users([entry("u")], ttl_s=60)
        stop()
        for use in _uses(vectors):
            with pytest.raises(Unavailable):
                use()
        start()
        vectors.ping()
        assert vectors.read_user("u") == entry("u")
        vectors.write_users([entry("u", version=2)], ttl_s=60)


def _uses(vectors: Vectors) -> list[Callable[[], object]]:
    return [
        lambda: vectors.write_users([entry("u")], ttl_s=60),
        lambda: vectors.write_items([entry("i")], ttl_s=60),
        lambda: vectors.delete_users(["u"]),
        lambda: vectors.held_users(["u"]),
        lambda: vectors.delete_items(["i"]),
        lambda: vectors.read_user("u"),
        lambda: vectors.read_item("i"),
        lambda: vectors.write_encoders(b"{}"),
        vectors.read_encoders,
        vectors.ping,
    ]
