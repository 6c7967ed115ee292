"""One suite for every `ports.Lists`: in memory, on Redis, on a Redis Cluster."""

from collections.abc import Callable, Iterator

import pytest
from backends import MemoryStore, RedisPlace, RedisStore, Store

from streamer.errors import Unavailable
from streamer.ports import Lists


@pytest.fixture
def store(redis_place: RedisPlace | None) -> Iterator[Store]:
    """The store under test."""
    if redis_place is None:
        yield MemoryStore()
        return
    store = RedisStore(redis_place.url, redis_place.prefix, cluster=redis_place.is_cluster)
    yield store
    store.lists.close()


@pytest.fixture
def lists(store: Store) -> Lists:
    """Its lists."""
    return store.lists


def test_a_list_is_read_as_it_was_written(lists: Lists) -> None:
    """Any bytes under any user id, the last write wins, and who has no list reads None."""
    every_byte = bytes(range(256))
    users = ["u", "", "with space:and:colon", "ümläut-日本", "{tag}", "*", "a" * 256]
    lists.write([(user, user.encode() + every_byte) for user in users], ttl_s=60)
    assert [lists.read(user) for user in users] == [user.encode() + every_byte for user in users]

    lists.write([("u", b"second"), ("u", b"third")], ttl_s=60)
    assert lists.read("u") == b"third"
    assert lists.read("nobody") is None
    assert lists.read_each(["nobody", *users[1:]]) == {user: user.encode() + every_byte for user in users[1:]}


def test_an_empty_list_is_not_a_missing_one(lists: Lists) -> None:
    """b"" is a value."""
    lists.write([("u", b"")], ttl_s=60)
    assert lists.read("u") == b""
    assert lists.read_each(["u"]) == {"u": b""}


def test_large_writes_arrive_whole(lists: Lists) -> None:
    """A batch larger than one round trip is written to the last entry."""
    entries = [(f"user{i}", b"%d" % i) for i in range(2501)]
    lists.write(entries, ttl_s=60)
    for i in (0, 999, 1000, 2000, 2500):
        assert lists.read(f"user{i}") == b"%d" % i


def test_nothing_to_do_is_fine(lists: Lists) -> None:
    """Empty arguments change nothing and raise nothing."""
    lists.write([], ttl_s=60)
    lists.delete([])
    lists.retire([], ttl_s=60)
    lists.restore([])
    assert lists.retired([]) == set()


def test_lists_expire(store: Store) -> None:
    """A list is gone when its time is up, counted from its last write; there is no list without an end."""
    store.lists.write([("u", b"v")], ttl_s=1)
    assert store.let_expire(1, "u")
    store.lists.write([("u", b"v")], ttl_s=1)
    store.lists.write([("u", b"v")], ttl_s=1000)
    assert not store.let_expire(1, "u") if isinstance(store, MemoryStore) else store.lists.read("u") == b"v"
    with pytest.raises(ValueError, match="ttl_s"):
        store.lists.write([("u", b"v")], ttl_s=0)


def test_delete_removes_only_these(lists: Lists) -> None:
    """Deleted lists are gone, others stay, unknown ones are ignored."""
    lists.write([(user, b"v") for user in "abc"], ttl_s=60)
    assert lists.held(["a", "c", "nobody"]) == {"a", "c"}
    lists.delete(["a", "c", "nobody"])
    assert lists.held(["a", "b", "c"]) == {"b"}
    assert [lists.read(user) for user in "abc"] == [None, b"v", None]


def test_everything_is_every_list_once(lists: Lists) -> None:
    """Whatever the ids are, and more than one round trip brings; neither marks of items nor other keys are lists."""
    entries = {f"user{n}": b"%d" % n for n in range(1500)} | {
        "*": b"a",
        "x:y [z]": b"b",
        "日本": b"c",
        "": b"d",
    }
    lists.write(list(entries.items()), ttl_s=60)
    lists.retire(["i"], ttl_s=60)
    lists.delete(["user7"])
    found = list(lists.everything())
    assert len(found) == len(entries) - 1
    assert dict(found) == {user_id: value for user_id, value in entries.items() if user_id != "user7"}


def test_retire_marks_until_restored(lists: Lists) -> None:
    """The mark of an item says nothing of others or of users, is set and taken off any number of times."""
    lists.write([("a", b"list of a")], ttl_s=60)
    lists.retire(["a", "b"], ttl_s=60)
    lists.retire(["b"], ttl_s=60)
    assert lists.retired(["a", "b", "c"]) == {"a", "b"}
    assert lists.read("a") == b"list of a"
    lists.restore(["b", "c"])
    lists.restore(["b"])
    assert lists.retired(["a", "b", "c"]) == {"a"}


def test_marks_expire(store: Store) -> None:
    """A mark lasts as long as a list made before it may, counted from when it was set last, and no longer: an item that came
    back on a log that forgot its tombstone is told to nobody."""
    store.lists.retire(["i"], ttl_s=1)
    assert store.let_mark_expire(1, "i")
    store.lists.retire(["i"], ttl_s=1)
    store.lists.retire(["i"], ttl_s=1000)
    assert not store.let_mark_expire(1, "i") if isinstance(store, MemoryStore) else store.lists.retired(["i"])
    with pytest.raises(ValueError, match="ttl_s"):
        store.lists.retire(["i"], ttl_s=0)


def test_nothing_after_close(store: Store) -> None:
    """`close` may be called twice; everything else then raises `Unavailable`."""
    lists = store.lists
    lists.ping()
    lists.close()
    lists.close()
    for use in _uses(lists):
        with pytest.raises(Unavailable, match="closed"):
            use()


def test_a_store_that_is_away_raises_and_comes_back(store: Store) -> None:
    """While the store is away every call raises `Unavailable`; when it is back the same object works, and
    lists are still there."""
    with store.breakable() as (lists, stop, start):
        lists.write([("u", b"v")], ttl_s=60)
        for _ in range(2):
            stop()
            for use in _uses(lists):
                with pytest.raises(Unavailable):
                    use()
            start()
            lists.ping()
            assert lists.read("u") == b"v"
            lists.write([("u", b"v")], ttl_s=60)


def _uses(lists: Lists) -> list[Callable[[], object]]:
    return [
        lambda: lists.write([("u", b"w")], ttl_s=60),
        lambda: lists.read("u"),
        lambda: lists.read_each(["u"]),
        lambda: lists.delete(["u"]),
        lambda: lists.held(["u"]),
        lambda: lists.retire(["i"], ttl_s=60),
        lambda: lists.restore(["i"]),
        lambda: lists.retired(["i"]),
        lists.ping,
    ]
