"""The benches: the synthetic stream, what is read off a profile, growth, and all of the whole processes on tiny inputs."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import freshness
import growth
import haste
import main
import numpy as np
import pytest
import returning
import whole
from bench_folder import BENCH
from figures import Row, speed_table
from options import Options
from profiling import FUNCTIONS, by_stage_of
from synthetic import Stream

import streamer
from streamer.errors import ConfigError
from streamer.events import decode

SMALL = {"max_users": "20000", "max_items": "20000", "max_taken": "262144"}


def test_a_stream_is_what_was_asked_for():
    """Exactly so many interactions, every user and in time order, the same again; another seed is another stream."""
    stream = Stream(1_000, 4_000, 30_000)
    users, items, times = (np.concatenate(column) for column in zip(*stream.chunks(), strict=True))
    assert users.size == items.size == times.size == 30_000
    assert np.unique(users).size == 4_000
    assert items.min() >= 0
    assert items.max() < 1_000
    assert np.mean(np.diff(times) < 0) < 0.001  # only where a session outlasts its chunk
    again = np.concatenate([chunk[1] for chunk in stream.chunks()])
    other = np.concatenate([chunk[1] for chunk in Stream(1_000, 4_000, 30_000, seed=1).chunks()])
    assert np.array_equal(items, again)
    assert not np.array_equal(items, other)


def test_a_stream_has_a_head_and_sessions():
    """A tenth of the items has most of the events; two events of a user in a row share a cluster far more often than chance."""
    stream = Stream(5_000, 2_000, 40_000)
    users, items, _ = (np.concatenate(column) for column in zip(*stream.chunks(), strict=True))
    counts = np.sort(np.bincount(items, minlength=5_000))[::-1]
    assert counts[:500].sum() > 0.55 * counts.sum()
    order = np.argsort(users, kind="stable")
    cluster, same_user = (items % 50)[order], np.diff(users[order]) == 0
    together = (np.diff(cluster) == 0)[same_user].mean()
    assert together > 3 * np.sum((np.bincount(cluster) / cluster.size) ** 2)


def test_messages_are_the_events():
    """On the wire and as objects it is the same stream, catalog first; without the catalog only interactions come."""
    stream = Stream(200, 50, 300)
    events = [decode(*message) for message in stream.messages()]
    assert events[:200] == list(stream.catalog())
    assert events[200:] == [event for batch in stream.batches() for event in batch]
    assert len(list(Stream(200, 50, 300, with_catalog=False).messages())) == 300


def test_stages_of_a_profile():
    """The innermost function that is known names the stage; threads that wait, or are not ours, do not count."""
    lines = [
        "main (/x/streamer/cli.py:1);Runner._turn (/x/streamer/runner/loop.py:9);decode (/x/streamer/events/decoding.py:3) 5",
        "Runner._turn (/x/streamer/runner/loop.py:9);Run._fold_from (/x/streamer/pipeline/run.py:2) 7",
        "Runner.run (/x/streamer/runner/loop.py:3);Runner._turn (/x/streamer/runner/loop.py:9);json (/usr/json.py:2) 2",
        "run (/usr/threading.py:1);select (/usr/selectors.py:4) 100",
        "_work (/x/streamer/embedding/background.py:1);Condition.wait (/usr/threading.py:3) 100",
        "run (/usr/threading.py:1);_Thread._work (/x/streamer/runner/checkpoint_writer.py:9) 100",
        "_Thread._work (/x/streamer/runner/checkpoint_writer.py:9);_try_to_write (/x/streamer/runner/checkpoint_writer.py:5) 3",
        "decode (/usr/lib/other/events.py:1) 50",
        "load (/x/streamer/unheard_of.py:1) 1",
    ]
    assert by_stage_of(lines) == Counter(
        {
            "decode": 5,
            "kernel: rank before each event, learn, ranker": 7,
            "rest of the loop": 2,
            "checkpoints (their own thread)": 3,
            "the rest": 1,
        }
    )


def test_functions_that_name_a_stage_are_there():
    """One that was renamed, or moved, would silently count as the rest."""
    root = Path(streamer.__file__).parents[1]
    gone = [
        (path, name)
        for path, name in FUNCTIONS
        if f"def {name}(" not in (root / path).read_text(encoding="utf-8")
    ]
    assert gone == []


def test_rates_are_numbers_or_shares_of_the_maximum(monkeypatch):
    """80% of a measured 2,000 a second are 1,600; the maximum is measured once, and only where it is asked for."""
    measured = []
    monkeypatch.setattr(whole, "maximum", lambda _, log: measured.append(log.n_interactions) or 2_000.0)
    assert list(freshness._rates(Options(rates=("100", "5e3"))).values()) == [100.0, 5_000.0]
    assert measured == []
    rates = freshness._rates(Options(rates=("80%", "50%"), max_events=70))
    assert list(rates.values()) == [1_600.0, 1_000.0]
    assert measured == [70]
    with pytest.raises(ConfigError, match="--rate"):
        freshness._rates(Options(rates=("fast",)))


def test_who_comes_back_finds_what_is_new_where_lists_are_renewed(tmp_path):
    """An item that came while two were away is on the list they left behind for neither; that of one of them is gone by then."""
    day_s, began_s = 86_400, 1_600_000_000
    events = [(f"day{n}", item, 0) for n in range(3) for item in "abcdef"] + [
        ("x", "a", 0),
        ("y", "b", 0),
        ("z", "c", 0.1),
    ]
    events += [(f"other{n}", "new", 1) for n in range(3)] + [("x", "new", 2), ("y", "new", 12)]
    rows = [
        f"{user},{item},1,{began_s + round(day * day_s) + 60 * n}"
        for n, (user, item, day) in enumerate(events)
    ]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,value,timestamp", *rows]))
    (tmp_path / "items.csv").write_text(
        "item_id,title,text,categories\n" + "".join(f"{i},{i},,\n" for i in (*"abcdef", "new"))
    )
    found = {
        row.case.partition(",")[0]: row.values
        for row in returning.returning(Options(data=tmp_path, settings=SMALL))
    }
    assert found == {
        returning.FRESH: [100.0],
        returning.RENEWED: [100.0],
        returning.LEFT: [0.0],
        returning.EXPIRED: [50.0],
        returning.STRANGER: [100.0],
    }


def test_haste_measures_what_comes_behind_the_log(tmp_path, monkeypatch):
    """A log in two halves: of the first a part is measured in haste, of the second all, foretold as the first was learned."""
    limits = []

    class Watched(haste.Model):
        def fold(self, *arguments, **named):
            info = super().fold(*arguments, **named)
            limits.append(self.take_chances().max_measured)
            return info

    monkeypatch.setattr(haste, "Model", Watched)
    monkeypatch.setattr("streamer.runner.model.N_UNHURRIED", 30)
    rows = [f"u{n % 40},{'abcd'[n // 40]},1,{1_600_000_000 + 60 * n}" for n in range(160)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,value,timestamp", *rows]))
    (tmp_path / "items.csv").write_text(
        "item_id,title,text,categories\n" + "".join(f"{i},{i},,\n" for i in "abcd")
    )
    found = haste.haste(Options(data=tmp_path, settings={**SMALL, "max_batch_catch_up": "16"}, n_runs=1))
    assert [row.case for row in found if row.unit == "HR@10, %"] == [
        f"{way}: lists behind 80 events" for way in haste.WAYS
    ]
    assert all(row.values[0] > 90.0 for row in found if row.unit == "HR@10, %")
    assert all(row.values[0] > 0.0 for row in found)
    in_haste, as_a_replay = limits[: len(limits) // 2], limits[len(limits) // 2 :]
    assert (in_haste[0], in_haste[-1]) == (8, 0)
    assert set(as_a_replay) == {0}


def test_growth_counts_bytes_and_says_what_does_not_fit(monkeypatch):
    """A size that may not fit is not tried and says so; the ratio is that of rank times at the most and the fewest items."""
    asked, n_events = [], set()

    def measured(_, stream, settings):
        asked.append((stream.n_items, stream.n_users))
        n_events.add(stream.n_interactions)
        return {("rank a list", "us CPU"): [stream.n_items / 1_000.0] * 3}

    monkeypatch.setattr(growth, "alone", measured)
    sizes = ((1_000, 100), (5_000, 100), (1_000, 10**9))
    rows = growth.growth(Options(sizes=sizes))
    assert asked == [(1_000, 100), (5_000, 100)] * len(growth.CASES)
    assert [row.values for row in rows if row.unit == "ratio"] == [[5.0]] * len(growth.CASES)
    assert len(n_events) == 1  # else the ratio would be that of histories, too
    skipped = [row for row in rows if row.note.startswith("skipped")]
    assert len(skipped) == len(growth.CASES)
    assert not any(row.values for row in skipped)


@pytest.mark.timeout(600)  # the first run on a machine compiles the kernels
@pytest.mark.parametrize("case", growth.CASES)
def test_growth_measures(case):
    """Tables of users grow with users and those of items with items; they do not mix."""
    small, more_users, more_items = (
        growth.measure(Stream(n_items, n_users, 4_000, session_events=2.0), growth.CASES[case])
        for n_items, n_users in ((500, 1_000), (500, 2_000), (1_000, 1_000))
    )
    assert all(us > 0.0 for us in small["learn an event", "us CPU"] + small["rank a list", "us CPU"])
    assert (("learn a catalog item", "us CPU") in small) == ("content" not in growth.CASES[case]["without"])
    for found in (more_users, more_items):
        for what in ("tables, an item", "tables, a user"):
            assert found[what, "bytes"] == pytest.approx(small[what, "bytes"], rel=0.2)


def test_a_table_shows_what_was_not_measured():
    """A row without values has dashes and its note, not a zero."""
    line = speed_table([Row("growth", "huge", "us", note="skipped: may need 99 GiB")]).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["growth", "huge", "us", "-", "-", "-", "", "", "skipped: may need 99 GiB"]


def test_the_command_line():
    """Names are those of benches, the machine's limits come beside the loop, sizes are two numbers."""
    assert main._chosen(["loop"]) == ["loop", "limits"]
    assert main._chosen(["quality", "learn"]) == ["learn", "quality"]
    with pytest.raises(main.typer.BadParameter, match="growth"):
        main._chosen(["shrinkage"])
    assert main._size("10000:100000") == (10_000, 100_000)
    for wrong in ("10000", "1e4:5", "99:1", "100:0"):
        with pytest.raises(ConfigError, match="ITEMS:USERS"):
            main._size(wrong)
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        main.settings_of(["text_model"])


