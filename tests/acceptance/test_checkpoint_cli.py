"""`streamer checkpoint`: words and exit codes, on a directory with checkpoints of a real state."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamer import checkpoint, pipeline
from streamer.adapters.file_checkpoints import FileCheckpoints
from streamer.checkpoint import Kept, Meta, config_of, pointer
from streamer.config import Settings
from streamer.events import Interaction
from streamer.measure import Scoreboard

ROOT = Path(__file__).resolve().parents[2]
SIZES = {
    "max_items": "100",
    "max_users": "100",
    "max_nodes": "100",
    "max_taken": "1024",
    "text_model": "none",
}
SETTINGS = Settings(**{**SIZES, "without": "vectors"})  # type: ignore[arg-type]  # texts, as flags have them
OLDER, NEWEST = "000000000000001-000000000001", "000000000000002-000000000002"

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hashes(tmp_path: Path) -> list[str]:
    """Hashes of the states of two checkpoints, the newest first."""
    store, state, kept, found = (
        FileCheckpoints(str(tmp_path / "kept"), SETTINGS.prefix),
        pipeline.new_state(SETTINGS.fold()),
        [],
        [],
    )
    for n, name in enumerate((OLDER, NEWEST), start=1):
        state, _ = pipeline.step(state, [Interaction(f"u{n}", f"i{n}", "view", n)])
        meta = Meta(config_of(SETTINGS.fold(), 1.0), [("interactions", 0, n)], n, n, n, "0.0.1\x1b[31m")
        data = b"".join(checkpoint.written(meta, checkpoint.freeze(state, Scoreboard())()))
        store.write(name, [data])
        kept.insert(0, Kept(name, n, n, n, len(data), meta.made_by))
        found.insert(0, pipeline.state_hash(state))
    store.write_pointer(pointer.encode(kept))
    return found


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run `streamer checkpoint ...` on that directory."""

    def run(*arguments: str, columns: str = "120", **settings: str) -> "subprocess.CompletedProcess[str]":
        own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
        given = {"checkpoint_url": str(tmp_path / "kept"), "without": "vectors", **SIZES, **settings}
        environment = {f"STREAMER_{name.upper()}": value for name, value in given.items()}
        return subprocess.run(
            [sys.executable, "-m", "streamer", "checkpoint", *arguments],
            cwd=tmp_path,
            env={**own, "PYTHONPATH": str(ROOT), "COLUMNS": columns, "TERM": "dumb", **environment},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    return run


def test_they_are_listed_and_shown(cli: Cli, hashes: list[str]) -> None:
    """The newest first; what a checkpoint says of itself never reaches the terminal raw."""
    listed = cli("list")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.index(NEWEST) < listed.stdout.index(OLDER)
    shown = cli("show", OLDER)
    assert "interactions[0] next 1\n" in shown.stdout
    assert "max_items = 100\n" in shown.stdout
    assert "\x1b" not in listed.stdout + shown.stdout
    assert cli("show").stdout.startswith(NEWEST)


def test_a_list_in_a_file_is_as_wide_as_it_is(cli: Cli, hashes: list[str]) -> None:
    """Whatever COLUMNS says of a terminal that is not there: names are whole, for `show` and `verify`, and so are figures."""
    lines = cli("list", columns="40").stdout.splitlines()
    heading, _, *rows = [line.split() for line in lines[1:] if line.strip()]
    assert heading == ["checkpoint", "taken", "interactions", "batches", "MB", "by"]
    assert [row[0] for row in rows] == [NEWEST, OLDER]


def test_a_good_one_is_verified_and_a_bad_one_is_not(cli: Cli, hashes: list[str], tmp_path: Path) -> None:
    """By putting its state together; damaged, of other settings, or not there: a sentence and an exit code."""
    assert cli("verify").stdout == f"ok, state hash {hashes[0]}\n"
    assert cli("verify", OLDER).stdout == f"ok, state hash {hashes[1]}\n"
    other = cli("verify", max_items="200")
    assert other.returncode == 8
    assert "it belongs to another configuration: max_items was 100 and is 200" in other.stderr
    file = tmp_path / "kept" / f"prefix={SETTINGS.prefix}" / f"{NEWEST}.checkpoint"
    data = np.frombuffer(file.read_bytes(), np.uint8).copy()
    data[-1] ^= 1
    file.write_bytes(data.tobytes())
    damaged = cli("verify")
    assert (damaged.returncode, "it is damaged" in damaged.stderr, "Traceback" in damaged.stderr) == (
        8,
        True,
        False,
    )
    assert cli("verify", "nobody").returncode == 4


def test_a_step_back(cli: Cli, hashes: list[str]) -> None:
    """The one before is the newest then; there is always one left."""
    assert OLDER in cli("rollback").stdout
    assert cli("verify").stdout == f"ok, state hash {hashes[1]}\n"
    last = cli("rollback")
    assert (last.returncode, "nothing was done" in last.stderr) == (4, True)
    assert "1 checkpoint, file" in cli("list").stdout


def test_where_there_is_none(cli: Cli, tmp_path: Path) -> None:
    """An empty place is reported, a flag's before that of the environment; no place at all is a mistake in the settings."""
    other = str(tmp_path / "other")
    assert cli("list", "--checkpoint-url", other).stdout.startswith(f"0 checkpoints, file:{other}")
    assert cli("show").returncode == 4
    nowhere = cli("list", checkpoint_url="")
    assert (nowhere.returncode, "no Redis is set" in nowhere.stderr) == (2, True)
