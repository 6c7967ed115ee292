"""Redis behind TLS with client certificates, and a user who may do no more than a worker needs."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from certificates import Certificates, make_certificates
from redis_proxy import RedisProxy

from streamer.adapters.redis import RedisLists
from streamer.adapters.redis.checkpoints import RedisCheckpoints
from streamer.adapters.redis.folds import RedisFolds
from streamer.adapters.redis.texts import RedisTextCache
from streamer.adapters.redis.vectors import RedisVectors
from streamer.errors import ConfigError, Unavailable
from streamer.ports import Fold, Span, VectorEntry
from streamer.servers import EmbeddedRedis

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "p@ss/word?#"  # noqa: S105  of a server of this test
PREFIX = "streamer:"


SECURITY = (ROOT / "SECURITY.md").read_text()


def rights_in_security_md() -> list[str]:
    """The rules that SECURITY.md gives for the worker's user."""
    line = next(line for line in SECURITY.splitlines() if line.startswith("ACL SETUSER streamer "))
    return line.removeprefix("ACL SETUSER streamer ").replace(">PASSWORD", f">{PASSWORD}").split()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(redis_url: str) -> Iterator[EmbeddedRedis]:
    """A server whose users these tests may change; nobody is let in without a password."""
    with EmbeddedRedis() as server:
        with redis.Redis.from_url(server.url) as admin:
            admin.execute_command("ACL", "SETUSER", "streamer", *rights_in_security_md())
            admin.execute_command(
                "ACL", "SETUSER", "lists", "on", f">{PASSWORD}", f"~{PREFIX}list:*", "+set", "+ping"
            )
            (of_verify,) = re.findall(r"`streamer verify` `(.*?)`", SECURITY)
            admin.execute_command(
                "ACL", "SETUSER", "verify", "on", f">{PASSWORD}", f"~{PREFIX}*", *of_verify.split()
            )
            admin.execute_command("ACL", "SETUSER", "default", "off")
        yield server


@pytest.fixture(scope="module")
def proxy(server: EmbeddedRedis, certificates: Certificates) -> Iterator[RedisProxy]:
    """The same behind TLS."""
    with RedisProxy(server.port, certificates.server_context()) as proxy:
        yield proxy


@pytest.fixture
def options(certificates: Certificates) -> dict[str, Any]:
    """What lets a worker in."""
    return {
        "username": "streamer",
        "password": PASSWORD,
        "ssl_ca_certs": str(certificates.ca),
        "ssl_certfile": str(certificates.client.certificate),
        "ssl_keyfile": str(certificates.client.key),
        "ssl_cert_reqs": "required",
    }


def test_a_worker_needs_tls_a_user_and_few_rights(proxy: RedisProxy, options: dict[str, Any]) -> None:
    """Every store works over TLS with a client certificate, as a user with the rights of SECURITY.md and no more."""
    _use_every_store(f"rediss://127.0.0.1:{proxy.port}", options)


def test_a_worker_needs_little_more_in_a_cluster(certificates: Certificates, options: dict[str, Any]) -> None:
    """The rights that SECURITY.md adds for a cluster are enough there, and it may speak nothing but TLS."""
    added = re.findall(r"In a cluster add `(.*?)`", SECURITY)[0].split()
    with (
        EmbeddedRedis(cluster=True) as server,
        RedisProxy(server.port, certificates.server_context()) as proxy,
    ):
        with redis.Redis.from_url(server.url) as admin:
            admin.config_set("cluster-announce-port", proxy.port)  # every node is where the proxy is
            admin.execute_command("ACL", "SETUSER", "streamer", *rights_in_security_md(), *added)
            admin.execute_command("ACL", "SETUSER", "default", "off")
        _use_every_store(f"rediss://127.0.0.1:{proxy.port}", options, cluster=True)


