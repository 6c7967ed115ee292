"""The command `streamer verify`. As in `commands`, everything heavy is imported inside it."""

from typing import Annotated

import typer

from streamer.cli.app import SettingsCommand, app, load_settings
from streamer.cli.options import AsJson, Assignments, ConfigFile, Group, Kafka, Prefix, Redis, RedisCluster


@app.command(cls=SettingsCommand)
def verify(
    ctx: typer.Context,
    *,
    wait: Annotated[
        float,
        typer.Option(min=0.0, max=86_400.0, metavar="SECONDS", help="For a worker that is behind, at most"),
    ] = 10.0,
    as_json: AsJson = False,
    config: ConfigFile = None,
    kafka: Kafka = None,
    redis: Redis = None,
    redis_cluster: RedisCluster = None,
    prefix: Prefix = None,
    group: Group = None,
    assignments: Assignments = None,
) -> None:
    """Compare the lists in Redis with the log.

    Reads the log as it is now from its beginning, beside a worker or without one, and names users without a list, lists of
    nobody, and items on lists that are retired, unknown, or taken by their user (unless repeats are allowed). Exits with code 1
    when anything differs. With the settings of the worker. It does not rank: whether other items were better is not reported, nor
    are vectors compared. What the log no longer holds is unknown to it. About 100 bytes of memory for each item that each user
    took.
    """
    settings = load_settings(config, ctx.params, assignments).settings
    from streamer.cli.verify import show  # noqa: PLC0415
    from streamer.cli.verify import verify as verify_lists  # noqa: PLC0415

    verdict = verify_lists(settings, wait)
    if as_json:
        typer.echo(verdict.to_json())
    else:
        show(verdict)
    if verdict.differences:
        raise typer.Exit(1)
