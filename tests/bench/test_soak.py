"""The soak: its day is what its ledger says, its faults are all kinds in turn, and a short one runs whole."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
import redis
from bench_folder import BENCH
from soaking import checks
from soaking.day import Day
from soaking.faults import FAULTS, schedule
from soaking.watch import _growth

from streamer.errors import InvalidEvent
from streamer.events import CatalogItem, Interaction, decode

N = 20_000


@pytest.fixture(scope="module")
def a_day():
    """A day, its ledger, and all its messages in order, those of who leaves among them."""
    day = Day(N, seed=2)
    messages = day.opening()
    for block in day.blocks():
        messages += block.leaving + block.messages
    return day, messages


def test_a_day_is_what_its_ledger_says(a_day):
    """Counted from the messages themselves: interactions, duplicates, broken ones, tombstones; the same again."""
    day, messages = a_day
    seen, n = Counter(), Counter()
    for topic, key, value in messages:
        try:
            event = decode(topic, key, value)
        except InvalidEvent:
            n["broken"] += 1
            continue
        n[type(event).__name__] += 1
        if isinstance(event, Interaction):
            seen[event.event_id] += 1
    ledger = day.ledger
    assert len(seen) == ledger.n_learned == N
    assert sum(seen.values()) - len(seen) == ledger.n_duplicates > 0.005 * N
    assert n["broken"] == ledger.n_broken > 0
    assert n["CatalogItem"] == ledger.n_described
    assert n["ItemRetired"] == len(ledger.retired) > day.n_items
    assert n["UserErased"] == len(ledger.erased) > day.n_users
    again = Day(N, seed=2)
    assert (
        again.opening() + [m for block in again.blocks() for m in block.leaving + block.messages] == messages
    )


def test_who_left_does_not_come_back(a_day):
    """After its tombstone a user does nothing, and nobody takes an item that is gone: both have new names."""
    _, messages = a_day
    gone: set[bytes] = set()
    for topic, key, value in messages:
        if value is None:
            gone.add(key)
        elif topic == "interactions" and key != b"broken":
            event = decode(topic, key, value)
            # a duplicate repeats one of the last 200 messages of its block: never from before a tombstone
            assert event.user_id.encode() not in gone
            assert event.item_id.encode() not in gone


def test_items_are_described_before_they_are_taken(a_day):
    """Every item that somebody takes has come with the catalog."""
    described = set()
    for topic, key, value in a_day[1]:
        if value is None or key == b"broken":
            continue
        event = decode(topic, key, value)
        if isinstance(event, CatalogItem):
            described.add(event.item_id)
        elif isinstance(event, Interaction):
            assert event.item_id in described


def test_every_kind_of_fault_comes():
    """All kinds in turn, in the order of the day, within it; the same for the same seed."""
    faults = list(schedule(14, 100_000, 3))
    assert [at for at, _ in faults] == sorted(at for at, _ in faults)
    assert all(5_000 <= at < 100_000 for at, _ in faults)
    assert Counter(name for _, name in faults) == dict.fromkeys(FAULTS, 2)
    assert faults == list(schedule(14, 100_000, 3))


def test_growth_is_a_slope():
    """2 MiB in 10 events are 10 in 50; one sample has none."""
    assert _growth([1.0, 3.0, 5.0], [0, 10, 20], 50.0) == pytest.approx(10.0)
    assert _growth([1.0], [5], 50.0) == 0.0


def test_a_retired_item_that_leaves_late_is_told_from_one_that_stays(redis_url, monkeypatch):
    """Both are a check that fails; one says that no list held it in the end, the other that one still did."""
    monkeypatch.setattr(checks, "RETIRED_WITHIN_S", 0.0)
    monkeypatch.setattr(checks, "GIVEN_UP_S", 1.0)
    ledger = Day(N, 1).ledger
    ledger.retired.add("gone")
    place = SimpleNamespace(client=lambda: redis.Redis.from_url(redis_url))
    with_it, without = (
        json.dumps({"items": [{"id": item_id}], "position": {"t-0": 9}}) for item_id in ("gone", "x")
    )
    with place.client() as client:
        key = "streamer:list:late"
        for n_left in (0, 1):
            client.set(key, with_it)
            leaves = threading.Timer(0.3, client.set, (key, without if n_left == 0 else with_it))
            leaves.start()
            found = {check.what: check for check in checks.lists(place, ledger, {"late": ("t", 0, 3)})}
            leaves.join()
            check = found["of these, with a retired item in Redis"]
            assert not check.holds
            assert check.got.startswith(f"1 (gone on 1); {n_left} after ")
        client.delete(key)


def test_what_is_lost_is_seen():
    """An interaction too few, one too many, a dead letter that came twice: each is told from the ledger."""
    ledger = Day(N, 1).ledger
    ledger.n_learned, ledger.n_broken = 100, 2
    letters = [("interactions", "0", "1"), ("interactions", "0", "1"), ("interactions", "1", "1")]
    assert all(check.holds for check in checks.accounted(ledger, {"events": 100}, letters))
    assert not all(check.holds for check in checks.accounted(ledger, {"events": 99}, letters))
    assert not all(check.holds for check in checks.accounted(ledger, {"events": 101}, letters))
    assert not all(check.holds for check in checks.accounted(ledger, {"events": 100}, letters[:2]))


@pytest.mark.timeout(600)  # the first start on a machine compiles the kernels
def test_a_short_day_is_survived(tmp_path):
    """A kill and a Redis that dies on the way: every check holds, and both documents are there."""
    done = subprocess.run(
        [
            *(sys.executable, BENCH / "soak.py", "--events", "3000", "--faults", "2"),
            *("--out", tmp_path / "soak", "--setting", "without=vectors,ranker"),
        ],
        env={**os.environ, "PYTHONPATH": str(BENCH.parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    document = json.loads((tmp_path / "soak.json").read_text())
    assert sum(document["faults"].values()) == 2
    assert len(document["checks"]) >= 9
    assert all(check["holds"] for check in document["checks"])
    assert document["sent"]["users erased"] > 0
    assert "| check" in (tmp_path / "soak.md").read_text()
