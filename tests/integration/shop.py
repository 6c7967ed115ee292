"""A shop whose events keep coming, a watch over the log of folds, and what a worker's log of folds comes to from nothing."""

import json
import os
import random
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from confluent_kafka import Producer
from workers import Worker

from streamer import pipeline, report
from streamer.adapters.kafka import KafkaSource
from streamer.adapters.redis.folds import RedisFolds
from streamer.config import Settings
from streamer.errors import InvalidEvent, Unavailable
from streamer.events import Event
from streamer.measure import Scoreboard
from streamer.ports import Fold, Record, TopicPartition
from streamer.propagate.learner import Learner
from streamer.runner.admission import admit
from streamer.runner.refold import spans_of
from streamer.training import ThreadTrainer

N_PARTITIONS = 2
N_KILLS = int(os.environ.get("STREAMER_TEST_KILLS", "3"))  # ops/bench/kills has more
# the embedded Kafka keeps some 100,000 events, so that more kills want slower ones; and a test folds all of them twice more
PAUSE_S = max(0.1, 0.0125 * N_KILLS)
READ_TIMEOUT_S = 60
FAR_FUTURE_MS = 4_000_000_000_000  # epoch milliseconds: the year 2096
START_TIMEOUT_S = 100  # the first start on a machine compiles the kernels
SETTINGS: dict[str, Any] = {
    "text_model": "wordllama",
    "max_items": 2000,
    "max_users": 2000,
    "max_nodes": 4000,
    "max_taken": 100_000,
    "training_interval": 64,
}
OFTEN = {"checkpoint_interval_events": 700, "checkpoint_interval_s": 2}
Poll = Callable[..., Any]
Records = dict[TopicPartition, list[Record]]


