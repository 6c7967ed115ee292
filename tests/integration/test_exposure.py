"""What the world sees of a worker: no secret, whatever it prints, and no socket but on the loopback interface."""

import contextlib
import ipaddress
import json
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from typer.testing import CliRunner
from workers import Producer, Worker

from streamer.cli import app
from streamer.config import Settings, load, parse_assignments
from streamer.servers import EmbeddedKafka, EmbeddedRedis

pytestmark = pytest.mark.timeout(300)

SECRET = "hunter2"  # noqa: S105  a part of every password below
PASSWORD = f"{SECRET}-in-the-url"
START_TIMEOUT_S = 200  # the first start on a machine compiles the kernels
SECRETS = {
    "redis_config.password": f"{SECRET}-in-redis-config",
    "kafka_config.sasl.password": f"{SECRET}-sasl",
    "kafka_config.ssl.key.password": f"{SECRET}-key",
    "checkpoint_url": f"memory://ann:{SECRET}-of-the-bucket@bucket/checkpoints",
}
# The most that can be said: all that librdkafka and we have to tell.
LOUD = {"log_level": "debug", "kafka_config.debug": "all", "kafka_config.sasl.username": "ann"}


@pytest.fixture(scope="module")
def guarded_redis(redis_url: str) -> Iterator[EmbeddedRedis]:
    """A Redis that asks for the password."""
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as admin:
        admin.config_set("requirepass", PASSWORD)
        yield server


@pytest.fixture
def _logs_as_before() -> Iterator[None]:
    """A command sets up the logs of its process, which is ours."""
    root, own = logging.getLogger(), logging.getLogger("streamer")
    handlers, level, own_level = root.handlers[:], root.level, own.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(own_level)


def _url(server: EmbeddedRedis, password: str = PASSWORD) -> str:
    return f"redis://default:{password}@127.0.0.1:{server.port}"


@pytest.fixture
def worker(
    tmp_path: Path, mock_kafka: str, guarded_redis: EmbeddedRedis, prefix: str, make_topic: Callable[..., str]
) -> Iterator[Worker]:
    """A worker with a secret in every place that takes one, logging all it can."""
    topics = {
        kind: make_topic(mock_kafka, kind) for kind in ("interactions", "catalog", "profiles", "dead_letters")
    }
    worker = Worker(tmp_path, mock_kafka, _url(guarded_redis), prefix, topics)
    worker.start(**LOUD, **SECRETS, checkpoint_interval_s=1, without="vectors")
    yield worker
    worker.kill()


def _streamer(*arguments: str) -> str:
    """All that a command prints, with the traceback of what it ends with."""
    done = CliRunner().invoke(app, arguments)
    trace = "".join(traceback.format_exception(done.exception)) if done.exception else ""
    return f"{done.stdout}{done.stderr}{trace}\nexit {done.exit_code}"


def _flags(kafka: str, url: str, **more: object) -> list[str]:
    values = {**LOUD, **SECRETS, "text_model": "none", "metrics_port": 0, "start_timeout_s": 0.5, **more}
    return [
        "--kafka",
        kafka,
        "--redis",
        url,
        *(text for name, value in values.items() for text in ("--set", f"{name}={value}")),
    ]


def test_a_running_worker_keeps_its_secrets_and_to_itself(
    worker: Worker, guarded_redis: EmbeddedRedis, poll_until: Callable[..., Any]
) -> None:
    """Its log at debug level, its pages and its report hold no password; it listens on the loopback interface alone."""
    producer = Producer(worker.kafka, worker.topics)
    producer.interactions(20)
    producer.send("interactions", b"x", b"no json")
    poll_until(lambda: worker.logged("metrics"), timeout_s=START_TIMEOUT_S, what="the start")
    poll_until(lambda: worker.get("/ready")[0] == 200, timeout_s=START_TIMEOUT_S, what="readiness")
    poll_until(lambda: worker.logged("checkpoint"), what="a checkpoint")
    pages = {path: worker.get(path)[1] for path in ("/metrics", "/ready", "/live", "/report", "/")}
    assert "streamer_events_total" in pages["/metrics"]
    assert worker.process is not None
    _assert_loopback_only(worker.process.pid)
    guarded_redis.stop(kill=True)  # and while something is away
    producer.interactions(1)
    producer.close()
    poll_until(lambda: worker.get("/ready")[0] == 503, what="its noticing")
    pages["away"] = worker.get("/ready")[1]
    guarded_redis.start()
    with redis.Redis.from_url(f"redis://127.0.0.1:{guarded_redis.port}") as admin:
        admin.config_set("requirepass", PASSWORD)
    poll_until(lambda: worker.get("/ready")[0] == 200, timeout_s=30, what="its return")
    assert worker.end() == 0
    log = worker.log_path.read_text()
    assert "dependency_away" in log
    assert "rdkafka" in log or "BROKER" in log  # it did log all that it can
    for name, text in {**pages, "log": log, "report": worker.report_path.read_text()}.items():
        assert SECRET not in text, name


