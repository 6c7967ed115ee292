"""What the shell needs from the world: Protocols that adapters fill, each with a memory twin in `adapters.memory`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """One message as it lies on the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int  # the log's own time (create or append), epoch milliseconds; -1 when the log has none
    key: bytes | None
    value: bytes | None  # None is a tombstone


class Source(Protocol):
    """The log, read by one worker from the beginning of every partition of the given topics.

    Every method raises `Unavailable` while the log is away.
    """

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """At most `max_records` records, in offset order within each partition; [] when none came in `timeout_s`."""

    def end_offsets(self) -> dict[TopicPartition, int]:
        """Offset after the last record of every partition that is read, as the log stands now."""

    def begin_offsets(self) -> dict[TopicPartition, int]:
        """Offset of the oldest record the log still holds, of every partition that is read."""

    def committed(self) -> dict[TopicPartition, int]:
        """Committed positions of our group; partitions without one are left out."""

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit the *next* offset to read for each partition, synchronously."""

    def pause(self, topics: Sequence[str]) -> None:
        """Stop delivering records of these topics until `resume`."""

    def resume(self, topics: Sequence[str]) -> None:
        """Deliver the topics again, from where they were paused."""

    def close(self) -> None:
        """Leave the log. Idempotent."""


class Sink(Protocol):
    """Where messages go out: dead letters, the recommendations topic, events of `streamer produce`."""

    def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes] | None = None
    ) -> None:
        """Queue one message. Blocks while the queue is full; raises `Unavailable` when the log stays away."""

    def flush(self, timeout_s: float) -> None:
        """Wait until all queued messages are acknowledged; raises `Unavailable` when any is not in time."""

    def close(self) -> None:
        """Flush and leave. Idempotent."""


class Lists(Protocol):
    """Published lists, by user id. Every method raises `Unavailable` while the store is away."""

    def write(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the list of each user id, expiring after `ttl_s`; returns when all are acknowledged."""

    def delete(self, user_ids: Sequence[str]) -> None:
        """Remove the lists of these users; unknown ones are ignored."""

    def read(self, user_id: str) -> bytes | None:
        """The list as it was written, or None."""

    def retire(self, item_ids: Sequence[str]) -> None:
        """Mark items that readers must drop from lists already published."""

    def restore(self, item_ids: Sequence[str]) -> None:
        """Take the mark of `retire` off again."""

    def retired(self, item_ids: Sequence[str]) -> set[str]:
        """Which of these items carry the mark of `retire`."""

    def ping(self) -> None:
        """Return when the store answers."""

    def close(self) -> None:
        """Leave the store. Idempotent."""


class TextModel(Protocol):
    """Texts -> vectors. What a text gives depends on the text alone, never on those it is embedded with."""

    name: str
    """As in the settings: part of the key of every text."""
    dim: int
    """Numbers of a vector, at most 1024."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim) float32 rows of unit norm, finite for any text; raises `Unavailable` when it does not work for now."""


class TextCache(Protocol):
    """Vectors of texts by content key, float16 little endian as bytes. Methods raise `Unavailable` while it is away."""

    def read(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Key -> vector of those that are held."""

    def write(self, vectors: Mapping[str, bytes]) -> None:
        """Hold these, in place of what was held for the same keys; returns when all are."""

    def close(self) -> None:
        """Leave the cache. Idempotent."""


class Clock(Protocol):
    """Time for the shell; the core takes times as arguments."""

    def now_ms(self) -> int:
        """Wall clock, epoch milliseconds."""

    def monotonic_s(self) -> float:
        """For durations; never goes back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
