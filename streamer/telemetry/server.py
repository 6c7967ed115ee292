"""The HTTP server of metrics and health."""

import errno
import json
import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from prometheus_client.exposition import choose_encoder

from streamer.errors import ConfigError, Unavailable
from streamer.telemetry.metrics import Telemetry

_REQUEST_TIMEOUT_S = 5.0


class MetricsServer:
    """/metrics, /live, /ready, and /report where there is one, on one port, in threads of their own.

    Args:
        telemetry: What is shown.
        host, port: Where to listen; port 0 takes a free one, see `port`.
        report: Makes the report as it stands, one at a time; must be safe to call from another thread. What it raises as
            `Unavailable` is answered with 503.

    Raises:
        ConfigError: the address cannot be had.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        host: str,
        port: int,
        report: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        try:
            self._server = _Server((host, port), telemetry, report)
        except OSError as exc:
            advice = (
                "end what listens there (another worker?), or choose another with --metrics-port (0 takes a free one)"
                if exc.errno == errno.EADDRINUSE
                else "expected an address of this machine in --metrics-host, and a port that this user may have"
            )
            raise ConfigError(
                f"metrics address {host}:{port}: cannot listen there: {exc.strerror or exc}; {advice}"
            ) from exc
        self.host = host
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(
        self, address: tuple[str, int], telemetry: Telemetry, report: Callable[[], Mapping[str, Any]] | None
    ) -> None:
        self.telemetry = telemetry
        self.report = report
        self.reporting = threading.Lock()
        # "::" and "::1" are not of the family that http.server takes
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = found[0][0]
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is not our error; anything else shows in the next answer."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_TIMEOUT_S  # a client that sends nothing does not keep its thread
    server_version = "streamer"
    sys_version = ""

    def do_HEAD(self) -> None:
        """The same without its body: some probes and proxies ask so."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer one request."""
        telemetry, report = self.server.telemetry, self.server.report
        url = urlsplit(self.path)
        match url.path:
            case "/metrics":
                self._metrics(parse_qs(url.query).get("name[]", []))
            case "/live":
                self._verdict([] if telemetry.health.is_live() else ["the main loop does not turn"])
            case "/ready":
                self._verdict(telemetry.health.why_not_ready())
            case "/report" if report is not None:
                self._report(report)
            case _:
                self._answer(
                    HTTPStatus.NOT_FOUND, b"expected /metrics, /live, /ready or /report\n", "text/plain"
                )

    def _metrics(self, names: list[str]) -> None:
        """These, by the names of their samples; all where none is named. As prometheus-client's own server has it."""
        registry = self.server.telemetry.registry
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        # its type says that only a whole registry can be encoded; its own server does this
        chosen: Any = registry.restricted_registry(names) if names else registry
        self._answer(HTTPStatus.OK, encode(chosen), content_type)

    def _report(self, report: Callable[[], Mapping[str, Any]]) -> None:
        """One at a time: the work stands still while it is made."""
        if not self.server.reporting.acquire(blocking=False):
            self._verdict(["another report is being made; ask again"])
            return
        try:
            body = json.dumps(report(), indent=2).encode()
        except Unavailable as exc:
            self._verdict([str(exc)])
            return
        finally:
            self.server.reporting.release()
        self._answer(HTTPStatus.OK, body, "application/json")

    def _verdict(self, problems: list[str]) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        self._answer(status, ("\n".join(problems or ["ok"]) + "\n").encode(), "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the signature is the library's
        """Scrapes every few seconds are no news."""
