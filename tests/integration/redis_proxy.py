"""A proxy before a Redis: it speaks TLS, answers late, hands bytes over in slices, or refuses commands in the server's place."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import hiredis

# What redis-py says to introduce itself is let through whatever is refused.
_INTRODUCTIONS = (b"HELLO", b"CLIENT", b"SELECT", b"AUTH")

Refuse = Callable[[bytes], bytes | None]


class RedisProxy:
    """On 127.0.0.1, until it is closed; its attributes may be changed at any time.

    Args:
        port: Of the server behind.
        tls: Context of the side that clients see; None for plain TCP.

    Attributes:
        delay_s: How long each request waits before it goes on.
        slice_bytes: Requests and answers go on in pieces of this many bytes, a millisecond apart; 0 for whole ones.
        refuse: Name of a command -> the error it gets (without "-" and the end of its line), None to let it through.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.delay_s = 0.0
        self.slice_bytes = 0
        self.refuse: Refuse = lambda _name: None
        self._behind = ("127.0.0.1", port)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it, and all connections. Idempotent."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            self._sockets.append(client)
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            server = socket.create_connection(self._behind)
            self._sockets += [client, server]
            threading.Thread(target=self._answer, args=[server, client], daemon=True).start()
            requests = hiredis.Reader()
            while received := client.recv(1 << 16):
                requests.feed(received)
                self._request(requests, client, server)
            server.close()
        client.close()

    def _request(self, requests: Any, client: socket.socket, server: socket.socket) -> None:
        passed, refused = b"", b""
        while (command := requests.gets()) is not False:
            name = command[0].upper()
            error = None if name in _INTRODUCTIONS else self.refuse(name)
            if error is None:
                passed += _packed(command)
            else:
                refused += b"-%s\r\n" % error
        time.sleep(self.delay_s)
        self._send(server, passed)
        self._send(client, refused)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while received := server.recv(1 << 16):
                self._send(client, received)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _send(self, to: socket.socket, data: bytes) -> None:
        size = self.slice_bytes
        if not size:
            to.sendall(data)
            return
        for begin in range(0, len(data), size):
            to.sendall(data[begin : begin + size])
            time.sleep(0.001)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _packed(command: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in command)
