"""Receipts of erased users: where the tombstone lay, and what there was to remove."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from streamer.config import Settings
from streamer.events import UNREADABLE, is_null
from streamer.pipeline import Erased
from streamer.ports import Clock, Lists, Receipts, Record, Vectors


class Position(msgspec.Struct, frozen=True):
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
        due = self._due(self._found(), self._clock.now_ms())
        self._had_list |= lists.held(list(due))
        self._had_vector |= vectors.held_users(list(due)) if vectors is not None else set()
        for user_id, note in self._receipts.begun(list(due)).items():
            self._recall(user_id, note)
        notes = [
            (
                user_id,
                _Note(
                    at.topic, at.partition, at.offset, user_id in self._had_list, user_id in self._had_vector
                ),
            )
            for user_id, at in ((user_id, one.position) for user_id, one in due.items())
        ]
        encoded = [(user_id, msgspec.json.encode(note)) for user_id, note in notes]
        self._receipts.begin(encoded, self._settings.receipt_ttl_s)

    def _recall(self, user_id: str, value: bytes) -> None:
        """What a worker that was killed had noted; of this tombstone, or of one behind it that it erased along with this one."""
        try:
            note = _NOTE.decode(value)
        except UNREADABLE:
            return  # none of ours
        ours = self._pending[user_id].position
        if (note.topic, note.partition) == (ours.topic, ours.partition) and note.offset >= ours.offset:
            self._had_list |= {user_id} if note.had_list else set()
            self._had_vector |= {user_id} if note.had_vector else set()

    def write(self) -> None:
        """Write the receipts of all whose keys are deleted by now.

        A tombstone that is read again leaves the receipt that it has, and none once receipts of its time have expired. One that
        finds nothing to remove takes over what the receipt before it says, so that nobody loses it by erasing a user twice.

        Raises:
            Unavailable: the store is away; the call may be repeated.
        """
        if self._receipts is None or not self._pending:
            return
        now_ms = self._clock.now_ms()
        found = self._found()
        due = self._due(found, now_ms)
        entries = [(user_id, self._receipt(one, found.get(user_id), now_ms)) for user_id, one in due.items()]
        self._receipts.write(entries, self._settings.receipt_ttl_s)
        self._pending.clear()
        self._had_list.clear()
        self._had_vector.clear()

    def _found(self) -> "dict[str, _Receipt]":
        """The receipts that they have already."""
        assert self._receipts is not None  # noqa: S101  the callers have seen to it
        values = self._receipts.read(list(self._pending)).items()
        return {user_id: found for user_id, value in values if (found := _receipt_of(value)) is not None}

    def _due(self, found: "Mapping[str, _Receipt]", now_ms: int) -> dict[str, _Pending]:
        """Those whose receipt is to be written: they have none of this tombstone, and it would not have expired by now."""
        since_ms = now_ms - self._settings.receipt_ttl_s * 1000
        return {
            user_id: one
            for user_id, one in self._pending.items()
            if (one.timestamp_ms < 0 or one.timestamp_ms > since_ms)
            and (user_id not in found or found[user_id].position != one.position)
        }

    def _receipt(self, one: _Pending, before: "_Receipt | None", now_ms: int) -> bytes:
        """Where nothing was left to remove it says what the one before says: what was removed, and when."""
        user_id, erased = one.erased.user_id, one.erased
        had_list, had_vector = user_id in self._had_list, user_id in self._had_vector
        removed = _Removed(erased.n_history, erased.n_taken, erased.has_profile, had_list, had_vector)
        if before is not None and removed == _NOTHING:
            now_ms, removed = before.erased_at, before.removed
        return msgspec.json.encode(_Receipt("receipt.v1", user_id, now_ms, one.position, removed))


class _Removed(msgspec.Struct, frozen=True):
    history: int
    taken: int
    profile: bool
    list: bool
    vector: bool


_NOTHING = _Removed(0, 0, profile=False, list=False, vector=False)


class _Receipt(msgspec.Struct, frozen=True):
    """`schemas/receipt.v1.schema.json`."""

    version: str
    user_id: str
    erased_at: int
    position: Position
    removed: _Removed


class _Note(msgspec.Struct):
    """A tombstone, and what there was to delete when its deletions began."""

    topic: str
    partition: int
    offset: int
    had_list: bool
    had_vector: bool


_NOTE = msgspec.json.Decoder(_Note)
_RECEIPT = msgspec.json.Decoder(_Receipt)


def _receipt_of(value: bytes) -> _Receipt | None:
    try:
        return _RECEIPT.decode(value)
    except UNREADABLE:
        return None  # whatever stands there, it is no receipt
