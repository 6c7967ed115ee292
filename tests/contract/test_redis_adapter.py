"""What the Redis adapter adds to its port: keys, URLs, secrets, and which errors waiting can heal."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
import redis

from streamer.adapters.redis import RedisLists
from streamer.adapters.redis.connection import mask
from streamer.adapters.redis.server import RedisServer
from streamer.errors import ConfigError, Unavailable
from streamer.servers import EmbeddedRedis


@pytest.fixture(scope="module")
def own(redis_url: str) -> Iterator[EmbeddedRedis]:
    """A server whose settings these tests may change."""
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def admin(own: EmbeddedRedis) -> Iterator[Any]:
    """A plain client of that server."""
    with redis.Redis.from_url(own.url) as client:
        yield client


def test_keys_are_the_public_contract(redis_url: str, prefix: str) -> None:
    """One GET of `<prefix>list:<user>` serves any app; a retired item is a key of its own; lists and
    marks expire."""
    lists = RedisLists(redis_url, prefix)
    lists.write([("u 1", b"list")], ttl_s=100)
    lists.retire(["i:1"], ttl_s=50)
    with redis.Redis.from_url(redis_url) as client:
        assert client.get(f"{prefix}list:u 1") == b"list"
        assert 90 < client.ttl(f"{prefix}list:u 1") <= 100
        assert 40 < client.ttl(f"{prefix}retired:i:1") <= 50
        assert set(client.scan_iter(match=prefix + "*")) == {
            f"{prefix}list:u 1".encode(),
            f"{prefix}retired:i:1".encode(),
        }
    lists.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h", "redis://h"),
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:hunter2@h", "redis://:***@h"),
        ("rediss://user:hunter2@h:1/2", "rediss://user:***@h:1/2"),
        ("redis://user:hunter2@with@h", "redis://user:***@h"),
        ("redis://user@h", "redis://user@h"),
        ("redis://h/0?password=hunter2", "redis://h/0"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    """Passwords and parameters never reach a message."""
    assert mask(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://:hunter2@h",
        "redis://:hunter2@h:99999999",
        "redis://:hunter2@h:port",
        "redis://:hunter2@h/first",
        "redis://:hunter2@[::1",
        "redis://:hunter2@h?socket_timeout=hunter2",
        "redis://:hunter2@h?no_such_option=hunter2",
    ],
)
def test_a_bad_url_is_a_config_error(url: str) -> None:
    """What is no Redis URL is refused before connecting, in a sentence without the password."""
    with pytest.raises(ConfigError, match="Redis") as refused:
        RedisLists(url)
    assert "hunter2" not in str(refused.value)


def test_an_unreachable_server_is_named_without_its_password() -> None:
    """`Unavailable` says where, never with what password."""
    lists = RedisLists("redis://:hunter2@127.0.0.1:1", timeout_s=1.0)
    with pytest.raises(Unavailable, match=r"redis://:\*\*\*@127.0.0.1:1: .*refused") as away:
        lists.ping()
    assert "hunter2" not in str(away.value)


def test_credentials_refused_from_the_start_are_a_config_error(own: EmbeddedRedis, admin: Any) -> None:
    """No waiting heals a wrong password: none, a wrong one, and a user without rights are `ConfigError`."""
    admin.config_set("requirepass", "secret")
    admin.acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"], commands=["+get"])
    try:
        address = own.url.removeprefix("redis://")
        for url in (own.url, f"redis://:hunter2@{address}", f"redis://reader:secret@{address}"):
            lists = RedisLists(url)
            with pytest.raises(ConfigError, match="check user, password and rights") as refused:
                lists.write([("u", b"v")], ttl_s=60)
            assert not any(word in str(refused.value) for word in ("hunter2", "secret"))
        RedisLists(f"redis://:secret@{address}").write([("u", b"v")], ttl_s=60)
    finally:
        admin.config_set("requirepass", "")


def test_credentials_refused_later_are_an_outage(own: EmbeddedRedis, admin: Any) -> None:
    """Once the server took us, a refusal is the server's change: wait for it to be put right."""
    lists = RedisLists(own.url)
    lists.ping()
    admin.config_set("requirepass", "secret")
    try:
        lists._client.connection_pool.disconnect()  # the server asks for a password on new connections only
        with pytest.raises(Unavailable):
            lists.write([("u", b"v")], ttl_s=60)
    finally:
        admin.config_set("requirepass", "")
    lists.write([("u", b"v")], ttl_s=60)


