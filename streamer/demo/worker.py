"""The worker of the demo: the same `streamer run` as in production, watched through its HTTP port."""

import contextlib
import json
import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any

from prometheus_client.parser import text_string_to_metric_families

from streamer.config import Settings
from streamer.errors import StreamerError, Unavailable
from streamer.servers.process import DIE_WITH_PARENT, HOST, free_port

_log = logging.getLogger(__name__)

HTTP_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 30.0
USUAL_PORT: int = Settings.model_fields["metrics_port"].default  # mostly the address in the README
_LOG_LINES_SHOWN = 15


@dataclass(frozen=True)
class Snapshot:
    """What the worker's /metrics say at one moment.

    Args:
        n_read: Topic -> messages read from it, whatever became of them.
        n_dead_letters: Messages that could not be used.
        n_texts: Texts of items that wait for their vector.
        p50_ms, p99_ms: From an event's receipt to its user's list being written; NaN before the first.
        hit_ratios: List -> hit ratio at 10 so far.
    """

    n_read: Mapping[str, int] = field(default_factory=dict)
    n_dead_letters: int = 0
    n_texts: int = 0
    p50_ms: float = math.nan
    p99_ms: float = math.nan
    hit_ratios: Mapping[str, float] = field(default_factory=dict)


def parse_metrics(text: str) -> Snapshot:
    """Read a Prometheus exposition. Metrics that are not there yet keep their defaults."""
    n_read: dict[str, int] = {}
    hit_ratios: dict[str, float] = {}
    buckets: dict[float, float] = {}
    n_dead_letters = n_texts = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            match sample.name:
                case "streamer_events_total":
                    n_read[labels["topic"]] = n_read.get(labels["topic"], 0) + int(sample.value)
                case "streamer_dead_letters_total":
                    n_dead_letters += int(sample.value)
                case "streamer_text_backlog":
                    n_texts = int(sample.value)
                case "streamer_event_to_list_seconds_bucket" if labels["origin"] == "received":
                    bound = float(labels["le"])
                    buckets[bound] = buckets.get(bound, 0.0) + sample.value
                case "streamer_hit_ratio" if labels["window"] == "total" and labels["slice"] == "all":
                    hit_ratios[labels["list"]] = sample.value
                case _:
                    pass
    pairs = sorted(buckets.items())
    return Snapshot(
        n_read=n_read,
        n_dead_letters=n_dead_letters,
        n_texts=n_texts,
        p50_ms=1000 * quantile(0.50, pairs),
        p99_ms=1000 * quantile(0.99, pairs),
        hit_ratios=hit_ratios,
    )


def quantile(q: float, buckets: Iterable[tuple[float, float]]) -> float:
    """The q-quantile of a cumulative histogram, as Prometheus' histogram_quantile: linear within a bucket.

    Args:
        q: In (0, 1].
        buckets: (upper bound, count of observations at or below it), ascending; the last bound is infinite.

    Returns:
        NaN without observations; the largest finite bound where the quantile lies beyond it.
    """
    bounds = list(buckets)
    if not bounds or bounds[-1][1] == 0:
        return math.nan
    rank = q * bounds[-1][1]
    low, n_below = 0.0, 0.0
    for bound, n_within in bounds:
        if n_within >= rank:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (rank - n_below) / (n_within - n_below)
        low, n_below = bound, n_within
    return low


def flags(settings: Mapping[str, str]) -> list[str]:
    """Settings as the command line takes them."""
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


class Worker:
    """A `streamer run` in a process of its own; it dies with this one, even by SIGKILL (on Linux).

    Start it from a thread that lives as long as the demo: the kernel's promise is tied to the thread.

    Args:
        directory: Where its log and its report go.
        kafka: Bootstrap servers.
        redis_url: Where it writes the lists.
        arguments: More flags for `streamer run`.
        port: Of its metrics, where that is free; else, and with 0, any that is.
    """

    def __init__(
        self, directory: Path, kafka: str, redis_url: str, arguments: Iterable[str] = (), port: int = 0
    ) -> None:
        self.port = free_port(port)
        self.report_path = directory / "report.json"
        self.log_path = directory / "worker.log"
        self._log: IO[bytes] = self.log_path.open("wb")
        command = [sys.executable, "-m", "streamer", "run", "--kafka", kafka, "--redis", redis_url]
        command += ["--metrics-port", str(self.port), "--report", str(self.report_path), *arguments]
        self._process = subprocess.Popen(  # noqa: S603  our own CLI, by the path of this interpreter
            [sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=_without_settings(),
            start_new_session=True,  # a Ctrl-C at the terminal is for the demo, which then stops us in order
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether it has read what was on the log when it started, and reads on.

        Raises:
            Unavailable: it has ended.
        """
        return self._get("/ready")[0] == 200

    def snapshot(self) -> Snapshot | None:
        """What its metrics say now; None when it is too busy to answer in time.

        Raises:
            Unavailable: it has ended.
        """
        status, body = self._get("/metrics")
        return parse_metrics(body.decode()) if status == 200 else None

    def report_now(self) -> dict[str, Any]:
        """Its report so far, without stopping it.

        Raises:
            Unavailable: it has ended, or does not answer.
        """
        status, body = self._get("/report")
        if status != 200:
            raise Unavailable(
                f"the worker at {HOST}:{self.port}: expected its report, got HTTP status {status}"
            )
        return dict(json.loads(body))

    def stop(self) -> None:
        """Ask it to drain and end, and wait for that. Idempotent.

        Raises:
            Unavailable: it had ended before by itself, or ended badly, or had to be killed.
        """
        if self._log.closed:
            return
        was_running = self._process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as exc:
            self.kill()
            raise Unavailable(
                f"the worker did not end within {STOP_TIMEOUT_S:g} s of SIGTERM; killed"
            ) from exc
        self._log.close()
        if not was_running or code != 0:
            raise self._ended(code)

    def end(self) -> None:
        """End it, in order if it will, whatever has happened. Idempotent."""
        try:
            self.stop()
        except StreamerError as exc:
            # Whoever ends us like this already has a better error to tell, or was interrupted.
            _log.debug("worker_end", extra={"reason": str(exc)})
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once, whatever it does. Idempotent."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def final_report(self) -> dict[str, Any]:
        """The report it wrote when it stopped.

        Raises:
            Unavailable: there is none.
        """
        try:
            return dict(json.loads(self.report_path.read_bytes()))
        except (OSError, ValueError) as exc:
            raise Unavailable(f"the worker left no report in {self.report_path}: {exc}") from exc

    def _get(self, path: str) -> tuple[int, bytes]:
        """(status, body); status 0 when it does not answer (yet)."""
        code = self._process.poll()
        if code is not None:
            raise self._ended(code)
        connection = HTTPConnection(HOST, self.port, timeout=HTTP_TIMEOUT_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return 0, b""
        finally:
            connection.close()

    def _ended(self, code: int) -> StreamerError:
        lines = self.log_path.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        last = "\n".join(["", *lines]) if lines else " nothing"
        return Unavailable(f"the worker ended with exit code {code}; its last words:{last}")


def _without_settings() -> dict[str, str]:
    """Our environment less streamer's own settings: the demo shows the defaults."""
    return {name: value for name, value in os.environ.items() if not name.upper().startswith("STREAMER_")}
