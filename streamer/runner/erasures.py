"""Receipts of erased users: where the tombstone lay, and what there was to remove."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from streamer.config import Settings
from streamer.pipeline import Erased
from streamer.ports import Clock, Receipts, Record


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
            if record.topic == self._settings.topic_profiles and _is_null(record.value) and record.key:
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

    def deleted(self, *, lists: Collection[str] = (), vectors: Collection[str] = ()) -> None:
        """Whose list, and whose vector, was in the store."""
        if self._pending:
            self._had_list.update(lists)
            self._had_vector.update(vectors)

    def write(self) -> None:
        """Write the receipts of all whose keys are deleted by now.

        A tombstone that is read again leaves the receipt that it has, and none once receipts of its time have expired.

        Raises:
            Unavailable: the store is away; the call may be repeated.
        """
        if self._receipts is None or not self._pending:
            return
        now_ms, ttl_s = self._clock.now_ms(), self._settings.receipt_ttl_s
        found = self._receipts.read(list(self._pending))
        entries = [
            (user_id, self._receipt(one, now_ms))
            for user_id, one in self._pending.items()
            if (one.timestamp_ms < 0 or now_ms - one.timestamp_ms < ttl_s * 1000)
            and _position_of(found.get(user_id)) != one.position
        ]
        self._receipts.write(entries, ttl_s)
        self._pending.clear()
        self._had_list.clear()
        self._had_vector.clear()

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


_WRITTEN = msgspec.json.Decoder(_Written)


def _position_of(receipt: bytes | None) -> Position | None:
    try:
        return (
            None if receipt is None else Position(*msgspec.structs.astuple(_WRITTEN.decode(receipt).position))
        )
    except msgspec.DecodeError:
        return None  # whatever stands there, it is no receipt


def _is_null(value: bytes | None) -> bool:
    return value is None or (len(value) < 100 and value.strip() == b"null")
