"""The worker on real servers: `streamer run` as a process, events on Kafka, lists in Redis."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from workers import Producer, Worker

from streamer.adapters.kafka import KafkaSource
from streamer.adapters.redis import RedisLists
from streamer.events import ANONYMOUS
from streamer.servers import EmbeddedRedis
from streamer.texts import content_key

COMPILE_TIMEOUT_S = 100  # the first start on a machine compiles the kernels
N_EVENTS = 300

pytestmark = pytest.mark.timeout(240)

Poll = Callable[..., Any]


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