class Shop:
    """A stream of everything, written while workers live and die. Users of a partition take items of their own.

    So which of their events count does not depend on how the partitions come together.

    Args:
        pause_s: Longest pause between two handfuls of events.
    """

    def __init__(self, kafka: str, topics: dict[str, str], seed: int, pause_s: float = 0.05) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": kafka,
                "linger.ms": 5,
                "compression.type": "zstd",
                "enable.idempotence": True,  # a broker that goes away makes it send again
            }
        )
        self._pause_s = pause_s
        self._topics = topics
        self._rng = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_on, daemon=True)
        self.n_interactions = 0

    def stock(self, n_items: int) -> None:
        """The catalog."""
        for item in range(n_items):
            self._describe(item)
        self._producer.flush()

    def open(self) -> None:
        """Events from now on."""
        self._thread.start()

    def close(self) -> None:
        """No more of them. Idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._producer.flush()

    def _write_on(self) -> None:
        while not self._stop.is_set():
            for _ in range(self._rng.randint(1, 40)):
                self._next()
            self._producer.poll(0)
            time.sleep(self._rng.random() * self._pause_s)

    def _next(self) -> None:
        rng = self._rng
        chance = rng.random()
        user = rng.randrange(200)
        if chance < 0.04:
            self._describe(rng.randrange(300))
        elif chance < 0.07:
            profile = {"user_id": f"u{user}", "categorical": {"country": [f"c{user % 5}"]}, "timestamp": 1}
            self._send("profiles", 0, f"u{user}", profile)
        elif chance < 0.075:  # of somebody who takes nothing: when he goes changes nothing that is counted
            visitor = f"visitor{user % 20}"
            profile = {"user_id": visitor, "categorical": {"country": ["c9"]}, "timestamp": 1}
            if rng.random() < 0.5:
                self._send("profiles", 0, visitor, profile)
            else:
                self._producer.produce(self._topics["profiles"], None, visitor, 0)
        elif chance < 0.077:
            self._producer.produce(self._topics["interactions"], b"garbage", b"u", user % N_PARTITIONS)
        elif chance < 0.079:  # a clock that is years ahead
            event = {"user_id": f"u{user}", "item_id": "i0", "type": "view", "timestamp": FAR_FUTURE_MS}
            self._send("interactions", user % N_PARTITIONS, f"u{user}", event)
        else:
            self._interact(user)

    def _interact(self, user: int) -> None:
        rng, partition = self._rng, user % N_PARTITIONS
        self.n_interactions += 1
        item = min(int(rng.paretovariate(0.7)), 140) * N_PARTITIONS + partition
        event = {
            "user_id": f"u{user}",
            "item_id": f"i{item}",
            "type": "view",
            "timestamp": 1000 * self.n_interactions,
        }
        if rng.random() < 0.5:
            event |= {"value": rng.randint(1, 5), "context": {"device": rng.choice(["phone", "desk"])}}
        self._send("interactions", partition, f"u{user}", event)

    def _describe(self, item: int) -> None:
        record = {
            "item_id": f"i{item}",
            "title": f"{random.Random(item).choice(['red', 'blue', 'old'])} lamp {item % 40} {self._rng.randrange(3)}",
            "categorical": {"kind": [f"k{item % 7}"]},
            "numerical": {"price": item % 30 + 0.5},
            "timestamp": 1,
        }
        self._send("catalog", 0, f"i{item}", record)

    def _send(self, kind: str, partition: int, key: str, value: dict[str, Any]) -> None:
        self._producer.produce(self._topics[kind], json.dumps(value).encode(), key.encode(), partition)


class Watch:
    """Reads the log of folds all along: a checkpoint takes its beginning away."""

    def __init__(self, redis_url: str, prefix: str) -> None:
        self._folds = RedisFolds(redis_url, prefix)
        self.seen: dict[int, Fold] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)  # a test that fails leaves it
        self._thread.start()

    def close(self) -> None:
        """With a last look."""
        self._stop.set()
        self._thread.join()
        self._look()
        self._folds.close()

    def _look_on(self) -> None:
        while not self._stop.wait(0.02):
            self._look()

    def _look(self) -> None:
        try:
            new = self._folds.read(max(self.seen, default=0), 10_000)
        except Unavailable:
            return
        self.seen |= {fold.number: fold for fold in new}


def everything(worker: Worker) -> Records:
    """All records of the topics that a worker reads.

    Raises:
        AssertionError: not all of them came, by two consumers, one after the other.
    """
    short: list[str] = []
    for _ in range(2):
        records, n_left = _all_records(worker)
        if n_left == 0:
            return records
        short.append(f"{n_left} missing beside { ({tp: len(found) for tp, found in records.items()}) }")
        warnings.warn(f"a consumer stands still: {short[-1]}", stacklevel=2)
    raise AssertionError("; ".join(short))


def _all_records(worker: Worker) -> tuple[Records, int]:
    """What a new consumer reads within a minute, and how many records it did not."""
    kinds = ("catalog", "profiles", "texts", "interactions")
    source = KafkaSource(worker.kafka, [worker.topics[kind] for kind in kinds], "all")
    n_left = sum(source.end_offsets().values())
    records: Records = {}
    give_up_s = time.monotonic() + READ_TIMEOUT_S
    while n_left and time.monotonic() < give_up_s:
        for record in source.poll(10_000, 1.0):
            records.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
            n_left -= 1
    source.close()
    return records, n_left


def settings_of(worker: Worker, **more: Any) -> Settings:
    """Those the worker had."""
    topics = {f"topic_{kind}": topic for kind, topic in worker.topics.items()}
    return Settings(**{**SETTINGS, **topics, **more})


def folded(settings: Settings, log: list[tuple[list[Record], Fold]]) -> tuple[pipeline.State, dict[str, Any]]:
    """State and report after these batches, from nothing."""
    trainer, scoreboard = ThreadTrainer(Learner()), Scoreboard()
    state = pipeline.new_state(settings.fold(), trainer)
    for records, fold in log:
        trainer.plan(fold.rounds)
        read = [one for record in records for one in admitted(settings, record)]
        events, log_ms = [event for event, _ in read], [log_ms for _, log_ms in read]
        state, info = pipeline.step(state, events, settings.measure_share, log_ms, fold.max_measured or None)
        ranks = np.frombuffer(fold.served, np.uint8).astype(np.int32)
        scoreboard.update(info.outcomes, ranks if ranks.size == info.n_interactions else None)
    measured = {"k": settings.k, "measure_share": settings.measure_share}
    document = report.build(settings.topic_interactions, measured, state, scoreboard)
    trainer.close()
    return state, json.loads(json.dumps(document))


def admitted(settings: Settings, record: Record) -> list[tuple[Event, int]]:
    """The event of a record and when it came to the log, if a worker lets it in."""
    try:
        return [admit(record, settings.kinds()[record.topic], settings.max_skew_s * 1000)]
    except InvalidEvent:
        return []


def histories(state: pipeline.State) -> dict[str, Any]:
    """What does not depend on how partitions came together: of each user, how much he did and what he did last."""
    users, items = state.graph.users, state.ids.items
    return {
        user_id: (
            int(users[row]["n_events"]),
            int(users[row]["n_taken"]),
            [items.id(item) for item in users[row]["ring"][: users[row]["n_events"]].tolist()],
            users[row]["ring_time"].tolist(),
        )
        for user_id, row in state.ids.users.items()
    }


def logged_batches(folds: dict[int, Fold], records: Records) -> list[tuple[list[Record], Fold]]:
    """Every batch, with its records; every record of the log is in exactly one of them."""
    assert sorted(folds) == list(range(1, len(folds) + 1))
    batches, n_seen = list[tuple[list[Record], Fold]](), Counter[tuple[str, int, int]]()
    for number in sorted(folds):
        batch = [
            record
            for span in folds[number].spans
            for record in records[TopicPartition(span.topic, span.partition)][span.begin : span.end]
        ]
        assert spans_of(batch) == folds[number].spans
        n_seen.update((r.topic, r.partition, r.offset) for r in batch)
        batches.append((batch, folds[number]))
    all_of_them = {(r.topic, r.partition, r.offset) for some in records.values() for r in some}
    assert sorted(all_of_them - n_seen.keys()) == [], "on the log, and in no batch"
    assert [place for place, n in n_seen.items() if n != 1] == [], "in two batches"
    return batches


def wait_until_live(worker: Worker, poll_until: Poll) -> None:
    """Until it publishes what changes."""
    poll_until(lambda: worker.logged("live"), timeout_s=START_TIMEOUT_S, what="catching up")


def wait_until_read(worker: Worker, folds: Watch, records: Records, poll_until: Poll) -> None:
    """Until the worker has folded all of this."""
    n_all = sum(map(len, records.values()))

    def n_folded() -> int:
        return sum(span.end - span.begin for fold in list(folds.seen.values()) for span in fold.spans)

    poll_until(lambda: n_folded() >= n_all, timeout_s=60, what=f"folding {n_all} records")
