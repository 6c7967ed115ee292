"""Text, ages and tables for people at a terminal."""

from rich.console import Console
from rich.text import Text

from streamer.log import printable

_FILE_WIDTH = 160  # columns where there is no terminal to ask


def wide_console(file_width: int = _FILE_WIDTH) -> Console:
    """A console for a table; so many columns wide where there is no terminal to ask."""
    console = Console()
    if not console.is_terminal:
        console.width = file_width
    return console


def plain(text: str, style: str = "") -> Text:
    """Ids and titles are data: neither markup nor escape sequences in them do anything."""
    return Text(printable(text), style=style)


def ago(age_ms: int) -> str:
    """An age for people: "3.5 min"."""
    age_s = max(0, age_ms) / 1000
    for unit, size_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if age_s >= size_s:
            return f"{age_s / size_s:.1f} {unit}"
    return f"{age_s:.1f} s"
