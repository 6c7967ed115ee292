"""The worker on real servers: `streamer run` as a process, events on Kafka, lists in Redis."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from streamer.adapters.kafka import KafkaSink, KafkaSource
from streamer.adapters.redis import RedisLists
from streamer.embedded import EmbeddedRedis
from streamer.events import ANONYMOUS
from streamer.texts import content_key

ROOT = Path(__file__).resolve().parents[2]
COMPILE_TIMEOUT_S = 100  # the first start on a machine compiles the kernels
N_EVENTS = 300

pytestmark = pytest.mark.timeout(240)

Poll = Callable[..., Any]


class Worker:
    """`streamer run` with topics and a prefix of its own."""

    def __init__(
        self, directory: Path, kafka: str, redis_url: str, prefix: str, topics: dict[str, str]
    ) -> None:
        self.directory, self.kafka, self.redis_url, self.prefix, self.topics = (
            directory,
            kafka,
            redis_url,
            prefix,
            topics,
        )
        self.group = f"test{prefix.replace(':', '-')}"
        self.log_path = directory / "worker.log"
        self.report_path = directory / "report.json"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: object) -> None:
        """Start it; its log is appended to."""
        arguments = ["run", "--kafka", self.kafka, "--redis", self.redis_url, "--prefix", self.prefix]
        arguments += ["--group", self.group, "--metrics-port", "0", "--report", str(self.report_path)]
        for kind, topic in self.topics.items():
            arguments += ["--set", f"topic_{kind}={topic}"]
        for name, value in {"backoff_max_s": 0.5, "text_model": "none", **settings}.items():
            arguments += ["--set", f"{name}={value}"]
        own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
        pythonpath = os.pathsep.join(filter(None, [str(ROOT), own.get("PYTHONPATH")]))
        self.n_log_bytes = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamer", *arguments],
                env={**own, "PYTHONPATH": pythonpath},
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def events(self) -> list[dict[str, Any]]:
        """What it has logged since its last start."""
        with self.log_path.open("rb") as log:
            log.seek(self.n_log_bytes)
            return [json.loads(line) for line in log.read().splitlines() if line.startswith(b"{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event; fails when the worker has ended."""
        assert self.process is not None
        found = [line for line in self.events() if line["event"] == event]
        if not found and self.process.poll() is not None:
            pytest.fail(
                f"the worker ended with {self.process.returncode}: {self.log_path.read_text()[-2000:]}"
            )
        return found

    def get(self, path: str) -> tuple[int, str]:
        """GET from its metrics port; status 0 when it does not answer."""
        url = self.logged("metrics")[0]["url"]
        connection = HTTPConnection(url.removeprefix("http://").removesuffix("/metrics"), timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 30) -> int:
        """Signal it and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """Whatever it does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Producer:
    """Writes the stream of these tests: 7 users walk through 11 items."""

    def __init__(self, kafka: str, topics: dict[str, str]) -> None:
        self._sink = KafkaSink(kafka)
        self._topics = topics
        self.n = 0

    def interactions(self, n_events: int) -> None:
        """The next events."""
        for _ in range(n_events):
            user_id = f"u{self.n % 7}"
            event = {
                "user_id": user_id,
                "item_id": f"i{self.n * 5 % 11}",
                "type": "view",
                "timestamp": 1000 * self.n,
            }
            self.send("interactions", user_id.encode(), json.dumps(event).encode())
            self.n += 1
        self._sink.flush(10)

    def send(self, kind: str, key: bytes | None, value: bytes | None) -> None:
        """One message of any kind."""
        self._sink.send(self._topics[kind], key, value)

    def close(self) -> None:
        """Send what is left."""
        self._sink.close()


