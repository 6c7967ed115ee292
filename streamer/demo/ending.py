"""What came of it beside the figures: three users and their lists, how soon lists came, how to look for oneself."""

import shlex
import shutil
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from streamer.client import RecommendationList
from streamer.drawing import plain
from streamer.drawing.report import Report
from streamer.log import printable

N_LISTED = 10


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


def users(console: Console, report: Report) -> None:
    """Print the users of a report, with their last items and their lists."""
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
        " Served is the list that Redis held when an event was learned: where a user's events come faster than his list is made, "
        "as the lines of an invoice do, it does not know the ones just before."
    )
    console.print()
    console.print(plain(told))


def commands(
    console: Console,
    *,
    kafka: str,
    redis_port: int,
    redis_url: str,
    metrics: str,
    log: Path,
    user_id: str,
    keep: bool,
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
        f"{program} dlq list --kafka {kafka}",
        f"curl {metrics}/metrics",
        f"tail -f {shlex.quote(str(log))}",
    ):
        console.print(f"  {printable(text)}", markup=False, highlight=False, soft_wrap=True)


def _program() -> str:
    """How to call the CLI from here: by its name where that is this one, else by its path."""
    here = Path(sys.executable).with_name("streamer")
    found = shutil.which("streamer")
    is_this_one = found is not None and Path(found).absolute() == here.absolute()
    return "streamer" if is_this_one or not here.exists() else str(here)


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
