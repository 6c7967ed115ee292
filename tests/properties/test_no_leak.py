"""No leak, over the whole model: no list knows what comes after it, nor anything of the event that it is tested on."""

import copy

import numpy as np
import pytest
from whole_model import SETTINGS, DrawnTables, a_log, embedded, new_state, record_of, view_of

from streamer import pipeline
from streamer.events import Interaction, ItemRetired, Profile, UserErased
from streamer.outcomes import COUNTED, MEASURED
from streamer.ranker.guard import IS_ON


def played(log, size, settings=SETTINGS):
    """Outcomes of the whole log, column by column, in batches of `size`."""
    state, outcomes = new_state(settings), []
    for start in range(0, len(log), size):
        state, info = pipeline.step(state, log[start : start + size])
        outcomes.append(info.outcomes)
    return [np.concatenate(columns) for columns in zip(*outcomes, strict=True)]


def another_future(rng, n=60):
    """Events of every kind, of people and things that the past knows, and of some that it does not."""
    future = []
    for at in range(n):
        time_ms = 1_700_000_000_000 + at
        future += [
            view_of(rng, int(rng.integers(0, 14)), int(rng.integers(0, 60)), time_ms),
            record_of(rng, int(rng.integers(0, 60)), time_ms),
            embedded(f"made {rng.integers(0, 20)}"),
        ]
        if at % 10 == 0:
            future += [ItemRetired(f"i{rng.integers(0, 50)}"), UserErased(f"u{rng.integers(0, 12)}")]
            future.append(
                Profile(user_id=f"u{at % 12}", categorical={"country": ["c0"]}, timestamp_ms=time_ms)
            )
    return future


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_what_comes_later_changes_no_list_before_it(seed, repeats):
    """The log is changed from a random event on: every list, rank and number of what was folded before is the same.

    With ranker, texts, profiles, contexts and training; the future in the same batch, in batches of its own, or cut anywhere.
    """
    rng, settings = np.random.default_rng(seed), SETTINGS._replace(repeats=repeats)
    log = a_log(70 + seed, n_views=400)
    at = int(rng.integers(len(log) // 3, len(log)))
    past = log[:at]
    n = sum(isinstance(event, Interaction) for event in past)
    alone = played(past, 7, settings)
    for size in (1, 100, 10_000):
        for future in (log[at:], another_future(rng)):
            whole = played(past + future, size, settings)
            assert whole[0].size > n
            for column, expected in zip(whole, alone, strict=True):
                assert column[:n].tobytes() == expected.tobytes()
    measured = (alone[5] & MEASURED) > 0
    assert measured.sum() > 100


def variants_of(rng, user_id, time_ms, n_items):
    """Events of one user at one time: other items, values, contexts and types."""
    for _ in range(12):
        yield Interaction(
            user_id,
            f"i{rng.integers(0, n_items)}",
            str(rng.choice(["view", "buy"])),
            time_ms,
            float(rng.normal(0.0, 1e3)) if rng.random() < 0.7 else None,
            {"device": f"d{rng.integers(0, 9)}"} if rng.random() < 0.7 else {},
        )


@pytest.mark.parametrize("is_on", [0.0, 1.0])
@pytest.mark.parametrize("repeats", [False, True])
def test_nothing_of_an_event_reaches_its_own_list(repeats, is_on):
    """Whatever the event turns out to be - its item, value, context - it is looked up in one and the same list: the one that
    ranking without the event gives. With the ranker's order and with the mixture's."""
    rng, settings = np.random.default_rng(9), SETTINGS._replace(repeats=repeats, explore_share=0.0)
    state, _ = pipeline.step(pipeline.new_state(settings, DrawnTables()), a_log(80, n_views=250))
    state, _ = pipeline.step(state, [record_of(rng, item, 1_650_000_000_000) for item in range(50, 60)])
    n_on_list = n_first = 0
    for at in range(14):
        user_id = f"u{rng.integers(0, 13)}"  # one of them is new
        user = state.ids.users.row(user_id)
        n_events = int(state.graph.users[user]["n_events"]) if user >= 0 else 0
        last_ms = int(state.graph.users[user]["last_time_ms"]) if n_events else 1_650_000_000_000
        gap_ms = int(rng.choice([0, 40_000, 10**8]))
        state.ranker.guard[IS_ON] = is_on
        gaps = np.array([gap_ms if n_events else 0], np.int64)
        ranking = pipeline.rank_users(state, np.array([user], np.int32), 200, gaps)
        listed, scores = ranking.items[0].tolist(), ranking.scores[0]
        for event in variants_of(rng, user_id, last_ms + gap_ms, 60):
            (row, out) = _folded(state, event)
            if not out.flags[0] & MEASURED:
                continue
            n_first += not out.flags[0] & COUNTED
            if row in listed:
                score = scores[listed.index(row)]
                assert out.rank[0] == (scores >= score).sum()
                n_on_list += 1
            else:
                assert out.rank[0] == 0
        state, _ = pipeline.step(state, [view_of(rng, at % 12, at, last_ms + gap_ms)])
    assert n_on_list > 30
    assert n_first > 3


def _folded(state, event):
    """(row of the event's item, outcome), from a copy of the state."""
    own = copy.deepcopy(state)
    own, info = pipeline.step(own, [event])
    return own.ids.items.row(event.item_id), info.outcomes
