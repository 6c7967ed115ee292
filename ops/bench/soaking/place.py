"""The servers of a soak, its worker, and what the producer knows of the log."""

import time
import zlib
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import brokers
import psutil
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from redis import Redis
from servers import Metrics

from soaking.day import Sent
from streamer import checkpoint
from streamer.adapters.file_checkpoints import FileCheckpoints
from streamer.checkpoint import pointer
from streamer.config import Settings
from streamer.demo.worker import Worker, flags
from streamer.errors import CheckpointRefused
from streamer.servers import EmbeddedKafka, EmbeddedRedis

N_PARTITIONS = 4  # of interactions
GROUP = "soak"
READ = ("catalog", "profiles", "interactions")
TIMEOUT_S = 5.0
FLUSH_TIMEOUT_S = 30.0
# records on the log that are not committed yet: the embedded Kafka keeps some 5 MiB a partition
MAX_UNREAD = 40_000
MAX_KEPT = 250_000  # and that no checkpoint has
DEFAULTS = {
    "text_model": "none",
    "measure_share": "0.05",
    "backoff_max_s": "0.5",
    "checkpoint_interval_s": "5",
    "checkpoint_interval_events": "50000",
}


class Place:
    """A broker in this process, a Redis with persistence, and one worker at a time.

    Args:
        stack: Ends everything.
        directory: Of checkpoints, logs and reports.
        settings: Of every worker.
    """

    def __init__(self, stack: ExitStack, directory: Path, settings: dict[str, str]) -> None:
        self.kafka = stack.enter_context(
            EmbeddedKafka(dict.fromkeys(brokers.TOPICS, 1) | {"interactions": N_PARTITIONS})
        )
        self.redis = stack.enter_context(EmbeddedRedis(persist=True))
        self._directory = directory
        self._store = FileCheckpoints(str(directory / "checkpoints"), Settings().prefix)
        own = {**DEFAULTS, **settings, "group": GROUP, "checkpoint_url": str(directory / "checkpoints")}
        self._arguments = list(flags(own))
        self._producer = Producer(
            {
                "bootstrap.servers": self.kafka.bootstrap,
                "enable.idempotence": True,
                "compression.type": "zstd",
                "linger.ms": 5,
            }
        )
        self._consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": GROUP})
        stack.callback(self._consumer.close)
        self.n_sent = Counter[tuple[str, int]]()
        self._committed = Counter[tuple[str, int]]()
        self._truncated = Counter[tuple[str, int]]()
        self._n_starts = 0
        self.start()
        stack.callback(self._end)

    def _end(self) -> None:
        self.worker.end()  # whichever it is by then

    def start(self) -> None:
        """A new worker; the one before has ended."""
        self._n_starts += 1
        directory = self._directory / f"worker-{self._n_starts}"
        directory.mkdir()
        self.worker = Worker(directory, self.kafka.bootstrap, self.redis.url, self._arguments)
        self.started_s = time.monotonic()

    def send(self, message: Sent) -> tuple[str, int, int]:
        """Hand a message to Kafka; where it will lie: topic, partition, offset."""
        partition = zlib.crc32(message.key) % N_PARTITIONS if message.topic == "interactions" else 0
        while True:
            try:
                self._producer.produce(message.topic, message.value, message.key, partition)
                break
            except BufferError:
                self._producer.poll(0.1)
        offset = self.n_sent[message.topic, partition]
        self.n_sent[message.topic, partition] += 1
        return message.topic, partition, offset

    def flush(self) -> None:
        """All that was sent is on the log.

        Raises:
            TimeoutError: it is not.
        """
        if self._producer.flush(FLUSH_TIMEOUT_S):
            raise TimeoutError("the producer could not send everything")

    def look(self) -> None:
        """Ask how far the worker has committed, and drop from the log what the oldest checkpoint has."""
        self._producer.poll(0)
        with suppress(KafkaException):
            asked = [TopicPartition(topic, partition) for topic, partition in self.n_sent if topic in READ]
            for found in self._consumer.committed(asked, timeout=TIMEOUT_S) if asked else ():
                self._committed[found.topic, found.partition] = max(0, found.offset)
        for topic, partition, offset in self._oldest_positions():
            if topic == "interactions" and offset > self._truncated[topic, partition]:
                self.kafka.truncate(topic, partition, offset)
                self._truncated[topic, partition] = offset

    def _oldest_positions(self) -> list[tuple[str, int, int]]:
        kept = pointer.decode(self._store.read_pointer())
        if not kept:
            return []
        try:
            return checkpoint.read_header(checkpoint.Reader(self._store.read(kept[-1].name))).meta.positions
        except CheckpointRefused:
            return []  # it has just been replaced

    def is_full(self) -> bool:
        """Whether the producer has to wait."""
        n_kept = sum(n - self._truncated[tp] for tp, n in self.n_sent.items() if tp[0] == "interactions")
        return self.n_unread > MAX_UNREAD or n_kept > MAX_KEPT

    @property
    def n_unread(self) -> int:
        """Records that are not committed yet, as last heard."""
        return sum(n - self._committed[tp] for tp, n in self.n_sent.items() if tp[0] in READ)

    def has_read(self, sent: Counter[tuple[str, int]]) -> bool:
        """Whether what was sent by then has been read."""
        return all(self._committed[tp] >= n for tp, n in sent.items() if tp[0] in READ)

    def client(self) -> Redis:
        """A connection to be closed."""
        return Redis.from_url(self.redis.url, socket_timeout=TIMEOUT_S)

    def metrics(self) -> Metrics | None:
        """What the worker says now; None when it does not answer."""
        try:
            return Metrics(self.worker.port)
        except OSError:
            return None

    def rss(self) -> dict[str, int]:
        """Process -> resident bytes; the broker's are those of the producer, too, and the newest records on the log."""
        pids = {"worker": self.worker.pid, "redis": self.redis.pid, "bench and broker": None}
        found = {}
        for name, pid in pids.items():
            with suppress(psutil.Error):
                found[name] = (
                    psutil.Process(pid).memory_info().rss
                    if pid is not None or name.startswith("bench")
                    else 0
                )
        return found

    def dead_letters(self) -> list[tuple[str, str, str]]:
        """(topic, partition, offset) of every dead letter; one twice where a crash made the worker send it again."""
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": f"{GROUP}-letters"})
        try:
            _, end = consumer.get_watermark_offsets(TopicPartition("dead-letters", 0), timeout=TIMEOUT_S)
            consumer.assign([TopicPartition("dead-letters", 0, 0)])
            found = []
            while len(found) < end:
                for message in consumer.consume(min(10_000, end - len(found)), TIMEOUT_S):
                    headers = {name: value.decode() for name, value in message.headers() or ()}
                    found.append((headers["topic"], headers["partition"], headers["offset"]))
            return found
        finally:
            consumer.close()
