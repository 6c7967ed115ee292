"""The embedded Kafka is a Kafka: one log of one partition a topic gives the same lists through either, and without."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from streamer import pipeline
from streamer.adapters.kafka import KafkaSink
from streamer.config import Settings
from streamer.datasets import Message, load
from streamer.demo.worker import Worker
from streamer.events import Event, Interaction, decode
from streamer.propagate.learner import Learner
from streamer.publish import Publisher
from streamer.training import ThreadTrainer

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

DATA = Path(__file__).resolve().parents[2] / "ops" / "data" / "online-retail"
COMPILE_TIMEOUT_S = 280  # the first start on a machine compiles the kernels
N_EVENTS = 5000
KINDS = ("catalog", "profiles", "interactions")

Poll = Callable[..., Any]
Lists = dict[str, list[tuple[str, float, str]]]  # user -> (item, score, path), best first


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    """The log: all of the catalog, all profiles, some thousand interactions."""
    return list(load(DATA, catalog_first=True, max_events=N_EVENTS).messages())


def _items(value: bytes) -> list[tuple[str, float, str]]:
    """A list as its reader sees it, without when it was made."""
    return [(item["id"], item["score"], item["path"]) for item in json.loads(value)["items"]]


def _in_memory(messages: Sequence[Message]) -> tuple[str, Lists]:
    """State hash and all lists of a fold without any Kafka or Redis, for the moment of the log's last event."""
    settings = Settings(text_model="none")
    events = [decode(message.kind, message.key, message.value) for message in messages]
    with closing(ThreadTrainer(Learner())) as trainer:
        state, _ = pipeline.step(pipeline.new_state(settings.fold(), trainer), events, settings.measure_share)
        return _lists_of(state, settings, events)


def _lists_of(state: pipeline.State, settings: Settings, events: Sequence[Event]) -> tuple[str, Lists]:
    user_rows = np.arange(-1, state.ids.users.n_rows, dtype=np.int32)
    newest_ms = max(event.timestamp_ms for event in events if isinstance(event, Interaction))
    gaps_ms = pipeline.gaps_ms(state, user_rows, newest_ms)
    ranking = pipeline.rank_users(state, user_rows, settings.k, gaps_ms)
    entries = Publisher(settings.max_users, settings.k).encode(state, ranking, 0, {})
    return pipeline.state_hash(state), {user_id: _items(value) for user_id, value in entries}


class Loop:
    """Publishes the log, then runs the worker over it: it publishes all lists once it has read everything."""

    def __init__(self, directory: Path, redis_url: str, prefix: str, poll_until: Poll) -> None:
        self._directory, self._redis_url, self._prefix, self._poll_until = (
            directory,
            redis_url,
            prefix,
            poll_until,
        )

    def run(
        self, kafka: str, make_topic: Callable[..., str], messages: Sequence[Message]
    ) -> tuple[str, Lists]:
        """State hash of the worker, and the lists that Redis holds afterwards."""
        name = kafka.replace(":", "-")
        prefix = f"{self._prefix}{name}:"
        topics = {kind: make_topic(kafka, kind) for kind in (*KINDS, "dead_letters")}
        self._publish(kafka, topics, messages)
        directory = self._directory / name
        directory.mkdir()
        flags = [
            "--prefix",
            prefix,
            "--group",
            topics["interactions"],
            "--set",
            "text_model=none",
            "--set",
            "training_waits=true",
        ]
        for kind, topic in topics.items():
            flags += ["--set", f"topic_{kind}={topic}"]
        worker = Worker(directory, kafka, self._redis_url, flags)
        try:
            self._poll_until(worker.is_ready, timeout_s=COMPILE_TIMEOUT_S, what="reading the log")
            worker.stop()
        finally:
            worker.end()
        return worker.final_report()["state_hash"], self._lists(prefix)

    def _publish(self, kafka: str, topics: dict[str, str], messages: Sequence[Message]) -> None:
        sink = KafkaSink(kafka)
        for kind, of_kind in groupby(messages, key=lambda message: message.kind):
            for message in of_kind:
                sink.send(topics[kind], message.key, message.value)
        sink.close()

    def _lists(self, prefix: str) -> Lists:
        begin = f"{prefix}list:"
        with Redis.from_url(self._redis_url) as client:
            keys = list(client.scan_iter(match=begin + "*", count=1000))
            values = client.mget(keys)
        return {
            key.decode().removeprefix(begin): _items(value) for key, value in zip(keys, values, strict=True)
        }


@pytest.fixture
def loop(tmp_path: Path, redis_url: str, prefix: str, poll_until: Poll) -> Loop:
    """A worker's surroundings, without a Kafka."""
    return Loop(tmp_path, redis_url, prefix, poll_until)


def test_the_same_log_gives_the_same_lists(
    loop: Loop, messages: list[Message], mock_kafka: str, real_kafka: str, make_topic: Callable[..., str]
) -> None:
    """Mock Kafka, real Kafka and no Kafka: the same state, and the same items, scores and paths for every user."""
    hash_in_memory, lists_in_memory = _in_memory(messages)
    assert len(lists_in_memory) > 100
    assert all(lists_in_memory.values())

    hash_mock, lists_mock = loop.run(mock_kafka, make_topic, messages)
    hash_real, lists_real = loop.run(real_kafka, make_topic, messages)

    assert hash_mock == hash_real == hash_in_memory
    assert lists_mock == lists_real
    assert lists_mock == lists_in_memory
