"""`streamer verify`: lists against a fold of plain sets, by hand, and against a worker of the memory twins."""

import json
from typing import Any

import pytest
from test_runner import World, interaction

from streamer.adapters.memory import MemoryLog, MemorySource
from streamer.cli.log_reading import records_until
from streamer.cli.verify import LOOK_AGAIN_S, Verdict, verify_by
from streamer.config import Settings
from streamer.events import ANONYMOUS, CatalogItem, Event, Interaction, ItemRetired, Profile, UserErased
from streamer.pipeline import segments
from streamer.verification import MAX_SEGMENTS, Difference, Listed, LogFold, listed


def folded(*events: tuple[Event, int]) -> LogFold:
    """Events with the log's time of each."""
    fold = LogFold()
    for event, timestamp_ms in events:
        fold.take(event, timestamp_ms)
    return fold


def view(user_id: str, item_id: str) -> Interaction:
    """An interaction."""
    return Interaction(user_id, item_id, "view", 1)


def wrong(fold: LogFold, user_id: str, *item_ids: str, repeats: bool = False) -> list[tuple[str, str]]:
    """(kind, item) of what is wrong with a list of these items."""
    found = fold.wrong_with(user_id, Listed(list(item_ids), {}), repeats=repeats)
    return [(one.kind, one.item_id) for one in found]


def test_as_many_segments_have_a_list_as_the_fold_gives_one() -> None:
    """Both say it for themselves, so that a defect in the model does not hide itself here: they must say the same."""
    assert MAX_SEGMENTS == segments.MAX_SEGMENTS


def test_what_a_list_may_hold() -> None:
    """Known items that may be listed, and that its user did not take; the last word on an item counts."""
    fold = folded(
        (ItemRetired("a"), 1),
        (CatalogItem(item_id="b", timestamp_ms=1, available=False), 1),
        (ItemRetired("c"), 1),
        (CatalogItem(item_id="c", timestamp_ms=2), 2),
        (view("u", "d"), 3),
        (view("v", "e"), 3),
    )
    assert wrong(fold, "u", "c", "e") == []
    assert wrong(fold, "u", "a", "b", "d", "x") == [
        *(("retired", "a"), ("retired", "b"), ("taken", "d"), ("unknown", "x"))
    ]
    assert wrong(fold, "u", "d", repeats=True) == []
    assert wrong(fold, ANONYMOUS, "d") == []
    assert wrong(fold, "w", "d") == [("nobody", "")]
    assert [one.kind for one in fold.wrong_with("u", None, repeats=False)] == ["unreadable"]


def test_an_erased_user_must_have_no_list() -> None:
    """Unless he came back after it, by the log's time; what he took before is then no business of anybody."""
    fold = folded(
        *((Profile(user_id=u, timestamp_ms=1), 1) for u in ("gone", "back", "again")),
        *((UserErased(u), 5) for u in ("gone", "back", "again")),
        (Profile(user_id="again", timestamp_ms=6), 6),
        *((view(u, "a"), 4) for u in ("gone", "back", "again")),
        (view("back", "b"), 6),
    )
    assert wrong(fold, "gone") == [("nobody", "")]
    assert wrong(fold, "back", "a", "b") == [("taken", "b")]
    assert wrong(fold, "again", "a") == []
    assert list(fold.missing(set(), 0)) == [Difference("missing", "again"), Difference("missing", "back")]


def test_an_erased_user_s_old_profile_does_not_bring_him_back() -> None:
    """Read behind the tombstone, with a time of the log before it: he must have no list, as the worker has it. Of two tombstones
    the later time counts; a profile after it, or of a log without times, is a new user's."""
    profile = {user: Profile(user_id=user, timestamp_ms=1) for user in ("old", "new", "timeless")}
    fold = folded(
        *((UserErased(user), 5) for user in profile),
        (UserErased("old"), 4),
        (profile["old"], 5),
        (profile["new"], 6),
        (profile["timeless"], -1),
    )
    assert [one.user_id for one in fold.missing(set(), -1)] == ["new", "timeless"]
    assert wrong(fold, "old") == [("nobody", "")]
    assert (fold.n_users, fold.n_rows_most) == (2, 2)


def test_a_list_may_have_expired() -> None:
    """Who did nothing for as long as a list lives need not have one."""
    fold = folded((view("old", "a"), 10), (view("new", "a"), 20))
    assert [one.user_id for one in fold.missing(set(), 15)] == ["new"]
    assert list(fold.missing({"new"}, 15)) == []


def test_a_list_is_newer_where_any_partition_says_so() -> None:
    """It knows messages that the fold does not; a partition that we do not read says nothing."""
    end = {"t-0": 5, "t-1": 7}
    assert not Listed([], {"t-0": 5, "t-1": 7, "texts-0": 99}).is_newer(end)
    assert Listed([], {"t-0": 1, "t-1": 8}).is_newer(end)
    assert listed(b'{"items":[{"id":"a"}],"position":{"t-0":1}}') == Listed(["a"], {"t-0": 1})
    for broken in (b"", b"{}", b"[]", b'{"items":[{}]}', b"\xff"):
        assert listed(broken) is None


class Checked(World):
    """7 users were here."""

    def __init__(self) -> None:
        super().__init__()
        self.log._clock = self.clock
        self.append_many(60)

    def verdict(self, at_the_pause: Any = lambda: None, max_users: int = 1000) -> Verdict:
        """What `streamer verify` finds; the world goes on when it looks again."""

        def pause(seconds: float) -> None:
            if seconds == LOOK_AGAIN_S:
                at_the_pause()

        sources = [
            MemorySource(self.log, topics, "streamer", clock=self.clock)
            for topics in (["catalog", "profiles"], ["interactions"])
        ]
        settings, now_ms = Settings(max_users=max_users), self.clock.now_ms()
        return verify_by(settings, sources, self.lists, 0.0, now_ms=now_ms, pause=pause)  # type: ignore[arg-type]


