"""A text model in a process of its own.

Loading it takes the interpreter for seconds, and running it for many short pieces: in a thread beside the fold it made lists
wait (p99 at 1,000 events/s while texts were embedded: 90 ms).
"""

import multiprocessing
import os
import signal
import weakref
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.adapters.text_model import check_text_model, encodable, load_text_model
from streamer.errors import StreamerError, Unavailable
from streamer.ports import TextModel
from streamer.priority import NICER

_SPAWN = multiprocessing.get_context("spawn")  # a fork would take the locks of our threads with it
_END_TIMEOUT_S = 5.0


class _Loaded(msgspec.Struct, tag=True):
    dim: int


class _Made(msgspec.Struct, tag=True):
    rows: bytes  # float32, (n, dim)


class _Failed(msgspec.Struct, tag=True):
    reason: str


_decode_texts = msgspec.msgpack.Decoder(list[str]).decode
_decode_answer = msgspec.msgpack.Decoder(_Loaded | _Made | _Failed).decode
_encode = msgspec.msgpack.encode


class TextProcess:
    """A `TextModel`; not to be used by two threads at once. Its process ends with it, and at the latest with ours.

    Args:
        name, n_threads, download: As of `load_text_model`.

    Raises:
        ConfigError: the model is not on this machine, and may not be fetched.
        Unavailable: it could not be loaded; says why.
    """

    def __init__(self, name: str, n_threads: int = 1, *, download: bool = False) -> None:
        check_text_model(name, download=download)
        self.name = name
        self._arguments = (name, n_threads, download)
        self.dim = self._start()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, dim) float32 rows of unit norm; raises `Unavailable` when the process ended: the next call starts another one."""
        if not self._process.is_alive():
            self._end()  # or its pipe would stay open for as long as we live
            self._start()
        answer = self._ask(_encode([encodable(text) for text in texts]))
        if not isinstance(answer, _Made):
            raise Unavailable(f"text model {self.name!r}: expected vectors, got {answer}")
        return np.frombuffer(answer.rows, np.float32).reshape(len(texts), self.dim)

    def _start(self) -> int:
        """Start the process; returns how many numbers its vectors have."""
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_serve, args=(theirs, *self._arguments), name="text-model", daemon=True
        )
        self._process.start()
        theirs.close()  # else a process that dies leaves us waiting for its word
        self._end = weakref.finalize(self, _end, self._pipe, self._process)
        answer = self._ask(None)
        if not isinstance(answer, _Loaded):
            raise Unavailable(f"text model {self.name!r}: expected that it loads, got {answer}")
        return answer.dim

    def _ask(self, question: bytes | None) -> _Loaded | _Made | _Failed:
        try:
            if question is not None:
                self._pipe.send_bytes(question)
            answer: _Loaded | _Made | _Failed = _decode_answer(self._pipe.recv_bytes())
        except (EOFError, OSError) as exc:
            self._end()
            code = self._process.exitcode
            raise Unavailable(f"text model {self.name!r}: its process ended, exit code {code}") from exc
        if isinstance(answer, _Failed):
            raise Unavailable(answer.reason)
        return answer


def _end(pipe: Connection, process: SpawnProcess) -> None:
    pipe.close()  # which its process takes for the end
    process.join(_END_TIMEOUT_S)
    if process.is_alive():
        process.kill()
        process.join(_END_TIMEOUT_S)


def _serve(pipe: Connection, name: str, n_threads: int, download: bool) -> None:
    """In the process: load, then answer until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us, too; whoever asks us ends us
    with suppress(OSError, AttributeError):
        os.nice(NICER)  # of the process: not only Linux has that
    try:
        model = load_text_model(name, n_threads, download=download)
    except StreamerError as exc:
        pipe.send_bytes(_encode(_Failed(str(exc))))
        return
    pipe.send_bytes(_encode(_Loaded(model.dim)))
    with suppress(EOFError, OSError):
        while True:
            pipe.send_bytes(_encode(_answer(model, pipe.recv_bytes())))


def _answer(model: TextModel, question: bytes) -> _Made | _Failed:
    try:
        return _Made(np.ascontiguousarray(model.embed(_decode_texts(question)), np.float32).tobytes())
    except Unavailable as exc:
        return _Failed(str(exc))
