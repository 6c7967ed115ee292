"""What the commands draw. Ids and texts come from messages: nothing of them reaches the terminal raw."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streamer.config import Loaded, Settings
from streamer.drawing import ago, plain, wide_console
from streamer.drawing.report import show as show_report_on
from streamer.errors import ConfigError, DataError
from streamer.events import ANONYMOUS, UNREADABLE, id_problem, user_id_problem
from streamer.log import printable
from streamer.ports import Lists, VectorEntry


class _Item(msgspec.Struct):
    id: str
    score: float
    path: str


class _Published(msgspec.Struct):
    """What is shown of a `recommendations.v1`."""

    items: list[_Item]
    generated_at: int
    event_time: int | None = None
    model: str = ""
    position: dict[str, int] = {}


def show_settings(loaded: Loaded) -> None:
    """All settings with their values, where each came from, and what it means; secrets are masked."""
    console = wide_console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    for heading in ("value", "from", "meaning"):
        table.add_column(heading, overflow="fold")
    for name, value in loaded.settings.public().items():
        shown = "" if value is None else json.dumps(value) if isinstance(value, dict | bool) else str(value)
        meaning = Settings.model_fields[name].description or ""
        table.add_row(*map(plain, (name, shown, loaded.origins[name], meaning)))
    console.print(table)


def show_list(lists: Lists, user_id: str | None, *, raw: bool) -> None:
    """The list of a user, or the anonymous one where he has none (and for None).

    Raises:
        ConfigError: no user can have this id.
        DataError: there is no list, or it cannot be read.
        Unavailable: the store is away.
    """
    problem = user_id_problem(user_id) if user_id is not None else None
    if problem is not None:
        raise ConfigError(f"expected a user id, got {problem}")
    owner = user_id if user_id is not None else ANONYMOUS
    value = lists.read(owner)
    if value is None and user_id is not None:
        typer.echo(f"no list for {printable(user_id)}; apps get the anonymous one:", err=True)
        value = lists.read(ANONYMOUS)
    if value is None:
        raise DataError(
            "there is no list, not even the anonymous one: has a worker caught up on this Redis and prefix?"
        )
    if raw:
        typer.echo(printable(value.decode("utf-8", "backslashreplace")))
        return
    try:
        published = msgspec.json.decode(value, type=_Published)
    except UNREADABLE as exc:
        raise DataError(f"the list cannot be read as recommendations.v1: {exc}; --raw shows it") from exc
    _print_list(published, lists.retired([item.id for item in published.items]))


def _print_list(published: _Published, retired: set[str]) -> None:
    console = Console()
    now_ms = time.time_ns() // 1_000_000
    facts = [f"made {ago(now_ms - published.generated_at)} ago", f"model {published.model}"]
    if published.event_time is not None:
        facts.append(
            f"last event {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(published.event_time / 1000))}"
        )
    console.print(plain("; ".join(facts)))
    console.print(plain("log position " + ", ".join(f"{tp}: {n}" for tp, n in published.position.items())))
    if not published.items:
        console.print(
            plain(
                "the list is empty: nothing that may be listed was taken yet, or its user took all of it; apps get the "
                "anonymous one"
            )
        )
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("item", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("path")
    table.add_column("")
    for place, item in enumerate(published.items, start=1):
        note = "retired: readers drop it" if item.id in retired else ""
        table.add_row(*map(plain, (str(place), item.id, f"{item.score:.4g}", item.path, note)))
    console.print(table)


def show_item(lists: Lists, item_id: str) -> None:
    """Whether readers drop this item.

    Raises:
        ConfigError: no item can have this id.
        Unavailable: the store is away.
    """
    problem = id_problem(item_id)
    if problem is not None:
        raise ConfigError(f"expected an item id, got {problem}")
    is_retired = bool(lists.retired([item_id]))
    state = "retired: readers drop it from lists" if is_retired else "not marked as retired, if there is one"
    typer.echo(f"item {printable(item_id)}: {state}")


def show_vector(owner: str, entry: VectorEntry | None) -> None:
    """Which version of the weights made the vector of this user or item, where there is one.

    Args:
        owner: "user" or "item".
    """
    if entry is not None:
        width = len(entry.vector) // 2  # float16
        typer.echo(f"vector of {owner} {printable(entry.id)}: version {entry.version}, {width} numbers")


def show_report(report: Mapping[str, Any]) -> None:
    """Lists by slices, and the rest of a report, as tables."""
    show_report_on(Console(), dict(report))


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report as JSON.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as exc:
        raise DataError(f"report {path}: cannot be written: {exc.strerror}") from exc


@contextmanager
def replay_progress() -> Iterator[tuple[Callable[[int, int], None], Callable[[int, int], None]]]:
    """Bars on a terminal, nothing elsewhere: one for events, one for texts; call each with (done, in all)."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        texts = bar.add_task("texts", total=None, visible=False)
        events = bar.add_task("replay", total=None)
        yield (
            lambda n_done, n_all: bar.update(events, completed=n_done, total=n_all),
            lambda n_done, n_all: bar.update(texts, completed=n_done, total=n_all, visible=n_done < n_all),
        )