# CI has fifteen minutes: with STREAMER_TEST_BENCHES=all the other three run as well.
WHOLE = ("loop", "limits", "freshness", "start", "reading")
if os.environ.get("STREAMER_TEST_BENCHES") == "all":
    WHOLE = (*WHOLE, "profile", "catch-up", "checkpoints")


# some fifteen workers start one after the other; the first on a machine compiles the kernels
@pytest.mark.timeout(900)
def test_whole_processes_on_tiny_inputs(tmp_path):
    """Every bench of whole processes runs end to end, and its figures are there: numbers above zero."""
    only = [part for name in WHOLE for part in ("--only", name)]
    small = {"text_model": "none", **SMALL}
    settings = [part for name, value in small.items() for part in ("--setting", f"{name}={value}")]
    limits = ["--events", "400", "--share", "1", "--rate", "200", "--users", "100"]
    rows = _figures(tmp_path, *only, *limits, *settings)
    assert {row["bench"] for row in rows} == set(WHOLE)
    # CPU of a short run may be less than the clock can tell, a short log is over before it is timed, none of the few events
    # that the defaults measure of it need be of an item that was known, and lists need not hit
    vague = ("CPU of", "defaults: measured", "HR@10")
    exact = [
        row
        for row in rows
        if not any(what in row["case"] for what in vague) and row["bench"] not in ("profile", "catch-up")
    ]
    dull = [
        row["case"] for row in exact if not all(value > 0.0 or math.isnan(value) for value in row["values"])
    ]
    assert not dull
    figures = {(row["bench"], row["case"]): row["values"] for row in rows}
    for model in ("counting paths alone", "everything on"):
        assert figures["loop", f"{model}, measure_share=1"][0] > 10.0
        assert figures["loop", f"{model}, measure_share=1: measured"][0] == 100.0
        where = [row for row in rows if row["bench"] == "profile" and row["case"].startswith(model)]
        assert not where or sum(row["values"][0] for row in where) == pytest.approx(100.0)
        assert figures["start", f"{model}, 100 users: started again"][0] > 0.1
    assert (
        figures["start", "import streamer"][0] < figures["start", "cold: an empty log to the first list"][0]
    )


@pytest.mark.timeout(300)
def test_an_item_arrives(tmp_path):
    """The vector of a new item's text comes, and before the bench gives up."""
    (row,) = _figures(tmp_path, "--only", "arrivals", "--events", "400", "--setting", "text_model=wordllama")
    assert [0.0 < value < 10_000.0 for value in row["values"]] == [True]


def _figures(tmp_path, *arguments):
    """Rows of one run against the embedded Kafka."""
    out = tmp_path / "figures.json"
    command = [
        sys.executable,
        BENCH / "main.py",
        "--json",
        out,
        "--runs",
        "1",
        "--kafka",
        "embedded",
        *arguments,
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(BENCH.parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=880,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())["rows"]
