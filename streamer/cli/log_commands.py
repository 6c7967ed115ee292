"""The commands `streamer erase` and `verify`. As in `commands`, everything heavy is imported inside them."""

import json
from typing import Annotated

import typer

from streamer.cli.commands import (
    Assignments,
    ConfigFile,
    Group,
    Kafka,
    Prefix,
    Redis,
    RedisCluster,
    SettingsCommand,
    app,
    load_settings,
)

AsJson = Annotated[bool, typer.Option("--json", help="For programs")]


@app.command(cls=SettingsCommand)
def erase(
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
    flags = {"kafka": kafka, "redis": redis, "redis_cluster": redis_cluster, "prefix": prefix}
    settings = load_settings(config, flags, assignments).settings
    from streamer.cli.erase import erase as erase_user  # noqa: PLC0415
    from streamer.cli.erase import sentences  # noqa: PLC0415
    from streamer.log import printable  # noqa: PLC0415

    receipt = erase_user(settings, user, wait)
    for line in [json.dumps(receipt)] if as_json else sentences(receipt):
        typer.echo(printable(line))


@app.command(cls=SettingsCommand)
def verify(
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
    flags = {"kafka": kafka, "redis": redis, "redis_cluster": redis_cluster, "prefix": prefix, "group": group}
    settings = load_settings(config, flags, assignments).settings
    from streamer.cli.verify import show  # noqa: PLC0415
    from streamer.cli.verify import verify as verify_lists  # noqa: PLC0415

    verdict = verify_lists(settings, wait)
    if as_json:
        typer.echo(verdict.to_json())
    else:
        show(verdict)
    if verdict.differences:
        raise typer.Exit(1)
