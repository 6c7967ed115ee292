"""The ablation: its rows, what it remembers, and one run of it on a tiny set."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import ablation
import pytest
from ablation import perform, planned, tables
from baselines import compare
from ledger import Ledger, key_of, source_version
from variants import PARTS, Variant, chosen, variants

BENCH = Path(ablation.__file__).parent
PATHS = ("sequence", "sequence_far", "fresh")


@pytest.fixture
def tiny(tmp_path):
    """A set of 60 events: 6 users walk through 12 items."""
    directory = tmp_path / "tiny"
    directory.mkdir()
    with (directory / "events.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(f"u{n % 6}", f"i{(n // 6 + n % 6) % 12}", 1, 1_600_000_000 + n) for n in range(60)]
        csv.writer(file).writerows([("user_id", "item_id", "value", "timestamp"), *rows])
    with (directory / "items.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(f"i{n}", f"Item {n}", "", f"c{n // 4}") for n in range(12)]
        csv.writer(file).writerows([("item_id", "title", "text", "categories"), *rows])
    return directory


class Recorder:
    """Stands in for the replay: remembers what it was asked, and fails at the run it is told to."""

    def __init__(self, fail_at=None):
        self.asked = []
        self._fail_at = fail_at

    def __call__(self, run, progress):
        """As `runs.execute`."""
        self.asked.append(run.name)
        if run.name == self._fail_at:
            raise KeyboardInterrupt
        progress(run.name, 0.5)
        slices = {key: {"hit_ratio": 0.25, "ndcg": None} for key in ablation.VARIANT_SLICES.values()}
        row = {"row": run.name, "slices": slices, "events_per_second": 1_234.0}
        return [row if run.kind == "variant" else {**row, "training": "once", "training_cpu_seconds": None}]


def test_rows_by_hand():
    """Each path, family and part is left out once; a path or family alone goes without all others and the ranker."""
    rows = {row.name: row.without for row in variants(PATHS)}
    assert rows == {
        "full model": (),
        "- sequence": ("sequence",),
        "- sequence_far": ("sequence_far",),
        "- fresh": ("fresh",),
        "- sequence*": ("sequence", "sequence_far"),
        **{f"- {part}": (part,) for part in PARTS},
        "sequence alone": ("sequence_far", "fresh", "ranker"),
        "sequence_far alone": ("sequence", "fresh", "ranker"),
        "fresh alone": ("sequence", "sequence_far", "ranker"),
        "sequence* alone": ("fresh", "ranker"),
    }


def test_a_part_that_is_a_path_has_one_row():
    """Where a path is called like a part, leaving it out is one row, not two."""
    names = [row.name for row in variants((*PATHS, "vectors"))]
    assert names.count("- vectors") == 1
    assert len(names) == len(set(names))


def test_only_takes_rows_and_their_subjects():
    """A row's name takes that row, a subject all its rows, in the order of the table; a misspelt one is refused."""
    rows = variants(PATHS)
    assert chosen(rows, ()) == rows
    assert [row.name for row in chosen(rows, ("fresh", "full"))] == ["full model", "- fresh", "fresh alone"]
    assert chosen(rows, ("- ranker",)) == [Variant("- ranker", "ranker", ("ranker",))]
    with pytest.raises(ValueError, match="got rankers"):
        chosen(rows, ("ranker", "rankers"))


def test_plan_by_hand(tiny):
    """Variants first, then the fold for comparison and the baselines; what is left out is a setting of the run."""
    runs = list(planned([f"{tiny}:repeats"], {"k": 5}, 40, True, ("- ranker", "als")))
    assert [(run.kind, run.name, run.settings, run.catalog_first) for run in runs] == [
        ("variant", "- ranker", {"k": 5, "repeats": True, "without": ["ranker"]}, True),
        ("streamer", "streamer", {"k": 5, "repeats": True}, False),
        ("baseline", "als", {"k": 5, "repeats": True}, False),
    ]
    assert {(run.set_name, run.max_events) for run in runs} == {("tiny:repeats", 40)}
    names = [run.name for run in planned([str(tiny)], {}, None, False, ())]
    assert names[0] == "full model"
    assert names[-6:] == ["streamer", *ablation.BASELINES]
    with pytest.raises(ValueError, match="DIR:repeats"):
        list(planned([f"{tiny}:twice"], {}, None, False, ()))


