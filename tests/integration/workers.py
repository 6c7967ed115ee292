"""`streamer run` as a process, and what writes to its topics: for the tests on real servers."""

import json
import os
import signal
import subprocess
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from streamer.adapters.kafka import KafkaSink

ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """`streamer run` with topics and a prefix of its own."""

    def __init__(
        self, directory: Path, kafka: str, redis_url: str, prefix: str, topics: dict[str, str]
    ) -> None:
        self.directory, self.kafka, self.redis_url, self.prefix, self.topics = (
            directory,
            kafka,
            redis_url,
            prefix,
            topics,
        )
        self.group = f"test{prefix.replace(':', '-')}"
        self.log_path = directory / "worker.log"
        self.report_path = directory / "report.json"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: object) -> None:
        """Start it; its log is appended to."""
        arguments = ["run", "--kafka", self.kafka, "--redis", self.redis_url, "--prefix", self.prefix]
        arguments += ["--group", self.group, "--metrics-port", "0", "--report", str(self.report_path)]
        for kind, topic in self.topics.items():
            arguments += ["--set", f"topic_{kind}={topic}"]
        for name, value in {"backoff_max_s": 0.5, "text_model": "none", **settings}.items():
            arguments += ["--set", f"{name}={value}"]
        own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
        pythonpath = os.pathsep.join(filter(None, [str(ROOT), own.get("PYTHONPATH")]))
        self.n_log_bytes = self.log_path.stat().st_size if self.log_path.exists() else 0
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamer", *arguments],
                env={**own, "PYTHONPATH": pythonpath},
                stdin=subprocess.DEVNULL,
                stderr=log,
            )

    def events(self) -> list[dict[str, Any]]:
        """What it has logged since its last start."""
        with self.log_path.open("rb") as log:
            log.seek(self.n_log_bytes)
            lines = log.read().splitlines(keepends=True)
            # the last one may be half written yet, or for ever
            return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"\n")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event; fails when the worker has ended."""
        assert self.process is not None
        found = [line for line in self.events() if line["event"] == event]
        if not found and self.process.poll() is not None:
            pytest.fail(
                f"the worker ended with {self.process.returncode}: {self.log_path.read_text()[-2000:]}"
            )
        return found

    def logged_at_all(self, event: str) -> list[dict[str, Any]]:
        """As `logged`, of a worker that may have ended."""
        return [line for line in self.events() if line["event"] == event]

    def get(self, path: str) -> tuple[int, str]:
        """GET from its metrics port; status 0 when it does not answer."""
        url = self.logged("metrics")[0]["url"]
        connection = HTTPConnection(url.removeprefix("http://").removesuffix("/metrics"), timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 30) -> int:
        """Signal it and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """Whatever it does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Producer:
    """Writes the stream of these tests: 7 users walk through 11 items."""

    def __init__(self, kafka: str, topics: dict[str, str]) -> None:
        self._sink = KafkaSink(kafka)
        self._topics = topics
        self.n = 0

    def interactions(self, n_events: int) -> None:
        """The next events."""
        for _ in range(n_events):
            user_id = f"u{self.n % 7}"
            event = {
                "user_id": user_id,
                "item_id": f"i{self.n * 5 % 11}",
                "type": "view",
                "timestamp": 1000 * self.n,
            }
            self.send("interactions", user_id.encode(), json.dumps(event).encode())
            self.n += 1
        self._sink.flush(10)

    def send(self, kind: str, key: bytes | None, value: bytes | None) -> None:
        """One message of any kind."""
        self._sink.send(self._topics[kind], key, value)

    def close(self) -> None:
        """Send what is left."""
        self._sink.close()
