"""The state hash: it sees every number that the log has taught, and no cut of the log."""

import copy
from itertools import pairwise

import numpy as np
import pytest
from whole_model import SETTINGS, DrawnTables, a_log, new_state

from streamer import pipeline
from streamer.graph.state import ITEM, NODE, USER
from streamer.pipeline import state_hash

SEED = 90
# Of the graph: what no event moves, and what `nearest` answers for.
SETTLED = {
    "near",
    "has_path",
    "switches",
    "repeats",
    "pair_window",
    "session_gap_ms",
    "explore_share",
    "training_interval",
}
SETTLED_ARRAYS = {"clocks.growth"}
# zeros in so short a log
STILL = {
    "taken.times",
    "taken.last",
    "clocks.epoch",
    "epoch",
    "taken_start",
    "spare",
}


def final(log, size=10_000, measure_share=1.0):
    """The state after the log, in batches of `size`."""
    state = new_state()
    for start in range(0, len(log), size):
        state, _ = pipeline.step(state, log[start : start + size], measure_share)
    return state


@pytest.fixture(scope="module")
def state():
    """After a log that moved everything."""
    return final(a_log(SEED))


@pytest.mark.parametrize("measure_share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("repeats", [False, True])
def test_no_cut_of_the_log_changes_the_hash(measure_share, repeats):
    """Catalog, texts, profiles, values, contexts, erasures and rounds of training, one by one, by 7, 512, or cut anywhere."""
    rng, log = np.random.default_rng(SEED), a_log(SEED, n_views=600)
    hashes = set()
    for cuts in (range(len(log) + 1), range(0, len(log) + 7, 7), range(0, len(log) + 512, 512), None):
        edges = sorted({0, len(log), *rng.integers(0, len(log), 40).tolist()}) if cuts is None else list(cuts)
        state = new_state(SETTINGS._replace(repeats=repeats))
        for start, stop in pairwise(edges):
            state, _ = pipeline.step(state, log[start:stop], measure_share)
        hashes.add(state_hash(state))
    assert len(state.trainer.rounds) == 600 // SETTINGS.training_interval
    assert len(hashes) == 1


def arrays_of(value, name=""):
    """(name, array) of every array in nested tuples."""
    if isinstance(value, np.ndarray):
        yield name, value
    elif isinstance(value, tuple):
        for field, part in zip(getattr(value, "_fields", range(len(value))), value, strict=True):
            yield from arrays_of(part, f"{name}.{field}" if name else str(field))


def learned(state):
    """(name, array) of everything that the log moves in the graph and in the ranker; scratch is none of it."""
    graph = {name: part for name, part in state.graph._asdict().items() if name not in SETTLED}
    for name, part in graph.items():
        yield from (pair for pair in arrays_of(part, name) if pair[0] not in SETTLED_ARRAYS)
    ranker = state.ranker
    for part in ("weights", "first_moment", "second_moment", "n_updates", "memory", "guard"):
        yield from arrays_of(getattr(ranker, part), f"ranker.{part}")


def first_used(array):
    """Index of a number that is not zero, the first one; None where there is none."""
    flat = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
    used = np.nonzero(flat)[0]
    return int(used[0]) if used.size else None


def test_every_number_counts(state):
    """One bit anywhere in the tables, in the ranker's weights, moments or guard, in the rounds' examples: another hash."""
    before, n_seen = state_hash(state), 0
    for name, array in learned(state):
        at = first_used(array)
        if at is None:
            assert name in STILL, name
            continue
        assert array.flags.c_contiguous
        flat = array.view(np.uint8).reshape(-1)
        flat[at] ^= 1
        assert state_hash(state) != before, name
        flat[at] ^= 1
        n_seen += 1
    assert state_hash(state) == before
    assert n_seen > 50


def test_every_field_of_items_users_and_nodes_counts(state):
    """A field of a record that moved is seen, too."""
    before = state_hash(state)
    for table, n_rows in (
        (state.graph.items, state.ids.items.n_rows),
        (state.graph.users, state.ids.users.n_rows),
        (state.graph.nodes, state.ids.nodes.n_rows),
    ):
        for name in table.dtype.names:
            rows = np.nonzero(table[name][:n_rows].reshape(n_rows, -1).any(axis=1))[0]
            if not rows.size:
                assert name in STILL, name
                continue
            kept = copy.copy(table[name][rows[0]])
            table[name][rows[0]] = 0
            assert state_hash(state) != before, name
            table[name][rows[0]] = kept
    assert state_hash(state) == before


def test_encoders_texts_neighbours_and_network_count(state):
    """What lies outside the tables is covered: one record more, a text, a vector, a round, or what waits for the next round."""
    before, hashes = state_hash(state), []

    def changed(change):
        other = copy.deepcopy(state)
        other = change(other) or other
        hashes.append(state_hash(other))

    assert state_hash(copy.deepcopy(state)) == before
    changed(lambda s: s.encoders.context({"device": "phone"}) and None)
    changed(lambda s: s.texts.forget(next(iter(s.texts._key_of))))
    changed(lambda s: s.texts.arrive("f" * 64, b"\0\0") and None)
    changed(lambda s: s.nearest.put(0, np.ones(8, np.float32)))
    changed(lambda s: s.trainer.submit(s.trainer.rounds[-1]) if s.trainer.take() else None)
    changed(lambda s: s.changed.add(max(s.changed, default=0) + 1))
    changed(lambda s: s._replace(trainer=None))
    changed(lambda s: s._replace(settings=s.settings._replace(explore_share=0.2)))
    changed(lambda s: s.ids.nodes.admit("one=more") and None)
    assert before not in hashes
    assert len(set(hashes)) == len(hashes)


def test_records_have_no_padding():
    """Every byte of a record is a field's: what copies a table copies all that its hash is made of."""
    for record in (ITEM, USER, NODE):
        assert sum(record[name].itemsize for name in record.names) == record.itemsize


def test_the_scratch_does_not_count(state):
    """Where lists are made is no state: the same hash whatever was ranked last."""
    before = state_hash(state)
    pipeline.rank_users(state, np.arange(-1, 10, dtype=np.int32), 50)
    for _, array in arrays_of(state.scratch):
        array.reshape(-1)[:1] = 0
    assert state_hash(state) == before


def test_another_trainer_is_another_state():
    """The network is part of what was learned: the same log, trained by one whose rounds were late, ends differently."""
    log = a_log(SEED)
    one, other = (
        pipeline.step(pipeline.new_state(SETTINGS, DrawnTables(late)), log)[0] for late in ((), (3,))
    )
    assert state_hash(one) != state_hash(other)
