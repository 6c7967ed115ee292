"""How many events of a batch are measured: all of a short one, a share of the users of a long one, and what a restart repeats."""

from typing import Any

import pytest

from streamer import pipeline
from streamer.config import Settings
from streamer.events import CatalogItem, Event, Interaction
from streamer.runner.model import Chances, Model

MOST = 8
SIZES: dict[str, Any] = {
    "max_items": 64,
    "max_users": 512,
    "max_nodes": 64,
    "max_taken": 10_000,
    "text_model": "none",
    "without": "vectors",
    "max_measured": MOST,
}


def views(n: int, first: int = 0) -> list[Event]:
    """So many users take one of five items."""
    return [Interaction(f"u{at}", f"i{at % 5}", "view", 1_000 + at) for at in range(first, first + n)]


def a_model(**settings: Any) -> Model:
    """One that has learned a little; nobody was served yet."""
    model = Model(Settings(**{**SIZES, **settings}))
    model.fold(views(20), 10_000, is_serving=False)
    return model


def chances_of(events: list[Event], *, is_serving: bool = True, **settings: Any) -> Chances:
    """What is written down of this batch."""
    model = a_model(**settings)
    model.fold(events, 10_000, is_serving)
    return model.take_chances()


@pytest.mark.parametrize("n", [1, MOST])
def test_a_short_batch_is_measured_whole(n: int) -> None:
    """As many as may be measured are."""
    assert chances_of(views(n)).share == 1.0


def test_of_a_long_batch_a_share_is_measured() -> None:
    """As many on average as may be; only interactions count, since nothing else is measured."""
    news: list[Event] = [CatalogItem(item_id=f"new{n}", timestamp_ms=1) for n in range(MOST)]
    assert chances_of([*news, *views(MOST)]).share == 1.0
    assert chances_of([*news, *views(4 * MOST)]).share == 0.25


def test_a_smaller_share_stays() -> None:
    """The limit never measures more than the settings ask for."""
    assert chances_of(views(4 * MOST), measure_share=0.125).share == 0.125
    assert chances_of(views(4 * MOST), measure_share=0.5).share == 0.25


@pytest.mark.parametrize("why", ["nobody waits for a list", "each run must come to the same"])
def test_where_nobody_waits_all_are_measured(why: str) -> None:
    """While a start reads the log, and where the settings ask for equal states."""
    is_serving = why != "nobody waits for a list"
    assert chances_of(views(4 * MOST), is_serving=is_serving, training_waits=is_serving).share == 1.0


def test_a_restart_measures_the_same() -> None:
    """What was written down brings the same state and the same report back, whatever the settings say by then."""
    events = views(50, first=5)
    model = a_model()
    model.fold(events, 10_000, is_serving=True)
    chances = model.take_chances()
    again, other = a_model(max_measured=512), a_model(max_measured=512)
    again.refold(events, 10_000, chances)
    other.fold(events, 10_000, is_serving=True)
    hashes = [pipeline.state_hash(one.state) for one in (model, again, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    n_measured = [one.scoreboard.lists()["streamer"]["all"]["n"] for one in (model, again, other)]
    assert 0 < n_measured[0] == n_measured[1] < n_measured[2]
