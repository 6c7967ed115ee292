"""What the shell needs from the world: Protocols that adapters fill, each with a memory twin in `adapters.memory`."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    @property
    def key(self) -> str:
        """Its name in tables that are published or logged."""
        return f"{self.topic}-{self.partition}"


def place(topic: str, partition: int, offset: int) -> str:
    """A place on the log, for messages to people."""
    return f"{topic}[{partition}]@{offset}"


class Record(NamedTuple):
    """One message as it lies on the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int  # the log's own time (create or append), epoch milliseconds; -1 when the log has none
    key: bytes | None
    value: bytes | None  # None is a tombstone
    headers: tuple[tuple[str, bytes | None], ...] = ()  # as they lie on the log; a name may come twice

    @property
    def tp(self) -> TopicPartition:
        """Where it lies. Hot loops make it themselves, or only where it changes."""
        return TopicPartition(self.topic, self.partition)


class Span(NamedTuple):
    """Records of one partition, one after the other."""

    topic: str
    partition: int
    begin: int  # offset of the first one
    end: int  # offset behind the last one


class Fold(NamedTuple):
    """One batch as it was folded: all that the log of events does not say of it, and a repetition needs."""

    number: int  # batches are counted from 1, without holes
    spans: tuple[Span, ...]  # in the order of the fold
    n_records: int  # in them; fewer are there once the topic was compacted
    rounds: str = ""  # what the trainer was asked for came to, a digit each
    # rank of each interaction on the list its user could read, a byte each; none: nothing was served
    served: bytes = b""
    max_measured: int = 0  # interactions of it that were measured at most; 0: no limit


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

    def has_records(self, offsets: Mapping[TopicPartition, int]) -> bool:
        """Whether the log holds a record at or behind one of these offsets; moves nothing."""

    def committed(self) -> dict[TopicPartition, int]:
        """Committed positions of our group; partitions without one are left out."""

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit the *next* offset to read for each partition, synchronously."""

    def pause(self, topics: Sequence[str]) -> None:
        """Stop delivering records of these topics until `resume`."""

    def resume(self, topics: Sequence[str]) -> None:
        """Deliver the topics again, from where they were paused."""

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Go on reading at these offsets, whatever was fetched; partitions that are not named stay where they are."""

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        """From now on deliver no records of exactly these partitions, beside those of paused topics."""

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

    def claim(self, fold: Fold) -> bool:
        """Append the batch that the next lists are made after to the log of folds, see `Folds.append`."""

    def check(self, number: int) -> None:
        """Return when nobody has appended a batch behind this one; `ConfigError`: another worker has."""

    def write(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the list of each user id, expiring after `ttl_s`; returns when all are acknowledged."""

    def delete(self, user_ids: Sequence[str]) -> None:
        """Remove the lists of these users; unknown ones are ignored."""

    def held(self, user_ids: Sequence[str]) -> set[str]:
        """Who of these users has a list."""

    def read(self, user_id: str) -> bytes | None:
        """The list as it was written, or None."""

    def read_each(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User id -> list as it was written, of those who have one."""

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Every (user id, list), in no order, each once; one that is written or removed meanwhile may be among them or not."""

    def retire(self, item_ids: Sequence[str], ttl_s: int) -> None:
        """Mark items that readers must drop from lists already published, for `ttl_s`: as long as such a list may live."""

    def restore(self, item_ids: Sequence[str]) -> None:
        """Take the mark of `retire` off again."""

    def retired(self, item_ids: Sequence[str]) -> set[str]:
        """Which of these items carry the mark of `retire`."""

    def ping(self) -> None:
        """Return when the store answers."""

    def close(self) -> None:
        """Leave the store. Idempotent."""


class Receipts(Protocol):
    """What was removed of users who were erased, by user id. Every method raises `Unavailable` while the store is away."""

    def begin(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the note of each user id that he is being erased, expiring after `ttl_s`; nobody takes it for a receipt."""

    def begun(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User id -> note as it was written, of those who have one."""

    def write(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        """Overwrite the receipt of each user id, expiring after `ttl_s`, then remove his note; all are acknowledged."""

    def read(self, user_ids: Sequence[str]) -> dict[str, bytes]:
        """User id -> receipt as it was written, of those who have one."""

    def close(self) -> None:
        """Leave the store. Idempotent."""


class Folds(Protocol):
    """The log of folds since the last checkpoint. Methods raise `Unavailable` while the store is away."""

    def append(self, fold: Fold) -> bool:
        """Put a batch at the end. The same again does nothing; one of its number by somebody else is a `ConfigError`.

        Returns:
            Whether it follows the one before it. False for the first since `clear`; else the store has lost what it acknowledged.
        """

    def read(self, after: int, n_max: int) -> list[Fold]:
        """The next batches behind this number, in order, at most `n_max`."""

    def last(self) -> int:
        """Number of the newest batch that was ever appended since the last `clear`, dropped or not; 0 before the first."""

    def trim(self, until: int) -> None:
        """Drop the batches up to and with this number."""

    def clear(self) -> None:
        """Drop all; numbers may begin anew."""

    def close(self) -> None:
        """Leave the store. Idempotent."""


class Checkpoints(Protocol):
    """Checkpoints by name, and the one pointer that says which of them count.

    Every method raises `Unavailable` while the store is away. Names are lower-case letters, digits and dashes.
    """

    @property
    def where(self) -> str:
        """For messages; no secrets."""

    def check_size(self, n_bytes: int) -> None:
        """Return when one of so many bytes may be written; `ConfigError`: it is too large for this store."""

    def write(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Store a checkpoint; returns when it is there. `ConfigError` where it is too large for this store."""

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a checkpoint, in pieces; `CheckpointRefused` when it is gone, or a part of it."""

    def delete(self, name: str) -> None:
        """Remove a checkpoint, or what there is of it."""

    def names(self) -> set[str]:
        """All that there are, whole or not."""

    def write_pointer(self, pointer: bytes) -> None:
        """Overwrite the pointer: readers find the old one or the new one, nothing between."""

    def read_pointer(self) -> bytes | None:
        """The pointer, None where none was written."""

    def close(self) -> None:
        """Leave the store. Idempotent."""


class VectorEntry(NamedTuple):
    """The vector of one user or item, as it is published."""

    id: str
    vector: bytes  # float16, little endian, of any width
    version: int  # of the weights that made it: vectors of two versions say nothing about each other
    event_time_ms: int  # newest event that it knows, epoch milliseconds; -1 when it knows none
    fields: Mapping[str, str]  # encoder field -> what the encoders made of it, as short text


class Vectors(Protocol):
    """Published vectors, by user and item id, and the state of the encoders.

    Every method raises `Unavailable` while the store is away. What was written before is overwritten, so writing
    all of it again after a failure puts things right. No reader ever sees half an entry.
    """

    def write_users(self, entries: Sequence[VectorEntry], ttl_s: int) -> None:
        """Overwrite the vector of each user, expiring after `ttl_s`; returns when all are acknowledged."""

    def write_items(self, entries: Sequence[VectorEntry], ttl_s: int) -> None:
        """Overwrite the vector of each item, expiring after `ttl_s`; returns when all are acknowledged."""

    def delete_users(self, user_ids: Sequence[str]) -> None:
        """Remove the vectors of these users; unknown ones are ignored."""

    def held_users(self, user_ids: Sequence[str]) -> set[str]:
        """Who of these users has a vector."""

    def delete_items(self, item_ids: Sequence[str]) -> None:
        """Remove the vectors of these items; unknown ones are ignored."""

    def read_user(self, user_id: str) -> VectorEntry | None:
        """The entry as it was written, or None."""

    def read_item(self, item_id: str) -> VectorEntry | None:
        """The entry as it was written, or None."""

    def write_encoders(self, state: bytes) -> None:
        """Overwrite the readable state of the encoders (JSON); it does not expire."""

    def read_encoders(self) -> bytes | None:
        """That state as it was written, or None."""

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
