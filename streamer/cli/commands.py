"""The commands. Everything heavy is imported inside them, so that `streamer --help` is instant."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from streamer import __version__
from streamer.errors import ConfigError, InvalidEvent, StreamerError

if TYPE_CHECKING:
    from streamer.config import Loaded, Settings

EXIT_INTERRUPTED = 130  # as shells tell of Ctrl-C
A_SET = (
    "A data set: a directory with events.csv (user_id, item_id, value, timestamp in epoch seconds), items.csv and "
    "optionally users.csv; gzipped or not"
)


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

# Options that are settings have no help here: `SettingsCommand` reads it from `Settings`.
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file with settings [env STREAMER_CONFIG]"),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting; kafka_config.NAME=VALUE sets one of librdkafka's, redis_config.NAME=VALUE of redis-py's",
    ),
]
Kafka = Annotated[str | None, typer.Option(metavar="HOST:PORT")]
Redis = Annotated[str | None, typer.Option(metavar="URL")]
RedisCluster = Annotated[bool | None, typer.Option("--redis-cluster/--no-redis-cluster")]
Prefix = Annotated[str | None, typer.Option(metavar="TEXT")]
CheckpointUrl = Annotated[str | None, typer.Option(metavar="URL")]
Group = Annotated[str | None, typer.Option(metavar="NAME")]
K = Annotated[str | None, typer.Option("--k", metavar="N")]
Repeats = Annotated[bool | None, typer.Option("--repeats/--no-repeats")]
MaxBatch = Annotated[str | None, typer.Option(metavar="N")]
MetricsHost = Annotated[str | None, typer.Option(metavar="ADDRESS")]
MetricsPort = Annotated[str | None, typer.Option(metavar="PORT")]
LogLevel = Annotated[str | None, typer.Option(metavar="LEVEL")]
LogFormat = Annotated[str | None, typer.Option(metavar="FORMAT")]
Report = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the figures there as JSON, at the end")
]
MaxEvents = Annotated[
    int | None, typer.Option("--events", min=1, metavar="N", help="Interactions; default all")
]


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


@app.command(cls=SettingsCommand)
def run(
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
    flags = {
        "kafka": kafka,
        "redis": redis,
        "redis_cluster": redis_cluster,
        "prefix": prefix,
        "group": group,
        "k": k,
        "repeats": repeats,
        "max_batch": max_batch,
        "metrics_host": metrics_host,
        "metrics_port": metrics_port,
        "log_level": log_level,
        "log_format": log_format,
    }
    settings = load_settings(config, flags, assignments).settings
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
    settings = load_settings(config, {"k": k, "repeats": repeats}, assignments).settings
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
    settings = load_settings(
        config, {"redis": redis, "redis_cluster": redis_cluster, "prefix": prefix}, assignments
    ).settings
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
    settings = load_settings(config, {"kafka": kafka}, assignments).settings
    _set_up_logs(settings)
    from streamer.cli.produce import produce as produce_lines  # noqa: PLC0415

    n_sent, n_invalid = produce_lines(settings, topic, file, strict=strict, complain=_complain)
    typer.echo(f"{n_sent} sent, {n_invalid} invalid")
    if n_invalid:
        raise typer.Exit(InvalidEvent.exit_code)


def main() -> None:
    """Entry point of the command."""
    app(prog_name="streamer")


def load_settings(config: Path | None, flags: dict[str, Any], assignments: list[str] | None) -> "Loaded":
    """Settings from all their sources; flags that are None were not given.

    Raises:
        ConfigError: as `config.load`.
    """
    from streamer.config import load, parse_assignments  # noqa: PLC0415

    named = {name: value for name, value in flags.items() if value is not None}
    return load({**parse_assignments(assignments or ()), **named}, config)


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
