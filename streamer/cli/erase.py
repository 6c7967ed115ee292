"""`streamer erase`: the tombstone of a user onto the log, and the receipt for it back."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import msgspec

from streamer.adapters.redis.receipts import RedisReceipts
from streamer.cli.connect import TIMEOUT_S, on_redis, sink_of, source_of
from streamer.config import Settings
from streamer.errors import ConfigError, Unavailable
from streamer.events import UNREADABLE, user_id_problem
from streamer.ports import Receipts, Sink, Source, TopicPartition, place

_LOOK_S = 0.05


def erase(settings: Settings, user_id: str, wait_s: float) -> dict[str, Any]:
    """Publish the tombstone, and wait until a worker has removed everything; its receipt, as `receipt.v1`.

    Raises:
        ConfigError: this is no id of a user.
        Unavailable: Kafka or Redis is away, or no receipt came in time.
    """
    with (
        closing(source_of(settings, [settings.topic_profiles])) as source,
        closing(sink_of(settings)) as sink,
        closing(on_redis(RedisReceipts, settings)) as receipts,
    ):
        return erase_by(settings, source, sink, receipts, user_id, wait_s)


def erase_by(
    settings: Settings,
    source: Source,
    sink: Sink,
    receipts: Receipts,
    user_id: str,
    wait_s: float,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """As `erase`, over these ports; the source reads the topic of profiles."""
    problem = user_id_problem(user_id)
    if problem is not None:
        raise ConfigError(f"erase: expected a user id, got {problem}; nothing was sent")
    receipts.read([user_id])  # better now than after the user is gone
    end = source.end_offsets()
    sink.send(settings.topic_profiles, user_id.encode(), None)
    sink.flush(TIMEOUT_S)
    give_up_s = time.monotonic() + wait_s
    while True:
        receipt = receipts.read([user_id]).get(user_id)
        if receipt is not None and (found := _newer(receipt, end)) is not None:
            return found
        if time.monotonic() >= give_up_s:
            raise Unavailable(
                f"user {user_id}: no receipt within {wait_s:g} s. The tombstone is on {settings.topic_profiles}, and a "
                f"worker that has read it erases him: see that one runs, and look at {settings.prefix}receipt:{user_id} later"
            )
        pause(_LOOK_S)


def _newer(receipt: bytes, end: Mapping[TopicPartition, int]) -> dict[str, Any] | None:
    """The receipt, where its tombstone lies behind what was there before ours: it is ours, or one after it."""
    try:
        found: dict[str, Any] = msgspec.json.decode(receipt, type=dict[str, Any])
        where = found["position"]
        is_newer = where["offset"] >= end.get(TopicPartition(where["topic"], where["partition"]), 0)
    except (*UNREADABLE, KeyError, TypeError):
        return None
    return found if is_newer else None


def sentences(receipt: Mapping[str, Any]) -> list[str]:
    """A receipt for people."""
    removed, where = receipt["removed"], receipt["position"]
    there_was = [name for name in ("profile", "list", "vector") if removed[name]]
    counts = f"{removed['history']} events of his history, {removed['taken']} items he took"
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(receipt["erased_at"] / 1000))
    if not any(removed.values()):
        what = "nothing was removed: nobody of this id was known, or what was removed is longer ago than receipts are kept"
    else:
        what = f"removed {when}: {', '.join([counts, *there_was])}"
    return [
        f"user {receipt['user_id']} is erased, by {place(where['topic'], where['partition'], where['offset'])}",
        what,
    ]
