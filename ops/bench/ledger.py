"""Rows that were run, in a JSON file: what stands there for the same sources, data and settings is not run again."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Ledger:
    """The file and what is in it. Every new row is on disk before the next one starts.

    Args:
        path: May not exist yet.

    Raises:
        ValueError: the file is there and is not a ledger.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, dict[str, Any]] = {}
        if path.exists():
            try:
                self._entries = {entry["key"]: entry for entry in json.loads(path.read_bytes())["entries"]}
            except (ValueError, TypeError, KeyError) as exc:
                raise ValueError(
                    f"{path}: expected a file that ops/bench/ablation wrote, got {exc!r}"
                ) from exc

    def get(self, key: str) -> dict[str, Any] | None:
        """What was noted under this key."""
        return self._entries.get(key)

    def put(self, key: str, entry: Mapping[str, Any]) -> None:
        """Note an entry, and write the file anew."""
        self._entries[key] = {"key": key, **entry}
        text = json.dumps({"entries": list(self._entries.values())}, indent=1) + "\n"
        # beside it, then over it: a reader, or a crash, finds the old file or the new one
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        beside.write_text(text, encoding="utf-8")
        beside.replace(self._path)


def key_of(what: Mapping[str, Any]) -> str:
    """Equal for what is equal as JSON, whatever the order of names."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def source_version(root: Path, parts: Iterable[str]) -> str:
    """Hash of the Python files at or below these places: a commit that changes none of them runs nothing again."""
    digest = hashlib.sha256()
    for part in parts:
        place = root / part
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            content = file.read_bytes()
            digest.update(f"{file.relative_to(root)}:{len(content)}:".encode() + content)
    return digest.hexdigest()[:16]
