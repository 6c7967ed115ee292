"""Category: what a node proposes, and that no share of it is too large."""

import numpy as np
import pytest
from content_twin import last_stage, of_path
from twins import paths_but

from streamer import pipeline
from streamer.events import CatalogItem, Interaction
from streamer.graph import FoldSettings

ALONE = FoldSettings(
    max_items=64,
    max_users=32,
    max_nodes=8,
    max_taken=2_048,
    n_neighbours=16,
    repeats=True,
    explore_share=0.0,
    without=(*paths_but("category"), "ranker", "content"),
)


def state_of_a_kind():
    """Item n of twenty of one kind was taken n + 1 times; user 0 took the first, and last of all."""
    records = [CatalogItem(item_id=f"i{n}", categorical={"kind": ["k"]}, timestamp_ms=0) for n in range(20)]
    takes = [n for n in range(20) for _ in range(n + 1)]
    views = [Interaction(f"u{1 + at % 20}", f"i{n}", "view", 1_000 * at) for at, n in enumerate(takes)]
    views.append(Interaction("u0", "i0", "view", 10**6))
    state, _ = pipeline.step(pipeline.new_state(ALONE), records + views)
    return state, state.ids.users.row("u0")


def test_the_heaviest_of_a_kind_are_proposed():
    """Ten of the kind of the user's last items, the heaviest, and nobody else."""
    state, user_row = state_of_a_kind()
    pipeline.rank_users(state, np.array([user_row], np.int32), 5)
    node = state.graph.nodes[state.ids.nodes.row("kind=k")]
    assert set(last_stage(state.scratch)) == set(node["top"][:10].tolist())
    assert len(last_stage(state.scratch)) == 10


def test_no_item_has_more_than_all_of_its_kind():
    """A node's weight is kept by adding and taking away: where too little is left of it, an item's share is 1, not more."""
    state, user_row = state_of_a_kind()
    pipeline.rank_users(state, np.array([user_row], np.int32), 5)
    scores, mass = of_path(state.scratch, "category")
    assert 0.0 < max(scores.values()) < 0.5
    assert mass == 1.0
    state.graph.nodes["mass"] *= np.float32(1e-3)
    pipeline.rank_users(state, np.array([user_row], np.int32), 5)
    assert max(of_path(state.scratch, "category")[0].values()) == pytest.approx(1.0)
