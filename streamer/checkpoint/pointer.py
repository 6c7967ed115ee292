"""Which checkpoints there are, the newest first: what one write makes true."""

import re
from collections.abc import Sequence

import msgspec

from streamer.errors import CheckpointRefused

_NAME = re.compile(r"[0-9a-z][0-9a-z-]{0,99}")  # it becomes a part of keys and paths
_VERSION = 1
_MAX_KEPT = 10_000


class Kept(msgspec.Struct, frozen=True):
    """A checkpoint that counts."""

    name: str
    n_batches: int
    n_events: int  # interactions folded
    made_ms: int  # wall clock
    n_bytes: int
    made_by: str  # version of streamer


class _Pointer(msgspec.Struct):
    version: int
    checkpoints: list[Kept]


def new_name(n_batches: int, made_ms: int) -> str:
    """A name that no other checkpoint has; sorts as they were made."""
    return f"{made_ms:015d}-{n_batches:012d}"


def encode(kept: Sequence[Kept]) -> bytes:
    """The pointer to these, the newest first."""
    return msgspec.json.encode(_Pointer(_VERSION, list(kept)))


def decode(pointer: bytes | None) -> list[Kept]:
    """The checkpoints that it points to, the newest first; none where there is no pointer.

    Raises:
        CheckpointRefused: it is not of our making, or of a newer version.
    """
    if pointer is None:
        return []
    try:
        found = msgspec.json.decode(pointer, type=_Pointer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise CheckpointRefused(f"the pointer to the checkpoints cannot be read: {exc}") from exc
    if found.version != _VERSION:
        raise CheckpointRefused(
            f"the pointer to the checkpoints: expected version {_VERSION}, got {found.version}"
        )
    if len(found.checkpoints) > _MAX_KEPT or not all(
        _NAME.fullmatch(kept.name) for kept in found.checkpoints
    ):
        raise CheckpointRefused("the pointer to the checkpoints names what cannot be one")
    return found.checkpoints
