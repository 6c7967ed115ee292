"""What came of it: tables by slice, month and path, three users and their lists, how to look for oneself."""

import math
import shlex
import shutil
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table

from streamer.client import RecommendationList
from streamer.demo.view import plain
from streamer.log import printable

N_LISTED = 10
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

Report = dict[str, Any]


def three_users(
    n_events_of: Counter[str],
    last_items_of: Mapping[str, deque[str]],
    titles: Mapping[str, str],
    read: Callable[[str], RecommendationList],
) -> list[dict[str, Any]]:
    """The most active user, one in the middle and one with fewest events; last items, and the list in Redis.

    Args:
        n_events_of: User -> events sent.
        last_items_of: User -> last items, oldest first.
        titles: Item -> title; items without one are shown by their id.
        read: Reads a list, as an app does.
    """
    ranked = sorted(n_events_of, key=lambda user_id: (-n_events_of[user_id], user_id))
    if not ranked:
        return []
    chosen = dict.fromkeys((ranked[0], ranked[len(ranked) // 2], ranked[-1]))
    users = []
    for user_id in chosen:
        found = read(user_id)
        users.append(
            {
                "user_id": user_id,
                "n_events": n_events_of[user_id],
                "last_items": [
                    {"id": item_id, "title": titles.get(item_id, "")}
                    for item_id in reversed(last_items_of[user_id])
                ],
                "list": [
                    {"id": item.id, "title": titles.get(item.id, ""), "score": item.score, "path": item.path}
                    for item in found.items
                ],
                "fallback": found.fallback,
            }
        )
    return users


def show(console: Console, report: Report) -> None:
    """Print the report as tables."""
    console.print()
    console.print(_slices(report))
    for table in (_months(report), _paths(report), _beyond(report)):
        if table is not None:
            console.print(table)
    for user in report.get("users", []):
        console.print(_user(user))


def timing(console: Console, report: Report, rate: float | None) -> None:
    """Print how soon a list followed its event, and how to read that.

    Args:
        rate: Interactions a second that were asked for; None where they came as fast as they were read.
    """
    p50_ms, p99_ms = (report["timing"][f"event_to_list_{q}_ms"] for q in ("p50", "p99"))
    if p50_ms is None or p99_ms is None:
        return
    told = f"event to list: p50 {p50_ms:,.1f} ms, p99 {p99_ms:,.1f} ms."
    if rate is None:
        told += " Events came as fast as they could be read, so most of that is time in a queue; see --rate."
    told += (
        " Served is the list that Redis held when an event came: where a user's events come faster than his list is made, as the "
        "lines of an invoice do, it does not know the ones just before."
    )
    console.print()
    console.print(plain(told))


def commands(
    console: Console, *, kafka: str, redis_port: int, redis_url: str, metrics: str, user_id: str, keep: bool
) -> None:
    """Print how to look for oneself, and until when that works."""
    program = shlex.quote(_program())
    console.print()
    if keep:
        console.print("All of it goes on running until Ctrl-C. Look for yourself:", style="bold")
    else:
        console.print(
            "To look for yourself start it with --keep: then these work until Ctrl-C (the ports change).",
            style="bold",
        )
    for text in (
        f"redis-cli -p {redis_port} GET {shlex.quote(f'streamer:list:{user_id}')}",
        f"{program} inspect --redis {redis_url} -- {shlex.quote(user_id)}",
        f"{program} produce --kafka {kafka} interactions events.jsonl",
        f"curl {metrics}/metrics",
    ):
        console.print(f"  {printable(text)}", markup=False, highlight=False, soft_wrap=True)


def _program() -> str:
    """How to call the CLI from here: by its name where that is this one, else by its path."""
    here = Path(sys.executable).with_name("streamer")
    found = shutil.which("streamer")
    is_this_one = found is not None and Path(found).absolute() == here.absolute()
    return "streamer" if is_this_one or not here.exists() else str(here)


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
        if key in own:
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


def _user(user: Mapping[str, Any]) -> RenderableType:
    title = f"user {user['user_id']}, {user['n_events']:,} events"
    last = " · ".join(item["title"] or item["id"] for item in user["last_items"])
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim")
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(style="dim")
    for rank, item in enumerate(user["list"][:N_LISTED], start=1):
        table.add_row(str(rank), plain(item["title"] or item["id"]), plain(item["path"]))
    if not user["list"]:
        table.add_row("", "no list", "")
    head = plain(f"{title}{' (list for users nobody knows)' if user['fallback'] else ''}", style="bold")
    return Group("", head, plain(f"took last: {last}", style="yellow"), table)
