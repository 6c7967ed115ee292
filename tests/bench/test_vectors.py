"""The bench of the network's vectors: the sets that are there are measured, and a wrong one is a sentence."""

import os
import subprocess
import sys

import pytest
from bench_folder import BENCH
from vectors import DEFAULT_SETS, prefixes


def run(*arguments):
    """The bench, as a user calls it."""
    return subprocess.run(
        [sys.executable, BENCH / "vectors.py", *arguments],
        env={**os.environ, "PYTHONPATH": str(BENCH.parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_sets_that_are_there_are_taken():
    """A clone has one of those in the README."""
    assert [name for name, _ in prefixes(DEFAULT_SETS, [])] == ["online-retail"]
    named = ["online-retail:7", "online-retail:9"]
    assert prefixes(DEFAULT_SETS, named) == [("online-retail", 7), ("online-retail", 9)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "nowhere:5"], "nowhere: expected a directory with events.csv"),
        (["--set", "online-retail"], "expected NAME:EVENTS"),
        (["--set", "online-retail:0"], "expected NAME:EVENTS"),
        (["--sets", os.devnull], "none of online-retail"),
    ],
)
def test_a_wrong_set_is_a_sentence(arguments, told):
    """Never a traceback."""
    done = run(*arguments)
    assert done.returncode != 0
    assert told in done.stderr.replace("\n", " ").replace("│", "").replace("  ", " ")
    assert "Traceback" not in done.stderr


def test_a_short_prefix_has_a_row():
    """Of the variant that was asked for, and no other."""
    done = run("--set", "online-retail:1500", "--only", "default")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]] == ["default"]
