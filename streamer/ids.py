"""Outside ids <-> rows of the tables. Rows are given in the order of first sight, so a replay gives the same ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CHUNK = 16_384  # ids joined at once: no longer than that is the interpreter held


class Frozen(NamedTuple):
    """Ids as `IdTable.freeze` gives them, checked."""

    text: str  # all ids, one after the other
    ends: NDArray[np.int64]  # (n_ids,) where each ends in it, characters
    lengths: NDArray[np.int32]  # (n_ids,)
    rows: NDArray[np.int32]  # (n_ids,)
    released: NDArray[np.int32]  # the next one last
    n_rows: int


def check_frozen(max_rows: int, arrays: Mapping[str, NDArray[Any]]) -> Frozen:
    """The ids that these arrays hold.

    Raises:
        ValueError: the arrays contradict each other, or do not fit into `max_rows`.
    """
    lengths, rows, released = arrays["lengths"], arrays["rows"], arrays["released"]
    n_rows, text = int(arrays["n_rows"][0]), arrays["text"].tobytes().decode()
    if (
        not 0 <= n_rows <= max_rows
        or lengths.min(initial=1) < 0
        or int(lengths.sum(dtype=np.int64)) != len(text)
    ):
        raise ValueError(
            f"ids: expected at most {max_rows} rows and a text as long as its ids, got {n_rows} rows"
        )
    everyone = np.concatenate([rows, released])
    if lengths.size != rows.size or not np.array_equal(np.sort(everyone), np.arange(n_rows)):
        raise ValueError(f"ids: expected each of {n_rows} rows once, owned or released")
    return Frozen(text, np.cumsum(lengths, dtype=np.int64), lengths, rows, released, n_rows)


class IdTable:
    """One kind of id. Never holds more than `max_rows`; a released row goes to the next newcomer.

    Args:
        max_rows: Rows of the table that these ids name.

    Attributes:
        n_refused: Times that a newcomer found no room since this table was made; not part of the state.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._row_of: dict[str, int] = {}
        self._id_of: list[str | None] = []
        self._released: list[int] = []
        self.is_full = False
        self.n_refused = 0

    def row(self, outside_id: str) -> int:
        """Row of an id, -1 when it has none. Never adds one."""
        return self._row_of.get(outside_id, -1)

    def admit(self, outside_id: str, n_most: int | None = None) -> int:
        """Row of an id, a new one if need be; -1 when the table is full.

        Args:
            n_most: A newcomer gets only one of the first so many rows, and leaves the others free. None: any.
        """
        row = self._row_of.get(outside_id, -1)
        if row >= 0:
            return row
        if self._released:
            row = self._released.pop()
            self._id_of[row] = outside_id
        elif len(self._id_of) < (self._max_rows if n_most is None else n_most):
            row = len(self._id_of)
            self._id_of.append(outside_id)
        else:
            self.n_refused += 1
            return -1
        self._row_of[outside_id] = row
        self.is_full = not self._released and len(self._id_of) == self._max_rows
        return row

    def admit_many(self, outside_ids: Sequence[str]) -> list[int]:
        """Rows of these ids, as `admit` gives them one after the other."""
        rows = list(map(self._row_of.get, outside_ids, repeat(-1)))
        if -1 in rows:
            rows = [self.admit(one) if row < 0 else row for one, row in zip(outside_ids, rows, strict=True)]
        return rows

    def n_unknown(self, outside_ids: Sequence[str]) -> int:
        """How many of these have no row; an id that comes twice counts twice."""
        return list(map(self._row_of.get, outside_ids, repeat(-1))).count(-1)

    def release(self, outside_id: str) -> int:
        """Forget an id; its row, whose tables the caller has cleared, may be given again. -1 when it has none."""
        row = self._row_of.pop(outside_id, -1)
        if row >= 0:
            self._id_of[row] = None
            self._released.append(row)
            self.is_full = False
        return row

    def id(self, row: int) -> str | None:
        """The id that owns a row, None when nobody does."""
        return self._id_of[row] if 0 <= row < len(self._id_of) else None

    @property
    def next_row(self) -> int:
        """The row that the next newcomer gets; -1 when the table is full."""
        if self._released:
            return self._released[-1]
        return len(self._id_of) if len(self._id_of) < self._max_rows else -1

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def n_free(self) -> int:
        """How many newcomers find room."""
        return self._max_rows - len(self._row_of)

    @property
    def n_released(self) -> int:
        """Rows that will be given again."""
        return len(self._released)

    @property
    def n_rows(self) -> int:
        """Rows given so far, released ones included: how much of the tables is in use."""
        return len(self._id_of)

    @property
    def released(self) -> tuple[int, ...]:
        """Rows that will be given again, the next one last."""
        return tuple(self._released)

    def items(self) -> Iterator[tuple[str, int]]:
        """(id, row) of all, in the order of admission."""
        return iter(self._row_of.items())

    def freeze(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """The ids as they are now; what comes back may be called later, in another thread, and gives them as arrays.

        text: (n_bytes,) uint8, all ids one after the other in UTF-8, in the order of admission.
        lengths: (n_ids,) int32, characters of each. rows: (n_ids,) int32. released: (n,) int32, the next one last.
        n_rows: (1,) int64.
        """
        row_of, released, n_rows = dict(self._row_of), list(self._released), self.n_rows

        def arrays() -> dict[str, NDArray[Any]]:
            names, parts, lengths = iter(row_of), [], np.empty(len(row_of), np.int32)
            for begin in range(0, len(row_of), _CHUNK):
                some = list(islice(names, _CHUNK))
                parts.append("".join(some).encode())
                lengths[begin : begin + len(some)] = list(map(len, some))
            return {
                "text": np.frombuffer(b"".join(parts), np.uint8),
                "lengths": lengths,
                "rows": np.fromiter(row_of.values(), np.int32, len(row_of)),
                "released": np.array(released, np.int32),
                "n_rows": np.array([n_rows], np.int64),
            }

        return arrays

    @classmethod
    def thaw(cls, max_rows: int, arrays: Mapping[str, NDArray[Any]]) -> "IdTable":
        """The table whose `freeze` this is.

        Raises:
            ValueError: the arrays contradict each other, or do not fit into `max_rows`.
        """
        text, ends, lengths, rows, released, n_rows = check_frozen(max_rows, arrays)
        ids = cls(max_rows)
        bounds = zip((ends - lengths).tolist(), ends.tolist(), rows.tolist(), strict=True)
        ids._row_of = {text[begin:end]: row for begin, end, row in bounds}
        if len(ids._row_of) != rows.size:
            raise ValueError("ids: expected different ones, got one twice")
        ids._id_of = [None] * n_rows
        for outside_id, row in ids._row_of.items():
            ids._id_of[row] = outside_id
        ids._released = released.tolist()
        ids.is_full = not ids._released and n_rows == max_rows
        return ids
