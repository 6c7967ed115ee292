"""Redis refuses, is slow, or moves slots: the worker waits or follows, says so, and nothing else happens."""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis_proxy import RedisProxy

from streamer.adapters.memory import MemoryLists, MemoryLog, MemorySink, MemorySource, SystemClock
from streamer.adapters.redis import RedisLists
from streamer.adapters.redis.receipts import RedisReceipts
from streamer.config import Settings
from streamer.errors import ConfigError, StreamerError, Unavailable
from streamer.events import ANONYMOUS
from streamer.ports import TopicPartition
from streamer.runner import Runner
from streamer.servers import EmbeddedRedis
from streamer.telemetry import Telemetry

pytestmark = pytest.mark.timeout(300)

Poll = Callable[..., Any]
INTERACTIONS = TopicPartition("interactions", 0)
N_USERS = 7
TTL_S = 60
START_TIMEOUT_S = 200  # the first start on a machine compiles the kernels
# Small tables: nothing here needs more.
SIZES = {"max_items": 1000, "max_users": 1000, "max_nodes": 100, "max_taken": 10_000}

REFUSALS = {
    "loading": b"LOADING Redis is loading the dataset in memory",
    "masterdown": b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "clusterdown": b"CLUSTERDOWN The cluster is down",
    "busy": b"BUSY Redis is busy running a script.",
    "misconf": b"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "noauth": b"NOAUTH Authentication required.",  # later on: it is the server that changed
}


class Shop:
    """A log in memory, and a worker on it that writes to a Redis behind a proxy."""

    def __init__(self, proxy: RedisProxy) -> None:
        self.log = MemoryLog(dict.fromkeys(("interactions", "catalog", "profiles", "dead-letters"), 1))
        self.n_events = 0
        self.telemetry = Telemetry(SystemClock())
        self.lists = RedisLists(f"redis://127.0.0.1:{proxy.port}", "trouble:", timeout_s=2.0)
        self.receipts = RedisReceipts(f"redis://127.0.0.1:{proxy.port}", "trouble:", timeout_s=2.0)
        self.error: Exception | None = None
        self._stop = threading.Event()
        self.runner = self._runner(self.lists, self.telemetry)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def sell(self, n_events: int) -> None:
        """The next events: 7 users walk through 11 items."""
        for _ in range(n_events):
            n = self.n_events
            event = {
                "user_id": f"u{n % N_USERS}",
                "item_id": f"i{n * 5 % 11}",
                "type": "view",
                "timestamp": 1000 * n,
            }
            self.log.append("interactions", 0, b"u%d" % (n % N_USERS), json.dumps(event).encode())
            self.n_events += 1

    def value(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.telemetry.registry.get_sample_value(f"streamer_{name}", labels) or 0.0

    def is_well(self) -> bool:
        """Everything sold was learned and committed, and nothing is away."""
        if self.error is not None:
            raise self.error
        committed = self.log.committed("streamer").get(INTERACTIONS)
        return committed == self.n_events and not self.telemetry.health.why_not_ready()

    def end(self) -> None:
        """Drain; raises what the worker ended with."""
        self._stop.set()
        self._thread.join(30)
        if self.error is not None:
            raise self.error

    def undisturbed_hash(self) -> str:
        """The state that this log gives when nothing is wrong."""
        telemetry, stop = Telemetry(SystemClock()), threading.Event()
        runner = self._runner(MemoryLists(), telemetry)
        thread = threading.Thread(target=runner.run, args=[stop], daemon=True)
        thread.start()
        give_up_at_s = time.monotonic() + 30
        while _n_learned(telemetry) < self.n_events and time.monotonic() < give_up_at_s:
            time.sleep(0.01)
        stop.set()
        thread.join(30)
        return str(runner.report()["state_hash"])

    def _runner(self, lists: Any, telemetry: Telemetry) -> Runner:
        source = MemorySource(self.log, ["interactions", "catalog", "profiles"], "streamer")
        # troubles cut the log into other batches, and each of them measures all of its events
        settings = Settings(
            text_model="none", backoff_max_s=0.1, start_timeout_s=2.0, max_measured=1000, **SIZES
        )
        receipts = self.receipts if lists is self.lists else None
        sink, clock = MemorySink(self.log), SystemClock()
        return Runner(settings, source, sink, lists, clock=clock, telemetry=telemetry, receipts=receipts)

    def _run(self) -> None:
        try:
            self.runner.run(self._stop)
        except StreamerError as exc:
            self.error = exc


def _n_learned(telemetry: Telemetry) -> float:
    labels = {"topic": "interactions", "outcome": "learned"}
    return telemetry.registry.get_sample_value("streamer_events_total", labels) or 0.0


@pytest.fixture(scope="module")
def server(redis_url: str) -> Iterator[EmbeddedRedis]:
    """A server that may be troubled."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def admin(server: EmbeddedRedis) -> Iterator[Any]:
    """A client that knows no proxy."""
    with redis.Redis.from_url(server.url) as client:
        yield client
        client.flushall()  # it is this module's own


@pytest.fixture
def proxy(server: EmbeddedRedis) -> Iterator[RedisProxy]:
    """Before that server."""
    with RedisProxy(server.port) as proxy:
        yield proxy


def _troubles(proxy: RedisProxy, admin: Any) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Trouble -> how it begins, how it ends. Out of memory and read-only are the real thing."""

    def refuse(error: bytes | None) -> None:
        proxy.refuse = lambda _name: error

    troubles: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        name: (lambda error=error: refuse(error), lambda: refuse(None)) for name, error in REFUSALS.items()
    }
    troubles["oom"] = (
        lambda: admin.config_set("maxmemory", "1"),
        lambda: admin.config_set("maxmemory", "0"),
    )
    troubles["readonly"] = (
        lambda: admin.execute_command("REPLICAOF", "127.0.0.1", "1"),
        lambda: admin.execute_command("REPLICAOF", "NO", "ONE"),
    )
    return troubles


