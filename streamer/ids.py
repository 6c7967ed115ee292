"""Outside ids <-> rows of the tables. Rows are given in the order of first sight, so a replay gives the same ones."""

from collections.abc import Iterator


class IdTable:
    """One kind of id. Never holds more than `max_rows`; a released row goes to the next newcomer.

    Args:
        max_rows: Rows of the table that these ids name.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._row_of: dict[str, int] = {}
        self._id_of: list[str | None] = []
        self._released: list[int] = []
        self.is_full = False

    def row(self, outside_id: str) -> int:
        """Row of an id, -1 when it has none. Never adds one."""
        return self._row_of.get(outside_id, -1)

    def admit(self, outside_id: str) -> int:
        """Row of an id, a new one if need be; -1 when the table is full."""
        row = self._row_of.get(outside_id, -1)
        if row >= 0:
            return row
        if self._released:
            row = self._released.pop()
            self._id_of[row] = outside_id
        elif len(self._id_of) < self._max_rows:
            row = len(self._id_of)
            self._id_of.append(outside_id)
        else:
            return -1
        self._row_of[outside_id] = row
        self.is_full = not self._released and len(self._id_of) == self._max_rows
        return row

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

    def __len__(self) -> int:
        return len(self._row_of)

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
