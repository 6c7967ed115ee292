"""The log of folds as a Redis stream: an entry a batch, its id the number of the batch."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from streamer.errors import ConfigError, Unavailable
from streamer.ports import Fold, Span

# Entries that the stream holds at most, some 100 bytes each: where no checkpoint can be taken for days, recovery becomes
# merely complete before Redis becomes full.
MAX_ENTRIES = 1_000_000
_SPANS = msgspec.json.Decoder(tuple[Span, ...])
_OUT_OF_ORDER = "equal or smaller than the target stream top item"  # Redis and Valkey say so

Run = Callable[[Iterable[tuple[Any, ...]]], list[Any]]


def key_of(prefix: str) -> str:
    """The stream's key."""
    return f"{prefix}folds"


def append(run: Run, prefix: str, fold: Fold, where: str, by: bytes) -> bool:
    """Put a batch at the end; the same again, by the same, does nothing.

    Args:
        by: Who appends. Two workers who read one event at a time fold equal batches, and must not take each other's for theirs.

    Returns:
        Whether it follows the one before it: a stream that was lost, or is that of an older replica, takes it all the same.

    Raises:
        ConfigError: another worker wrote one of its number, or one behind it.
    """
    key, before = key_of(prefix), f"{fold.number - 1}-0"
    look = (("EXISTS", key), ("XRANGE", key, before, before), ("XRANGE", key, "-", before, "COUNT", 1))
    try:
        is_there, the_one_before, any_before, _ = run([*look, _append_command(prefix, fold, by)])
    except Unavailable as exc:
        if _OUT_OF_ORDER not in str(exc):
            raise
        # an earlier try, whose answer was lost, may have written it
        (entries,) = run([("XRANGE", key, f"{fold.number}-0", f"{fold.number}-0")])
        if not any(_fields(found).get(b"by") == by and _fold(at, found) == fold for at, found in entries):
            raise _of_another(prefix, fold.number, where) from exc
        return True
    # dropped ones are the oldest: where any is left below it, that one must be there
    return bool(the_one_before) or (bool(is_there) and not any_before)


def check(run: Run, prefix: str, number: int, where: str) -> None:
    """Return when there is no batch behind this one.

    Raises:
        ConfigError: there is one, of another worker.
    """
    if last(run, prefix) > number:
        raise _of_another(prefix, number + 1, where)


def last(run: Run, prefix: str) -> int:
    """Number of the newest batch that was ever appended since the stream was made, dropped or not; 0 before the first."""
    key = key_of(prefix)
    if not run([("EXISTS", key)])[0]:
        return 0
    (about,) = run([("XINFO STREAM", key)])
    if not isinstance(about, dict):  # as the server lists it, where the client does not know the command
        about = dict(zip(about[::2], about[1::2], strict=True))
    last_id: Any = about.get("last-generated-id", about.get(b"last-generated-id", b"0-0"))
    return int(last_id.partition(b"-")[0])


def _append_command(prefix: str, fold: Fold, by: bytes) -> tuple[Any, ...]:
    """Redis refuses to append a batch twice."""
    entry = (
        "spans",
        msgspec.json.encode(fold.spans),
        "n",
        fold.n_records,
        "rounds",
        fold.rounds,
        "served",
        fold.served,
        "max_measured",
        fold.max_measured,
        "by",
        by,
    )
    return ("XADD", key_of(prefix), "MAXLEN", "~", MAX_ENTRIES, f"{fold.number}-0", *entry)


def read(run: Run, prefix: str, first: str, last: str, n_max: int) -> list[Fold]:
    """The batches from one id to another, at most `n_max`."""
    (entries,) = run([("XRANGE", key_of(prefix), first, last, "COUNT", n_max)])
    return [_fold(entry_id, fields) for entry_id, fields in entries]


def _of_another(prefix: str, number: int, where: str) -> ConfigError:
    return ConfigError(
        f"{where}: batch {number} of {key_of(prefix)} is another worker's: two of them write under the prefix "
        f"{prefix!r}; end one of them, or give it another prefix and group"
    )


def _fields(found: Any) -> dict[bytes, bytes]:
    if isinstance(found, dict):
        return found
    # as the server lists them, where the client does not know the command
    return dict(zip(found[::2], found[1::2], strict=True))


def _fold(entry_id: bytes, found: Any) -> Fold:
    fields = _fields(found)
    try:
        spans = _SPANS.decode(fields[b"spans"])
        rounds, served, most = (
            fields[b"rounds"].decode("ascii"),
            fields[b"served"],
            int(fields[b"max_measured"]),
        )
        return Fold(int(entry_id.partition(b"-")[0]), spans, int(fields[b"n"]), rounds, served, most)
    except (KeyError, ValueError, msgspec.DecodeError):
        # none of our making: its number follows none, so nothing is repeated from here on
        return Fold(0, (), 0)
