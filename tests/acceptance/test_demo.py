"""`streamer demo` as a newcomer runs it: a subprocess, from start to report, stopped and killed half way."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "ops/data/online-retail"
N_EVENTS = 3000
RUN_TIMEOUT_S = 250  # the first start on a machine compiles the kernels, and the whole catalog is embedded

pytestmark = pytest.mark.timeout(600)


def command(*arguments: str) -> list[str]:
    """`streamer ...` by this interpreter."""
    return [sys.executable, "-m", "streamer", *arguments]


def environment() -> dict[str, str]:
    """Ours, with the sources in reach from any directory, and no terminal to draw on."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "TERM": "dumb", "COLUMNS": "160", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What a short demo printed, and its report."""
    return ran(tmp_path_factory.mktemp("demo"), N_EVENTS)


def ran(directory: Path, n_events: int) -> tuple[str, dict[str, Any]]:
    """What a demo of so many events prints, and its report."""
    return printed_by(directory, n_events), json.loads((directory / "report.json").read_text())


def printed_by(directory: Path, n_events: int) -> str:
    """What a demo of so many events prints; it works there, and ends well."""
    done = subprocess.run(
        command("demo", "--data", str(DATA), "--events", str(n_events)),
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def check_contract(report: dict[str, Any]) -> None:
    """It is a document of its schema."""
    schema = json.loads((ROOT / "schemas/report.v1.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(report)


def test_report_keeps_the_contract(demo: tuple[str, dict[str, Any]]) -> None:
    """report.json is a document of its schema, and counts every event once."""
    _, report = demo
    check_contract(report)
    assert report["data"] == "online-retail"
    assert report["events"] == N_EVENTS
    assert 0 < report["counted"] < N_EVENTS


def test_figures_equal_those_of_replay(demo: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    """The same log through Kafka and without it: the same lists, the same figures, the same state."""
    _, report = demo
    target = tmp_path / "replay.json"
    arguments = ("--catalog-first", "--events", str(N_EVENTS), "--report", str(target))
    subprocess.run(
        command("replay", str(DATA), *arguments),
        env=environment(),
        check=True,
        timeout=RUN_TIMEOUT_S,
        capture_output=True,
    )
    replayed = json.loads(target.read_text())
    assert report["lists"] == replayed["lists"]
    assert report["counted"] == replayed["counted"]
    assert report["state_hash"] == replayed["state_hash"]


def test_three_users_are_shown_with_titles_and_paths(demo: tuple[str, dict[str, Any]]) -> None:
    """Every user has last items and a list; each item has a title and the path that put it there."""
    printed, report = demo
    assert len(report["users"]) == 3
    for user in report["users"]:
        assert user["last_items"]
        assert user["list"]
        assert not user["fallback"]
        assert all(item["title"] and item["path"] for item in user["list"])
        assert f"user {user['user_id']}" in printed
        assert user["list"][0]["title"] in printed


def test_progress_without_a_terminal_is_plain_lines(demo: tuple[str, dict[str, Any]]) -> None:
    """In a pipe: one line at a time, no control characters, then tables and commands."""
    printed, _ = demo
    assert "\x1b" not in printed
    assert f"done: {N_EVENTS:,} of {N_EVENTS:,} events" in printed
    assert "hit ratio@10 by slice" in printed
    assert "redis-cli -p" in printed
    assert "--keep" in printed


def test_without_events_the_servers_are_empty(tmp_path: Path) -> None:
    """`--events 0` publishes no catalog either: whoever brings his own events has items of his own.

    And there is nothing to report: that of the demo before stays.
    """
    (tmp_path / "report.json").write_text("of yesterday")
    printed = printed_by(tmp_path, 0)
    assert (tmp_path / "report.json").read_text() == "of yesterday"
    assert "texts to go" not in printed  # those of a catalog
    assert "hit ratio" not in printed
    assert "dlq list --kafka" in printed


def lamps(directory: Path) -> Path:
    """A set of one's own: to embed the texts of the shipped one takes a minute, and is not needed to end a demo."""
    directory.mkdir()
    items = [f"i{n},lamp {n},,\n" for n in range(20)]
    (directory / "items.csv").write_text("".join(["item_id,title,text,categories\n", *items]))
    events = [f"u{n % 30},i{7 * n % 20},1,{1_600_000_000 + n}\n" for n in range(500)]
    (directory / "events.csv").write_text("".join(["user_id,item_id,value,timestamp\n", *events]))
    return directory


@pytest.fixture
def kept(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A demo with --keep, in a process of its own."""
    process = subprocess.Popen(
        command("demo", "--data", str(lamps(tmp_path / "lamps")), "--keep"),
        cwd=tmp_path,
        env={**environment(), "PYTHONUNBUFFERED": "1"},
        stdout=(tmp_path / "out").open("w"),
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def family(pid: int) -> list[psutil.Process]:
    """What the demo has started: the server and the worker, with the process of its text model."""
    return psutil.Process(pid).children(recursive=True)


def is_gone(process: psutil.Process) -> bool:
    """Ended, or waiting only for its parent to take note."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])  # SIGTERM takes the way of SIGINT
def test_nothing_is_left_behind(
    how: signal.Signals, kept: "subprocess.Popen[str]", tmp_path: Path, poll_until: Callable[..., Any]
) -> None:
    """--keep stays up until told to stop; however that happens, its server and its worker go with it."""
    out = tmp_path / "out"
    poll_until(
        lambda: "until Ctrl-C" in out.read_text() or kept.poll() is not None,
        timeout_s=RUN_TIMEOUT_S,
        what="the demo's end of stream",
    )
    assert kept.poll() is None, out.read_text()
    children = family(kept.pid)
    assert len(children) >= 2
    kept.send_signal(how)
    assert kept.wait(timeout=60) == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    poll_until(
        lambda: all(is_gone(child) for child in children), timeout_s=30, what="the end of its children"
    )
    assert "Traceback" not in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--data", "nowhere"], 4, "nowhere: expected a directory"),
        (["--report", "no/such/directory/report.json"], 4, "expected a path in a directory that exists"),
        (["--evnets", "5"], 2, "--evnets"),
    ],
)
def test_wrong_arguments_are_a_sentence(
    arguments: list[str], code: int, sentence: str, tmp_path: Path
) -> None:
    """No traceback, and the exit code says what kind of error it was."""
    done = subprocess.run(
        command("demo", *arguments),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code
    assert sentence in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr
