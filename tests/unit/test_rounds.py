"""What a round of training gets, against a list of the log's first takes; and when its weights come in."""

from collections import defaultdict

import numpy as np
import pytest
from whole_model import SETTINGS, DrawnTables, a_log

from streamer import pipeline
from streamer.events import CatalogItem, Interaction, ItemRetired
from streamer.graph.state import CO, HISTORY, KNOWN, ROUND, TICK_MS
from streamer.propagate.learner import N_NEIGHBOURS

VIEWS = SETTINGS._replace(text_model="none", max_users=64, explore_share=0.0, training_interval=48)


def folded(log, trainer, settings=VIEWS, size=None):
    """State after the log, in batches of `size`."""
    state = pipeline.new_state(settings, trainer)
    size = size or max(len(log), 1)
    for start in range(0, len(log), size):
        state, _ = pipeline.step(state, log[start : start + size])
    return state


def views(n, n_users=9, n_items=60, seed=1):
    """A log of views."""
    rng = np.random.default_rng(seed)
    times = 10**9 + np.cumsum(rng.integers(0, 50_000, n))
    return [
        Interaction(f"u{rng.integers(0, n_users)}", f"i{rng.integers(0, n_items)}", "view", int(times[at]))
        for at in range(n)
    ]


def first_takes(log, interval):
    """Round after round: (item, [(item, time) of his last ones, newest first], time) of each first take but a user's first."""
    rounds, found = [], []
    history = defaultdict(list)
    for n, event in enumerate(log):
        past = history[event.user_id]
        if past and event.item_id not in [item for item, _ in past]:
            found.append((event.item_id, past[::-1][:HISTORY], event.timestamp_ms))
        past.append((event.item_id, event.timestamp_ms))
        if (n + 1) % interval == 0:
            rounds.append(found[-ROUND:])
            found = []
    return rounds


