"""The loop against the memory twins: what is read, written, refused, repeated and committed, and when."""

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streamer.adapters.memory import ManualClock, MemoryLists, MemoryLog, MemorySink, MemorySource
from streamer.config import Settings
from streamer.errors import LogGap, TooManyInvalid, Unavailable
from streamer.events import ANONYMOUS
from streamer.ports import Record, TopicPartition
from streamer.runner import Runner
from streamer.runner.loop import COMMIT_INTERVAL_S
from streamer.telemetry import Telemetry

INTERACTIONS = TopicPartition("interactions", 0)
N_TURNS = 10_000


def interaction(user_id: str, item_id: str, timestamp_ms: int) -> tuple[bytes, bytes]:
    """Key and value of a view."""
    event = {"user_id": user_id, "item_id": item_id, "type": "view", "timestamp": timestamp_ms}
    return user_id.encode(), json.dumps(event).encode()


class World:
    """A log, lists and a clock in memory, and workers over them.

    The workers' polls are the heartbeat: `at_poll[n]` is done before the n-th poll, and a worker is stopped
    when it has polled an empty log for `n_quiet` turns, or at the latest after `N_TURNS`.
    """

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog(
            {"interactions": 1, "catalog": 1, "profiles": 1, "dead-letters": 1, "recommendations": 1}
        )
        self.lists = _Lists(self.clock, self)
        self.told: list[Any] = []  # everything that was written or committed, in order
        self.at_poll: dict[int, Callable[[], None]] = {}
        self.n_quiet = 20
        self.n_written = 0  # records of interactions so far
        self._log_ms = self.clock.now_ms()

    def append(self, *events: tuple[bytes | None, bytes | None], topic: str = "interactions") -> None:
        """Write records, key and value each, a millisecond apart."""
        for key, value in events:
            self._log_ms += 1
            self.log.append(topic, 0, key, value, timestamp_ms=self._log_ms)

    def append_many(self, n_events: int) -> None:
        """A stream in which 7 users walk through 11 items."""
        for _ in range(n_events):
            n = self.n_written
            self.n_written += 1
            self.append(interaction(f"u{n % 7}", f"i{n * 5 % 11}", 1000 * n))

    def worker(self, **settings: Any) -> "Worker":
        """A worker in this world."""
        return Worker(self, **settings)

    def committed(self) -> dict[TopicPartition, int]:
        """Committed positions."""
        return dict(self.log.committed("streamer"))

    def read(self, user_id: str) -> dict[str, Any] | None:
        """A list as an app reads it."""
        value = self.lists.read(user_id)
        return None if value is None else json.loads(value)

    def all_lists(self) -> dict[str, list[Any]]:
        """User -> items; what the list says of time and place left out."""
        users = [*(f"u{n}" for n in range(7)), ANONYMOUS]
        return {user: found["items"] for user in users if (found := self.read(user)) is not None}


