"""The commands of every day. Everything heavy is imported inside them, so that `streamer --help` is instant."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamer.cli.app import SettingsCommand, app, load_settings
from streamer.cli.options import (
    Assignments,
    CheckpointUrl,
    ConfigFile,
    Group,
    K,
    Kafka,
    LogFormat,
    LogLevel,
    MaxBatch,
    MaxEvents,
    MetricsHost,
    MetricsPort,
    Prefix,
    Redis,
    RedisCluster,
    Repeats,
    Report,
)
from streamer.errors import ConfigError, InvalidEvent

if TYPE_CHECKING:
    from streamer.config import Settings

A_SET = (
    "A data set: a directory with events.csv (user_id, item_id, value, timestamp in epoch seconds), items.csv and "
    "optionally users.csv; gzipped or not"
)


@app.command(cls=SettingsCommand)
def run(
    ctx: typer.Context,
    *,
    config: ConfigFile = None,
    kafka: Kafka = None,
    redis: Redis = None,
    redis_cluster: RedisCluster = None,
    prefix: Prefix = None,
    group: Group = None,
    k: K = None,
    repeats: Repeats = None,
    max_batch: MaxBatch = None,
    checkpoint_url: CheckpointUrl = None,
    metrics_host: MetricsHost = None,
    metrics_port: MetricsPort = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    assignments: Assignments = None,
    report: Report = None,
) -> None:
    """Keep the lists in Redis fresh.

    Reads events from Kafka, learns, and writes the list of every user they touch, until SIGTERM or Ctrl-C.
    """
    settings = load_settings(config, ctx.params, assignments).settings
    settings.require_kafka()
    settings.require_redis()
    _check_report_path(report)
    _set_up_logs(settings)
    from streamer.cli.worker import work  # noqa: PLC0415

    work(settings, report)


@app.command()
def demo(
    *,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help=f"{A_SET}; default online-retail"),
    ] = None,
    events: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Interactions; default all; 0 with --keep: empty servers for your own"
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="N", help="Interactions a second; default: as fast as the worker follows"
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C")
    ] = False,
    repeats: Annotated[
        bool, typer.Option("--repeats", help="Items the user already took may be listed again")
    ] = False,
    report: Annotated[Path, typer.Option(metavar="FILE", help="Where the report goes")] = Path("report.json"),
) -> None:
    """Show it all at work on a real stream.

    Embedded Kafka and Redis, the worker, a live view, and a report at the end.
    """
    from streamer import demo as demo_  # noqa: PLC0415

    options = demo_.DemoOptions(
        data=data, max_events=events, rate=rate, keep=keep, report=report, repeats=repeats
    )
    raise typer.Exit(demo_.run(options))


@app.command(cls=SettingsCommand)
def replay(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help=A_SET)],
    *,
    config: ConfigFile = None,
    k: K = None,
    repeats: Repeats = None,
    assignments: Assignments = None,
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Records a step; changes no figure")
    ] = 4096,
    events: MaxEvents = None,
    catalog_first: Annotated[
        bool,
        typer.Option("--catalog-first", help="All of the catalog before the first event, as in the demo"),
    ] = False,
    report: Report = None,
) -> None:
    """Measure the lists on a recorded stream.

    Test-then-learn, without Kafka or Redis, at full speed.
    """
    settings = load_settings(config, ctx.params, assignments).settings
    _check_report_path(report)
    _set_up_logs(settings)
    from streamer.cli.views import replay_progress, show_report, write_report  # noqa: PLC0415
    from streamer.replay import run as run_replay  # noqa: PLC0415

    with replay_progress() as (progress, text_progress):
        result = run_replay(
            directory, settings, batch_size, events, catalog_first, progress, text_progress=text_progress
        )
    show_report(result)
    if report is not None:
        write_report(report, result)


@app.command(cls=SettingsCommand)
def inspect(
    ctx: typer.Context,
    *,
    user: Annotated[
        str | None,
        typer.Argument(
            metavar="[USER]",
            help="User id; none for the anonymous list; after --, where it begins with a dash",
        ),
    ] = None,
    item: Annotated[str | None, typer.Option(metavar="ID", help="Say whether this item is retired")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Print the list as Redis holds it")] = False,
    config: ConfigFile = None,
    redis: Redis = None,
    redis_cluster: RedisCluster = None,
    prefix: Prefix = None,
    assignments: Assignments = None,
) -> None:
    """Show a list as it stands in Redis.

    How old it is, and which path put each item there.
    """
    settings = load_settings(config, ctx.params, assignments).settings
    from streamer.adapters.redis import RedisLists  # noqa: PLC0415
    from streamer.adapters.redis.vectors import RedisVectors  # noqa: PLC0415
    from streamer.cli.connect import on_redis  # noqa: PLC0415
    from streamer.cli.views import show_item, show_list, show_vector  # noqa: PLC0415

    with (
        closing(on_redis(RedisLists, settings)) as lists,
        closing(on_redis(RedisVectors, settings)) as vectors,
    ):
        if item is not None:
            show_item(lists, item)
            show_vector("item", vectors.read_item(item))
        if user is not None or item is None:
            show_list(lists, user, raw=raw)
        if user is not None and not raw:
            show_vector("user", vectors.read_user(user))


@app.command(cls=SettingsCommand)
def produce(
    ctx: typer.Context,
    *,
    topic: Annotated[
        str, typer.Argument(metavar="TOPIC", help="interactions, catalog or profiles (or their settings)")
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="JSON lines; default, or -: stdin")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Send nothing unless every line is valid")] = False,
    config: ConfigFile = None,
    kafka: Kafka = None,
    assignments: Assignments = None,
) -> None:
    """Check events and publish them.

    One JSON object a line; the id becomes the key. Invalid lines are named with the field, and not sent; so are lines whose
    timestamp seems to be in seconds. Exits with code 7 when there were any.
    """
    settings = load_settings(config, ctx.params, assignments).settings
    _set_up_logs(settings)
    from streamer.cli.produce import produce as produce_lines  # noqa: PLC0415

    n_sent, n_invalid = produce_lines(settings, topic, file, strict=strict, complain=_complain)
    typer.echo(f"{n_sent} sent, {n_invalid} invalid")
    if n_invalid:
        raise typer.Exit(InvalidEvent.exit_code)


def _set_up_logs(settings: "Settings") -> None:
    from streamer.log import set_up  # noqa: PLC0415

    set_up(settings.log_level, settings.log_format)


def _complain(sentence: str) -> None:
    from streamer.log import printable  # noqa: PLC0415

    typer.echo(printable(sentence), err=True)


def _check_report_path(path: Path | None) -> None:
    """Better now than after the last event."""
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(f"--report {path}: expected a path in a directory that exists")
