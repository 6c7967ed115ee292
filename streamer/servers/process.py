"""Servers that are closed where a `with` ends, processes that die with ours, and ports of the loopback interface for them."""

import socket
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final, Self

from streamer.errors import Unavailable

HOST: Final = "127.0.0.1"

# Runs in a small Python of its own, given our process id and a command, which it then becomes: the code between fork and exec of
# a process with threads (librdkafka, numba) may take no locks, so `preexec_fn` is not for us. Linux only; elsewhere the kernel
# has no such promise and the process outlives a killed owner.
DIE_WITH_PARENT: Final = """
import ctypes, os, sys
parent, server = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == parent:  # else it died before we asked
    os.execv(server[0], server)
"""


class Server(ABC):
    """A server of ours: `with` closes it."""

    @abstractmethod
    def close(self) -> None:
        """End it. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def free_port(wanted: int = 0, below: int = 65_536) -> int:
    """A port on which nobody listens now; until it is taken, somebody else may.

    Args:
        wanted: This one when it is free; else, and with 0, another.
        below: A limit to its number.

    Raises:
        Unavailable: there is none.
    """
    while True:
        with socket.socket() as probe:
            try:
                probe.bind((HOST, wanted))
            except OSError as exc:
                if not wanted:
                    raise Unavailable(f"no free port on {HOST}: {exc.strerror}") from exc
                wanted = 0
                continue
            port = int(probe.getsockname()[1])
        if port < below:
            return port
        wanted = 0