class Shop(Checked):
    """A worker has read everything, with a retired item and an erased user."""

    def __init__(self) -> None:
        super().__init__()
        self.append(interaction("gone", "i1", 70_000))
        self.clock.advance(1)
        self.at_poll[18] = lambda: self.append((b"i3", None), topic="catalog")
        self.at_poll[19] = lambda: self.append((b"gone", None), topic="profiles")
        self.worker().run()


@pytest.fixture
def shop() -> Shop:
    """Nothing is wrong in it."""
    return Shop()


def test_a_worker_s_lists_are_right(shop: Shop) -> None:
    """What it wrote passes; there is a list for everybody, and it is not behind."""
    verdict = shop.verdict()
    assert verdict == (8, 7, 0, 0, False, [])
    assert json.loads(verdict.to_json())["counts"] == {}


def test_what_was_done_to_the_lists_is_named(shop: Shop) -> None:
    """A list that is gone, one of nobody, one that cannot be read."""
    shop.lists.delete(["u1"])
    value = shop.lists.read("u2")
    assert value is not None
    shop.lists.write([("ghost", value), ("u3", b"?")], 60)
    kinds = {(one.kind, one.user_id) for one in shop.verdict().differences}
    assert kinds == {("missing", "u1"), ("nobody", "ghost"), ("unreadable", "u3")}


def test_what_is_right_by_the_second_look_is_right(shop: Shop) -> None:
    """A list that the worker was just about to make; one that was made after messages that came meanwhile is left out."""
    value = shop.lists.read("u1")
    assert value is not None
    shop.lists.delete(["u1"])
    assert shop.verdict(lambda: shop.lists.write([("u1", value)], 60)).differences == []
    document = json.loads(value)
    document["position"]["interactions-0"] += 1
    shop.lists.write([("newcomer", json.dumps(document).encode())], 60)
    verdict = shop.verdict()
    assert (verdict.n_newer, verdict.differences) == (1, [])
    shop.lists.write([("ghost", value)], 60)
    assert [one.kind for one in shop.verdict().differences] == ["nobody"]
    assert shop.verdict(lambda: shop.lists.delete(["ghost"])).differences == []  # it has just expired


def test_a_worker_that_is_behind_is_told(shop: Shop) -> None:
    """By how much; its lists may be wrong for that alone."""
    shop.append_many(3)
    assert shop.verdict().n_behind == 3


def test_who_the_model_forgot_is_no_difference() -> None:
    """His list stays until it expires, and may hold what is retired since; what he took before is forgotten, too.

    Where the table has room for all, the same lists are wrong; and so is that of somebody seen since, or of nobody in particular.
    """
    max_users = 9
    fold = folded(
        *((view(f"u{n}", "a"), 1) for n in range(max_users)),
        (Profile(user_id="u0", categorical={"country": ["FR", "DE"]}, timestamp_ms=1), 1),
        (ItemRetired("b"), 5),
        (view("u1", "c"), 6),
    )
    assert fold.n_rows_most == max_users + 2
    lists = {user: Listed(["a", "b"], {}) for user in ("u0", "u1", ANONYMOUS)}

    def kinds(user: str, *, is_forgetful: bool) -> list[str]:
        return [
            one.kind for one in fold.wrong_with(user, lists[user], repeats=False, is_forgetful=is_forgetful)
        ]

    assert [kinds(user, is_forgetful=True) for user in lists] == [[], ["retired"], ["retired"]]
    assert kinds("u0", is_forgetful=False) == ["taken", "retired"]


def test_lists_of_evicted_users_pass() -> None:
    """A worker whose table is full gives away their rows, and cannot make their lists again when an item is retired."""
    world, max_users = Checked(), 16
    world.at_poll[18] = lambda: world.append(*(interaction(f"new{n}", "i1", 100_000 + n) for n in range(14)))
    world.at_poll[25] = lambda: world.append(
        *((f"i{n}".encode(), None) for n in range(0, 11, 2)), topic="catalog"
    )
    worker = world.worker(max_users=max_users).run()
    # 9 of them find room; the next two, and the two after them, and the last make way for themselves: two rows a time
    assert worker.value("evicted_total", table="users") == 6
    verdict = world.verdict(max_users=max_users)
    assert (verdict.n_users, verdict.is_full, verdict.differences) == (21, True, [])
    assert {one.kind for one in world.verdict().differences} == {"retired"}
    world.lists.delete(["u1"])
    assert world.verdict(max_users=max_users).differences == []  # the model may have forgotten him
    assert {one.kind for one in world.verdict().differences} == {"retired", "missing"}


def test_what_comes_while_a_log_is_read_is_left_out() -> None:
    """A topic is read to where it ended when that was asked, by whoever stands anywhere; the newest records are not looked at."""
    log = MemoryLog({"t": 2})
    for partition, n in ((0, 3), (1, 1)):
        for _ in range(n):
            log.append("t", partition, None, b"v")
    source = MemorySource(log, ["t"], "g")
    end = source.end_offsets()
    assert len(source.poll(100, 0)) == 4
    log.append("t", 1, None, b"later")
    log.append("t", 0, None, b"later")
    found = sorted((record.partition, record.offset) for record in records_until(source, end))
    assert found == [(0, 0), (0, 1), (0, 2), (1, 0)]
