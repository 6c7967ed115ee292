"""The targets under atheris, which breaks inputs by what code they reach. It is not installed here: it is the extra `fuzz`."""

import gc
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType

from numba.core.registry import CPUDispatcher

from fuzzing import checkpoints, messages, options
from fuzzing.mutation import Mutator
from streamer.errors import ConfigError

TARGETS: dict[str, Callable[[bytes], None]] = {
    "messages": messages.target,
    "checkpoints": checkpoints.target,
    "settings": options.target,
}


def seeds_of(target: str, seed: int) -> list[bytes]:
    """Valid inputs to begin with."""
    if target == "settings":
        return list(options.TOML)
    if target == "checkpoints":
        return [checkpoints.a_checkpoint(seed, None)]
    kinds = enumerate(messages.FOLDERS.values())
    files = (
        (n, file) for n, name in kinds for file in sorted(messages.EXAMPLES.glob(f"valid/{name}/*.json"))
    )
    return [bytes([n, 0 if n < 3 else 3]) + file.read_bytes() for n, file in files]


def fuzz(target: str, n: int, seed: int, corpus: Path) -> None:
    """Run atheris on a target; it ends the process, with a code other than 0 where it finds something.

    Args:
        target: One of `TARGETS`.
        n: Runs.
        seed: Of everything.
        corpus: Directory that keeps what was found interesting.

    Raises:
        ConfigError: atheris is not installed.
    """
    try:
        import atheris  # noqa: PLC0415  an extra of its own
    except ImportError as exc:
        raise ConfigError("--guided: atheris is not installed: pip install 'streamer[fuzz]' (Linux)") from exc
    seeds = seeds_of(target, seed)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, value in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(value)
    n_head = 2 if target == "messages" else 0  # kind and key are not JSON
    documents = [value[n_head:] for value in seeds]
    names = list(options.NAMES) if target == "settings" else messages.names_in(documents)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        mutator = Mutator(rng, documents, names)
        return (data[:n_head] + mutator.broken(data[n_head:]))[:max_size]

    for value in seeds:
        TARGETS[target](value)  # what is imported late is there now, to be instrumented
    # Ours alone: to see into numba and torch takes minutes at the start, and leads the search to code that is not ours.
    for function in _our_functions():
        atheris.instrument_func(function)
    atheris.Setup(
        [f"fuzz-{target}", f"-runs={n}", f"-seed={seed}", str(corpus)], TARGETS[target], custom_mutator=mutate
    )
    atheris.Fuzz()


def _our_functions() -> Iterator[FunctionType]:
    """Every function of the package that is imported by now; without kernels, whose source a compiler may have to read yet."""
    things = gc.get_objects()  # asked for their types, not for their classes: a weak reference may be dead
    kernels = {thing.py_func for thing in things if issubclass(type(thing), CPUDispatcher)}
    for thing in things:
        is_ours = type(thing) is FunctionType and (thing.__module__ or "").startswith("streamer.")
        if is_ours and thing not in kernels:
            yield thing
