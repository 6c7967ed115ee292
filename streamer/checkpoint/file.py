"""A checkpoint as bytes: a header that says what it stands for and which arrays follow, then the arrays.

    magic | length of the header, 4 bytes LE | its xxh3, 16 bytes | header, JSON | arrays, one after the other

Nothing of it is run, and nothing is allocated because it says so: the caller has a `Slot` for every array it takes, which
bounds type, shape and size. What is wrong with the bytes is a `CheckpointRefused`, whatever it is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from streamer.checkpoint.blocks import packed, unpack
from streamer.errors import CheckpointRefused

FORMAT = 1
MAGIC = b"streamer-checkpoint\n"
_MAX_HEADER_BYTES = 4 << 20
_HASH_BYTES = 16
_SMALL = 1 << 20  # bytes of an array below which it is written as it is
_PIECE = 4 << 20  # bytes read or written at once
RAW, BLOCKS = "raw", "blocks"


class Meta(msgspec.Struct, frozen=True):
    """What a checkpoint stands for."""

    config: dict[str, str]  # see `config`
    positions: list[tuple[str, int, int]]  # topic, partition, next offset
    n_batches: int  # folded so far: the number of the last one in the log of folds
    event_time_ms: int  # newest event folded
    made_ms: int  # wall clock
    made_by: str  # version of streamer


class _Array(msgspec.Struct, frozen=True, array_like=True):
    name: str
    dtype: str
    shape: list[int]
    codec: str
    n_bytes: int  # as they lie in the file


class Header(msgspec.Struct, frozen=True):
    """The directory of a checkpoint."""

    format: int
    meta: Meta
    arrays: list[_Array]
    body_hash: str  # xxh3 of all that follows, 128 bits, hexadecimal

    @property
    def n_bytes(self) -> int:
        """Of all that follows."""
        return sum(array.n_bytes for array in self.arrays)


class _Format(msgspec.Struct):
    """What can be said of a header of any version."""

    format: int


class Slot(NamedTuple):
    """What an array may be."""

    dtype: np.dtype[Any]
    tail: tuple[int, ...]  # its shape behind the first axis
    n_min: int  # rows
    n_max: int
    into: NDArray[Any] | None = None  # zeros, at least n_max rows: where it goes; None: a new array
    is_optional: bool = False  # may be missing


class Reader:
    """Bytes that come in pieces, taken by count.

    Args:
        pieces: Of any sizes.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._left = memoryview(b"")
        self._digest = xxhash.xxh3_128()

    def take(self, n: int) -> bytes:
        """The next n bytes.

        Raises:
            CheckpointRefused: there are fewer.
        """
        parts = []
        while n > 0:
            if not self._left:
                piece = next(self._pieces, None)
                if piece is None:
                    raise CheckpointRefused("it is damaged: it ends too early")
                self._left = memoryview(piece)
                continue
            parts.append(self._left[:n])
            self._left = self._left[n:]
            n -= len(parts[-1])
        taken = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
        self._digest.update(taken)
        return taken

    def digest_since(self) -> str:
        """Hash of what was taken since the last call, hexadecimal."""
        digest, self._digest = self._digest.hexdigest(), xxhash.xxh3_128()
        return digest


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Names a type of numbers or of records; only ever compared, nothing is made from it."""
    if dtype.names is None:
        return dtype.newbyteorder("<").str
    return f"record:{dtype.itemsize}:{xxhash.xxh3_64_hexdigest(repr(dtype.descr).encode())}"


class Written(Iterator[bytes | memoryview]):
    """A checkpoint in pieces, each held until it was taken.

    Args:
        pieces: In order.
    """

    def __init__(self, pieces: list[bytes | memoryview]) -> None:
        self._pieces = pieces[::-1]
        self.n_bytes = sum(map(len, pieces))

    def __next__(self) -> bytes | memoryview:
        """The next one."""
        if not self._pieces:
            raise StopIteration
        return self._pieces.pop()


def written(meta: Meta, arrays: dict[str, NDArray[Any]]) -> Written:
    """The checkpoint in pieces, and how large it is.

    Args:
        meta: What it stands for.
        arrays: C order; given away, and emptied on the way, so that each is held once.
    """
    digest, entries, pieces = xxhash.xxh3_128(), [], list[bytes | memoryview]()
    for name in list(arrays):
        array = arrays.pop(name)
        codec = RAW if array.nbytes < _SMALL else BLOCKS
        own = list(packed(array)) if codec == BLOCKS else [np.ascontiguousarray(array).tobytes()]
        for piece in own:
            digest.update(piece)
        pieces += own
        entries.append(_Array(name, dtype_name(array.dtype), list(array.shape), codec, sum(map(len, own))))
    header = msgspec.json.encode(Header(FORMAT, meta, entries, digest.hexdigest()))
    begin = MAGIC + len(header).to_bytes(4, "little") + xxhash.xxh3_128_digest(header) + header
    return Written([begin, *pieces])


def read_header(reader: Reader) -> Header:
    """The header.

    Raises:
        CheckpointRefused: it is none, damaged, or of another version.
    """
    if reader.take(len(MAGIC)) != MAGIC:
        raise CheckpointRefused("it is none: it begins with other bytes")
    length = int.from_bytes(reader.take(4), "little")
    if length > _MAX_HEADER_BYTES:
        raise CheckpointRefused(f"it is damaged: a header of {length} bytes")
    digest, header = reader.take(_HASH_BYTES), reader.take(length)
    if xxhash.xxh3_128_digest(header) != digest:
        raise CheckpointRefused("it is damaged: its header is not what was written")
    try:
        version = msgspec.json.decode(header, type=_Format).format
        if version != FORMAT:
            other = "a newer" if version > FORMAT else "another"
            raise CheckpointRefused(f"it is of {other} format: expected {FORMAT}, got {version}")
        found = msgspec.json.decode(header, type=Header)
    # a recursion, since whoever forges it can nest it, too
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise CheckpointRefused(f"it is damaged: its header cannot be read: {exc}") from exc
    reader.digest_since()
    return found


def read_arrays(
    header: Header, reader: Reader, slot_of: Callable[[str], Slot | None]
) -> dict[str, NDArray[Any]]:
    """All arrays, by name; what went into a slot's own array is a view of it.

    Args:
        header: Just read from `reader`.
        slot_of: What an array of this name may be; None where there is no such name.

    Raises:
        CheckpointRefused: an array is damaged, unknown, there twice, or of another type or shape than its slot has.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for entry in header.arrays:
        slot = slot_of(entry.name)
        if slot is None or entry.name in arrays:
            raise CheckpointRefused(f"array {entry.name[:80]!r}: expected each of ours once")
        arrays[entry.name] = _read_array(entry, reader, slot)
    if reader.digest_since() != header.body_hash:
        raise CheckpointRefused("it is damaged: its arrays are not what was written")
    return arrays


