"""One suite for every `ports.Receipts`: in memory, on Redis, on a Redis Cluster."""

from collections.abc import Iterator

import pytest
from backends import RedisPlace

from streamer.adapters.memory.receipts import MemoryReceipts
from streamer.adapters.redis.receipts import RedisReceipts
from streamer.errors import Unavailable
from streamer.ports import Receipts


@pytest.fixture
def receipts(redis_place: RedisPlace | None) -> Iterator[Receipts]:
    """The store under test."""
    if redis_place is None:
        yield MemoryReceipts()
        return
    receipts = RedisReceipts(redis_place.url, redis_place.prefix, cluster=redis_place.is_cluster)
    yield receipts
    receipts.close()


def test_receipts_are_read_as_they_were_written(receipts: Receipts) -> None:
    """Any bytes under any user id; the last write wins; who has none is left out."""
    receipts.write([("u", b"\x00\xff"), ("with:colon {tag} *", b"2")], 60)
    receipts.write([("u", b"new")], 60)
    receipts.write([], 60)
    assert receipts.read(["u", "nobody", "with:colon {tag} *"]) == {"u": b"new", "with:colon {tag} *": b"2"}
    assert receipts.read([]) == {}


def test_a_note_is_there_until_the_receipt_is(receipts: Receipts) -> None:
    """Nobody takes it for one; the receipt of somebody else leaves it."""
    receipts.begin([("u", b"old"), ("v", b"note")], 60)
    receipts.begin([("u", b"note")], 60)
    assert receipts.begun(["u", "v", "nobody"]) == {"u": b"note", "v": b"note"}
    assert receipts.read(["u", "v"]) == {}
    receipts.write([("u", b"receipt")], 60)
    assert (receipts.read(["u"]), receipts.begun(["u", "v"])) == ({"u": b"receipt"}, {"v": b"note"})


@pytest.mark.parametrize("ttl_s", [0, -1])
def test_a_time_to_live_is_positive(receipts: Receipts, ttl_s: int) -> None:
    """No waiting heals another one, so it is a `ValueError`, and nothing is written."""
    receipts.begin([("u", b"note")], 60)
    with pytest.raises(ValueError, match=f"ttl_s must be positive, got {ttl_s}"):
        receipts.begin([("v", b"note")], ttl_s)
    with pytest.raises(ValueError, match=f"ttl_s must be positive, got {ttl_s}"):
        receipts.write([("u", b"receipt")], ttl_s)
    assert (receipts.read(["u"]), receipts.begun(["u", "v"])) == ({}, {"u": b"note"})


def test_nothing_after_close(receipts: Receipts) -> None:
    """A closed store refuses with `Unavailable`; `close` may be called twice."""
    receipts.close()
    receipts.close()
    with pytest.raises(Unavailable):
        receipts.read(["u"])
    with pytest.raises(Unavailable):
        receipts.write([("u", b"v")], 60)


def test_receipts_in_memory_are_bounded() -> None:
    """Those that came first go; a receipt that is written again is the newest."""
    receipts = MemoryReceipts(max_receipts=2)
    for user_id in ("a", "b", "a", "c"):
        receipts.write([(user_id, b"1")], 60)
    assert set(receipts.read(["a", "b", "c"])) == {"a", "c"}
