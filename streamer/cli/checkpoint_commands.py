"""The commands `streamer checkpoint ...`. As in `commands`, everything heavy is imported inside them."""

from typing import Annotated

import typer

from streamer.cli.app import SettingsCommand, app, load_settings
from streamer.cli.options import Assignments, CheckpointUrl, ConfigFile, Prefix, Redis, RedisCluster

checkpoints = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Checkpoints of the state: what a restart resumes from."
)
app.add_typer(checkpoints, name="checkpoint")

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="As `list` shows it; default the newest")]


@checkpoints.command("list", cls=SettingsCommand)
def list_(
    ctx: typer.Context,
    *,
    config: ConfigFile = None,
    redis: Redis = None,
    redis_cluster: RedisCluster = None,
    prefix: Prefix = None,
    checkpoint_url: CheckpointUrl = None,
    assignments: Assignments = None,
) -> None:
    """Show which there are, the newest first."""
    from streamer.cli.checkpoint import show_all  # noqa: PLC0415

    show_all(load_settings(config, ctx.params, assignments).settings)


@checkpoints.command(cls=SettingsCommand)
def show(
    ctx: typer.Context,
    name: Name = None,
    *,
    config: ConfigFile = None,
    redis: Redis = None,
    redis_cluster: RedisCluster = None,
    prefix: Prefix = None,
    checkpoint_url: CheckpointUrl = None,
    assignments: Assignments = None,
) -> None:
    """Show what one stands for.

    Positions, settings, and its largest arrays.
    """
    from streamer.cli.checkpoint import show_one  # noqa: PLC0415

    show_one(load_settings(config, ctx.params, assignments).settings, name)


@checkpoints.command(cls=SettingsCommand)
def verify(
    ctx: typer.Context,
    name: Name = None,
    *,
    config: ConfigFile = None,
    redis: Redis = None,
    redis_cluster: RedisCluster = None,
    prefix: Prefix = None,
    checkpoint_url: CheckpointUrl = None,
    assignments: Assignments = None,
) -> None:
    """Read one as a start would.

    With the settings of the worker; prints the hash of its state, or why no worker can resume from it (exit code 8).
    """
    from streamer.cli.checkpoint import verify_one  # noqa: PLC0415

    verify_one(load_settings(config, ctx.params, assignments).settings, name)


@checkpoints.command(cls=SettingsCommand)
def rollback(
    ctx: typer.Context,
    *,
    config: ConfigFile = None,
    redis: Redis = None,
    redis_cluster: RedisCluster = None,
    prefix: Prefix = None,
    checkpoint_url: CheckpointUrl = None,
    assignments: Assignments = None,
) -> None:
    """Go back to the one before the newest.

    For the next start; end the worker first.
    """
    from streamer.cli.checkpoint import roll_back  # noqa: PLC0415

    roll_back(load_settings(config, ctx.params, assignments).settings)
