"""Whether a `streamer ...` command line could be run: its subcommand, flags and values exist."""

import shlex
from collections.abc import Iterator

import typer

# typer brings its own click, or used to depend on it: its public exception leads to the base of either.
_Refused = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


class RefusedError(Exception):
    """The CLI would not take the line."""


def command_lines(text: str) -> Iterator[str]:
    """Every line of a shell block that calls streamer."""
    in_block = False
    for line in text.splitlines():
        if line.startswith("```"):
            in_block = line.removeprefix("```") == "sh"
        elif in_block and line.startswith("streamer "):
            yield line


def parse(line: str) -> None:
    """Parse a command line as the CLI would, without running it.

    Raises:
        RefusedError: The CLI would not take it.
    """
    from streamer.cli import app

    program, name, *arguments = shlex.split(line)
    assert program == "streamer"
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if name not in known:
        raise RefusedError(f"{line}: no such command; there are {', '.join(known)}")
    try:
        known[name].make_context(name, arguments)
    except _Refused as exc:
        raise RefusedError(f"{line}: {exc.format_message()}") from exc  # type: ignore[attr-defined]
