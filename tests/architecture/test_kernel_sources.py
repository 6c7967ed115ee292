"""Compiled kernels are kept under a hash of their sources: what they are made of is in it, all of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer import compiled

PACKAGE = Path(compiled.__file__).parent
SOURCES = sorted({path for pattern in compiled.KERNEL_SOURCES for path in PACKAGE.glob(pattern)})


def imported(source: Path) -> Iterator[Path]:
    """Files of the package whose names it takes: constants and kernels are compiled into its own."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("streamer."):
            place = PACKAGE.joinpath(*node.module.split(".")[1:])
            yield place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_what_kernels_are_made_of_is_in_the_hash(source: Path) -> None:
    """Else a changed constant would leave the old one in kernels that are loaded from disk."""
    assert set(imported(source)) <= set(SOURCES)


def test_every_kernel_that_calls_another_file_s_is_a_source() -> None:
    """One that stands alone is kept by numba under its own file's time and size."""
    alone = {
        path for path in PACKAGE.rglob("*.py") if "kernel\ndef " in path.read_text(encoding="utf-8")
    } - set(SOURCES)
    assert all(set(imported(path)) <= {PACKAGE / "compiled.py"} for path in alone)
