"""Texts through a whole worker in memory: from a catalog event to a vector on the log, and from there into the fold."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streamer.adapters.memory import MemoryLists, MemoryLog, MemorySink, MemorySource, SystemClock
from streamer.adapters.memory.texts import MemoryTextCache, MemoryTextModel
from streamer.config import Settings
from streamer.errors import Unavailable
from streamer.events import TextEmbedded, decode
from streamer.ports import Record, TopicPartition
from streamer.runner import Runner, TextPorts
from streamer.telemetry import Telemetry
from streamer.texts import content_key

TOPICS = ("interactions", "catalog", "profiles", "texts", "dead-letters")
TIMEOUT_S = 30.0
SIZES = {"max_items": 1000, "max_users": 1000, "max_nodes": 100, "max_taken": 10_000}


class Model(MemoryTextModel):
    """The model in memory with a gate, and with trouble."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.n_failures_left = 0

    def embed(self, texts: Sequence[str]) -> Any:
        """As its parent."""
        assert self.gate.wait(TIMEOUT_S)
        if self.n_failures_left:
            self.n_failures_left -= 1
            raise Unavailable("not now")
        return super().embed(texts)


class _Cache(MemoryTextCache):
    """Outlives the workers that leave it, as a server does."""

    def close(self) -> None:
        pass


class World:
    """A log, lists, a model and its cache; workers come and go."""

    def __init__(self) -> None:
        self.log = MemoryLog(dict.fromkeys(TOPICS, 1))
        self.lists = MemoryLists()
        self.model, self.cache = Model(), _Cache()
        self.n_loads = 0

    def load(self) -> MemoryTextModel:
        """What the embedder calls."""
        self.n_loads += 1
        return self.model

    def item(self, item_id: str, title: str, **fields: Any) -> None:
        """A catalog event."""
        value = json.dumps({"item_id": item_id, "title": title, "timestamp": 1, **fields}).encode()
        self.log.append("catalog", 0, item_id.encode(), value)

    def view(self, user_id: str, item_id: str) -> None:
        """An interaction."""
        event = {"user_id": user_id, "item_id": item_id, "type": "view", "timestamp": 1}
        self.log.append("interactions", 0, user_id.encode(), json.dumps(event).encode())

    def embedded(self) -> list[str]:
        """Keys of the messages on the topic of texts, each of which is a valid event."""
        records = self.log.records("texts")
        events = [decode("texts", record.key, record.value) for record in records]
        assert all(isinstance(event, TextEmbedded) and event.model == "memory" for event in events)
        return [record.key.decode() for record in records if record.key is not None]


class _Source(MemorySource):
    """Calls `look` whenever there is nothing to read; the worker is stopped when it says True, or at the deadline."""

    def __init__(self, world: World, topics: Sequence[str], stop: threading.Event, look: Callable[[], bool]):
        super().__init__(world.log, topics, "streamer")
        self._stop, self._look = stop, look
        self._give_up_at_s = time.monotonic() + TIMEOUT_S
        self.polled: list[Record] = []

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        records = super().poll(max_records, timeout_s)
        self.polled += records
        assert time.monotonic() < self._give_up_at_s, "it did not come to rest"
        if not records and self._look():
            self._stop.set()
        return records