class _Lists(MemoryLists):
    def __init__(self, clock: ManualClock, world: World) -> None:
        super().__init__(clock=clock)
        self._world = world
        self.n_failures = 0  # writes that will fail

    def write(self, entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        if self.n_failures:
            self.n_failures -= 1
            raise Unavailable("redis is away")
        super().write(entries, ttl_s)
        self._world.told.append([user_id for user_id, _ in entries])


class _Sink(MemorySink):
    """Holds everything back until it is flushed, as a producer may."""

    def __init__(self, world: World) -> None:
        super().__init__(world.log)
        self._held: list[tuple[Any, ...]] = []

    def send(self, *message: Any) -> None:  # type: ignore[override]
        self._held.append(message)

    def flush(self, timeout_s: float) -> None:  # noqa: ARG002
        held, self._held = self._held, []
        for message in held:
            super().send(*message)


class _Source(MemorySource):
    def __init__(self, world: World, stop: threading.Event) -> None:
        super().__init__(world.log, ["interactions", "catalog", "profiles"], "streamer", clock=world.clock)
        self._world, self._stop = world, stop
        self.n_polls = self.n_quiet = 0
        self.n_commit_failures = self.n_letters_at_commit = 0
        self.polled: list[Record] = []

    def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        self.n_polls += 1
        self._world.at_poll.pop(self.n_polls, lambda: None)()
        records = super().poll(max_records, timeout_s)
        self.n_quiet = 0 if records else self.n_quiet + 1
        if self.n_quiet >= self._world.n_quiet or self.n_polls > N_TURNS:
            self._stop.set()
        self.polled += records
        return records

    def commit(self, positions: Any) -> None:
        if self.n_commit_failures:
            self.n_commit_failures -= 1
            raise Unavailable("kafka is away")
        super().commit(positions)
        self.n_letters_at_commit = len(self._world.log.records("dead-letters"))
        self._world.told.append(dict(positions))


class Worker:
    """One runner with its telemetry."""

    def __init__(self, world: World, **settings: Any) -> None:
        # Small tables: the defaults' address space costs nothing, but clearing it for every test does.
        sizes = {"max_items": 1000, "max_users": 1000, "max_nodes": 100, "max_taken": 10_000}
        self.stop = threading.Event()
        self.telemetry = Telemetry(world.clock)
        self.source = _Source(world, self.stop)
        self.runner = Runner(
            Settings(**{**sizes, "max_batch": 8, "max_batch_catch_up": 16, **settings}),
            self.source,
            _Sink(world),
            world.lists,
            clock=world.clock,
            telemetry=self.telemetry,
        )

    def run(self) -> "Worker":
        """Work until the log is quiet."""
        self.runner.run(self.stop)
        assert self.source.n_polls <= N_TURNS, "it did not come to rest"
        return self

    def value(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        return self.telemetry.registry.get_sample_value(f"streamer_{name}", labels)

    @property
    def state_hash(self) -> str:
        """Of the state as it stands."""
        return str(self.runner.report()["state_hash"])


@pytest.fixture
def world() -> World:
    """Nothing has happened in it."""
    return World()


@pytest.fixture(scope="module")
def hash_of() -> Callable[..., str]:
    """The state that a stream of n events gives, folded in one undisturbed run; each n once."""
    known: dict[int, str] = {}

    def hash_of_(n_events: int) -> str:
        if n_events not in known:
            world = World()
            world.append_many(n_events)
            known[n_events] = world.worker().run().state_hash
        return known[n_events]

    return hash_of_


# --- the usual ---


def test_events_become_lists(world: World) -> None:
    """Every user has a list of at most k items, none of which he took, and so has the user nobody knows."""
    world.append_many(50)
    world.worker(k=3).run()
    lists = world.all_lists()
    assert set(lists) == {*(f"u{n}" for n in range(7)), ANONYMOUS}
    assert all(1 <= len(items) <= 3 for items in lists.values())
    taken = {f"i{n * 5 % 11}" for n in range(50) if n % 7 == 3}
    assert not taken & {item["id"] for item in lists["u3"]}


def test_a_live_event_moves_the_list_of_its_user_at_once(world: World) -> None:
    """One event, one turn: the list of its user and no other's."""
    world.append_many(50)
    worker = world.worker()

    def event() -> None:
        world.told.clear()
        world.append(interaction("u3", "i1", 99_000))

    worker_polls = 12  # by then all is caught up and published
    world.at_poll[worker_polls] = event
    worker.run()
    assert world.told[0] in (["u3"], ["u3", ANONYMOUS])
    assert world.committed()[INTERACTIONS] == 51
    assert worker.value("event_to_list_seconds_count", origin="received") == 1


def test_rankings_that_a_burst_saves_are_counted(world: World) -> None:
    """Five events of two users in one batch: two lists, three rankings less. Nobody is ranked while catching up."""
    world.append_many(50)
    worker = world.worker()

    def burst() -> None:
        assert worker.value("ranks_skipped_total") == 50
        for n, user_id in enumerate(["u1", "u2", "u1", "u1", "u2"]):
            world.append(interaction(user_id, f"i{n}", 99_000 + n))

    world.at_poll[12] = burst
    worker.run()
    assert worker.value("ranks_skipped_total") == 50 + 3


def test_the_position_of_a_list_is_what_it_stands_for(world: World) -> None:
    """Next offset by partition, as of the last batch folded."""
    world.append_many(50)
    world.worker().run()
    found = world.read("u1")
    assert found is not None
    assert found["position"]["interactions-0"] == 50


def test_metrics_tell_what_happened(world: World) -> None:
    """Counts by topic and outcome, lists, users, items; ready at the end."""
    world.append_many(20)
    world.append((b"x", b'{"item_id":"x","timestamp":1}'), (b"y", b"{"), topic="catalog")
    worker = world.worker().run()
    assert worker.value("events_total", topic="interactions", outcome="learned") == 20
    assert worker.value("events_total", topic="catalog", outcome="learned") == 1
    assert worker.value("events_total", topic="catalog", outcome="invalid") == 1
    assert worker.value("lists_written_total") == 8
    assert (worker.value("users"), worker.value("items")) == (7, 12)
    assert worker.value("catching_up") == 0
    assert worker.telemetry.health.why_not_ready() == []


def test_catalog_and_profiles_are_loaded_first(world: World) -> None:
    """The first interactions find their items, whatever order the log gives the topics in."""
    world.append_many(40)
    for n in range(40):
        world.append((b"i%d" % n, json.dumps({"item_id": f"i{n}", "timestamp": 1}).encode()), topic="catalog")
        world.append(
            (b"u%d" % n, json.dumps({"user_id": f"u{n}", "timestamp": 1}).encode()), topic="profiles"
        )
    worker = world.worker(max_batch_catch_up=7).run()
    topics = [record.topic for record in worker.source.polled]
    assert set(topics[:80]) == {"catalog", "profiles"}
    assert set(topics[80:]) == {"interactions"}


def test_an_empty_log_is_caught_up_at_once(world: World) -> None:
    """A new worker on a new log is ready, and folds the first event that comes."""
    world.at_poll[5] = lambda: world.append_many(1)
    worker = world.worker().run()
    assert worker.telemetry.health.why_not_ready() == []
    assert world.read("u0") is not None


# --- catching up ---


def test_nothing_is_published_before_everything_is_read(world: World) -> None:
    """While catching up Redis keeps what it holds; then all users are written, in chunks; then a commit."""
    world.append_many(100)
    worker = world.worker(max_batch_catch_up=4)

    def seen() -> None:
        assert world.told == []
        assert worker.telemetry.health.why_not_ready() == ["catching up with the log"]

    world.at_poll[20] = seen
    worker.run()
    chunks = [told for told in world.told if isinstance(told, list)]
    assert chunks[:2] == [["u0", "u1", "u2", "u3", ANONYMOUS], ["u4", "u5", "u6"]]
    assert world.told[2] == {INTERACTIONS: 100, **{TopicPartition(t, 0): 0 for t in ("catalog", "profiles")}}


def test_an_event_that_comes_while_all_users_are_published(world: World) -> None:
    """Its user's list is written with it, also when it had its turn before."""
    world.append_many(21)
    worker = world.worker(max_batch_catch_up=2)

    def event_after_the_second_chunk() -> None:
        if world.told and world.told[-1] == ["u2", "u3"]:
            world.append(interaction("u0", "i3", 99_000))

    for n_polls in range(1, 30):
        world.at_poll[n_polls] = event_after_the_second_chunk
    worker.run()
    found = world.read("u0")
    assert found is not None
    assert found["position"]["interactions-0"] == 22


def test_a_restart_gives_the_same_state_and_lists(world: World, hash_of: Callable[..., str]) -> None:
    """However the log was cut into live and catch-up batches."""
    world.append_many(60)
    for n in range(60):
        world.at_poll[10 + n] = lambda: world.append_many(1)
    live = world.worker().run()
    lists = world.all_lists()
    restarted = world.worker().run()
    assert live.state_hash == restarted.state_hash == hash_of(120)
    assert world.all_lists() == lists


def test_a_stop_while_catching_up_is_clean(world: World) -> None:
    """Nothing was promised, nothing is committed."""
    world.append_many(100)
    worker = world.worker()
    world.at_poll[3] = worker.stop.set
    worker.run()
    assert world.told == []


def test_holes_at_the_end_do_not_hold_up_the_start(world: World) -> None:
    """The last offsets may never be delivered (markers, compaction): silence ends the catching up."""
    world.append_many(10)
    world.n_quiet = 1_000
    worker = world.worker()
    end = worker.source.end_offsets()
    worker.source.end_offsets = lambda: {  # type: ignore[method-assign]
        tp: offset + 1 for tp, offset in end.items()
    }
    worker.run()
    assert worker.value("catching_up") == 0
    assert set(world.all_lists()) == {*(f"u{n}" for n in range(7)), ANONYMOUS}


# --- what goes wrong ---


def test_a_write_that_fails_is_repeated_and_nothing_is_folded_twice(
    world: World, hash_of: Callable[..., str]
) -> None:
    """Redis away: the batch waits, readiness is red, then the same lists are written."""
    world.append_many(30)
    worker = world.worker()

    def redis_goes() -> None:
        world.lists.n_failures = 5
        world.append_many(8)

    world.at_poll[12] = redis_goes
    worker.run()
    assert worker.state_hash == hash_of(38)
    assert worker.value("unavailable_total", dependency="redis") == 5
    assert world.committed()[INTERACTIONS] == 38
    found = world.read("u2")
    assert found is not None
    assert found["position"]["interactions-0"] == 38


def test_a_commit_that_fails_is_repeated(world: World, hash_of: Callable[..., str]) -> None:
    """Kafka away at the commit: the same positions are committed later."""
    world.append_many(30)
    worker = world.worker()
    worker.source.n_commit_failures = 4
    worker.run()
    assert worker.state_hash == hash_of(30)
    assert worker.value("unavailable_total", dependency="kafka") == 4
    assert world.committed()[INTERACTIONS] == 30


def test_a_commit_that_fails_holds_up_no_list(
    world: World, hash_of: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A group whose coordinator is away: nobody waits for it, and the last commit takes all that was read."""
    world.append_many(30)
    worker = world.worker()

    def coordinator_goes() -> None:
        worker.source.n_commit_failures = 1
        world.append_many(4)
        world.clock.advance(COMMIT_INTERVAL_S)  # one is due

    world.at_poll[12] = coordinator_goes
    world.at_poll[13] = lambda: world.append_many(4)
    worker.run()
    assert worker.state_hash == hash_of(38)
    assert worker.value("unavailable_total", dependency="kafka") == 1
    assert world.committed()[INTERACTIONS] == 38
    said = {record.message for record in caplog.records}
    assert "not_committed" in said
    assert "dependency_away" not in said


def test_a_log_that_goes_away_is_waited_for(world: World, hash_of: Callable[..., str]) -> None:
    """Kafka away at the poll: positions are kept, reading goes on where it was."""
    world.append_many(30)
    worker = world.worker()

    def log_goes() -> None:
        world.log.down = True

    def log_comes() -> None:
        assert worker.telemetry.health.why_not_ready()[-1] == "kafka is away"
        world.log.down = False
        world.append_many(5)

    world.at_poll[3] = log_goes
    world.at_poll[9] = log_comes
    worker.run()
    assert worker.state_hash == hash_of(35)
    assert [record.offset for record in worker.source.polled] == list(range(35))


def test_no_commit_before_the_lists_are_written(world: World) -> None:
    """While Redis is away nothing is committed, also when we are stopped; the error says so."""
    world.append_many(10)
    worker = world.worker(drain_timeout_s=5.0)

    def redis_goes() -> None:
        world.lists.n_failures = 10**9
        world.append_many(8)
        worker.stop.set()

    world.at_poll[12] = redis_goes
    with pytest.raises(Unavailable, match="redis is away"):
        worker.run()
    assert world.committed()[INTERACTIONS] == 10


def test_a_start_without_redis_or_kafka_ends(world: World) -> None:
    """At the start a dependency is waited for only so long: a wrong address is reported, not retried for ever."""
    for name in ("lists", "log"):
        getattr(world, name).down = True
        began_s = world.clock.monotonic_s()
        with pytest.raises(Unavailable):
            world.worker(start_timeout_s=10.0).run()
        assert 10 <= world.clock.monotonic_s() - began_s < 20
        getattr(world, name).down = False


def test_compiling_is_no_hang_after_a_wait_either(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis is away for a moment at the start, then kernels compile for longer than /live bears: nobody restarts us."""
    worker = world.worker(live_timeout_s=60.0)
    asked = []
    monkeypatch.setattr(world.lists, "ping", lambda: _away_the_first_time(asked))

    def compile_for_long() -> None:
        world.clock.advance(600)
        assert len(asked) == 2
        assert worker.telemetry.health.is_live()

    def hang() -> None:
        assert worker.telemetry.health.is_live()
        world.clock.advance(61)
        assert not worker.telemetry.health.is_live()

    monkeypatch.setattr(worker.runner, "_compile", compile_for_long)
    world.at_poll[3] = hang
    worker.run()
    assert not world.at_poll


def _away_the_first_time(asked: list[None]) -> None:
    asked.append(None)
    if len(asked) == 1:
        raise Unavailable("away")


def test_dead_letters_are_on_the_log_before_the_commit(world: World, hash_of: Callable[..., str]) -> None:
    """Invalid messages go to dead letters once, also over a restart; the good ones between are learned."""
    for n in range(30):
        world.append_many(1)
        world.append((b"k", b"garbage %d" % n))
    worker = world.worker().run()
    assert [record.value for record in world.log.records("dead-letters")] == [
        b"garbage %d" % n for n in range(30)
    ]
    assert worker.source.n_letters_at_commit == 30
    assert worker.state_hash == hash_of(30)
    assert worker.value("dead_letters_total", reason="json") == 30
    world.worker().run()
    assert len(world.log.records("dead-letters")) == 30


def test_a_log_made_anew_while_nobody_read_it_gets_its_dead_letters(world: World) -> None:
    """It is shorter than what was committed, so that stands for another log."""
    world.worker().source.commit({INTERACTIONS: 40})
    world.append((b"k", b"garbage"))
    world.worker().run()
    assert len(world.log.records("dead-letters")) == 1


def test_too_many_invalid_messages_stop_the_worker(world: World) -> None:
    """They are all in dead letters, and committed: whoever starts it again gets no second letter of them."""
    world.append_many(5)
    world.append(*[(b"k", b"x")] * 50)
    with pytest.raises(TooManyInvalid):
        world.worker(max_invalid_in_a_row=40).run()
    assert len(world.log.records("dead-letters")) == 41
    assert world.committed()[INTERACTIONS] == 46
    world.append_many(5)
    worker = world.worker(max_invalid_in_a_row=40).run()
    assert len(world.log.records("dead-letters")) == 50
    assert worker.value("events_total", topic="interactions", outcome="learned") == 10


@pytest.mark.parametrize("on_log_gap", ["continue", "stop"])
def test_a_gap_in_the_log(world: World, on_log_gap: str) -> None:
    """Retention overtakes the worker: counted; by setting it goes on or stops."""
    world.append_many(30)

    def retention() -> None:
        world.append_many(20)
        world.log.truncate(INTERACTIONS, 40)

    world.at_poll[12] = retention
    worker = world.worker(on_log_gap=on_log_gap)
    if on_log_gap == "stop":
        with pytest.raises(LogGap, match="10 records are gone"):
            worker.run()
        assert world.committed()[INTERACTIONS] == 30
    else:
        worker.run()
        assert world.committed()[INTERACTIONS] == 50
    assert worker.value("log_gaps_total", topic="interactions") == 1
    assert worker.value("log_gap_records_total", topic="interactions") == 10


# --- stopping ---


def test_a_stop_finishes_the_batch(world: World) -> None:
    """What was polled is folded, written and committed; the anonymous list is brought up to date."""
    world.append_many(10)
    worker = world.worker(anonymous_interval_s=1000.0)

    def stop() -> None:
        world.append_many(8)
        worker.stop.set()

    world.at_poll[12] = stop
    worker.run()
    assert world.committed()[INTERACTIONS] == 18
    found = world.read(ANONYMOUS)
    assert found is not None
    assert found["position"]["interactions-0"] == 18


def test_a_stop_at_the_start_does_not_wait_for_the_kernels(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while the log is asked; compiling would take minutes, and nothing is owed to anybody."""
    worker, compiled = world.worker(), []
    monkeypatch.setattr(worker.source, "committed", lambda: worker.stop.set() or {})
    monkeypatch.setattr(worker.runner, "_compile", lambda: compiled.append(True))
    worker.run()
    assert (compiled, worker.source.n_polls) == ([], 0)


def test_a_stop_while_the_log_is_away_does_not_wait_for_it(world: World) -> None:
    """Nothing was read, so nothing is owed."""
    world.append_many(10)
    worker = world.worker(drain_timeout_s=5.0)

    def log_goes() -> None:
        world.log.down = True
        worker.stop.set()

    world.at_poll[60] = log_goes
    world.n_quiet = 10**9
    worker.run()
    assert world.log.down


# --- users, items, the anonymous list, the topic ---


def test_an_erased_user_has_no_list(world: World) -> None:
    """A null value on profiles: the list goes, and another event of his starts afresh."""
    world.append_many(30)
    world.at_poll[12] = lambda: world.append((b"u3", None), topic="profiles")
    world.worker().run()
    assert world.read("u3") is None
    assert world.read("u2") is not None


def test_an_erased_user_who_comes_back_keeps_his_new_list(world: World) -> None:
    """He is erased once, not with every batch that follows."""
    world.append_many(30)
    world.at_poll[12] = lambda: world.append((b"u3", None), topic="profiles")
    world.at_poll[13] = lambda: world.append(interaction("u3", "i1", 99_000))
    world.at_poll[14] = lambda: world.append(interaction("u1", "i1", 99_000))
    world.worker().run()
    assert world.read("u3") is not None


def test_an_erased_user_has_no_list_after_a_restart_either(world: World) -> None:
    """The event may have come while no worker ran."""
    world.append_many(30)
    world.worker().run()
    assert world.read("u3") is not None
    world.log.truncate(INTERACTIONS, 30)
    world.append((b"u3", None), topic="profiles")
    world.append_many(1)
    world.worker().run()
    assert world.read("u3") is None


def test_a_retired_item_is_marked_and_unmarked(world: World) -> None:
    """Readers drop it from lists already written; it may come back."""
    world.append_many(30)
    item = json.dumps({"item_id": "i5", "timestamp": 1}).encode()
    world.at_poll[12] = lambda: world.append((b"i5", None), topic="catalog")
    world.at_poll[14] = lambda: seen.append(world.lists.retired(["i5"]))
    world.at_poll[15] = lambda: world.append((b"i5", item), topic="catalog")
    seen: list[set[str]] = []
    world.worker().run()
    assert seen == [{"i5"}]
    assert world.lists.retired(["i5"]) == set()


def test_the_anonymous_list_is_not_written_with_every_batch(world: World) -> None:
    """At most once an interval, however fast events come."""
    world.append_many(10)
    for n in range(50):
        world.at_poll[12 + n] = lambda: world.append_many(8)
    world.worker(anonymous_interval_s=1000.0).run()
    n_written = sum(ANONYMOUS in told for told in world.told if isinstance(told, list))
    assert n_written == 2  # after catching up, and at the end


def test_lists_go_to_the_topic_where_enabled(world: World) -> None:
    """The same bytes as in Redis, by user id; null when the user is erased."""
    world.append_many(30)
    world.at_poll[12] = lambda: world.append((b"u3", None), topic="profiles")
    world.worker(publish_recommendations=True).run()
    last = {record.key: record.value for record in world.log.records("recommendations")}
    assert last[b"u3"] is None
    assert last[b"u2"] == world.lists.read("u2")
    assert last[ANONYMOUS.encode()] == world.lists.read(ANONYMOUS)


def test_nothing_goes_to_the_topic_by_default(world: World) -> None:
    """Lists go to the topic only where `publish_recommendations` is on."""
    world.append_many(30)
    world.worker().run()
    assert world.log.records("recommendations") == []


def test_who_wants_a_report_does_not_wait_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a batch is at work there is none; after it there is."""
    monkeypatch.setattr("streamer.runner.worker.REPORT_TIMEOUT_S", 0.01)
    world.append_many(50)
    worker, refused = world.worker(), []

    def write(entries: Sequence[tuple[str, bytes]], ttl_s: int) -> None:
        with pytest.raises(Unavailable, match="ask again") as told:
            worker.runner.report()
        refused.append(told)
        _Lists.write(world.lists, entries, ttl_s)

    monkeypatch.setattr(world.lists, "write", write)
    worker.run()
    assert refused
    assert worker.runner.report()["events"] == 50


def test_the_report_is_one(world: World) -> None:
    """It keeps the contract of `schemas/report.v1.schema.json`."""
    from pathlib import Path

    import jsonschema

    schema = json.loads((Path(__file__).parents[2] / "schemas" / "report.v1.schema.json").read_text())
    world.append_many(50)
    report = world.worker().run().runner.report()
    jsonschema.validate(json.loads(json.dumps(report)), schema)
    assert report["events"] == 50
    assert report["counted"] == report["lists"]["streamer"]["all"]["n"]
