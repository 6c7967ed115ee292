"""The program: how a command's settings and errors come in and go out, whichever it is.

Everything heavy is imported where it is used, so that `streamer --help` is instant.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from streamer import __version__
from streamer.errors import EXIT_INTERRUPTED, ConfigError, StreamerError

if TYPE_CHECKING:
    from streamer.config import Loaded


class _Group(TyperGroup):
    """Turns what goes wrong into one sentence on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except StreamerError as exc:
            if ctx.params.get("debug"):
                raise
            from streamer.log import printable  # noqa: PLC0415

            for line in str(exc).splitlines():
                typer.echo(f"streamer: {printable(line)}", err=True)
            raise typer.Exit(exc.exit_code) from exc
        except MemoryError as exc:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"streamer: out of memory: {exc}; lower max_users, max_items or max_taken", err=True)
            raise typer.Exit(ConfigError.exit_code) from exc
        except KeyboardInterrupt as exc:
            typer.echo("streamer: interrupted", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from exc


class SettingsCommand(TyperCommand):
    """A command whose options are settings: their help is the description of the setting, read when shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """With the description, environment variable and default of each setting."""
        from streamer.config import ENV_PREFIX, Settings  # noqa: PLC0415

        options: list[Any] = [param for param in self.params if param.name in Settings.model_fields]
        for option in options:
            field = Settings.model_fields[option.name]
            default = "" if field.default is None else f"; default {field.default}"
            option.help = f"{field.description} [env {ENV_PREFIX}{option.name.upper()}{default}]"
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help comes in a third of the time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings: flags, then STREAMER_* environment variables, then the TOML file, then defaults. "
    "`streamer check` prints them all.",
)


def _version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"streamer {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A streaming recommender: events on Kafka in, fresh lists for every user in Redis out."""


def main() -> None:
    """Entry point of the command."""
    app(prog_name="streamer")


def load_settings(config: Path | None, params: Mapping[str, Any], assignments: list[str] | None) -> "Loaded":
    """Settings from all their sources.

    Args:
        config: The TOML file, where one was named.
        params: All parameters of the command: those that have the name of a setting are flags, and None was not given.
        assignments: NAME=VALUE, of --set.

    Raises:
        ConfigError: as `config.load`.
    """
    from streamer.config import Settings, load, parse_assignments  # noqa: PLC0415

    fields = Settings.model_fields
    flags = {name: value for name, value in params.items() if name in fields and value is not None}
    return load({**parse_assignments(assignments or ()), **flags}, config)
