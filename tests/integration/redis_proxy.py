"""A proxy before a Redis: it speaks TLS, answers late, hands bytes over in slices, refuses commands in the server's place, and
breaks connections: at once, in the middle of a write, or before the answer."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hiredis

from streamer.servers.process import Server

# What redis-py says to introduce itself is let through whatever is refused.
_INTRODUCTIONS = (b"HELLO", b"CLIENT", b"SELECT", b"AUTH")

_TIMEOUT_S = 10.0
_AT_ONCE = struct.pack("ii", 1, 0)  # of SO_LINGER: a close is a reset (RST)

Refuse = Callable[[bytes], bytes | None]


class RedisProxy(Server):
    """On 127.0.0.1, until it is closed; its attributes may be changed at any time.

    Args:
        port: Of the server behind.
        tls: Context of the side that clients see; None for plain TCP.

    Attributes:
        delay_s: How long each request waits before it goes on.
        slice_bytes: Requests and answers go on in pieces of this many bytes, a millisecond apart; 0 for whole ones.
        refuse: Name of a command -> the error it gets (without "-" and the end of its line), None to let it through.
        break_in: The next request with a command of this name breaks its connection (RST) when half of it was handed on; then
            this is None again.
        break_after: The same, when all of it was handed on and has been done: nothing but the answer is lost.
        n_breaks: So many requests break, one after the other, before that is None again; then this is 1.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.delay_s = 0.0
        self.slice_bytes = 0
        self.refuse: Refuse = lambda _name: None
        self.break_in: bytes | None = None
        self.break_after: bytes | None = None
        self.n_breaks = 1
        self._behind = ("127.0.0.1", port)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it, and all connections. Idempotent."""
        _end(self._listener)
        self.cut()

    def cut(self) -> None:
        """End all connections; new ones are taken."""
        connected, self._sockets = self._sockets, []
        for one in connected:
            _end(one)

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
            line = _Line(client, server)
            threading.Thread(target=self._answer, args=[line], daemon=True).start()
            requests = hiredis.Reader()
            while received := client.recv(1 << 16):
                requests.feed(received)
                self._request(requests, line)
            server.close()
        client.close()

    def _request(self, requests: Any, line: "_Line") -> None:
        passed, refused, names = b"", b"", set[bytes]()
        while (command := requests.gets()) is not False:
            name = command[0].upper()
            names.add(name)
            error = None if name in _INTRODUCTIONS else self.refuse(name)
            if error is None:
                passed += _packed(command)
            else:
                refused += b"-%s\r\n" % error
        time.sleep(self.delay_s)
        if self.break_in in names:
            self._count_break()
            line.break_with(passed[: len(passed) // 2])
        elif self.break_after in names:
            self._count_break()
            line.break_with(passed)
        self._send(line.server, passed)
        self._send(line.client, refused)

    def _count_break(self) -> None:
        self.n_breaks -= 1
        if not self.n_breaks:
            self.break_in, self.break_after, self.n_breaks = None, None, 1

    def _answer(self, line: "_Line") -> None:
        with suppress(OSError):
            while received := line.server.recv(1 << 16):
                if not line.is_broken:
                    self._send(line.client, received)
        line.is_answered.set()
        if not line.is_broken:
            with suppress(OSError):
                line.client.shutdown(socket.SHUT_RDWR)

    def _send(self, to: socket.socket, data: bytes) -> None:
        size = self.slice_bytes
        if not size:
            to.sendall(data)
            return
        for begin in range(0, len(data), size):
            to.sendall(data[begin : begin + size])
            time.sleep(0.001)


class _Line:
    """One connection of a client, and ours to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.is_broken = False
        self.is_answered = threading.Event()  # the server has nothing more to say

    def break_with(self, last: bytes) -> None:
        """Hand on so much, wait until the server has seen to it, and reset the client's side.

        Raises:
            ConnectionError: it is done.
        """
        self.is_broken = True
        self.server.sendall(last)
        self.server.shutdown(socket.SHUT_WR)
        self.is_answered.wait(_TIMEOUT_S)
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.client.close()
        raise ConnectionResetError


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


def _packed(command: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in command)