def _read_array(entry: _Array, reader: Reader, slot: Slot) -> NDArray[Any]:
    shape = tuple(entry.shape)
    fits = len(shape) == 1 + len(slot.tail) and shape[1:] == slot.tail
    if entry.dtype != dtype_name(slot.dtype) or not fits or not slot.n_min <= shape[0] <= slot.n_max:
        rows = f"{slot.n_min}" if slot.n_min == slot.n_max else f"{slot.n_min} to {slot.n_max}"
        expected = f"{rows} rows of {dtype_name(slot.dtype)} {slot.tail}"
        got = f"{entry.dtype[:80]!r} {str(shape)[:80]}"  # it may hold anything, and is printed
        raise CheckpointRefused(f"array {entry.name}: expected {expected}, got {got}")
    array = np.zeros(shape, slot.dtype) if slot.into is None else slot.into[: shape[0]]
    flat = array.view(np.uint8).reshape(-1) if array.size else np.zeros(0, np.uint8)
    if entry.codec == BLOCKS:
        n_read = unpack(reader.take, flat)
    elif entry.codec == RAW:
        n_read = flat.size
        for begin in range(0, n_read, _PIECE):
            piece = flat[begin : begin + _PIECE]
            piece[:] = np.frombuffer(reader.take(piece.size), np.uint8)
    else:
        raise CheckpointRefused(f"array {entry.name}: written in a way that we do not know")
    if n_read != entry.n_bytes:
        raise CheckpointRefused(f"array {entry.name}: expected {n_read} bytes, got {entry.n_bytes}")
    return array


def missing(arrays: Mapping[str, object], expected: Iterable[str]) -> None:
    """Refuse a checkpoint that lacks an array.

    Raises:
        CheckpointRefused: which one.
    """
    for name in expected:
        if name not in arrays:
            raise CheckpointRefused(f"array {name} is missing")
