"""Real Kafka brokers for the tests: ../shared/kafka on free ports."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

# What starts and stops brokers: STREAMER_TEST_KAFKA_SCRIPT, else that of ../shared/kafka.
KAFKA_SCRIPT = Path(
    os.environ.get("STREAMER_TEST_KAFKA_SCRIPT")
    or Path(__file__).resolve().parents[2] / "shared" / "kafka" / "kafka"
)
START_TRIES = 3
_TIMEOUT_S = 60


def skip_or_fail(reason: str) -> NoReturn:
    """Skip for `reason`; in CI a missing server is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"CI is set, and {reason}")
    pytest.skip(reason)


class KafkaCluster:
    """Brokers of ../shared/kafka on free ports.

    Args:
        directory: Of their data; whoever made it stops them.
        n_brokers: So many.
    """

    def __init__(self, directory: Path, n_brokers: int) -> None:
        self._n_brokers = n_brokers
        for n_tries in range(START_TRIES):
            self._directory = directory / str(n_tries)
            self._port = random.randrange(20_000, 30_000, 2)  # below the ports the system hands out by itself
            started = self._start()
            if started.returncode == 0:
                self.bootstrap = started.stdout.strip()
                return
        skip_or_fail(f"../shared/kafka did not start: {started.stderr.strip()[-500:]}")

    def kill(self, broker_id: int) -> None:
        """SIGKILL one; ids are from 1."""
        subprocess.run(
            [KAFKA_SCRIPT, "stop", self._directory, str(broker_id), "KILL"], timeout=_TIMEOUT_S, check=True
        )

    def bring_back(self) -> None:
        """Start those that are down, with their data."""
        self._start().check_returncode()

    def _start(self) -> "subprocess.CompletedProcess[str]":
        command = [KAFKA_SCRIPT, "start", self._directory, str(self._port), str(self._n_brokers)]
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)


@contextmanager
def kafka_cluster(directory: Path, n_brokers: int) -> Iterator[KafkaCluster]:
    """A cluster of our own, stopped in the end."""
    if not KAFKA_SCRIPT.is_file():
        skip_or_fail("there is no real Kafka: set STREAMER_TEST_KAFKA to its bootstrap servers")
    # Waits for the end of its input, which comes when we close it and also when we are killed; then stops the
    # broker.
    stop = 'cat > /dev/null; for run in "$2"/*/; do "$1" stop "$run"; done'
    guard = subprocess.Popen(
        ["bash", "-c", stop, "guard", KAFKA_SCRIPT, directory], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield KafkaCluster(directory, n_brokers)
    finally:
        guard.communicate(timeout=_TIMEOUT_S)


def create_on_broker(bootstrap: str, topic: str, n_partitions: int, n_replicas: int = 1) -> None:
    """Create a topic on a real broker and wait until it is there."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, n_partitions, n_replicas)])[topic].result(timeout=30)
    give_up_s = time.monotonic() + _TIMEOUT_S
    while topic not in admin.list_topics(timeout=10).topics:
        if time.monotonic() > give_up_s:
            pytest.fail(f"topic {topic} was made, and is not there within {_TIMEOUT_S} s")
        time.sleep(0.01)
