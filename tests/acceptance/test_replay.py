"""`streamer replay` as a subprocess: a valid report, the same every time, whatever the batch size."""

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "report.v1.schema.json").read_text())
pytestmark = pytest.mark.timeout(300)  # the first run on a machine compiles the kernels
N_EVENTS = 700
SMALL = [
    "--set",
    "text_model=none",
    "--set",
    "max_items=1000",
    "--set",
    "max_users=1000",
    "--set",
    "max_taken=65536",
]


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    """A generated set: 30 users walk through 50 items, mostly to the next one, in two months."""
    directory = tmp_path_factory.mktemp("sets") / "walks"
    directory.mkdir()
    rng = random.Random(12)
    at = {user: rng.randrange(50) for user in range(30)}
    with (directory / "events.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "value", "timestamp"])
        for n in range(N_EVENTS):
            user = rng.randrange(30)
            at[user] = (at[user] + 1) % 50 if rng.random() < 0.8 else rng.randrange(50)
            writer.writerow([f"u{user}", f"i{at[user]}", 1, 1_600_000_000 + n * 4_000])
    with (directory / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "title", "text", "categories"])
        writer.writerows([f"i{n}", f"Item {n}", "", f"c{n // 10}"] for n in range(55))
    return directory


@pytest.fixture(scope="module")
def replayed(small_set, tmp_path_factory):
    """`replayed(*flags)`: the report of one run; runs with equal flags are made once, unless `again` differs."""
    reports = {}

    def run(*flags, again=0):
        if (flags, again) not in reports:
            path = tmp_path_factory.mktemp("reports") / "report.json"
            command = [
                sys.executable,
                "-m",
                "streamer",
                "replay",
                str(small_set),
                "--report",
                str(path),
                *SMALL,
            ]
            done = subprocess.run(
                [*command, *flags], capture_output=True, text=True, timeout=280, check=False
            )
            assert done.returncode == 0, done.stderr
            reports[flags, again] = json.loads(path.read_text())
        return reports[flags, again]

    return run


def without_timing(report):
    """All that must be equal in two replays."""
    return {name: value for name, value in report.items() if name != "timing"}


def test_the_report_follows_its_schema(replayed):
    """report.v1, with every interaction in `events` and less in `counted` (first events of items are not)."""
    report = replayed()
    jsonschema.validate(report, SCHEMA)
    assert report["data"] == "walks"
    assert report["events"] == N_EVENTS
    assert 0 < report["counted"] <= N_EVENTS - 50
    assert report["k"] == 10
    for slices in report["lists"].values():
        assert slices["all"]["n"] == report["counted"]
    assert sum(path["weight"] for path in report["paths"].values()) == pytest.approx(1.0)
    assert sum(lists["streamer"]["n"] for lists in report["months"].values()) == report["counted"]


def test_a_replay_is_the_same_every_time(replayed):
    """Two runs in two processes differ in `timing` alone."""
    assert without_timing(replayed()) == without_timing(replayed(again=1))


@pytest.mark.parametrize("size", ["1", "7", "512"])
def test_batches_change_no_figure(replayed, size):
    """Whatever the batch size: the same state hash and the same figures to the last digit."""
    assert without_timing(replayed("--batch-size", size)) == without_timing(replayed())


def test_the_lists_learn_the_walk(replayed):
    """On a stream where most steps go to the next item, the mixture beats both baselines clearly."""
    lists = replayed("--repeats")["lists"]
    ours = lists["streamer"]["second_half"]["hit_ratio"]
    assert ours > 0.6
    assert ours > 1.5 * max(lists[name]["second_half"]["hit_ratio"] for name in ("trending", "popularity"))


def test_repeats_count_more_events(replayed):
    """With repeats on, events of items that the user took before are counted, too; the settings say so."""
    off, on = replayed(), replayed("--repeats")
    jsonschema.validate(on, SCHEMA)
    assert on["settings"]["repeats"] is True
    assert on["counted"] > off["counted"]
    assert on["state_hash"] != off["state_hash"]


def test_events_cuts_the_log(replayed):
    """`--events N` folds the first N interactions, no more; a cut beyond the end is the whole."""
    cut = replayed("--events", "300")
    jsonschema.validate(cut, SCHEMA)
    assert cut["events"] == 300
    assert cut["state_hash"] != replayed()["state_hash"]
    assert without_timing(replayed("--events", str(N_EVENTS * 10))) == without_timing(replayed())


def test_catalog_first_measures_first_events(replayed):
    """With the catalog ahead, first events of announced items are looked up; without, an item comes after its own."""
    ahead = replayed("--catalog-first")
    jsonschema.validate(ahead, SCHEMA)
    assert ahead["lists"]["streamer"]["first_events"]["n"] == 50
    assert replayed()["lists"]["streamer"]["first_events"]["n"] == 0
