"""The peers: Redis alone against brute force, what streaming models may see, and one table of them all."""

import json
import os
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from baselines.protocol import Log
from baselines.streaming import BiasedMf, Imf, Recent, RedisRecipe
from bench_folder import BENCH
from peers import PEERS, _streaming
from redis import Redis

GAP_MS = 1_800_000


def random_log(n, seed, n_users=12, n_items=30, *, repeats=False):
    """The low numbers are popular; values are 1 to 5."""
    rng = random.Random(seed)
    users = [f"u{rng.randrange(n_users)}" for _ in range(n)]
    items = [f"i{min(rng.randrange(n_items), rng.randrange(n_items))}" for _ in range(n)]
    values = [float(rng.randrange(1, 6)) for _ in range(n)]
    return Log.of(
        users, items, [60_000 * at for at in range(n)], values, repeats=repeats, session_gap_ms=GAP_MS
    )


@pytest.fixture
def own_redis(redis_url):
    """An empty database of the server of the session."""
    with Redis.from_url(redis_url, db=9) as client:
        client.flushdb()  # nobody else has this number
        yield client
        client.flushdb()


def by_hand(log, event):
    """Scores of items for the event's user: co-takes with his last items, told by a count over all events before."""
    last_of, pairs, taken = {}, Counter(), Counter()
    for user, item in zip(log.user[:event].tolist(), log.item[:event].tolist(), strict=True):
        last = last_of.setdefault(user, [])
        for other in set(last[-RedisRecipe.N_LAST :]) - {item}:
            pairs[other, item] += 1
            pairs[item, other] += 1
        last.append(item)
        taken[item] += 1
    last = last_of.get(int(log.user[event]), [])
    if not last:
        return taken
    scores = Counter()
    for other in set(last[-RedisRecipe.N_LAST :]):
        scores.update({item: n for (one, item), n in pairs.items() if one == other})
    return Counter({item: n for item, n in scores.items() if item not in last})


def test_redis_alone_ranks_by_co_takes(own_redis):
    """Where a score beats the tenth, its item is listed; where it is below, it is not; ties may go either way."""
    log, recipe, n_listed = random_log(160, seed=1), RedisRecipe(own_redis), 0
    for event in range(160):
        if event in log.counted(60, 160):
            scores, own = by_hand(log, event), int(log.item[event])
            rank = recipe.rank(log, event)
            n_better = sum(score > scores[own] for score in scores.values())
            n_as_good = sum(score >= scores[own] for score in scores.values())
            if scores[own] and n_as_good <= recipe.N_LIST:
                assert n_better < rank <= n_as_good
                n_listed += 1
            elif not scores[own] or n_better >= recipe.N_LIST:
                assert rank == 0
        recipe.learn(log, event)
    assert n_listed > 10
    assert recipe.n_bytes() > 0


@pytest.mark.parametrize("make", [BiasedMf, Imf])
def test_nothing_of_the_future_reaches_a_rank(make):
    """Another end of the log changes no rank before it; and what was learned does: an untaught model ranks otherwise."""
    if make is Imf:
        pytest.importorskip("flurs")
    log = random_log(200, seed=2)
    other = random_log(200, seed=2)
    other.item[150:] = other.item[150:][::-1].copy()
    found = []
    for story in (log, other):
        model = make()
        for event in range(150):
            model.learn(story, event)
        found.append([model.rank(story, event) for event in log.counted(100, 150).tolist()])
    assert found[0] == found[1]
    assert all(1 <= rank <= log.n_items for rank in found[0])
    assert len(set(found[0])) > 3


@pytest.mark.parametrize("repeats", [False, True])
def test_what_was_taken_last_by_hand(repeats):
    """Each item once, at the place of its last event; what the user took is left out, unless repeats are the rule."""
    log, recent, n_hits = random_log(200, seed=4, repeats=repeats), Recent(), 0
    for event in range(200):
        past = list(dict.fromkeys(log.item[:event][::-1].tolist()))
        had = [] if repeats else log.history(event).tolist()
        listed = [item for item in past if item not in had][:10]
        own = int(log.item[event])
        assert recent.rank(log, event) == (listed.index(own) + 1 if own in listed else 0)
        n_hits += own in listed
        recent.learn(log, event)
    assert 20 < n_hits < 180


class Oracle:
    """Remembers what it was told, and knows the answer to every other question."""

    name, rank_every = "oracle", 2

    def __init__(self):
        self.learned, self.asked = [], []

    def learn(self, _, event):
        """In log order."""
        self.learned.append(event)

    def rank(self, _, event):
        """Never asked about what it was told."""
        assert self.learned == list(range(event))
        self.asked.append(event)
        return len(self.asked) % 2


def test_streaming_learns_all_and_ranks_a_sample_of_the_second_half():
    """Every event is learned once, in order; one counted event in two is ranked before; HR is of those."""
    log, oracle = random_log(400, seed=3), Oracle()
    row = _streaming(log, oracle, iter(np.arange(0.0, 1e6)).__next__)
    assert oracle.learned == list(range(400))
    assert oracle.asked == log.counted(200, 400)[::2].tolist()
    n = len(oracle.asked)
    assert row["slices"]["all"]["n"] == n
    assert row["slices"]["all"]["hit_ratio"] == pytest.approx((n + 1) // 2 / n)
    # a clock that moves one second a look: a second for each list, one for each stretch of learning
    assert row["rank_us"] == pytest.approx(1e6)
    assert row["learn_us"] == pytest.approx(1e6 * (n + 1) / 400)
    assert row["events_per_second"] == pytest.approx(1e6 / (row["rank_us"] + row["learn_us"]))


@pytest.mark.timeout(600)  # the first run on a machine compiles the kernels
def test_one_table_of_all(tmp_path):
    """Every peer has a row with its figures, or says why not."""
    out = tmp_path / "peers.json"
    done = subprocess.run(
        [sys.executable, BENCH / "main.py", "--only", "peers", "--events", "400", "--json", out],
        env={**os.environ, "PYTHONPATH": str(BENCH.parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["peers"]
    assert len(rows) == len(PEERS) + 2  # trending and popularity come with streamer
    assert all(row["how"].startswith("skipped") or row["slices"]["all"]["n"] > 0 for row in rows)
    assert {"streamer", "item-kNN, cosine", "ALS"} <= {row["model"] for row in rows if "slices" in row}
    assert all(row["model"] in done.stdout for row in rows)
