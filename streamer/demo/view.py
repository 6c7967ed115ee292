"""What the demo shows while it runs: a live page on a terminal, else a line now and then."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from streamer.demo.worker import Snapshot
from streamer.drawing import plain

FRAME_S = 0.25
LINE_S = 2.0
RATE_WINDOW_S = 5.0
# Metric label of a list -> what people call it.
LIST_NAMES = {
    "streamer": "streamer, fresh",
    "served": "streamer, served",
    "trending": "trending",
    "popularity": "popularity",
}


@dataclass(frozen=True)
class WatchedUser:
    """One user's last items and present list, ready to show."""

    user_id: str
    n_events: int
    last_items: Sequence[str] = ()
    listed: Sequence[tuple[str, str]] = ()  # (title, path)


@dataclass
class Progress:
    """All that the view shows; the demo fills it in."""

    title: str
    n_events: int
    stage: str = ""
    n_done: int = 0
    lag: int = 0
    events_a_second: float = math.nan
    snapshot: Snapshot = field(default_factory=Snapshot)
    user: WatchedUser | None = None


class Speed:
    """Events a second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def update(self, now_s: float, n_done: int) -> float:
        """Take note of how many are done; NaN until there is a span to measure over."""
        self._seen.append((now_s, n_done))
        while self._seen[0][0] < now_s - RATE_WINDOW_S and len(self._seen) > 2:
            self._seen.pop(0)
        then_s, n_then = self._seen[0]
        return (n_done - n_then) / (now_s - then_s) if now_s > then_s else math.nan


def number(value: float, form: str) -> str:
    """`value` in the given format, or a dash where there is none yet."""
    return "-" if math.isnan(value) else format(value, form)


def line(progress: Progress) -> str:
    """Everything on one line, for logs and pipes."""
    snapshot = progress.snapshot
    ratios = " ".join(
        f"{name.replace(', ', '-')}={snapshot.hit_ratios[label]:.3f}"
        for label, name in LIST_NAMES.items()
        if label in snapshot.hit_ratios and not math.isnan(snapshot.hit_ratios[label])
    )
    so_far = f"{progress.stage}: {progress.n_done:,} of {progress.n_events:,} events"
    if not progress.n_done:
        return so_far
    return (
        f"{so_far}, {number(progress.events_a_second, ',.0f')}/s, lag {progress.lag:,}, "
        f"event to list p50 {number(snapshot.p50_ms, '.1f')} ms p99 {number(snapshot.p99_ms, '.1f')} ms"
        + (f", hit ratio@10 {ratios}" if ratios else "")
    )


def page(progress: Progress) -> RenderableType:
    """Everything as a page of the terminal."""
    bar = ProgressBar(total=max(1, progress.n_events), completed=progress.n_done)
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    head.add_row(bar, f"{progress.n_done:,} of {progress.n_events:,} events")
    columns = Table.grid(padding=(0, 1), expand=True)
    columns.add_column(ratio=2)
    columns.add_column(ratio=3)
    columns.add_row(Group(_flow(progress), _hit_ratios(progress.snapshot)), _user(progress.user))
    body = Group(head, columns)
    return Panel(body, title=f"streamer · {progress.title}", subtitle=progress.stage, border_style="cyan")


def _flow(progress: Progress) -> RenderableType:
    snapshot = progress.snapshot
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_row("events a second", number(progress.events_a_second, ",.0f"))
    table.add_row("waiting on the log", f"{progress.lag:,}")
    table.add_row("event to list, p50", f"{number(snapshot.p50_ms, '.1f')} ms")
    table.add_row("event to list, p99", f"{number(snapshot.p99_ms, '.1f')} ms")
    if snapshot.n_dead_letters:
        table.add_row("dead letters", f"{snapshot.n_dead_letters:,}", style="red")
    return Panel(table, title="flow", title_align="left", border_style="dim")


def _hit_ratios(snapshot: Snapshot) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for label, name in LIST_NAMES.items():
        style = "bold green" if label == "streamer" else ""
        table.add_row(name, number(snapshot.hit_ratios.get(label, math.nan), ".3f"), style=style)
    return Panel(table, title="hit ratio@10 so far", title_align="left", border_style="dim")


def _user(user: WatchedUser | None) -> RenderableType:
    if user is None:
        return Panel("", title="a user", title_align="left", border_style="dim")
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(justify="right", style="dim", width=2)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(style="dim", no_wrap=True, justify="right")
    for rank, (title, path) in enumerate(user.listed, start=1):
        table.add_row(str(rank), plain(title), plain(path))
    heading = plain(f"user {user.user_id}, {user.n_events:,} events: the list Redis holds")
    last = plain("took last: " + " · ".join(user.last_items), style="yellow")
    last.no_wrap, last.overflow = True, "ellipsis"
    return Panel(Group(last, table), title=heading, title_align="left", border_style="dim")


class View:
    """Shows a `Progress` that changes. Use as a context manager.

    Args:
        progress: Read at every frame.
        console: Where to; the page needs a terminal.
    """

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress = progress
        self._console = console
        # No refresh thread: the demo's own loop draws, so that a frame is never drawn from half a change.
        self._live = (
            Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        )
        self._due_s = 0.0
        self._stage = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            if kind is None:
                self._live.update(page(self._progress), refresh=True)
            self._live.stop()

    def draw(self) -> None:
        """Show what there is now, if the last frame is old enough."""
        now_s = time.monotonic()
        stage_changed = self._stage != self._progress.stage
        if now_s < self._due_s and not stage_changed:
            return
        self._stage = self._progress.stage
        self._due_s = now_s + (FRAME_S if self._live else LINE_S)
        if self._live:
            self._live.update(page(self._progress), refresh=True)
        else:
            self._print()

    def _print(self) -> None:
        self._console.print(line(self._progress), markup=False, highlight=False, soft_wrap=True)
