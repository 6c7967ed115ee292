"""Whose lists are made first, where more are due than a step can make; against the memory twins."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streamer.adapters.memory import ManualClock, MemoryLists, MemoryLog, MemorySink
from streamer.adapters.memory.checkpoints import MemoryFolds
from streamer.config import Settings
from streamer.errors import ConfigError, Unavailable
from streamer.events import (
    ANONYMOUS,
    CatalogItem,
    Event,
    Interaction,
    ItemRetired,
    Profile,
    UserErased,
    segment_list_id,
)
from streamer.ports import Fold
from streamer.publish import NO_USERS
from streamer.runner import model, publishing
from streamer.runner.figures import Figures
from streamer.runner.model import Model
from streamer.runner.outgoing import Outgoing
from streamer.runner.patience import Patience
from streamer.runner.publishing import Publishing
from streamer.telemetry import Telemetry

SIZES: dict[str, Any] = {"max_items": 100, "max_users": 100, "max_nodes": 100, "max_taken": 1024}


class Desk:
    """A model, and who publishes its lists: one at a time live, four a step of catch-up."""

    def __init__(self, **more: Any) -> None:
        sizes = {**SIZES, "without": ("vectors",), "max_batch": 1, "max_batch_catch_up": 4}
        self.settings = settings = Settings(**{**sizes, **more})
        self.clock = ManualClock()
        self.telemetry = telemetry = Telemetry(self.clock)
        patience = Patience(threading.Event(), 1.0, 1.0, self.clock, telemetry)
        self.model, self.folds = Model(settings), MemoryFolds()
        self.lists = MemoryLists(clock=self.clock, folds=self.folds)
        self.publishing = Publishing(
            settings,
            self.model,
            self.lists,
            None,
            None,
            outgoing=Outgoing(MemorySink(MemoryLog(clock=self.clock)), patience),
            patience=patience,
            figures=Figures(self.clock, telemetry),
            clock=self.clock,
            telemetry=telemetry,
        )

    def fold(self, *events: Event, is_serving: bool) -> None:
        """One batch."""
        info = self.model.fold(events, self.clock.now_ms(), is_serving)
        self.publishing.folded(info, is_serving=is_serving)

    def step(self) -> set[str]:
        """Users whose lists one step of publishing writes; that of users nobody knows left out."""
        before = dict(self.lists.everything())
        self.clock.advance(1.0)
        self.publishing.publish(NO_USERS, {}, None)
        written = {user for user, value in self.lists.everything() if before.get(user) != value}
        return written - {ANONYMOUS}


@pytest.fixture
def desk() -> Desk:
    """A checkpoint had ten users, whom this worker has not seen act."""
    return with_ten_users()


def with_ten_users(**settings: Any) -> Desk:
    """Ten, as a checkpoint had them."""
    desk = Desk(**settings)
    desk.model.fold([view(f"u{n}", f"i{n % 3}", n) for n in range(10)], 1_000, is_serving=False)
    return desk


def view(user_id: str, item_id: str, time_ms: int) -> Interaction:
    """An interaction."""
    return Interaction(user_id, item_id, "view", time_ms)


def test_those_whose_lists_are_wrong_come_first(desk: Desk) -> None:
    """Of ten users the last two acted since the lists in the store were made: theirs are among the first four."""
    desk.fold(view("u8", "i0", 20), view("u9", "i0", 21), is_serving=False)
    assert desk.publishing.begin() == 10
    assert desk.step() == {"u8", "u9", "u0", "u1"}
    assert desk.step() == {"u2", "u3", "u4", "u5"}
    assert desk.step() == {"u6", "u7"}
    assert not desk.publishing.has_backlog


def with_lists_of_an_hour_ago(**settings: Any) -> Desk:
    """All ten have their list, and nobody came since."""
    desk = with_ten_users(**settings)
    desk.publishing.begin()
    while desk.publishing.has_backlog:
        desk.step()
    desk.clock.advance(3600)
    return desk


def test_lists_of_those_who_stay_away_are_made_again() -> None:
    """In turn, a few at a time, and each once until it is old again; an event of one of them makes it young."""
    desk = with_lists_of_an_hour_ago(renew_after_s=1800)
    first = desk.step()
    assert len(first) == 8
    (last, other) = {f"u{n}" for n in range(10)} - first
    desk.publishing.publish(np.array([desk.model.state.ids.users.row(last)], np.int32), {}, None)
    assert desk.step() == {other}
    assert [desk.step() for _ in range(3)] == [set()] * 3
    assert desk.telemetry.lists_renewed._value.get() == 9
    desk.clock.advance(1800)
    assert len(desk.step() | desk.step()) == 10


@pytest.mark.parametrize("after_s", [0, 7200])
def test_a_list_that_is_not_old_is_left(after_s: int) -> None:
    """Nor is one where none ever is."""
    desk = with_lists_of_an_hour_ago(renew_after_s=after_s)
    assert [desk.step() for _ in range(3)] == [set()] * 3


def test_lists_that_are_owed_come_before_those_that_are_old() -> None:
    """A start, or a retired item, has the loop's time to itself."""
    desk = with_lists_of_an_hour_ago(renew_after_s=1800)
    desk.publishing.begin()
    assert [len(desk.step()) for _ in range(3)] == [4, 4, 2]
    assert desk.step() == set()
    assert desk.telemetry.lists_renewed._value.get() == 0


