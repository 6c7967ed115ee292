"""`streamer check`: can Kafka, Redis, the metrics port and the text model be had with these settings?"""

from collections.abc import Callable, Iterator
from contextlib import closing

from streamer.adapters.kafka import KafkaSource
from streamer.adapters.memory import SystemClock
from streamer.adapters.redis import RedisLists
from streamer.adapters.text_model import check_text_model
from streamer.checkpoint import pointer
from streamer.cli.connect import on_redis
from streamer.cli.worker import checkpoint_store
from streamer.config import Settings
from streamer.errors import StreamerError
from streamer.telemetry import MetricsServer, Telemetry


def problems(settings: Settings) -> Iterator[tuple[str, StreamerError | None]]:
    """(what was tried, its problem or None), one after the other."""
    written = [settings.topic_dead_letters]
    if settings.publish_recommendations:
        written.append(settings.topic_recommendations)
    trials: list[tuple[str, Callable[[], None]]] = [
        ("kafka", lambda: _try_kafka(settings, [*settings.kinds(), *written])),
        ("redis", lambda: _try_redis(settings)),
        ("metrics port", lambda: _try_port(settings)),
    ]
    if settings.checkpoint_url is not None:
        trials.append(("checkpoints", lambda: _try_checkpoints(settings)))
    if settings.has_texts():
        trials.append(
            ("text model", lambda: check_text_model(settings.text_model, download=settings.text_download))
        )
    for name, trial in trials:
        try:
            trial()
        except StreamerError as exc:
            yield name, exc
        else:
            yield name, None


def _try_kafka(settings: Settings, topics: list[str]) -> None:
    source = KafkaSource(settings.require_kafka(), topics, settings.group, config=settings.kafka_config)
    with closing(source):
        source.end_offsets()  # asks every partition; a topic that does not exist is told


def _try_redis(settings: Settings) -> None:
    with closing(on_redis(RedisLists, settings)) as lists:
        lists.ping()


def _try_checkpoints(settings: Settings) -> None:
    with closing(checkpoint_store(settings)) as store:
        pointer.decode(store.read_pointer())


def _try_port(settings: Settings) -> None:
    MetricsServer(Telemetry(SystemClock()), settings.metrics_host, settings.metrics_port).close()
