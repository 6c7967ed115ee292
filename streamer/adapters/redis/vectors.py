"""Published vectors, and the readable state of the encoders, on Redis, Valkey or a cluster of either."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from streamer.adapters.expiry import check_ttl
from streamer.adapters.redis.connection import RedisConnection
from streamer.ports import VectorEntry

_FIELDS = ("vector", "model", "event_time", "features")
_FEATURES = msgspec.json.Decoder(dict[str, str])


class RedisVectors(RedisConnection):
    """`ports.Vectors` on Redis: `<prefix>user:<id>` and `<prefix>item:<id>` are hashes, `<prefix>encoders` is JSON.

    A hash holds `vector` (float16, little endian), `model` (version of the weights, a whole number), `event_time`
    (epoch milliseconds; -1 for none) and `features` (JSON, encoder field -> text). One HSET writes all four, so that
    no reader finds a vector beside the version of another.

    Args:
        url, prefix, cluster, options, timeout_s: As `RedisConnection` has them.
    """

    def write_users(self, entries: Sequence[VectorEntry], ttl_s: int) -> None:
        """Overwrite the vector of each user, expiring after `ttl_s`; returns when all are acknowledged."""
        self._write("user", entries, ttl_s)

    def write_items(self, entries: Sequence[VectorEntry], ttl_s: int) -> None:
        """Overwrite the vector of each item, expiring after `ttl_s`; returns when all are acknowledged."""
        self._write("item", entries, ttl_s)

    def delete_users(self, user_ids: Sequence[str]) -> None:
        """Remove the vectors of these users; unknown ones are ignored."""
        self._run(("DEL", self._key("user", user_id)) for user_id in user_ids)

    def held_users(self, user_ids: Sequence[str]) -> set[str]:
        """Who of these users has a vector."""
        is_there = self._run(("EXISTS", self._key("user", user_id)) for user_id in user_ids)
        return set(itertools.compress(user_ids, is_there))

    def delete_items(self, item_ids: Sequence[str]) -> None:
        """Remove the vectors of these items; unknown ones are ignored."""
        self._run(("DEL", self._key("item", item_id)) for item_id in item_ids)

    def read_user(self, user_id: str) -> VectorEntry | None:
        """The entry as it was written; None when there is none, or one that we did not write."""
        return self._read("user", user_id)

    def read_item(self, item_id: str) -> VectorEntry | None:
        """The entry as it was written; None when there is none, or one that we did not write."""
        return self._read("item", item_id)

    def write_encoders(self, state: bytes) -> None:
        """Overwrite the readable state of the encoders (JSON); it does not expire."""
        self._run([("SET", f"{self._prefix}encoders", state)])

    def read_encoders(self) -> bytes | None:
        """That state as it was written, or None."""
        state: bytes | None = self._run([("GET", f"{self._prefix}encoders")])[0]
        return state

    def _write(self, kind: str, entries: Sequence[VectorEntry], ttl_s: int) -> None:
        check_ttl(ttl_s)
        self._run(self._commands(kind, entries, ttl_s))

    def _commands(self, kind: str, entries: Sequence[VectorEntry], ttl_s: int) -> Iterator[tuple[Any, ...]]:
        for entry in entries:
            key = self._key(kind, entry.id)
            values = (entry.vector, entry.version, entry.event_time_ms, msgspec.json.encode(entry.fields))
            yield ("HSET", key, *(part for pair in zip(_FIELDS, values, strict=True) for part in pair))
            yield ("EXPIRE", key, ttl_s)

    def _read(self, kind: str, name: str) -> VectorEntry | None:
        vector, version, event_time_ms, features = self._run([("HMGET", self._key(kind, name), *_FIELDS)])[0]
        if vector is None:
            return None
        try:
            return VectorEntry(name, vector, int(version), int(event_time_ms), _FEATURES.decode(features))
        except (TypeError, ValueError):  # a field is missing, or is not of our making
            return None

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}:{name}"
