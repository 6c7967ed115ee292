"""The docstring of a package is its guide: whoever opens it finds every file in it, and what the file is for."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "streamer"
# `paths` is a registry: its code names the files, in order, and one line would only repeat each.
WITHOUT_A_GUIDE = {"paths"}
PACKAGES = [
    init.parent
    for init in sorted(PACKAGE.rglob("__init__.py"))
    if init.parent != PACKAGE and init.parent.name not in WITHOUT_A_GUIDE
]


def unnamed(guide: str, names: list[str]) -> list[str]:
    """Those of the names that the guide does not say, as a word of its own."""
    return [name for name in names if not re.search(rf"\b{name}\b", guide)]


def guide_of(folder: Path) -> str:
    """Docstring of a package."""
    return ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""


def parts_of(folder: Path) -> list[str]:
    """Names of the files and packages in a package."""
    files = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    return sorted([*files, *(init.parent.name for init in folder.glob("*/__init__.py"))])


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_file_is_named_in_its_package_s_guide(folder: Path) -> None:
    """A new file says there what it is for."""
    assert unnamed(guide_of(folder), parts_of(folder)) == []


def test_a_file_that_is_left_out_is_found() -> None:
    """A part of a longer word does not name it."""
    assert unnamed("`links` and segments_of", ["links", "segments"]) == ["segments"]
