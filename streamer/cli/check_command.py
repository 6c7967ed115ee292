"""The command `streamer check`. As in `commands`, everything heavy is imported inside it."""

from typing import Annotated

import typer

from streamer.cli.app import SettingsCommand, app, load_settings
from streamer.cli.options import (
    Assignments,
    CheckpointUrl,
    ConfigFile,
    Group,
    Kafka,
    MetricsHost,
    MetricsPort,
    Prefix,
    Redis,
    RedisCluster,
)

_EXIT_CAREFUL = 1


@app.command(cls=SettingsCommand)
def check(
    ctx: typer.Context,
    *,
    config: ConfigFile = None,
    kafka: Kafka = None,
    redis: Redis = None,
    redis_cluster: RedisCluster = None,
    prefix: Prefix = None,
    group: Group = None,
    metrics_host: MetricsHost = None,
    metrics_port: MetricsPort = None,
    checkpoint_url: CheckpointUrl = None,
    assignments: Assignments = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when there is anything to be careful about")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not print the settings")] = False,
) -> None:
    """Print all settings, try all connections.

    Where each setting came from; then, with a sentence for each mistake: Kafka, its topics and how long they keep what a
    rebuild needs, Redis, its memory and its clock, the metrics port, checkpoints, the text model, and the memory of
    this machine. Exits with the code of the first thing that does not work; what works and will hurt later says
    "careful".
    """
    loaded = load_settings(config, ctx.params, assignments)
    from streamer.cli.check import findings  # noqa: PLC0415
    from streamer.cli.views import show_settings  # noqa: PLC0415
    from streamer.log import printable  # noqa: PLC0415

    if not quiet:
        show_settings(loaded)
    code = n_cautions = 0
    for found in findings(loaded.settings):
        typer.echo(printable(f"{found.about}: {found.problem or 'ok'}"))
        for caution in found.cautions:
            typer.echo(printable(f"{found.about}: careful: {caution}"))
        n_cautions += len(found.cautions)
        code = code or (found.problem.exit_code if found.problem is not None else 0)
    raise typer.Exit(code or (_EXIT_CAREFUL if strict and n_cautions else 0))
