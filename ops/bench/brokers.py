"""The Kafka of a bench: a real broker where there is one, else the embedded one, each in a process of its own."""

import random
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from processes import spawn
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from streamer.errors import ConfigError, Unavailable
from streamer.servers import READER_SETTINGS, EmbeddedKafka

TOPICS = ("catalog", "profiles", "texts", "interactions", "dead-letters")
REAL = Path(__file__).resolve().parents[3] / "shared" / "kafka"
EMBEDDED = "embedded"
N_EMBEDDED_PARTITIONS = 24  # of a log that is read whole: each keeps some 5 MiB of compressed bytes
START_TRIES = 3
TIMEOUT_S = 60.0

# Waits for the end of its input, which comes when we close it and also when we are killed; then stops the broker.
_STOP_WHEN_ALONE = 'cat > /dev/null; for run in "$2"/*/; do "$1" stop "$run"; done'


class Broker(NamedTuple):
    """A Kafka that is up, with its topics.

    Args:
        kind: "real" or "embedded".
        bootstrap: Where to connect.
        pid: Whose CPU seconds are Kafka's.
        settings: That a worker needs to read it as fast as it can be read.
    """

    kind: str
    bootstrap: str
    pid: int
    settings: Mapping[str, str]


def kind_of(kafka: str | None) -> str:
    """ "real" or "embedded", by what `Options.kafka` says.

    Raises:
        ConfigError: a directory is named, and no broker is in it.
    """
    if kafka == EMBEDDED or (kafka is None and not (REAL / "kafka").is_file()):
        return EMBEDDED
    if not _script(kafka).is_file():
        raise ConfigError(f"--kafka: expected `embedded` or a directory with the script `kafka`; got {kafka}")
    return "real"


def start(stack: ExitStack, kafka: str | None, *, holds_all: bool = False) -> Broker:
    """A broker that `stack` ends, with one partition a topic.

    Args:
        stack: Ends it.
        kafka: As in `Options`.
        holds_all: Nobody reads while the interactions are written: the embedded one spreads them over partitions.

    Raises:
        ConfigError: there is none.
        Unavailable: it does not come up.
    """
    if kind_of(kafka) == EMBEDDED:
        pipe, process = spawn(stack, _embedded_process, N_EMBEDDED_PARTITIONS if holds_all else 1)
        bootstrap = pipe.recv()
        return Broker(EMBEDDED, bootstrap, process.pid or 0, READER_SETTINGS)
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="streamer-bench-kafka-")))
    script = _script(kafka)
    guard = subprocess.Popen(
        ["bash", "-c", _STOP_WHEN_ALONE, "guard", script, directory],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    stack.callback(guard.communicate, timeout=TIMEOUT_S)
    bootstrap, run = _start_real(script, directory)
    admin = AdminClient({"bootstrap.servers": bootstrap})  # must live until its requests are answered
    for made in admin.create_topics([NewTopic(topic, 1, 1) for topic in TOPICS]).values():
        made.result(timeout=TIMEOUT_S)
    _found_a_group(bootstrap)
    return Broker("real", bootstrap, int((run / "1.pid").read_text()), {})


def _script(kafka: str | None) -> Path:
    return (Path(kafka) if kafka is not None else REAL) / "kafka"


def _start_real(script: Path, directory: Path) -> tuple[str, Path]:
    """Where to connect, and the directory of its run."""
    for n_tries in range(START_TRIES):
        # Of this try alone: the script keeps there the cluster's id that it drew, and one in 64 begins with "-", which
        # Kafka takes for an option.
        run = directory / str(n_tries)
        port = random.randrange(20_000, 30_000, 2)  # below the ports the system hands out by itself
        done = subprocess.run(
            [script, "start", run, str(port), "1"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout.strip(), run
    raise Unavailable(f"{script} did not start: {done.stderr.strip()[-500:]}")


@retry(
    retry=retry_if_exception_type(KafkaException),
    wait=wait_fixed(0.1),
    stop=stop_after_delay(TIMEOUT_S),
    reraise=True,
)
def _found_a_group(bootstrap: str) -> None:
    """A broker keeps nobody's offsets until the first group asks: two seconds, once in its life, and no part of any figure."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench"})
    try:
        consumer.committed([TopicPartition(TOPICS[0], 0)], TIMEOUT_S)
    finally:
        consumer.close()


def _embedded_process(pipe: Connection, n_partitions: int) -> None:
    topics = dict.fromkeys(TOPICS, 1) | {"interactions": n_partitions}
    with EmbeddedKafka(topics) as kafka:
        pipe.send(kafka.bootstrap)
        pipe.recv()
