"""How kernels are compiled: numba, without the GIL, cached on disk under a hash of the sources they are made of.

numba's own cache looks only at the file of the function itself; a kernel that inlines a function of another file would go
stale when that file changes. So the cache folder carries a hash of every source a kernel can be made of.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any, cast

import numba
import xxhash
from numba.core.registry import CPUDispatcher

numba_config: Any = numba.config  # it fills itself from the environment, so it has no static attributes
_PACKAGE = Path(__file__).parent
KERNEL_SOURCES = (
    "compiled.py",
    "cachelines.py",
    "fastmath.py",
    "graph/*.py",
    "nearest/table.py",
    "nearest/links.py",
    "paths/*.py",
    "mixture.py",
    "ranker/*.py",
    "rank.py",
    "outcomes.py",  # its constants are compiled in
    "prequential.py",
)


def _source_hash() -> str:
    digest = xxhash.xxh3_64()
    for pattern in KERNEL_SOURCES:
        for path in sorted(_PACKAGE.glob(pattern)):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    digest.update(numba.__version__.encode())
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where compiled kernels of exactly these sources are kept: `$XDG_CACHE_HOME/streamer/kernels-<hash>` or NUMBA_CACHE_DIR."""
    # NUMBA_CACHE_DIR was read by numba itself at import; we only put a folder of ours inside.
    base = Path(numba_config.CACHE_DIR) if numba_config.CACHE_DIR else _user_cache()
    return base / f"kernels-{_source_hash()}"


def _user_cache() -> Path:
    from os import environ  # noqa: PLC0415 - only here: the one place where the core meets the machine

    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamer"


def _written_to() -> Path:
    """The cache folder; where nothing can be written there, one of this process alone: numba would refuse to compile."""
    global _of_this_process  # noqa: PLW0603  gone with the process, not before
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as exc:  # RuntimeError: nobody's home
        _of_this_process = TemporaryDirectory(prefix="streamer-")
        hint = "each start compiles the kernels, for minutes: set NUMBA_CACHE_DIR to a folder that can be written"
        logging.getLogger(__name__).warning("kernels_not_kept", extra={"error": str(exc), "hint": hint})
        return Path(_of_this_process.name) / f"kernels-{_source_hash()}"


_of_this_process: TemporaryDirectory[str] | None = None
if not numba_config.CACHE_DIR.endswith(f"kernels-{_source_hash()}"):
    numba_config.CACHE_DIR = str(_written_to())

Function = Callable[..., Any]


def kernel(function: Function) -> Function:
    """A function that kernels call, and Python cannot; compiled into its callers."""
    return _compile_inner(function)


def kernel_named(name: str) -> Callable[[Function], Function]:
    """As `kernel`, for a function made inside another one: its compiled code is called `name`.

    Several functions made by one piece of source must be told apart by name. Otherwise two entry kernels that two processes
    compiled and a third one reads from disk may hold different code under one symbol, and the linker takes either.
    """

    def compiled(function: Function) -> Function:
        function.__name__ = function.__qualname__ = name
        return kernel(function)

    return compiled


def entry_kernel(function: Function) -> Function:
    """A kernel that Python calls, once a batch; compiled once a machine and read from disk afterwards."""
    return _compile(function, cache=True)


def reordering_kernel(function: Function) -> Function:
    """As `kernel`, for sums that may be added up in any order: many times as fast, not bit for bit the same on all machines."""
    return _compile_inner(function, fastmath={"reassoc", "contract"})


class _Inner(CPUDispatcher):
    """A kernel without a way in from Python: calling it would end the process."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        name = self.py_func.__qualname__
        raise TypeError(
            f"{name}: only kernels call it, got a call from Python; call {name}.py_func, or make it an entry_kernel"
        )


def _compile_inner(function: Function, **more: Any) -> Function:
    # the way in from Python, which unpacks some thirty arrays for each function, is half of the time that compiling takes
    made = _compile(function, cache=False, no_cpython_wrapper=True, **more)
    if isinstance(made, CPUDispatcher):  # else NUMBA_DISABLE_JIT is set
        made.__class__ = _Inner
    return made


def _compile(function: Function, *, cache: bool, **more: Any) -> Function:
    # Kernels allocate nothing, so they need no reference counts; with them, every call of a kernel by a kernel would count
    # some thirty arrays up and down: rank took 20 times as long.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "cache": cache, "_nrt": False}
    # nobody calls a kernel from C: the way in from there is a quarter of the time that compiling takes
    options |= {"no_cfunc_wrapper": True, **more}
    return cast("Function", numba.njit(**options)(function))
