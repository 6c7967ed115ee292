"""`ports.Folds`, and lists that are written with a fold: one suite for the twin in memory, Redis and a cluster."""

import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from streamer.adapters.memory import MemoryLists
from streamer.adapters.memory.checkpoints import MemoryFolds
from streamer.adapters.redis import RedisLists
from streamer.adapters.redis.folds import RedisFolds
from streamer.errors import ConfigError
from streamer.ports import Fold, Folds, Lists, Span


class _Stores(NamedTuple):
    folds: Folds
    lists: Lists


@pytest.fixture(params=["memory", "redis", "cluster"])
def stores(request: pytest.FixtureRequest) -> Iterator[_Stores]:
    """The log of folds, and lists beside it."""
    if request.param == "memory":
        folds = MemoryFolds()
        yield _Stores(folds, MemoryLists(folds=folds))
        return
    cluster = request.param == "cluster"
    url = request.getfixturevalue("redis_cluster_url" if cluster else "redis_url")
    prefix = f"test:{uuid.uuid4().hex}:"
    made: Any = _Stores(RedisFolds(url, prefix, cluster=cluster), RedisLists(url, prefix, cluster=cluster))
    yield made
    made.folds.clear()
    made.folds.close()
    made.lists.close()


def a_fold(number: int) -> Fold:
    """A batch of two spans; each has other contents."""
    spans = (Span("interactions", 0, number, number + 3), Span("cat\u00e4log", 11, 2**40 + number, 2**41))
    return Fold(number, spans, 7, "031"[: number % 4], bytes([0, 10, 255, number % 256]), number % 3)


def test_batches_come_back_in_order_and_as_they_were(stores: _Stores) -> None:
    """By number, from any number on, a few at a time."""
    folds = [a_fold(number) for number in range(1, 31)]
    for fold in folds:
        stores.folds.append(fold)
    assert stores.folds.read(0, 100) == folds
    assert stores.folds.read(7, 5) == folds[7:12]
    assert stores.folds.read(30, 5) == []


def test_a_batch_is_appended_once(stores: _Stores) -> None:
    """However often it is tried, by whom the batches are read or by whom the lists are written."""
    for _ in range(2):
        stores.folds.append(a_fold(1))
        stores.lists.claim(a_fold(2))
        stores.lists.claim(a_fold(2))
    assert stores.folds.read(0, 9) == [a_fold(1), a_fold(2)]


def test_a_batch_tells_whether_it_follows_the_one_before_it(stores: _Stores) -> None:
    """Also where that was dropped for a checkpoint. A store that came back empty, or with less than it had, is found out."""
    assert not stores.lists.claim(a_fold(1))
    assert stores.lists.claim(a_fold(2))
    assert stores.lists.claim(a_fold(2))
    assert not stores.lists.claim(a_fold(5))
    assert stores.folds.append(a_fold(6))
    stores.folds.trim(6)
    assert stores.lists.claim(a_fold(7))
    stores.folds.clear()
    assert not stores.lists.claim(a_fold(8))
    assert stores.lists.claim(a_fold(9))


def test_two_workers_under_one_prefix_are_told(stores: _Stores) -> None:
    """Another batch of the same number was folded by somebody else; nothing of it is taken for ours."""
    stores.folds.append(a_fold(1))
    other = a_fold(1)._replace(rounds="333")
    with pytest.raises(ConfigError, match="another worker"):
        stores.folds.append(other)
    with pytest.raises(ConfigError, match="another worker"):
        stores.lists.claim(other)


def test_two_workers_who_fold_equal_batches_are_told(stores: _Stores) -> None:
    """As they do where events come one at a time: the same batch by somebody else is no repetition of ours."""
    stores.lists.claim(a_fold(1))
    with pytest.raises(ConfigError, match="another worker"):
        stores.folds.append(a_fold(1))


def test_who_was_superseded_is_told(stores: _Stores) -> None:
    """Whoever knows of fewer batches than were appended, dropped ones too; a log of folds that was lost contradicts nobody."""
    stores.lists.check(0)
    for number in (1, 2):
        stores.lists.claim(a_fold(number))
    stores.lists.check(2)
    stores.lists.check(3)
    stores.folds.trim(2)
    with pytest.raises(ConfigError, match="another worker"):
        stores.lists.check(1)
    stores.folds.clear()
    stores.lists.check(1)


def test_what_a_checkpoint_holds_is_dropped(stores: _Stores) -> None:
    """Up to a number and with it; numbers go on. After `clear` they may begin anew."""
    for number in range(1, 251):
        stores.folds.append(a_fold(number))
    stores.folds.trim(200)
    assert [fold.number for fold in stores.folds.read(0, 500)] == list(range(201, 251))
    stores.folds.trim(250)
    assert stores.folds.read(0, 9) == []
    assert stores.folds.last() == 250
    stores.folds.append(a_fold(251))
    stores.folds.clear()
    assert stores.folds.last() == 0
    stores.folds.append(a_fold(1))
    assert stores.folds.last() == 1
    assert stores.folds.read(0, 9) == [a_fold(1)]