def _use_every_store(url: str, options: dict[str, Any], *, cluster: bool = False) -> None:
    lists = RedisLists(url, PREFIX, cluster=cluster, options=options)
    lists.ping()
    fold = Fold(1, (Span("interactions", 0, 0, 3),), 3)
    lists.claim(fold)
    lists.write([("u", b"list")], ttl_s=60)
    assert lists.read("u") == b"list"
    lists.retire(["i"], ttl_s=60)
    assert lists.retired(["i", "j"]) == {"i"}
    lists.restore(["i"])
    lists.delete(["u"])

    folds = RedisFolds(url, PREFIX, cluster=cluster, options=options)
    assert (folds.last(), folds.read(0, 10)) == (1, [fold])
    folds.trim(1)
    folds.clear()

    vectors = RedisVectors(url, PREFIX, cluster=cluster, options=options)
    entry = VectorEntry("u", b"12", 1, 2, {"a": "b"})
    vectors.write_users([entry], ttl_s=60)
    assert vectors.read_user("u") == entry
    vectors.write_encoders(b"{}")
    vectors.delete_users(["u"])

    texts = RedisTextCache(url, PREFIX, cluster=cluster, options=options)
    texts.write({"k": b"v"})
    assert texts.read(["k"]) == {"k": b"v"}

    checkpoints = RedisCheckpoints(url, PREFIX, cluster=cluster, options=options)
    checkpoints.write("one", [b"checkpoint"])
    checkpoints.write_pointer(b"{}")
    assert (checkpoints.names(), b"".join(checkpoints.read("one"))) == ({"one"}, b"checkpoint")
    checkpoints.delete("one")
    for store in (lists, folds, vectors, texts, checkpoints):
        store.close()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"password": "hunter2"}, "check user, password and rights"),
        ({"username": "nobody"}, "check user, password and rights"),
        ({"username": None, "password": None}, "check user, password and rights"),
        ({"ssl_ca_certs": "other"}, "certificate verify failed.*check ssl_ca_certs"),
        (
            {"ssl_ca_certs": "/nowhere/ca.pem"},
            "redis_config.ssl_ca_certs: the file /nowhere/ca.pem cannot be read",
        ),
    ],
)
def test_who_is_not_let_in_gets_a_sentence(
    proxy: RedisProxy,
    certificates: Certificates,
    options: dict[str, Any],
    changed: dict[str, Any],
    words: str,
) -> None:
    """A wrong password or user, none, a server that our authority does not know: a ConfigError, without the password."""
    merged = {name: value for name, value in {**options, **changed}.items() if value is not None}
    if merged["ssl_ca_certs"] == "other":
        merged["ssl_ca_certs"] = str(certificates.other_ca)
    with pytest.raises(ConfigError, match=words) as refused:
        RedisLists(f"rediss://127.0.0.1:{proxy.port}", PREFIX, options=merged).ping()
    assert not any(word in str(refused.value) for word in ("hunter2", PASSWORD))


def test_who_verifies_needs_less(server: EmbeddedRedis) -> None:
    """`streamer verify` asks whether Redis is there, then reads every list, with the rights of SECURITY.md and no more."""
    url = f"redis://127.0.0.1:{server.port}"
    worker = RedisLists(url, PREFIX, options={"username": "streamer", "password": PASSWORD})
    worker.write([("verified", b"list")], ttl_s=60)
    lists = RedisLists(url, PREFIX, options={"username": "verify", "password": PASSWORD})
    lists.ping()
    assert ("verified", b"list") in list(lists.everything())
    with pytest.raises(ConfigError, match="rights"):
        lists.delete(["verified"])


def test_without_a_client_certificate_there_is_no_way_in(proxy: RedisProxy, options: dict[str, Any]) -> None:
    """Nor without TLS: the server closes the connection, which it may do for other reasons, too."""
    bare = {name: options[name] for name in ("username", "password", "ssl_ca_certs")}
    with pytest.raises(Unavailable):
        RedisLists(f"rediss://127.0.0.1:{proxy.port}", PREFIX, options=bare, timeout_s=1.0).ping()
    plain = {name: options[name] for name in ("username", "password")}
    with pytest.raises(Unavailable):
        RedisLists(f"redis://127.0.0.1:{proxy.port}", PREFIX, options=plain, timeout_s=1.0).ping()


def test_a_right_that_lacks_is_a_config_error_whenever_it_shows(server: EmbeddedRedis) -> None:
    """The server took us, and lists may be written; the first command beyond that is reported, not waited for."""
    options = {"username": "lists", "password": PASSWORD}
    lists = RedisLists(f"redis://127.0.0.1:{server.port}", PREFIX, options=options)
    lists.ping()
    lists.write([("u", b"list")], ttl_s=60)
    uses: list[Callable[[], object]] = [lambda: lists.read("u"), lambda: lists.delete(["u"])]
    for use in uses:
        with pytest.raises(ConfigError, match="check user, password and rights"):
            use()
    lists.write([("u", b"list")], ttl_s=60)


def test_the_commands_take_the_options_from_settings(
    proxy: RedisProxy, options: dict[str, Any], tmp_path: Path
) -> None:
    """`streamer inspect` reads through TLS as that user, with the password from a file."""
    RedisLists(f"rediss://127.0.0.1:{proxy.port}", PREFIX, options=options).write(
        [("ann", b"as it is")], ttl_s=60
    )
    (tmp_path / "password").write_text(PASSWORD + "\n")
    lines = [f'redis = "rediss://127.0.0.1:{proxy.port}"', "[redis_config]"]
    lines += [f'{name} = "{value}"' for name, value in options.items() if name != "password"]
    lines.append(f'password = {{ file = "{tmp_path}/password" }}')
    (tmp_path / "streamer.toml").write_text("\n".join(lines))
    command = [
        sys.executable,
        "-m",
        "streamer",
        "inspect",
        "ann",
        "--raw",
        "--config",
        tmp_path / "streamer.toml",
    ]
    shown = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=_own_environment()
    )
    assert (shown.returncode, shown.stdout) == (0, "as it is\n"), shown.stderr


def _own_environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
    return {**own, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), own.get("PYTHONPATH")]))}
