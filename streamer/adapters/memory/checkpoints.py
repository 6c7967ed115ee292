"""Checkpoints and the log of folds in memory."""

from collections.abc import Iterable, Iterator

from streamer.errors import CheckpointRefused, ConfigError, Unavailable
from streamer.ports import Fold


class MemoryFolds:
    """`ports.Folds` in a dict. Set `down = True` to make every access raise `Unavailable`."""

    def __init__(self) -> None:
        self.down = False
        self._folds: dict[int, Fold] = {}
        self._by: dict[int, object] = {}
        self._last = 0

    def append(self, fold: Fold, by: object = None) -> bool:
        """Put a batch at the end; the same again, by the same, does nothing."""
        self._check()
        follows = fold.number - 1 in self._folds or (self._last > 0 and not self._folds)
        is_new = fold.number > self._last
        if not is_new and (self._folds.get(fold.number), self._by.get(fold.number)) != (fold, by):
            raise ConfigError(f"batch {fold.number} was folded by another worker")
        self._folds[fold.number], self._by[fold.number] = fold, by
        self._last = max(self._last, fold.number)
        return follows

    def read(self, after: int, n_max: int) -> list[Fold]:
        """The next batches behind this number, in order."""
        self._check()
        return [self._folds[number] for number in sorted(self._folds) if number > after][:n_max]

    def last(self) -> int:
        """Number of the newest batch that was ever appended since the last `clear`."""
        self._check()
        return self._last

    def trim(self, until: int) -> None:
        """Drop the batches up to and with this number."""
        self._check()
        self._folds = {number: fold for number, fold in self._folds.items() if number > until}
        self._by = {number: self._by[number] for number in self._folds}

    def clear(self) -> None:
        """Drop all."""
        self._check()
        self._folds, self._by, self._last = {}, {}, 0

    def close(self) -> None:
        """Nothing to leave."""

    def _check(self) -> None:
        if self.down:
            raise Unavailable("the log of folds in memory is down")


class MemoryCheckpoints:
    """`ports.Checkpoints` in a dict. Set `down = True` to make every access raise `Unavailable`."""

    where = "memory"

    def __init__(self) -> None:
        self.down = False
        self.held: dict[str, bytes] = {}
        self._pointer: bytes | None = None

    def check_size(self, n_bytes: int) -> None:
        """None is too large."""

    def write(self, name: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Store a checkpoint."""
        self._check()
        self.held[name] = b"".join(pieces)

    def read(self, name: str) -> Iterator[bytes]:
        """The bytes of a checkpoint."""
        self._check()
        if name not in self.held:
            raise CheckpointRefused("it is gone")
        yield self.held[name]

    def delete(self, name: str) -> None:
        """Remove a checkpoint."""
        self._check()
        self.held.pop(name, None)

    def names(self) -> set[str]:
        """All that there are."""
        self._check()
        return set(self.held)

    def write_pointer(self, pointer: bytes) -> None:
        """Overwrite the pointer."""
        self._check()
        self._pointer = pointer

    def read_pointer(self) -> bytes | None:
        """The pointer, None where none was written."""
        self._check()
        return self._pointer

    def close(self) -> None:
        """Nothing to leave."""

    def _check(self) -> None:
        if self.down:
            raise Unavailable("checkpoints in memory are down")