@pytest.mark.parametrize(("interval", "size"), [(48, None), (48, 7), (48, 48), (1_000, 512)])
def test_examples_are_first_takes_with_the_history_before(interval, size):
    """A round has the newest 256 first takes since the last one, oldest first: the item, and the history as it was before.

    A user's first event, and what he takes again, teach nothing. However the log was cut, rounds are the same.
    """
    log, trainer = views(2_100), DrawnTables()
    state = folded(log, trainer, VIEWS._replace(training_interval=interval, repeats=True), size)
    row_of = state.ids.items.row
    expected = first_takes(log, interval)
    assert len(trainer.rounds) == len(expected) == 2_100 // interval
    for job, takes in zip(trainer.rounds, expected, strict=True):
        examples = job.examples
        assert examples.target.tolist() == [row_of(item) for item, _, _ in takes]
        for at, (_, past, time_ms) in enumerate(takes):
            rows = [row_of(item) for item, _ in past]
            assert examples.items[at].tolist() == rows + [-1] * (HISTORY - len(rows))
            gaps = [time_ms // TICK_MS * 2 - then // TICK_MS * 2 for _, then in past]
            assert examples.gap_s[at, : len(past)].tolist() == gaps
        assert np.isnan(examples.z_score).all()
    assert max(len(takes) for takes in expected) == (ROUND if interval == 1_000 else max(map(len, expected)))


def test_what_comes_late_is_no_example():
    """The history that a late event came after is not there any more: it stands in the next example's, and is none itself."""
    log = [
        Interaction("u", item, "view", at_s * 10_000)
        for item, at_s in (("a", 1), ("c", 3), ("b", 2), ("d", 4))
    ]
    trainer = DrawnTables()
    state = folded(log, trainer, VIEWS._replace(training_interval=4))
    examples = trainer.rounds[0].examples
    assert [state.ids.items.id(row) for row in examples.target.tolist()] == ["c", "d"]
    assert [state.ids.items.id(row) for row in examples.items[1, :3].tolist()] == ["c", "b", "a"]


def test_values_come_with_the_history():
    """What the network is told of a rating is what the history keeps: standardised by what came before, in steps of 1/32."""
    values = [1.0, 5.0, None, 1e308, -1e308, 3.0]
    log = [Interaction("u", f"i{n}", "view", n * 10_000, value) for n, value in enumerate(values)]
    trainer = DrawnTables()
    folded(log, trainer, VIEWS._replace(training_interval=6))
    z_score = trainer.rounds[0].examples.z_score[-1]  # before the last event: newest first
    squashed = np.log1p([1.0, 5.0])  # the first two have nothing to be compared with
    mean, deviation = squashed.mean(), squashed.std()
    assert deviation > 0.0
    # 1e308 is taken for 1e30: so far beyond that it is cut at 3; with it in the sums, -1e30 is cut at -3
    assert z_score[:5].tolist()[:2] == [pytest.approx(-_cut(1e30, [1.0, 5.0, 1e30]), abs=1 / 32), 3.0]
    assert np.isnan(z_score[2])
    assert z_score[3:5].tolist() == [0.0, 0.0]
    assert mean > 0.0


def _cut(value, before):
    squashed = np.log1p(before)
    return min(3.0, (np.log1p(value) + squashed.mean()) / squashed.std())


def test_a_round_describes_what_changed_since_the_last_one():
    """Rows that were taken, described, embedded or retired: text, nodes, most co-taken items, whether they may be drawn."""
    trainer = DrawnTables()
    state, seen = pipeline.new_state(SETTINGS, trainer), 0
    for event in a_log(61):
        before = len(trainer.rounds)
        state, _ = pipeline.step(state, [event])
        if len(trainer.rounds) == before:
            continue
        job, graph = trainer.rounds[-1], state.graph
        assert job.n_items == state.ids.items.n_rows
        assert job.rows.tolist() == sorted(set(job.rows.tolist()))
        assert set(job.examples.target.tolist()) <= set(job.rows.tolist())
        for at, row in enumerate(job.rows.tolist()):
            item = graph.items[row]
            nodes = (item["nodes"][: item["n_nodes"]] + 1).tolist()
            assert job.nodes[at].tolist() == nodes + [0] * (job.nodes.shape[1] - len(nodes))
            assert job.known[at] == (bool(item["flags"] & KNOWN) and not graph.unlistable[row])
            assert job.text[at].tolist() == graph.near.vector[row].tolist()
            together = graph.evidence[row, :, CO]
            listed = job.neighbours[at][job.neighbours[at] > 0]
            assert (
                len(set(listed.tolist()))
                == listed.size
                == min(N_NEIGHBOURS, (graph.neighbour[row] > 0).sum())
            )
            weights = [together[graph.neighbour[row].tolist().index(other)] for other in listed.tolist()]
            assert (
                weights == sorted(together[graph.neighbour[row] > 0].tolist(), reverse=True)[: len(weights)]
            )
            seen += 1
    assert seen > 100


def described(log, interval):
    """Round after round: the items that the catalog spoke of since the last one."""
    rounds, found, n_views = [], set(), 0
    for event in log:
        if isinstance(event, (CatalogItem, ItemRetired)):
            found.add(event.item_id)
        n_views += isinstance(event, Interaction)
        if isinstance(event, Interaction) and n_views % interval == 0:
            rounds.append(found)
            found = set()
    return rounds


def rows_expected(state, items, examples):
    """Rows of these items and of what was taken."""
    return sorted({*map(state.ids.items.row, items), *examples.target.tolist()})


def test_what_changed_is_described_once():
    """A round describes what the catalog spoke of since the last one and what was taken, and nothing else again."""
    trainer, log = DrawnTables(), a_log(62)
    state = folded(log, trainer)
    changes = described(log, VIEWS.training_interval)
    assert len(changes) == len(trainer.rounds) == 6
    for job, items in zip(trainer.rounds, changes, strict=True):
        assert job.rows.tolist() == rows_expected(state, items, job.examples)
    assert sum(map(len, changes)) > 50


def test_weights_come_in_when_the_next_round_begins():
    """Lists between two rounds are ranked with the weights of the last but one: the same whether training was quick or slow."""
    trainer, versions = DrawnTables(), []
    state = pipeline.new_state(VIEWS, trainer)
    for event in views(5 * VIEWS.training_interval):
        state, _ = pipeline.step(state, [event])
        versions.append(state.graph.vectors.version)
    expected = [max(0, (n + 1) // VIEWS.training_interval - 1) for n in range(len(versions))]
    assert versions == expected


def test_a_late_trainer_leaves_a_round_out():
    """Weights that are not ready come in a round later, and the round between has no examples of its own: the next one takes
    its own takes, and the changes of both."""
    log, interval = a_log(63), VIEWS.training_interval
    on_time, late = DrawnTables(), DrawnTables(late=[3])
    folded(log, on_time)
    state = folded(log, late)
    assert (len(on_time.rounds), len(late.rounds)) == (6, 5)
    for job, same in zip(
        late.rounds[:2] + late.rounds[3:], on_time.rounds[:2] + on_time.rounds[4:], strict=True
    ):
        assert job.examples.target.tolist() == same.examples.target.tolist()
    job, changes = late.rounds[2], described(log, interval)
    assert job.examples.target.tolist() == on_time.rounds[3].examples.target.tolist()
    assert job.rows.tolist() == rows_expected(state, changes[2] | changes[3], job.examples)
    assert changes[2] - changes[3]
    assert state.graph.vectors.version == 4


@pytest.mark.parametrize("without", ["trainer", "vectors"])
def test_without_a_trainer_there_are_no_rounds(without):
    """Nobody trains, no examples are kept, and no event is the end of a round."""
    trainer = DrawnTables() if without == "vectors" else None
    state = pipeline.new_state(VIEWS._replace(without=("vectors",) if trainer else ()), trainer)
    state, info = pipeline.step(state, views(200))
    assert info.n_interactions == 200
    assert state.graph.takes.n[0] == 0
    assert state.graph.vectors.version == 0
    assert trainer is None or trainer.rounds == []
