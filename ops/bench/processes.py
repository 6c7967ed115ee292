"""Processes of a bench that end with it."""

import multiprocessing
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

# a fork would share librdkafka's threads, which do not survive it
SPAWN = multiprocessing.get_context("spawn")


def spawn(stack: ExitStack, target: Any, *arguments: Any) -> tuple[Connection, SpawnProcess]:
    """`target(pipe, *arguments)` in a process of its own, and our end of the pipe."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()  # else a child that dies leaves us waiting for its word
    stack.callback(_end, ours, process)
    return ours, process


def alone(target: Any, *arguments: Any) -> Any:
    """What `target(*arguments)` returns, called in a process of its own: its memory and its settings are its own.

    Raises:
        RuntimeError: it ended without a word.
    """
    with ExitStack() as stack:
        pipe, _ = spawn(stack, _call, target, *arguments)
        try:
            return pipe.recv()
        except EOFError as exc:
            raise RuntimeError(f"{target.__name__}{arguments} ended without a result; see above") from exc


def _call(pipe: Connection, target: Any, *arguments: Any) -> None:
    pipe.send(target(*arguments))


def _end(pipe: Connection, process: SpawnProcess) -> None:
    with suppress(BrokenPipeError):
        pipe.send("end")
    process.join(5)
    if process.is_alive():
        process.kill()
