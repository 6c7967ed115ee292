"""Repeat: habits by hand."""

import numpy as np
import pytest
from content_twin import of_path
from twins import paths_but

from streamer import pipeline
from streamer.events import Interaction
from streamer.graph import FoldSettings

SIZES = FoldSettings(
    max_items=16, max_users=8, max_nodes=4, max_taken=256, n_neighbours=16, repeats=True, explore_share=0.0
)
ALONE = SIZES._replace(without=(*paths_but("repeat"), "ranker", "content"))


def worth_after(items, settings):
    """(item -> what a user's habit is worth, their sum) after these, one by one."""
    views = [Interaction("u", item, "view", 1_000 * n) for n, item in enumerate(items)]
    state, _ = pipeline.step(pipeline.new_state(settings), views)
    pipeline.rank_users(state, np.array([0], np.int32), 5)
    scores, mass = of_path(state.scratch, "repeat")
    return {state.ids.items.id(row): score for row, score in scores.items()}, mass


def test_a_habit_is_worth_its_square_over_its_age():
    """The last item was taken just now: 1; the one before, three times, is one event old: 9 / (1 + 1/400)."""
    scores, mass = worth_after("aaab", SIZES)
    assert scores == pytest.approx({"a": 9 / (1 + 1 / 400), "b": 1.0}, rel=1e-5)
    assert mass == pytest.approx(sum(scores.values()))


@pytest.mark.parametrize(("times", "proposed"), [(12, {"a", "b"}), (25, {"a"})])
def test_what_has_its_share_of_the_mass_is_proposed(times, proposed):
    """One take beside twelve of another item is 1 of 145, and proposed; beside 25 it is less than 1 of 400, and is not."""
    assert worth_after("b" + "a" * times, ALONE)[0].keys() == proposed
