"""`streamer check`: can everything the settings name be reached, and is it set up so that nothing is lost later?"""

import os
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

from streamer import checkpoint, pipeline
from streamer.adapters.kafka import how_kept
from streamer.adapters.memory import SystemClock
from streamer.adapters.redis import RedisLists
from streamer.adapters.redis.server import RedisServer
from streamer.adapters.text_model import check_text_model
from streamer.checkpoint import Reader, pointer
from streamer.cli import cautions
from streamer.cli.connect import on_redis, source_of
from streamer.cli.worker import checkpoint_store
from streamer.config import Settings
from streamer.errors import CheckpointRefused, ConfigError, StreamerError
from streamer.ports import Checkpoints, Record, Source, TopicPartition
from streamer.telemetry import MetricsServer, Telemetry

_PROBE = "probe"  # name of a checkpoint that is written to see whether one can be
_PROBE_USER = "__streamer_probe__"  # whose list is written; no user has such an id
_PROBE_TTL_S = 10
_PORT_TIMEOUT_S = 2.0
_N_NEWEST = 100  # records of a partition whose keys are looked at
_NEWEST_TIMEOUT_S = 3.0
_POLL_S = 0.2
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Finding(NamedTuple):
    """What came of one trial."""

    about: str
    problem: StreamerError | None  # None: it works
    cautions: list[str]  # what works and will hurt later, a sentence each


def findings(settings: Settings) -> Iterator[Finding]:
    """Try everything, one after the other; what does not work keeps nothing else from being tried."""
    log = _Log(settings)
    trials: list[tuple[str, Callable[[], Iterable[str]]]] = [
        ("kafka", log.look),
        ("redis", lambda: _try_redis(settings)),
        ("metrics port", lambda: _try_port(settings)),
    ]
    if settings.checkpoint_interval_s and (settings.checkpoint_url or settings.redis):
        trials.append(("checkpoints", lambda: _try_checkpoints(settings, log)))
    if settings.has_texts():
        trials.append(("text model", lambda: _try_text_model(settings)))
    trials.append(("memory", lambda: _try_memory(settings)))
    for name, trial in trials:
        cautions_found: list[str] = []
        try:
            cautions_found.extend(trial())
        except StreamerError as exc:
            yield Finding(name, exc, cautions_found)
        else:
            yield Finding(name, None, cautions_found)


class _Log:
    """The log, and its bounds once it was looked at."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.begin: dict[TopicPartition, int] = {}
        self.end: dict[TopicPartition, int] | None = None

    def look(self) -> Iterator[str]:
        """All topics that a worker reads or writes."""
        settings = self._settings
        written = [settings.topic_dead_letters]
        if settings.publish_recommendations:
            written.append(settings.topic_recommendations)
        topics = [*settings.kinds(), *written]
        with closing(source_of(settings, topics)) as source:
            end = source.end_offsets()  # asks every partition; a topic that does not exist is reported
            self.begin = source.begin_offsets()
            source.committed()  # asks the group: it takes a right of its own
            # texts are our own
            keyed = {topic for topic, kind in settings.kinds().items() if kind != "texts"}
            newest = _newest_records(source, self.begin, end, keyed)
        self.end = {tp: offset for tp, offset in end.items() if tp.topic in settings.kinds()}
        kept = how_kept(settings.require_kafka(), topics, settings.kafka_config)
        yield from cautions.of_topics(kept, settings)
        yield from cautions.of_log(self.begin, settings)
        yield from cautions.of_keys(newest, Counter(tp.topic for tp in end), settings)


def _newest_records(
    source: Source,
    begin: Mapping[TopicPartition, int],
    end: Mapping[TopicPartition, int],
    topics: Container[str],
) -> list[Record]:
    """Some of each partition of these topics, as far as they come in a moment."""
    due = {tp: offset for tp, offset in end.items() if tp.topic in topics and offset > begin.get(tp, 0)}
    source.hold(end.keys() - due.keys())
    source.seek({tp: max(begin.get(tp, 0), offset - _N_NEWEST) for tp, offset in due.items()})
    records: list[Record] = []
    until_s = time.monotonic() + _NEWEST_TIMEOUT_S
    while due and time.monotonic() < until_s:
        for record in source.poll(_N_NEWEST, _POLL_S):
            tp = record.tp
            records.append(record)
            if record.offset + 1 >= due.get(tp, 0):
                due.pop(tp, None)
    return records


def _try_redis(settings: Settings) -> Iterator[str]:
    with closing(on_redis(RedisLists, settings)) as lists:
        lists.write([(_PROBE_USER, b"")], ttl_s=_PROBE_TTL_S)
        lists.delete([_PROBE_USER])
    with closing(on_redis(RedisServer, settings)) as server:
        facts = server.facts()
    if facts is not None:
        yield from cautions.of_redis(facts, settings, time.time_ns() // 1_000_000)


def _try_port(settings: Settings) -> Iterator[str]:
    host, port = settings.metrics_host, settings.metrics_port
    try:
        MetricsServer(Telemetry(SystemClock()), host, port).close()
    except ConfigError:
        if not _is_worker(host, port):
            raise
        yield f"a worker listens on {host}:{port} now; a second one on this machine needs another --metrics-port"


def _is_worker(host: str, port: int) -> bool:
    connection = HTTPConnection(host, port, timeout=_PORT_TIMEOUT_S)
    try:
        connection.request("GET", "/live")
        return (connection.getresponse().getheader("Server") or "").startswith("streamer")
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _try_checkpoints(settings: Settings, log: _Log) -> Iterator[str]:
    with closing(checkpoint_store(settings)) as store:
        store.write(_PROBE, [b"probe"])
        store.delete(_PROBE)
        yield from _newest(settings, store, log)


def _newest(settings: Settings, store: Checkpoints, log: _Log) -> Iterator[str]:
    """Whether a start could resume from the newest checkpoint, as far as its head tells."""
    kept = pointer.decode(store.read_pointer())
    if not kept:
        if log.end is not None:
            yield from cautions.of_no_checkpoint(log.begin, log.end)
        return
    name = kept[0].name
    yield from cautions.of_size(name, kept[0].n_bytes, settings)
    try:
        meta = checkpoint.read_header(Reader(store.read(name))).meta
        checkpoint.check_config(meta.config, checkpoint.config_of(settings.fold(), settings.measure_share))
    except CheckpointRefused as exc:
        yield (
            f"a start refuses checkpoint {name}: {exc}. It takes an older one or folds the log from its beginning, and until "
            "it has caught up lists are not renewed"
        )
        return
    if log.end is not None:
        positions = {TopicPartition(topic, partition): offset for topic, partition, offset in meta.positions}
        yield from cautions.of_checkpoint(name, positions, log.begin, log.end)


def _try_text_model(settings: Settings) -> Iterator[str]:
    check_text_model(settings.text_model, download=settings.text_download)
    return iter(())


def _try_memory(settings: Settings) -> Iterator[str]:
    try:
        # address space only: nothing is written
        tables = pipeline.tables(pipeline.new_state(settings.fold()))
    except MemoryError as exc:
        raise ConfigError(
            f"the tables of the model cannot be had: {exc}; lower max_users, max_items or max_taken"
        ) from exc
    n_bytes = sum(table.array.nbytes for table in tables.values())
    return cautions.of_memory(n_bytes, _machine_bytes(), settings)


def _machine_bytes() -> int:
    """Memory of this machine, or of its container where that has less."""
    n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(n_bytes, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # none, or "max"
        return n_bytes