class Worker:
    """One runner with its telemetry."""

    def __init__(self, world: World, *, embeds: bool = True, **settings: Any) -> None:
        self.world = world
        self.stop = threading.Event()
        self.telemetry = Telemetry(SystemClock())
        defaults = {**SIZES, "text_model": "memory", "poll_timeout_ms": 1, "backoff_max_s": 0.02}
        self.settings = Settings(**{**defaults, **settings})
        self._ports = TextPorts(world.load, world.cache) if embeds else None

    def run(self, look: Callable[[], bool] | None = None) -> "Worker":
        """Work until `look` says True; by default until it is live and no text is waited for."""
        self.source = _Source(self.world, list(self.settings.kinds()), self.stop, look or self.is_at_rest)
        self.runner = Runner(
            self.settings,
            self.source,
            MemorySink(self.world.log),
            self.world.lists,
            clock=SystemClock(),
            telemetry=self.telemetry,
            text_ports=self._ports,
        )
        self.runner.run(self.stop)
        return self

    def is_at_rest(self) -> bool:
        """Live, and every text is on the log."""
        return self.value("catching_up") == 0 and self.value("text_backlog") == 0

    def value(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        return self.telemetry.registry.get_sample_value(f"streamer_{name}", labels)


@pytest.fixture
def world() -> World:
    """Five items, two of equal title and one without, nobody has seen any."""
    world = World()
    for item_id, title in (
        ("a", "red lamp"),
        ("b", "blue chair"),
        ("c", "red lamp"),
        ("d", ""),
        ("e", "desk"),
    ):
        world.item(item_id, title)
    return world


KEYS = [content_key("memory", title) for title in ("red lamp", "blue chair", "desk")]


def test_a_catalog_event_becomes_a_message_and_is_folded(world: World) -> None:
    """Each text once, in the order of the catalog; the worker reads its own messages, and commits them."""
    worker = Worker(world).run()
    assert world.embedded() == KEYS
    assert [r.key for r in worker.source.polled if r.topic == "texts"] == [key.encode() for key in KEYS]
    assert worker.value("events_total", topic="texts", outcome="learned") == 3
    assert world.log.committed("streamer")[TopicPartition("texts", 0)] == 3
    assert worker.value("texts_embedded_total", origin="model") == 3
    assert worker.value("texts_embedded_total", origin="cache") == 0
    assert worker.value("text_failures_total") == 0


def test_a_restart_embeds_nothing(world: World) -> None:
    """What the log has is not asked for again: the model is not even loaded, and nothing is sent."""
    Worker(world).run()
    assert (world.model.n_embedded, world.n_loads) == (3, 1)
    restarted = Worker(world).run()
    assert (world.model.n_embedded, world.n_loads) == (3, 1)
    assert world.embedded() == KEYS
    assert restarted.value("texts_embedded_total", origin="cache") == 0


def test_a_log_that_lost_its_texts_gets_them_from_the_cache(world: World) -> None:
    """A new topic, or a crash between the cache and the log: sent again, made not."""
    Worker(world).run()
    lost = World()
    lost.log.append("texts", 0, KEYS[0].encode(), world.log.records("texts")[0].value)
    lost.cache, lost.model = world.cache, world.model
    for record in world.log.records("catalog"):
        lost.log.append("catalog", 0, record.key, record.value)
    worker = Worker(lost).run()
    assert lost.embedded() == KEYS
    assert lost.n_loads == 0
    assert worker.value("texts_embedded_total", origin="cache") == 2


def test_a_new_text_is_embedded_and_a_new_price_is_not(world: World) -> None:
    """While the worker is live, catalog events come, and the texts of some of them are new."""
    worker = Worker(world)
    changes = [
        lambda: world.item("a", "red lamp", numerical={"price": 2.5}),
        lambda: world.item("b", "blue chair", text="Of oak."),
        lambda: world.log.append("catalog", 0, b"e", None),
        lambda: world.item("e", "desk"),
    ]

    def look() -> bool:
        if not worker.is_at_rest():
            return False
        if changes:
            changes.pop(0)()
            return False
        return True

    worker.run(look)
    assert world.embedded() == [*KEYS, content_key("memory", "blue chair\nOf oak.")]


def test_a_slow_model_delays_no_list(world: World) -> None:
    """Lists are written while it is stuck; the backlog shows what waits, and it catches up."""
    world.model.gate.clear()
    world.view("u", "a")
    world.view("v", "b")
    worker = Worker(world)
    seen: list[float | None] = []

    def look() -> bool:
        if not seen and worker.value("catching_up") == 0 and world.lists.read("u"):
            seen.append(worker.value("text_backlog"))
            assert world.embedded() == []
            world.model.gate.set()
        return bool(seen) and worker.is_at_rest()

    worker.run(look)
    assert seen == [3]
    assert sorted(world.embedded()) == sorted(KEYS)


def test_a_model_that_fails_is_counted_and_tried_again(world: World) -> None:
    """The worker goes on, and so do the texts."""
    world.model.n_failures_left = 4
    worker = Worker(world).run()
    assert sorted(world.embedded()) == sorted(KEYS)
    assert worker.value("text_failures_total") == 4


def test_a_stop_leaves_what_is_not_embedded_for_the_next_start(world: World) -> None:
    """Nothing is owed: the catalog is on the log."""
    world.model.n_failures_left = 10**9
    first = Worker(world)
    first.run(lambda: first.value("catching_up") == 0)
    assert world.embedded() == []
    world.model.n_failures_left = 0
    Worker(world).run()
    assert sorted(world.embedded()) == sorted(KEYS)


def test_texts_are_loaded_before_the_first_interaction(world: World) -> None:
    """As the catalog is: the first list can use them, and nothing is asked for that the log has."""
    Worker(world).run()
    world.view("u", "a")
    worker = Worker(world, max_batch_catch_up=2).run()
    topics = [record.topic for record in worker.source.polled]
    assert topics.index("interactions") == len(topics) - 1
    assert set(topics[:-1]) == {"catalog", "texts"}


def test_a_worker_without_a_model_folds_what_others_embedded(world: World) -> None:
    """And asks for nothing."""
    Worker(world).run()
    world.item("f", "a new one")
    worker = Worker(world, embeds=False)
    worker.run(lambda: worker.value("catching_up") == 0)
    assert worker.value("events_total", topic="texts", outcome="learned") == 3
    assert len(world.embedded()) == 3


def test_texts_can_be_switched_off(world: World) -> None:
    """Then their topic is not read, and need not exist."""
    worker = Worker(world, text_model="none")
    assert "texts" not in worker.settings.kinds()
    worker.run(lambda: worker.value("catching_up") == 0)
    assert (world.n_loads, world.embedded()) == (0, [])


def test_garbage_among_the_texts_is_set_aside(world: World) -> None:
    """As on any topic: to dead letters, counted, and its text is embedded."""
    world.log.append("texts", 0, KEYS[1].encode(), b'{"model":"memory","vector":"AAAA"}')
    worker = Worker(world)
    worker.run()
    assert worker.value("events_total", topic="texts", outcome="invalid") == 1
    assert len(world.log.records("dead-letters")) == 1
    assert [r.key for r in world.log.records("texts")][1:] == [key.encode() for key in KEYS]


@pytest.mark.parametrize("is_drained", [False, True])
def test_a_tombstone_on_the_texts_is_no_trouble(world: World, is_drained: bool) -> None:
    """It takes nothing from a running worker; the fold goes on."""
    if is_drained:
        Worker(world).run()
    world.log.append("texts", 0, b"0" * 64, None)
    worker = Worker(world).run()
    assert worker.value("events_total", topic="texts", outcome="learned") == 4


def test_a_text_that_was_dropped_from_the_log_is_made_again(world: World) -> None:
    """Where the log has room made and no vector, a worker that starts has none either, and its item needs one."""
    world.log.append("texts", 0, KEYS[0].encode(), None)
    Worker(world).run()
    assert [r.key for r in world.log.records("texts") if r.value] == [key.encode() for key in KEYS]