def test_a_redis_that_refuses_pauses_the_worker_and_nothing_else(
    proxy: RedisProxy, admin: Any, poll_until: Poll, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it says: readiness turns red, a metric counts, one line tells; then all goes on, each event once.

    While it refuses no position is committed; afterwards every list is there, and the state is that of a run without trouble.
    """
    caplog.set_level(logging.INFO, "streamer.runner")
    shop = Shop(proxy)
    shop.sell(20)
    shop.start()
    poll_until(shop.is_well, timeout_s=START_TIMEOUT_S, what="the start")
    for name, (begin, end) in _troubles(proxy, admin).items():
        n_before, committed, n_away = (
            shop.n_events,
            shop.log.committed("streamer"),
            shop.value("unavailable_total", dependency="redis"),
        )
        caplog.clear()
        begin()
        shop.sell(10)
        try:
            poll_until(
                lambda n_away=n_away: shop.value("unavailable_total", dependency="redis") >= n_away + 3,
                what=f"three tries at {name}",
            )
            assert shop.telemetry.health.why_not_ready() == ["redis is away"], name
            assert shop.log.committed("streamer")[INTERACTIONS] == n_before, name
            assert committed[INTERACTIONS] == n_before, name
            away = [record for record in caplog.records if record.message == "dependency_away"]
            assert len(away) == 1, name
            said = (
                REFUSALS[name].decode()
                if name in REFUSALS
                else {"oom": "maxmemory", "readonly": "read only"}[name]
            )
            assert said.split(maxsplit=1)[-1][:40] in vars(away[0])["error"], name
        finally:
            end()
        poll_until(shop.is_well, what=f"recovery from {name}")
        assert _n_learned(shop.telemetry) == shop.n_events
    assert len(shop.log.records("dead-letters")) == 0
    shop.end()
    lists = [shop.lists.read(user_id) for user_id in (*(f"u{n}" for n in range(N_USERS)), ANONYMOUS)]
    assert all(lists)
    positions = [json.loads(found)["position"]["interactions-0"] for found in lists[:N_USERS] if found]
    assert max(positions) == shop.n_events
    assert shop.runner.report()["state_hash"] == shop.undisturbed_hash()


def test_a_redis_that_answers_in_half_a_second_is_waited_for(
    proxy: RedisProxy, admin: Any, poll_until: Poll
) -> None:
    """It is slow, not away: the worker stays ready, and learns what came meanwhile in fewer, larger batches."""
    shop = Shop(proxy)
    shop.sell(20)
    shop.start()
    poll_until(shop.is_well, timeout_s=START_TIMEOUT_S, what="the start")
    proxy.delay_s = 0.5
    n_batches = shop.value("batch_size_count")
    for _ in range(30):
        shop.sell(1)
    poll_until(shop.is_well, timeout_s=20, what="learning all")
    assert shop.value("unavailable_total", dependency="redis") == 0
    assert _n_learned(shop.telemetry) == 50
    assert 0 < shop.value("batch_size_count") - n_batches < 30
    proxy.delay_s = 0.0
    shop.end()
    assert shop.runner.report()["state_hash"] == shop.undisturbed_hash()


@pytest.mark.parametrize("n_lost", [1, 2])
def test_a_receipt_knows_what_went_although_the_answer_was_lost(
    proxy: RedisProxy, admin: Any, poll_until: Poll, n_lost: int
) -> None:
    """The keys went, no answer came, and redis-py (once), then the worker (twice) asked again: there was a list."""
    shop = Shop(proxy)
    shop.sell(20)
    shop.start()
    poll_until(shop.is_well, timeout_s=START_TIMEOUT_S, what="the start")
    n_away = shop.value("unavailable_total", dependency="redis")
    proxy.n_breaks, proxy.break_after = n_lost, b"DEL"
    shop.log.append("profiles", 0, b"u3", None)
    receipt = json.loads(poll_until(lambda: admin.get("trouble:receipt:u3"), what="a receipt"))
    assert receipt["removed"]["list"] is True
    assert proxy.break_after is None
    assert shop.value("unavailable_total", dependency="redis") - n_away == n_lost - 1
    assert shop.lists.read("u3") is None
    poll_until(lambda: not admin.exists("trouble:erasing:u3"), what="the end of the note")
    shop.end()


def test_a_slot_that_moved_ends_a_worker_that_knows_no_cluster(
    proxy: RedisProxy, admin: Any, poll_until: Poll
) -> None:
    """MOVED and ASK from what should be a single server: no waiting heals that, and the sentence names the setting."""
    lists = RedisLists(f"redis://127.0.0.1:{proxy.port}", "trouble:")
    lists.write([("u", b"list")], TTL_S)
    for error in (b"MOVED 1 127.0.0.1:1", b"ASK 1 127.0.0.1:1"):
        proxy.refuse = lambda _name, error=error: error
        with pytest.raises(ConfigError, match="turn the cluster setting on"):
            lists.write([("u", b"list")], TTL_S)
    lists.close()


def test_a_slot_that_moved_is_followed_in_a_cluster(redis_url: str) -> None:
    """MOVED and ASK send a worker on, once each; a cluster that is down is waited for; the list is written."""
    with EmbeddedRedis(cluster=True) as server, RedisProxy(server.port) as proxy:
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("cluster-announce-port", proxy.port)  # else the worker goes past the proxy
            slot = admin.execute_command("CLUSTER", "KEYSLOT", "trouble:list:u")
        lists = RedisLists(f"redis://127.0.0.1:{proxy.port}", "trouble:", cluster=True, timeout_s=2.0)
        for n, kind in enumerate((b"MOVED", b"ASK")):
            errors = [b"%s %d 127.0.0.1:%d" % (kind, slot, proxy.port)]
            proxy.refuse = lambda name, errors=errors: errors.pop() if name == b"SET" and errors else None
            lists.write([("u", b"list %d" % n)], TTL_S)
            assert not errors
            assert lists.read("u") == b"list %d" % n
        proxy.refuse = lambda name: b"CLUSTERDOWN The cluster is down" if name == b"SET" else None
        with pytest.raises(Unavailable):
            lists.write([("u", b"list")], TTL_S)
        proxy.refuse = lambda _name: None
        lists.write([("u", b"at last")], TTL_S)
        assert lists.read("u") == b"at last"
        lists.close()


def test_a_reader_never_sees_half_a_list(server: EmbeddedRedis, admin: Any, proxy: RedisProxy) -> None:
    """Bytes of both, the writer's lists and the reader's answers, trickle: what is read is one whole list or another."""
    proxy.slice_bytes = 700
    whole = [bytes([letter]) * 20_000 for letter in b"abcd"]
    writer = RedisLists(f"redis://127.0.0.1:{proxy.port}", "trouble:")
    readers = [RedisLists(f"redis://127.0.0.1:{proxy.port}", "trouble:"), RedisLists(server.url, "trouble:")]
    done, seen = threading.Event(), set[bytes | None]()

    def read() -> None:
        while not done.is_set():
            seen.update(reader.read("u") for reader in readers)

    reading = threading.Thread(target=read)
    writer.write([("u", whole[0])], TTL_S)
    reading.start()
    for n in range(40):
        writer.write([("u", whole[n % len(whole)])], TTL_S)
    done.set()
    reading.join()
    assert seen <= set(whole)
    assert len(seen) > 1
    for store in (writer, *readers):
        store.close()


def test_a_cluster_whose_nodes_all_moved_is_found_again() -> None:
    """As new pods have new addresses: those that it told us of are gone, and the one in the settings is asked once more."""
    with EmbeddedRedis(cluster=True) as server, redis.Redis.from_url(server.url) as admin:
        with RedisProxy(server.port) as proxy:
            admin.config_set("cluster-announce-port", proxy.port)
            lists = RedisLists(server.url, "moved:", cluster=True, timeout_s=2.0)
            lists.write([("u", b"1")], TTL_S)
        admin.config_set("cluster-announce-port", 0)
        for _ in range(3):
            with contextlib.suppress(Unavailable):
                lists.write([("u", b"2")], TTL_S)
        assert lists.read("u") == b"2"
        lists.close()


def test_a_cluster_without_the_node_of_the_settings_is_found_again() -> None:
    """That one is down: those that it told us of are asked."""
    with EmbeddedRedis(cluster=True) as server:
        with RedisProxy(server.port) as proxy:
            lists = RedisLists(f"redis://127.0.0.1:{proxy.port}", "down:", cluster=True, timeout_s=2.0)
            lists.write([("u", b"1")], TTL_S)
        lists._part()
        assert lists.read("u") == b"1"
        lists.close()
