"""Fresh: arrivals by hand."""

import numpy as np
import pytest
from content_twin import of_path

from streamer import pipeline
from streamer.events import CatalogItem, Interaction, ItemRetired
from streamer.graph import FoldSettings

SIZES = FoldSettings(
    max_items=16, max_users=8, max_nodes=4, max_taken=256, n_neighbours=16, explore_share=0.0
)


@pytest.mark.parametrize("is_evicted", [False, True])
def test_arrivals_fade_by_who_came_since_and_not_by_who_may_be_listed(is_evicted):
    """Of a, b and c, in this order, b was retired or evicted: c counts 1, a still .9 squared; b is not listed."""
    news = [CatalogItem(item_id=item, timestamp_ms=1) for item in "abc"]
    state, _ = pipeline.step(
        pipeline.new_state(SIZES), [Interaction("u", "x", "view", 0), *news, ItemRetired("b")]
    )
    if is_evicted:
        state.graph.fresh[state.graph.fresh == state.ids.items.row("b")] = -1
    pipeline.rank_users(state, np.array([-1], np.int32), 5)
    scores, mass = of_path(state.scratch, "fresh")
    by_id = {state.ids.items.id(row): score for row, score in scores.items() if score > 0.0}
    assert by_id == pytest.approx({"c": 1.0, "a": 0.9**2, "x": 0.9**3})
    assert mass == pytest.approx(sum(by_id.values()))
