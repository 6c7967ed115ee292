"""The command `streamer erase`. As in `commands`, everything heavy is imported inside it."""

import json
from typing import Annotated

import typer

from streamer.cli.app import SettingsCommand, app, load_settings
from streamer.cli.options import AsJson, Assignments, ConfigFile, Kafka, Prefix, Redis, RedisCluster


@app.command(cls=SettingsCommand)
def erase(
    ctx: typer.Context,
    user: Annotated[
        str, typer.Argument(metavar="USER", help="User id; after --, where it begins with a dash")
    ],
    *,
    wait: Annotated[
        float, typer.Option(min=0.0, max=86_400.0, metavar="SECONDS", help="For the receipt, at most")
    ] = 30.0,
    as_json: AsJson = False,
    config: ConfigFile = None,
    kafka: Kafka = None,
    redis: Redis = None,
    redis_cluster: RedisCluster = None,
    prefix: Prefix = None,
    assignments: Assignments = None,
) -> None:
    """Forget a user.

    Publishes the null value under his id and waits until a worker has removed his history, profile, list and vector; prints the
    receipt. Exits with code 3 when none came in time. His events stay on the log until it drops them, and in dead letters and
    older checkpoints until these go.
    """
    settings = load_settings(config, ctx.params, assignments).settings
    from streamer.cli.erase import erase as erase_user  # noqa: PLC0415
    from streamer.cli.erase import sentences  # noqa: PLC0415
    from streamer.log import printable  # noqa: PLC0415

    receipt = erase_user(settings, user, wait)
    for line in [json.dumps(receipt)] if as_json else sentences(receipt):
        typer.echo(printable(line))
