"""Receipts of erased users: where the tombstone lay, and what there was to remove."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from streamer.config import Settings
from streamer.events import is_null
from streamer.pipeline import Erased
from streamer.ports import Clock, Lists, Receipts, Record, Vectors


class Position(NamedTuple):
    """Where a tombstone lies on the log."""

    topic: str
    partition: int
    offset: int


class _Pending(NamedTuple):
    erased: Erased
    position: Position
    timestamp_ms: int  # the log's time of the tombstone; -1 = unknown


class Erasures:
    """Gathers erased users until everything of theirs is deleted; then writes their receipts.

    What there was to delete is looked up, and noted in the store, before anything is deleted: so the receipt says it also where
    the answer to a deletion is lost, or the worker is killed between a deletion and the receipt.

    Args:
        settings: How long receipts are kept.
        receipts: Where they are written. None: nowhere.
        clock: Time.
    """

    def __init__(self, settings: Settings, receipts: Receipts | None, clock: Clock) -> None:
        self._settings = settings
        self._receipts = receipts
        self._clock = clock
        self._tombstones: dict[str, Record] = {}  # of the batch at hand
        self._pending: dict[str, _Pending] = {}
        self._had_list: set[str] = set()
        self._had_vector: set[str] = set()

    def read(self, records: Sequence[Record]) -> None:
        """A batch of the log, before it is folded."""
        if self._receipts is None:
            return
        for record in records:
            if record.topic == self._settings.topic_profiles and is_null(record.value) and record.key:
                self._tombstones[record.key.decode("utf-8", "replace")] = record

    def folded(self, erased: Sequence[Erased]) -> None:
        """What that batch erased; of a user who was erased twice the counts add up."""
        for one in erased:
            record = self._tombstones.get(one.user_id)
            if record is None:
                continue
            before = self._pending.get(one.user_id)
            both = one if before is None else one.plus(before.erased)
            position = Position(record.topic, record.partition, record.offset)
            self._pending[one.user_id] = _Pending(both, position, record.timestamp_ms)
        self._tombstones.clear()

    def begin(self, lists: Lists, vectors: Vectors | None) -> None:
        """Before anything of theirs is deleted: who has a list, and a vector, or had one when the deletion first began.

        Args:
            vectors: None: they are published nowhere.

        Raises:
            Unavailable: a store is away; the call may be repeated.
        """
        if self._receipts is None or not self._pending:
            return
        due = self._due(self._clock.now_ms())
        self._had_list |= lists.held(list(due))
        self._had_vector |= vectors.held_users(list(due)) if vectors is not None else set()
        for user_id, note in self._receipts.begun(list(due)).items():
            self._recall(user_id, note)
        notes = [
            (user_id, _Note(*one.position, user_id in self._had_list, user_id in self._had_vector))
            for user_id, one in due.items()
        ]
        encoded = [(user_id, msgspec.json.encode(note)) for user_id, note in notes]
        self._receipts.begin(encoded, self._settings.receipt_ttl_s)

    def _recall(self, user_id: str, value: bytes) -> None:
        """What a worker that was killed had noted; of this tombstone, or of one behind it that it erased along with this one."""
        try:
            note = _NOTE.decode(value)
        except msgspec.DecodeError:
            return  # none of ours
        topic, partition, offset = self._pending[user_id].position
        if (note.topic, note.partition) == (topic, partition) and note.offset >= offset:
            self._had_list |= {user_id} if note.had_list else set()
            self._had_vector |= {user_id} if note.had_vector else set()

    def write(self) -> None:
        """Write the receipts of all whose keys are deleted by now.

        A tombstone that is read again leaves the receipt that it has, and none once receipts of its time have expired.

        Raises:
            Unavailable: the store is away; the call may be repeated.
        """
        if self._receipts is None or not self._pending:
            return
        now_ms = self._clock.now_ms()
        entries = [(user_id, self._receipt(one, now_ms)) for user_id, one in self._due(now_ms).items()]
        self._receipts.write(entries, self._settings.receipt_ttl_s)
        self._pending.clear()
        self._had_list.clear()
        self._had_vector.clear()

    def _due(self, now_ms: int) -> dict[str, _Pending]:
        """Those whose receipt is to be written: they have none of this tombstone, and it would not have expired by now."""
        assert self._receipts is not None  # noqa: S101  the callers have seen to it
        found = self._receipts.read(list(self._pending))
        since_ms = now_ms - self._settings.receipt_ttl_s * 1000
        return {
            user_id: one
            for user_id, one in self._pending.items()
            if (one.timestamp_ms < 0 or one.timestamp_ms > since_ms)
            and _position_of(found.get(user_id)) != one.position
        }

    def _receipt(self, one: _Pending, now_ms: int) -> bytes:
        user_id = one.erased.user_id
        return msgspec.json.encode(
            {
                "version": "receipt.v1",
                "user_id": user_id,
                "erased_at": now_ms,
                "position": one.position._asdict(),
                "removed": {
                    "history": one.erased.n_history,
                    "taken": one.erased.n_taken,
                    "profile": one.erased.has_profile,
                    "list": user_id in self._had_list,
                    "vector": user_id in self._had_vector,
                },
            }
        )


class _Place(msgspec.Struct):
    topic: str
    partition: int
    offset: int


class _Written(msgspec.Struct):
    position: _Place


class _Note(msgspec.Struct):
    """A tombstone, and what there was to delete when its deletions began."""

    topic: str
    partition: int
    offset: int
    had_list: bool
    had_vector: bool


_NOTE = msgspec.json.Decoder(_Note)
_WRITTEN = msgspec.json.Decoder(_Written)


def _position_of(receipt: bytes | None) -> Position | None:
    try:
        return (
            None if receipt is None else Position(*msgspec.structs.astuple(_WRITTEN.decode(receipt).position))
        )
    except msgspec.DecodeError:
        return None  # whatever stands there, it is no receipt
