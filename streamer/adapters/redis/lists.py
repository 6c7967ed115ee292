"""Published lists, and marks of retired items, on Redis, Valkey or a cluster of either."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from streamer.adapters.expiry import check_ttl
from streamer.adapters.redis import fold_stream
from streamer.adapters.redis.connection import CHUNK, RedisConnection
from streamer.ports import Fold


class RedisLists(RedisConnection):
    """`ports.Lists` on Redis: `<prefix>list:<user>` holds a list, `<prefix>retired:<item>` marks an item.

    Args:
        url, prefix, kwargs: As `RedisConnection` has them.
    """

    def __init__(self, url: str, prefix: str = "streamer:", **kwargs: Any) -> None:
        super().__init__(url, prefix, **kwargs)
        self._list_prefix = f"{prefix}list:"
        self._retired_prefix = f"{prefix}retired:"

    def claim(self, fold: Fold) -> bool:
        """Append the batch that the next lists are made after to the log of folds.

        By itself, not in front of the lists in one pipeline: Redis would refuse it and write the lists behind it.
        """
        return fold_stream.append(self._run, self._prefix, fold, self._where, self.token)

    def check(self, number: int) -> None:
        """Return when nobody has appended a batch behind this one."""
        fold_stream.check(self._run, self._prefix, number, self._where)

    def write(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the list of each user id, expiring after `ttl_s`; returns when all are acknowledged."""
        check_ttl(ttl_s)
        prefix = self._list_prefix
        self._run(("SET", prefix + user_id, value, "EX", ttl_s) for user_id, value in entries)

    def delete(self, user_ids: Sequence[str]) -> None:
        """Remove the lists of these users; unknown ones are ignored."""
        self._run(("DEL", self._list_prefix + user_id) for user_id in user_ids)

    def held(self, user_ids: Sequence[str]) -> set[str]:
        """Who of these users has a list."""
        is_there = self._run(("EXISTS", self._list_prefix + user_id) for user_id in user_ids)
        return set(itertools.compress(user_ids, is_there))

    def read(self, user_id: str) -> bytes | None:
        """The list as it was written, or None."""
        value: bytes | None = self._run([("GET", self._list_prefix + user_id)])[0]
        return value

    def read_each(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User id -> list as it was written, of those who have one."""
        values = self._run(("GET", self._list_prefix + user_id) for user_id in user_ids)
        return {user: value for user, value in zip(user_ids, values, strict=True) if value is not None}

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Every (user id, list), in no order, each once; one that is written or removed meanwhile may be among them or not."""
        keys = self._keys(self._list_prefix)
        while chunk := list(itertools.islice(keys, CHUNK)):
            values = self._run(("GET", key) for key in chunk)
            for key, value in zip(chunk, values, strict=True):
                if value is not None:
                    yield key[len(self._list_prefix.encode()) :].decode("utf-8", "backslashreplace"), value

    def retire(self, item_ids: Sequence[str], ttl_s: int) -> None:
        """Mark items that readers must drop from lists already published, for `ttl_s`: as long as such a list may live."""
        check_ttl(ttl_s)
        self._run(("SET", self._retired_prefix + item_id, b"1", "EX", ttl_s) for item_id in item_ids)

    def restore(self, item_ids: Sequence[str]) -> None:
        """Take the mark of `retire` off again."""
        self._run(("DEL", self._retired_prefix + item_id) for item_id in item_ids)

    def retired(self, item_ids: Sequence[str]) -> set[str]:
        """Which of these items carry the mark of `retire`."""
        marks = self._run(("EXISTS", self._retired_prefix + item_id) for item_id in item_ids)
        return {item_id for item_id, mark in zip(item_ids, marks, strict=True) if mark}
