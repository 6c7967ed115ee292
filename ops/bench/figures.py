"""What a bench gives back, and how it is shown: one row a figure, with the spread over the runs."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Row:
    """One figure of one bench, measured several times.

    Args:
        bench: Name of the bench.
        case: What was varied or looked at.
        unit: Of `values`.
        values: One a run; none where it could not be measured, and `note` says why.
        wall_s: Wall seconds of each run, where the run is what was timed.
        cpu_s: Process -> CPU seconds of each run.
        note: What else there is to know.
    """

    bench: str
    case: str
    unit: str
    values: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    cpu_s: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    def add(
        self, value: float, wall_s: float | None = None, cpu_s: Mapping[str, float] | None = None
    ) -> None:
        """One more run."""
        self.values.append(value)
        if wall_s is not None:
            self.wall_s.append(wall_s)
        for process, seconds in (cpu_s or {}).items():
            self.cpu_s.setdefault(process, []).append(seconds)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return vars(self)


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table with its columns aligned."""
    table = [list(header), *map(list, lines)]
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    shown = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in table]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


def speed_table(rows: Iterable[Row]) -> str:
    """Rows with minimum, median and maximum; seconds are medians."""
    header = ("bench", "case", "unit", "min", "median", "max", "wall s", "CPU s", "")
    return markdown(header, (_speed_line(row) for row in rows))


def _speed_line(row: Row) -> list[str]:
    spread = [_number(of(row.values)) if row.values else "-" for of in (min, statistics.median, max)]
    wall = f"{statistics.median(row.wall_s):.2f}" if row.wall_s else ""
    cpu = ", ".join(f"{process} {statistics.median(seconds):.2f}" for process, seconds in row.cpu_s.items())
    return [row.bench, row.case, row.unit, *spread, wall, cpu, row.note]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"