@pytest.fixture(params=["mock", pytest.param("real", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest) -> str:
    """Bootstrap servers of the mock cluster, then of a real broker."""
    return str(request.getfixturevalue(f"{request.param}_kafka"))


@pytest.fixture
def topics(kafka: str, make_topic: Callable[..., str]) -> dict[str, str]:
    """Kind -> a topic of one partition."""
    kinds = ("interactions", "catalog", "profiles", "texts", "dead_letters")
    return {kind: make_topic(kafka, kind) for kind in kinds}


@pytest.fixture
def producer(kafka: str, topics: dict[str, str]) -> Iterator[Producer]:
    """Writes to `topics`."""
    with_sink = Producer(kafka, topics)
    yield with_sink
    with_sink.close()


@pytest.fixture
def make_worker(
    kafka: str, topics: dict[str, str], tmp_path: Path, prefix: str
) -> Iterator[Callable[[str], Worker]]:
    """A worker, not started yet, by the URL of its Redis."""
    made: list[Worker] = []

    def make(redis_url: str) -> Worker:
        made.append(Worker(tmp_path, kafka, redis_url, prefix, topics))
        return made[-1]

    yield make
    for worker in made:
        worker.kill()


def committed(worker: Worker) -> int:
    """Committed offset of interactions."""
    source = KafkaSource(worker.kafka, [worker.topics["interactions"]], worker.group)
    offset = next(iter(source.committed().values()), 0)
    source.close()
    return offset


def position_of(lists: RedisLists, user_id: str, topic: str) -> int:
    """Offset that the list of a user stands for; 0 when there is none."""
    value = lists.read(user_id)
    return 0 if value is None else int(json.loads(value)["position"][f"{topic}-0"])


def test_events_become_lists(
    make_worker: Callable[[str], Worker], producer: Producer, redis_url: str, prefix: str, poll_until: Poll
) -> None:
    """Events before and after the start; dead letters; SIGTERM drains and reports; a restart goes on."""
    worker, lists = make_worker(redis_url), RedisLists(redis_url, prefix)
    topic = worker.topics["interactions"]
    producer.interactions(N_EVENTS)
    producer.send("interactions", b"u0", b"garbage")
    producer.interactions(1)
    worker.start()
    poll_until(lambda: worker.logged("live"), timeout_s=COMPILE_TIMEOUT_S, what="catching up")
    assert worker.get("/ready") == (200, "ok\n")
    assert all(position_of(lists, f"u{n}", topic) == N_EVENTS + 2 for n in range(7))
    assert position_of(lists, ANONYMOUS, topic) == N_EVENTS + 2

    producer.interactions(7)
    poll_until(lambda: position_of(lists, "u0", topic) > N_EVENTS + 2, what="a live list")
    producer.interactions(7)
    assert worker.end() == 0
    n_records = N_EVENTS + 1 + 1 + 7 + 7
    # The last events may have come after the last poll. What was committed is what the lists stand for.
    n_done = committed(worker)
    assert n_records - 7 <= n_done <= n_records
    assert position_of(lists, ANONYMOUS, topic) == n_done
    report = json.loads(worker.report_path.read_text())
    assert report["events"] == n_done - 1

    source = KafkaSource(worker.kafka, [worker.topics["dead_letters"]], "test")
    (letter,) = poll_until(lambda: source.poll(10, 1.0), what="the dead letter")
    assert letter.value == b"garbage"

    worker.start()
    poll_until(lambda: worker.logged("live"), timeout_s=30, what="catching up again")
    assert position_of(lists, "u1", topic) == n_records
    assert source.poll(10, 0.5) == []  # no second dead letter
    source.close()


def test_texts_go_over_the_log_once(
    make_worker: Callable[[str], Worker], producer: Producer, redis_url: str, poll_until: Poll
) -> None:
    """Catalog event, vector on the topic and in Redis; a restart with another Redis prefix sends nothing again."""
    worker = make_worker(redis_url)
    for n in range(3):
        item = {"item_id": f"i{n}", "title": f"lamp {n % 2}", "timestamp": 1}
        producer.send("catalog", b"i%d" % n, json.dumps(item).encode())
    producer.interactions(7)
    texts = KafkaSource(worker.kafka, [worker.topics["texts"]], "test")
    found: list[bytes | None] = []
    for _ in range(2):
        worker.start(text_model="wordllama")
        poll_until(lambda: worker.logged("live"), timeout_s=COMPILE_TIMEOUT_S, what="catching up")
        poll_until(
            lambda: found.extend(r.key for r in texts.poll(9, 0.1)) or len(found) >= 2, what="the texts"
        )
        assert worker.end() == 0
        worker.prefix += "again:"
    assert found == [content_key("wordllama", f"lamp {n}").encode() for n in range(2)]
    assert texts.poll(9, 0.5) == []
    texts.close()


def test_redis_may_go_away_and_come_back(
    make_worker: Callable[[str], Worker], producer: Producer, prefix: str, poll_until: Poll
) -> None:
    """Red meanwhile, nothing is committed; then everything is written, and nothing was folded twice."""
    with EmbeddedRedis(persist=True) as redis:
        worker, lists = make_worker(redis.url), RedisLists(redis.url, prefix)
        topic = worker.topics["interactions"]
        producer.interactions(N_EVENTS)
        worker.start()
        poll_until(lambda: worker.logged("live"), timeout_s=COMPILE_TIMEOUT_S, what="catching up")
        redis.stop(kill=True)
        producer.interactions(50)
        poll_until(lambda: worker.get("/ready") == (503, "redis is away\n"), what="readiness turning red")
        assert worker.get("/live")[0] == 200
        assert committed(worker) == N_EVENTS
        redis.start()
        poll_until(lambda: worker.get("/ready")[0] == 200, what="readiness turning green")
        poll_until(lambda: position_of(lists, ANONYMOUS, topic) == N_EVENTS + 50, what="the lists")
        assert worker.end() == 0
        assert committed(worker) == N_EVENTS + 50
        assert json.loads(worker.report_path.read_text())["events"] == N_EVENTS + 50


@pytest.mark.parametrize("kafka", ["mock"], indirect=True)
def test_a_killed_worker_starts_again(
    make_worker: Callable[[str], Worker], producer: Producer, redis_url: str, prefix: str, poll_until: Poll
) -> None:
    """SIGKILL at any time: the next one reads the log again and ends with the same state."""
    worker, lists = make_worker(redis_url), RedisLists(redis_url, prefix)
    topic = worker.topics["interactions"]
    producer.interactions(N_EVENTS)
    worker.start()
    poll_until(lambda: worker.logged("live"), timeout_s=COMPILE_TIMEOUT_S, what="catching up")
    producer.interactions(100)
    worker.kill()
    hashes = []
    for _ in range(2):
        worker.start()
        poll_until(lambda: worker.logged("live"), timeout_s=30, what="catching up again")
        assert position_of(lists, "u1", topic) == N_EVENTS + 100
        assert worker.end() == 0
        hashes.append(json.loads(worker.report_path.read_text())["state_hash"])
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("kafka", ["mock"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_redis_is_away(
    make_worker: Callable[[str], Worker], producer: Producer, poll_until: Poll, number: int
) -> None:
    """It waits for the drain timeout, then says what was left, with the exit code of `Unavailable`."""
    with EmbeddedRedis() as redis:
        worker = make_worker(redis.url)
        producer.interactions(N_EVENTS)
        worker.start(drain_timeout_s=1)
        poll_until(lambda: worker.logged("live"), timeout_s=COMPILE_TIMEOUT_S, what="catching up")
        redis.stop(kill=True)
        producer.interactions(50)
        poll_until(lambda: worker.get("/ready")[0] == 503, what="readiness turning red")
        began_s = time.monotonic()
        assert worker.end(number) == 3
        assert time.monotonic() - began_s < 15
        last_line = worker.log_path.read_text().splitlines()[-1]
        assert last_line.startswith("streamer: Redis at")
        assert "Traceback" not in worker.log_path.read_text()
