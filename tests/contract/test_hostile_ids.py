"""Ids are anything people write: none becomes the key of another id, or of the worker itself."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from streamer.adapters.redis import RedisLists
from streamer.adapters.redis.checkpoints import RedisCheckpoints
from streamer.adapters.redis.folds import RedisFolds
from streamer.adapters.redis.texts import RedisTextCache
from streamer.adapters.redis.vectors import RedisVectors
from streamer.events import MAX_ID_BYTES, id_problem
from streamer.ports import Fold, Span, VectorEntry

HOSTILE = [
    *("x:vector", "list:x", "x:list:x", ":", "::", "encoders", "folds", "checkpoint:pointer", "retired:x"),
    *("__streamer_anonymous__", "__streamer__", "*", "?", "[a-z]*", "\\", "\\*", "a b", " ", "'", '"'),
    *("{", "}", "{}", "{x}", "{x}y", "{x}:{y}", "}{", "a\u202eb", "a\u2066b", "\u200b", "\u2028", "\ufeff"),
    *("e\u0301", "\u00e9", "$3\\r\\n", "SET", "../../x", "%00", "%s%n", "{0.__class__}", "${jndi:ldap://x}"),
    *("x" * MAX_ID_BYTES, "\u00e9" * (MAX_ID_BYTES // 2), "\U0001f600" * (MAX_ID_BYTES // 4)),
]
BREAKING = ["a\nb", "a\r\nSET x y", "\x00", "\x1b[2J", "a\x85b", "a\x9bm", "\x7f"]  # `decode` refuses these
TTL_S = 60


@pytest.fixture(params=["one server", "cluster"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool, Any]]:
    """URL, whether it is a cluster, and a client of its own; the keys are removed afterwards."""
    is_cluster = request.param == "cluster"
    url = request.getfixturevalue("redis_cluster_url" if is_cluster else "redis_url")
    with redis.Redis.from_url(url) as client:
        yield url, is_cluster, client


def test_every_id_has_keys_of_its_own(place: tuple[str, bool, Any], prefix: str) -> None:
    """The keys are prefix, kind and id, for each id and kind another one; what is written is read back, nothing is overwritten.

    Removing what belongs to one id, `*` and `{x}` too, leaves the rest.
    """
    url, is_cluster, client = place
    ids = HOSTILE + BREAKING  # the adapters are safe even for what never comes to them
    lists, vectors, texts, folds, checkpoints = (
        kind(url, prefix, cluster=is_cluster)
        for kind in (RedisLists, RedisVectors, RedisTextCache, RedisFolds, RedisCheckpoints)
    )
    fold = Fold(1, (Span("interactions", 0, 0, 1),), 1)
    folds.append(fold)
    checkpoints.write_pointer(b"pointer")
    vectors.write_encoders(b"encoders")

    lists.write([(one, b"list %d" % n) for n, one in enumerate(ids)], TTL_S)
    lists.retire(ids, TTL_S)
    vectors.write_users([VectorEntry(one, b"u", n, 1, {}) for n, one in enumerate(ids)], TTL_S)
    vectors.write_items([VectorEntry(one, b"i", n, 1, {}) for n, one in enumerate(ids)], TTL_S)
    texts.write({one: b"text %d" % n for n, one in enumerate(ids)})

    expected = {
        f"{prefix}{kind}:{one}".encode()
        for kind in ("list", "retired", "user", "item", "text")
        for one in ids
    }
    own = {f"{prefix}{name}".encode() for name in ("folds", "encoders", "checkpoint:pointer")}
    assert len(expected) == 5 * len(ids)
    assert _keys(client, prefix) == expected | own
    for n, one in enumerate(ids):
        assert lists.read(one) == b"list %d" % n
        assert vectors.read_user(one) == VectorEntry(one, b"u", n, 1, {})
        assert vectors.read_item(one) == VectorEntry(one, b"i", n, 1, {})
        assert texts.read([one]) == {one: b"text %d" % n}
    assert lists.retired(ids) == set(ids)

    for one in ("*", "{x}", "x:vector", "encoders", "checkpoint:pointer"):
        lists.delete([one])
        vectors.delete_users([one])
        vectors.delete_items([one])
        lists.restore([one])
        expected -= {f"{prefix}{kind}:{one}".encode() for kind in ("list", "retired", "user", "item")}
        assert _keys(client, prefix) == expected | own
    assert (folds.read(0, 10), checkpoints.read_pointer(), vectors.read_encoders()) == (
        [fold],
        b"pointer",
        b"encoders",
    )
    for key in _keys(client, prefix):
        client.delete(key)
    for store in (lists, vectors, texts, folds, checkpoints):
        store.close()


def test_which_ids_come_that_far() -> None:
    """Whatever could break a line or reach a terminal is no id; all the rest is, and is escaped where it is shown."""
    assert [one for one in HOSTILE if id_problem(one)] == []
    assert [one for one in BREAKING if not id_problem(one)] == []
    assert all(len(one.encode()) <= MAX_ID_BYTES for one in HOSTILE)
    assert id_problem("x" * (MAX_ID_BYTES + 1)) is not None
    assert not any(a == b for a, b in itertools.combinations(HOSTILE, 2))


def _keys(client: Any, prefix: str) -> set[bytes]:
    return set(client.scan_iter(match=prefix + "*", count=1000))