def test_a_full_server_is_unavailable_until_there_is_room(own: EmbeddedRedis, admin: Any) -> None:
    """Out of memory is `Unavailable`; the user's id is not in the message; writing again puts things
    right."""
    lists = RedisLists(own.url)
    admin.config_set("maxmemory", "1")
    try:
        with pytest.raises(Unavailable, match="maxmemory") as full:
            lists.write([("somebody", b"v")], ttl_s=60)
    finally:
        admin.config_set("maxmemory", "0")
    assert "somebody" not in str(full.value)
    lists.write([("somebody", b"v")], ttl_s=60)
    assert lists.read("somebody") == b"v"


def test_a_replica_is_unavailable(own: EmbeddedRedis, admin: Any) -> None:
    """A server that became a replica refuses writes for now: it may be a failover under way."""
    lists = RedisLists(own.url)
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(Unavailable, match="read only"):
            lists.write([("u", b"v")], ttl_s=60)
    finally:
        admin.execute_command("REPLICAOF", "NO", "ONE")
    lists.write([("u", b"v")], ttl_s=60)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"-LOADING Redis is loading the dataset in memory", Unavailable),
        (b"-MASTERDOWN Link with MASTER is down", Unavailable),
        (b"-CLUSTERDOWN The cluster is down", Unavailable),
        (b"-BUSY Redis is busy running a script", Unavailable),
        (b"-MISCONF Redis is configured to save snapshots", Unavailable),
        (b"-TRYAGAIN Multiple keys", Unavailable),
        (b"-ERR something new", Unavailable),
        (b"-MOVED 1 10.0.0.1:6379", ConfigError),
    ],
)
def test_what_waiting_heals_is_unavailable(reply: bytes, error: type[Exception]) -> None:
    """Every refusal that passes with time is `Unavailable`; a cluster behind a single-server setting is
    not."""

    class Refuse(BaseRequestHandler):
        def handle(self) -> None:
            while request := self.request.recv(65536):
                n_commands = request.count(b"\r\n*") + 1
                fine = b"CLIENT" in request  # redis-py introduces itself first
                self.request.sendall(n_commands * ((b"+OK" if fine else reply) + b"\r\n"))

    with ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lists = RedisLists(f"redis://127.0.0.1:{server.server_address[1]}?protocol=2", timeout_s=2.0)
        uses: list[Callable[[], object]] = [
            lambda: lists.write([("u", b"v")], ttl_s=60),
            lambda: lists.read("u"),
        ]
        for use in uses:
            with pytest.raises(error):
                use()
        lists.close()
        server.shutdown()


@pytest.mark.parametrize(
    "reply",
    [b"-READONLY You can't write", b"-LOADING Redis is loading", b"-MASTERDOWN Link with MASTER is down"],
)
def test_who_is_the_wrong_node_is_left(reply: bytes) -> None:
    """Behind a virtual address or a service the demoted node keeps the connections it has: the next try makes a new one."""
    n_connections = [0]

    class Demoted(BaseRequestHandler):
        def handle(self) -> None:
            n_connections[0] += 1
            is_wrong = n_connections[0] <= 2  # redis-py itself may try once more
            while request := self.request.recv(65536):
                n_commands = request.count(b"\r\n*") + 1
                fine = b"CLIENT" in request or not is_wrong
                self.request.sendall(n_commands * ((b"+OK" if fine else reply) + b"\r\n"))

    with ThreadingTCPServer(("127.0.0.1", 0), Demoted) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"redis://127.0.0.1:{server.server_address[1]}?protocol=2"
        with contextlib.closing(RedisLists(url, timeout_s=2.0)) as lists:
            for _ in range(2):
                with contextlib.suppress(Unavailable):
                    lists.write([("u", b"v")], ttl_s=60)
            lists.write([("u", b"v")], ttl_s=60)
        server.shutdown()


