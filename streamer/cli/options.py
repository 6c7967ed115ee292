"""Options that several commands have. Those that are settings have no help here: `SettingsCommand` reads it from `Settings`."""

from pathlib import Path
from typing import Annotated

import typer

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
AsJson = Annotated[bool, typer.Option("--json", help="For programs")]