@pytest.mark.usefixtures("_logs_as_before", "interpreter_as_before")
def test_no_command_prints_a_secret(
    mock_kafka: str, guarded_redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it works or fails, with its traceback too."""
    sasl = {"kafka_config.security.protocol": "SASL_PLAINTEXT", "kafka_config.sasl.mechanism": "PLAIN"}
    away = _flags("127.0.0.1:1", f"redis://ann:{PASSWORD}@127.0.0.1:1", **sasl)
    refused = _flags(mock_kafka, _url(guarded_redis, f"{SECRET}-wrong"))
    # A worker in this process leaves its signals alone; its log, at debug level, goes where stderr goes.
    monkeypatch.setattr("streamer.cli.worker._stop_on_signals", lambda *_: None)
    bad_url = f"redis://127.0.0.1:1?password={SECRET}&x={SECRET}"
    shown = {
        "run, away": _streamer("--debug", "run", *away, "--log-format", "text"),
        "check, refused": _streamer("--debug", "check", *refused),
        "inspect, away": _streamer("--debug", "inspect", "ann", *away[2:]),
        "inspect, refused": _streamer("--debug", "inspect", "ann", *refused[2:]),
        "checkpoint list": _streamer("--debug", "checkpoint", "list", *away[2:]),
        "checkpoint show": _streamer("--debug", "checkpoint", "show", "x", *away[2:]),
        "a wrong option": _streamer(
            "--debug", "check", *away, "--set", f"redis_config.ssl_cert_reqs={SECRET}"
        ),
        "no option": _streamer("--debug", "inspect", "--redis", bad_url),
        "a URL with a hole": _streamer("--debug", "check", "--redis", f"redis://ann:{SECRET}/{SECRET}@h"),
    }
    for name, text in shown.items():
        assert SECRET not in text, (name, text)
        assert "exit 0" not in text or name == "checkpoint list", (name, text)
    assert "Unavailable: " in shown["run, away"]  # it came so far
    assert "check user, password and rights" in shown["inspect, refused"]
    assert "Traceback" in shown["run, away"]
    assert "DEBUG" in shown["run, away"]
    assert "Traceback" in shown["inspect, away"]


def test_settings_keep_their_secrets() -> None:
    """Printed in any way, or refused."""
    settings = load(
        {
            **parse_assignments(f"{name}={value}" for name, value in SECRETS.items()),
            "redis": f"redis://:{PASSWORD}@h",
        }
    ).settings
    for text in (repr(settings), str(settings), f"{settings!r:.10000}", json.dumps(settings.public())):
        assert SECRET not in text
        assert text.count("***") >= len(SECRETS) + 1
    with pytest.raises(ValueError, match="k") as refused:
        Settings(redis=f"redis://:{PASSWORD}@h", k=SECRET)  # type: ignore[arg-type]
    assert SECRET not in str(refused.value)


def test_the_embedded_servers_listen_on_loopback_only() -> None:
    """Kafka in this process, Redis in its own, alone or as a cluster."""
    with EmbeddedKafka({"t": 1}), EmbeddedRedis() as server, EmbeddedRedis(cluster=True) as cluster:
        assert server.pid is not None
        assert cluster.pid is not None
        for pid in (os.getpid(), server.pid, cluster.pid):
            _assert_loopback_only(pid)


def _assert_loopback_only(pid: int) -> None:
    """A process, and all it started, listen somewhere, and nowhere else."""
    root = psutil.Process(pid)
    addresses = set()
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            addresses |= {c.laddr for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert addresses
    assert [address for address in addresses if not ipaddress.ip_address(address.ip).is_loopback] == []