def test_an_item_leaves_lists_that_another_worker_wrote(desk: Desk) -> None:
    """Nobody here knows what is on them, and to make them all takes a while: it is cut out of all of them before."""
    desk.fold(view("other", "gone", 30), is_serving=False)
    desk.publishing.begin()
    while desk.publishing.has_backlog:
        desk.step()
    published = dict(desk.lists.everything())
    holders = {user for user, value in published.items() if b'"gone"' in value} - {ANONYMOUS}
    assert len(holders) >= 8
    desk.publishing.begin()  # as after a restart
    desk.fold(ItemRetired("gone"), is_serving=True)
    changed: set[str] = set()
    while desk.publishing.has_backlog and not changed >= holders:
        changed |= desk.step()
    n_made = desk.telemetry.registry.get_sample_value("streamer_lists_remade_total") or 0
    assert n_made < len(holders) / 2
    assert b'"gone"' not in b"".join(value for _, value in desk.lists.everything())
    while desk.publishing.is_busy:
        desk.step()
    now = dict(desk.lists.everything())
    assert {user for user in published if now[user] != published[user]} == published.keys()


def test_lists_of_nobody_are_made_once(desk: Desk) -> None:
    """Rows that nobody owns are done with when their turn comes: no retired item is looked for on them again."""
    desk.fold(UserErased("u3"), is_serving=False)
    desk.publishing.begin()
    while desk.publishing.has_backlog:
        desk.step()
    assert not desk.model.inherited(np.arange(10, dtype=np.int32)).size


def test_a_mark_outlives_every_list_made_before_it_and_no_more(desk: Desk) -> None:
    """An item is marked for `list_ttl_s`: a list with it that is never made again is gone by then."""
    desk.fold(ItemRetired("i1"), is_serving=True)
    desk.step()
    desk.clock.advance(desk.settings.list_ttl_s - 0.5)
    assert desk.lists.retired(["i1"]) == {"i1"}
    desk.clock.advance(0.5)
    assert desk.lists.retired(["i1"]) == set()


