"""The core as the loop sees it: whose list counts as served, and how late it is by the log."""

from typing import Any

from streamer.config import Settings
from streamer.events import Interaction
from streamer.runner.model import Model

SIZES: dict[str, Any] = {"max_items": 100, "max_users": 16, "max_nodes": 100, "max_taken": 1024}


def view(user_id: str, item_id: str, time_ms: int) -> Interaction:
    """An interaction."""
    return Interaction(user_id, item_id, "view", time_ms)


def test_a_newcomer_was_served_nothing_that_the_row_before_him_was() -> None:
    """The table of users is full: he gets a row of the coldest within the batch, and takes what that one's list held."""
    model = Model(Settings(**SIZES, without=("vectors",)))
    model.fold([view(f"u{n}", f"i{n}", n) for n in range(16)], 1_000, is_serving=True)
    model.lists(model.inherit(), False, 1_000, {})
    wanted = "i9"  # nobody but u9 took it: it is on everybody else's list
    model.fold([view("u10", wanted, 20)], 1_000, is_serving=True)
    assert model.take_chances().served != b"\0"
    info = model.fold([view("new", wanted, 21)], 1_000, is_serving=True)
    assert info.n_users_evicted > 0
    assert model.state.ids.users.row("new") in info.erased_user_rows
    assert model.take_chances().served == b"\0"


def test_no_event_happens_later_than_now() -> None:
    """One whose clock runs ahead does not move the time of the log past ours: sessions would end before their time."""
    model = Model(Settings(**SIZES, without=("vectors",)))
    model.fold([view("u", "i", 5_000), view("u", "j", 999_000)], 60_000, is_serving=False)
    assert model.time_ms == 60_000
    assert model.returning_users().size == 0