def test_the_baselines_named_are_those_there_are():
    """Their names stand apart from the models, so that `--help` loads no torch."""
    assert tuple(compare.models()) == ablation.BASELINES


def test_rows_in_the_file_are_not_run_again(tiny, tmp_path):
    """A second call runs what is new only; other settings are another run."""
    path, recorder = tmp_path / "rows.json", Recorder()
    runs = list(planned([str(tiny)], {}, None, False, ("full", "ranker")))
    perform(runs[:1], Ledger(path), execute=recorder)
    perform(runs, Ledger(path), execute=recorder)
    assert recorder.asked == ["full model", "- ranker"]
    perform([runs[0]._replace(settings={"k": 7})], Ledger(path), execute=recorder)
    assert recorder.asked == ["full model", "- ranker", "full model"]


def test_what_was_done_before_an_end_is_kept(tiny, tmp_path):
    """Ctrl-C in the second row loses that row alone."""
    path = tmp_path / "rows.json"
    runs = list(planned([str(tiny)], {}, None, False, ("full", "ranker", "fresh")))
    with pytest.raises(KeyboardInterrupt):
        perform(runs, Ledger(path), execute=Recorder(fail_at=runs[1].name))
    recorder = Recorder()
    perform(runs, Ledger(path), execute=recorder)
    assert recorder.asked == [run.name for run in runs[1:]]
    assert list(tmp_path.glob(".rows*")) == []


def test_tables_by_hand(tiny, tmp_path):
    """Variants and baselines stand in tables of their own; what was not measured is empty, not zero."""
    runs = list(planned([str(tiny)], {}, None, False, ("full", "als")))
    ledger = Ledger(tmp_path / "rows.json")
    perform(runs, ledger, execute=Recorder())
    cells = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        for table in tables(runs, ledger)
    ]
    assert cells[0][2:] == [["tiny", "full model", *["0.2500"] * 5, "", "1,234"]]
    assert [line[1:] for line in cells[1][2:]] == [
        [name, "once", *["0.2500"] * 4, "", ""] for name in ("streamer", "als")
    ]


@pytest.mark.parametrize("content", ["", "[]", '{"entries": [{}]}', "{}"])
def test_a_file_of_something_else_is_not_overwritten(tmp_path, content):
    """`--json` on a file that is no ledger is refused before anything is run."""
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="ops/bench/ablation"):
        Ledger(path)
    assert path.read_text() == content


def test_keys_and_versions(tmp_path):
    """The order of settings does not matter, their values do; so do the sources, name and content."""
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1}) != key_of({"a": 1, "b": [3]})
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "one.py").write_text("1")
    (tmp_path / "two.py").write_text("2")
    versions = [source_version(tmp_path, ("core", "two.py"))]
    (tmp_path / "README.md").write_text("no source")
    assert source_version(tmp_path, ("core", "two.py")) == versions[0]
    (tmp_path / "core" / "one.py").write_text("3")
    versions.append(source_version(tmp_path, ("core", "two.py")))
    (tmp_path / "core" / "one.py").rename(tmp_path / "core" / "other.py")
    versions.append(source_version(tmp_path, ("core", "two.py")))
    assert len(set(versions)) == 3


@pytest.mark.timeout(300)  # the first run on a machine compiles the kernels
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_it_runs_on_a_tiny_set(tiny, tmp_path, jobs):
    """Two rows, end to end, one after the other or side by side: a table each, and the file."""
    out = tmp_path / "rows.json"
    small = [part for name in ("max_items", "max_users") for part in ("--set", f"{name}=1000")]
    command = [sys.executable, BENCH / "ablation.py", "--data", tiny, "--json", out, "--jobs", jobs, *small]
    done = subprocess.run(
        [*command, "--set", "max_taken=65536", "--only", "full", "--only", "most-popular"],
        env={**os.environ, "PYTHONPATH": str(BENCH.parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    for row in ("| full model |", "| streamer ", "| most popular | first half, then frozen "):
        assert row in done.stdout
    entries = json.loads(out.read_text())["entries"]
    assert sorted(entry["name"] for entry in entries) == ["full model", "most-popular", "streamer"]
