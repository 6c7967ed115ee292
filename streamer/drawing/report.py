"""A report as tables: what `replay` and the demo print at the end."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

SLICE_NAMES = {
    "all": "all",
    "second_half": "second half",
    "cold_users": "cold users",
    "cold_items": "cold items",
    "new_sessions": "new sessions",
    "first_events": "first events",
}
LISTS = ("streamer", "served", "mixture", "trending", "popularity")
BEYOND_NAMES = {
    "coverage": "share of all items that were listed",
    "novelty": "novelty, bits",
    "intra_list_similarity": "similarity within a list",
    "cold_share": "share of lists with a cold item",
}

_HALF = 0.6  # of all events that count, at most: more is no half

Report = dict[str, Any]


def show(console: Console, report: Report) -> None:
    """Print the report as tables: lists by slice and month, paths, what lists were like."""
    console.print()
    console.print(_slices(report))
    for table in (_months(report), _paths(report), _beyond(report)):
        if table is not None:
            console.print(table)


def _table(title: str, first_column: str) -> Table:
    # Tight enough for the widest one to fit into 80 columns.
    style: dict[str, Any] = {"title_justify": "left", "title_style": "bold", "box": box.SIMPLE_HEAD}
    table = Table(title=title, padding=0, pad_edge=False, **style)
    table.add_column(first_column, no_wrap=True)
    return table


def _slices(report: Report) -> RenderableType:
    lists: Mapping[str, Any] = {
        **report["lists"],
        **({"served": report["served"]} if "served" in report else {}),
    }
    table = _table(f"hit ratio@{report.get('k', 10)} by slice (cold: fewer than 5 events)", "slice")
    table.add_column("events", justify="right")
    shown = [name for name in LISTS if name in lists]
    for name in shown:
        table.add_column(name, justify="right", style="green" if name == "streamer" else "")
    table.add_column("NDCG", justify="right")
    table.add_column("MRR", justify="right")
    own = lists["streamer"]
    for key, title in SLICE_NAMES.items():
        if key not in own:
            continue
        if key == "second_half" and own[key]["n"] > _HALF * own["all"]["n"]:
            continue  # it is counted by blocks: of a short stream it would be the whole of it
        table.add_row(
            title,
            f"{own[key]['n']:,}",
            *(_ratio(lists[name].get(key)) for name in shown),
            _ratio(own[key], "ndcg"),
            _ratio(own[key], "mrr"),
        )
    return table


def _ratio(metrics: Mapping[str, Any] | None, name: str = "hit_ratio") -> str:
    value = metrics.get(name) if metrics else None
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _months(report: Report) -> RenderableType | None:
    months: Mapping[str, Mapping[str, Any]] = report.get("months") or {}
    if not months:
        return None
    table = _table("by month", "month")
    table.add_column("events", justify="right")
    by_list = [
        name for name in LISTS if any(isinstance(month.get(name), Mapping) for month in months.values())
    ]
    for name in by_list or ["hit ratio"]:
        table.add_column(name, justify="right")
    for name, month in months.items():
        counted = next((month[key]["n"] for key in by_list if "n" in month.get(key, {})), month.get("n", 0))
        ratios = [_ratio(month.get(key)) for key in by_list] or [_ratio(month)]
        table.add_row(name, f"{counted:,}", *ratios)
    return table


def _paths(report: Report) -> RenderableType | None:
    paths: Mapping[str, Mapping[str, Any]] = report.get("paths") or {}
    names: Sequence[str] = list(dict.fromkeys(name for path in paths.values() for name in path))
    if not names:
        return None
    table = _table("by path", "path")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for path, figures in paths.items():
        table.add_row(path, *(_figure(figures.get(name)) for name in names))
    return table


def _beyond(report: Report) -> RenderableType | None:
    figures: Mapping[str, Any] = report.get("beyond") or {}
    if not figures.get("n"):
        return None
    table = _table(f"what {figures['n']:,} sampled lists were like", "beyond accuracy")
    table.add_column("", justify="right")
    for name, title in BEYOND_NAMES.items():
        table.add_row(title, _figure(figures.get(name)))
    return table


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else "-" if value is None else str(value)