def test_lists_of_nobody_last_on_a_quiet_stream(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of users nobody knows and those of segments, some at a time: a live worker keeps them, whether events come or not."""
    monkeypatch.setattr(model, "N_SEGMENTS_A_TIME", 2)
    profiles = [
        Profile(user_id=f"u{n}", categorical={"x": [f"v{n}"]}, numerical={}, timestamp_ms=30)
        for n in range(5)
    ]
    desk.fold(*profiles, is_serving=False)
    desk.publishing.begin()
    while desk.publishing.has_backlog:
        desk.step()
    wanted = {ANONYMOUS, *(segment_list_id(f"profile:x=v{n}") for n in range(5))}
    for _ in range(60):
        assert {user for user, _ in desk.lists.everything()} >= wanted
        desk.clock.advance(desk.settings.list_ttl_s / 20)
        desk.publishing.publish(NO_USERS, {}, None)


def test_a_restart_makes_the_list_of_nobody_at_once(desk: Desk) -> None:
    """On a quiet stream, too: nobody knows when the last worker made it."""
    desk.publishing.restored()
    desk.publishing.begin()
    desk.step()
    assert desk.lists.read(ANONYMOUS) is not None


def test_who_was_superseded_writes_nothing(desk: Desk) -> None:
    """A worker that was paused while another took over, and wakes up: with a batch or without, lists stay as they are."""
    desk.publishing.publish(np.arange(10, dtype=np.int32), {}, Fold(1, (), 1))
    theirs = [("u1", b"theirs"), ("u2", b"theirs")]
    desk.folds.append(Fold(2, (), 1))
    desk.lists.write(theirs, 60)
    desk.lists.delete(["u3"])
    desk.lists.retire(["i0"], 60)
    desk.fold(view("u1", "i1", 30), UserErased("u2"), ItemRetired("i1"), is_serving=True)
    before = dict(desk.lists.everything())
    for fold in (Fold(2, (), 7), None):
        with pytest.raises(ConfigError, match="another worker"):
            desk.publishing.publish(np.arange(10, dtype=np.int32), {}, fold)
    assert dict(desk.lists.everything()) == before
    assert desk.lists.retired(["i0", "i1"]) == {"i0"}


def test_a_store_that_lost_what_it_had_gets_everything_again(desk: Desk) -> None:
    """Restarted empty, or an older replica: every list is written once more, and who was erased has none, whatever it held.

    Marks of items are what they were.
    """
    desk.fold(UserErased("u9"), is_serving=True)
    desk.fold(ItemRetired("i1"), ItemRetired("i2"), is_serving=True)
    desk.fold(CatalogItem(item_id="i2", timestamp_ms=40), is_serving=True)
    assert not desk.publishing.publish(np.arange(9, dtype=np.int32), {}, Fold(1, (), 1))
    assert not desk.publishing.publish(NO_USERS, {}, Fold(2, (), 1))
    desk.folds.clear()
    desk.lists.delete([f"u{n}" for n in range(9)])
    desk.lists.write([("u9", b"from the older replica")], 60)
    desk.lists.restore(["i1"])
    desk.lists.retire(["i2"], 60)
    assert desk.publishing.publish(NO_USERS, {}, Fold(3, (), 1))
    assert desk.publishing.has_backlog
    assert desk.lists.retired(["i1", "i2"]) == {"i1"}
    while desk.publishing.has_backlog:
        assert not desk.publishing.publish(NO_USERS, {}, None)
    assert {user for user, _ in desk.lists.everything()} == {ANONYMOUS, *(f"u{n}" for n in range(9))}
    assert desk.telemetry.registry.get_sample_value("streamer_store_lost_total") == 1
    assert not desk.publishing.publish(NO_USERS, {}, Fold(4, (), 1))


def test_users_are_remembered_once_however_often_redis_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is tried again and again pushes nobody out of those whose deletion is repeated."""
    monkeypatch.setattr(publishing, "_REMEMBERED", 3)
    desk = with_ten_users()
    n_failures, write = 5, desk.lists.delete

    def delete(user_ids: Sequence[str]) -> None:
        nonlocal n_failures
        n_failures -= 1
        if n_failures > 0:
            raise Unavailable("for now")
        write(user_ids)

    monkeypatch.setattr(desk.lists, "delete", delete)
    for user in ("u7", "u8", "u9"):
        desk.fold(UserErased(user), is_serving=True)
        desk.publishing.publish(NO_USERS, {}, None)
    assert n_failures < 0
    desk.publishing.publish(NO_USERS, {}, Fold(1, (), 1))
    desk.folds.clear()
    desk.lists.write([(user, b"from the older replica") for user in ("u7", "u8", "u9")], 60)
    desk.publishing.publish(NO_USERS, {}, Fold(3, (), 1))
    assert desk.lists.held(["u7", "u8", "u9"]) == set()


def test_an_item_that_comes_back_at_once_stays_on_lists(desk: Desk) -> None:
    """Retired, and there again before its lists were looked for: they are left alone."""
    desk.fold(view("other", "gone", 30), CatalogItem(item_id="gone", timestamp_ms=1), is_serving=False)
    desk.publishing.begin()
    while desk.publishing.has_backlog:
        desk.step()
    holders = {user for user, value in desk.lists.everything() if b'"gone"' in value}
    assert len(holders) >= 8
    desk.fold(ItemRetired("gone"), is_serving=True)
    desk.fold(CatalogItem(item_id="gone", timestamp_ms=41), is_serving=True)
    for _ in range(20):
        desk.step()
    assert {user for user, value in desk.lists.everything() if b'"gone"' in value} >= holders


def test_what_was_dropped_before_a_start_is_no_loss(desk: Desk) -> None:
    """Who was here before may have ended the log of folds: our first batch follows nothing."""
    assert not desk.publishing.publish(NO_USERS, {}, Fold(7, (), 1))
    assert not desk.publishing.has_backlog