def test_a_single_server_is_no_cluster(own: EmbeddedRedis) -> None:
    """The cluster setting on a single server is a `ConfigError` that says so."""
    with pytest.raises(ConfigError, match="is not a cluster"):
        RedisLists(own.url, cluster=True).ping()
    with pytest.raises(ConfigError, match="databases"):
        RedisLists(own.url + "/1", cluster=True)


def test_a_silent_server_does_not_hang_us(own: EmbeddedRedis, admin: Any) -> None:
    """A server that stops answering is `Unavailable` within the time set."""
    lists = RedisLists(own.url, timeout_s=0.3)
    lists.ping()
    admin.execute_command("CLIENT", "PAUSE", 3000, "ALL")
    with pytest.raises(Unavailable):
        lists.ping()


def test_a_server_tells_about_itself(own: EmbeddedRedis, admin: Any) -> None:
    """Its limit, what it does when that is full, and its clock; a user without the right to ask is told nothing."""
    admin.config_set("maxmemory", "64mb")
    admin.config_set("maxmemory-policy", "volatile-lru")
    try:
        server = RedisServer(own.url)
        facts = server.facts()
        server.close()
        assert facts is not None
        assert (facts.max_bytes, facts.eviction) == (64 << 20, "volatile-lru")
        assert abs(facts.now_ms - time.time_ns() // 1_000_000) < 5_000
        admin.execute_command("ACL", "SETUSER", "shy", "on", ">pw", "~*", "+@all", "-info")
        url = own.url.replace("redis://", "redis://shy:pw@")
        shy = RedisServer(url)
        assert shy.facts() is None
        shy.close()
    finally:
        admin.config_set("maxmemory", "0")
        admin.config_set("maxmemory-policy", "noeviction")


def test_a_cluster_tells_about_itself(redis_cluster_url: str) -> None:
    """One node of it."""
    server = RedisServer(redis_cluster_url, cluster=True)
    facts = server.facts()
    server.close()
    assert facts is not None
    assert facts.max_bytes == 0


def test_rights_taken_from_a_command_that_passed_are_an_outage(own: EmbeddedRedis, admin: Any) -> None:
    """A command that we never were allowed is a mistake in the set-up; one that passed before is the server's change."""
    admin.acl_setuser(
        "writer", enabled=True, nopass=True, keys=["*"], commands=["+set", "+get", "+ping", "+hello"]
    )
    lists = RedisLists(own.url.replace("redis://", "redis://writer:any@"))
    lists.write([("u", b"v")], ttl_s=60)
    with pytest.raises(ConfigError, match="check user, password and rights"):
        lists.delete(["u"])
    admin.acl_setuser("writer", enabled=True, nopass=True, keys=["*"], commands=["-set"])
    with pytest.raises(Unavailable):
        lists.write([("u", b"v")], ttl_s=60)
    lists.close()


def test_a_prefix_is_no_pattern(redis_url: str, prefix: str) -> None:
    """What Redis takes for a wild card stands for itself: nobody's lists are taken for ours."""
    own, other = (RedisLists(redis_url, f"{prefix}{name}:") for name in ("a?c[d]*", "abcd"))
    own.write([("mine", b"1")], ttl_s=60)
    other.write([("theirs", b"2")], ttl_s=60)
    assert dict(own.everything()) == {"mine": b"1"}
    own.close()
    other.close()
