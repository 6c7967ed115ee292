"""Retired items on published lists, against the memory twins."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from test_runner import World, interaction

from streamer.adapters.memory import ManualClock
from streamer.events import ANONYMOUS, segment_list_id
from streamer.publish import ANONYMOUS_ROW, without_items
from streamer.runner.retirement import LOOK_INTERVAL_S, Retirement
from streamer.telemetry import Telemetry

GONE = "i3"
N_USERS = 40
SEGMENT = segment_list_id("profile:country=France")
CAUGHT_UP = 18  # polls: by then all is published


@pytest.fixture
def world() -> World:
    """Users who all have the item on their lists, and a segment of users; in the world of the loop's own tests."""
    world = World()
    profile = {"user_id": "u0", "categorical": {"country": ["France"]}, "timestamp": 1}
    world.append((b"u0", json.dumps(profile).encode()), topic="profiles")
    for n in range(N_USERS):
        world.append(interaction(f"u{n}", f"i{n % 3}", 1000 * n))
    world.append(*(interaction("other", GONE, 50_000) for _ in range(5)))
    return world


def holders(world: World) -> list[str]:
    """Whose raw list has the item."""
    owners = [*(f"u{n}" for n in range(N_USERS)), ANONYMOUS, SEGMENT]
    lists = {owner: world.read(owner) for owner in owners}
    return [o for o, found in lists.items() if found and GONE in {item["id"] for item in found["items"]}]


RETIREMENTS = {
    "tombstone": (GONE.encode(), None),
    "unavailable": (GONE.encode(), b'{"item_id":"i3","available":false,"timestamp":1}'),
}


@pytest.mark.parametrize("how", list(RETIREMENTS))
def test_a_retired_item_leaves_every_published_list(world: World, how: str) -> None:
    """Of users, segments and the user nobody knows: the raw values, in slices of a batch, within the two seconds.

    They are more than are made again at once, so it is cut out of the others first.
    """
    seen: dict[str, object] = {}

    def retire() -> None:
        seen["before"] = holders(world)
        world.append(RETIREMENTS[how], topic="catalog")
        world.told.clear()

    world.at_poll[CAUGHT_UP] = retire
    world.at_poll[CAUGHT_UP + 10] = lambda: seen.update(after=holders(world))  # not only when it stops
    settings = {"max_batch": 8, "max_batch_catch_up": 16}
    worker = world.worker(**settings, anonymous_interval_s=1000, without="vectors").run()
    assert {ANONYMOUS, SEGMENT, "u0", "u39"} <= set(seen["before"])  # type: ignore[call-overload]
    assert seen["after"] == holders(world) == []
    slices = [told for told in world.told if isinstance(told, list) and told]
    assert max(len(users) for users in slices) == 16
    n_holders = len(seen["before"])  # type: ignore[arg-type]
    assert worker.value("lists_remade_total") == n_holders
    assert n_holders / 2 < worker.value("lists_cut_total") < n_holders
    assert worker.value("item_off_lists_seconds_count") == 1
    assert worker.value("item_off_lists_seconds_bucket", le="2.0") == 1


def test_lists_that_never_had_it_are_left_alone(world: World) -> None:
    """Nobody's list is made again for an item that is on none."""
    world.at_poll[CAUGHT_UP] = lambda: (
        world.told.clear(),
        world.append((b"nowhere", None), topic="catalog"),
    )
    worker = world.worker(max_batch=8, anonymous_interval_s=1000).run()
    assert worker.value("lists_remade_total") == 0
    written = {user for told in world.told if isinstance(told, list) for user in told}
    assert written <= {ANONYMOUS, SEGMENT}  # these are made anew at the end


def test_live_events_come_between_the_slices(world: World) -> None:
    """A user who acts while thousands of lists are being made again does not wait for them."""

    def retire_and_act() -> None:
        world.told.clear()
        world.append((GONE.encode(), None), topic="catalog")
        world.append(interaction("other", "i1", 99_000))

    world.at_poll[CAUGHT_UP] = retire_and_act
    world.worker(max_batch=8).run()
    first = next(told for told in world.told if isinstance(told, list) and told)
    assert "other" in first


def make(
    found: Callable[[list[int]], list[int]], n_at_once: int
) -> tuple[Retirement, ManualClock, Telemetry]:
    """One with a made-up table of lists."""
    clock = ManualClock()
    telemetry = Telemetry(clock)
    holders = lambda rows: np.array(found(rows.tolist()), np.int32)  # noqa: E731
    return Retirement(holders, clock, telemetry, n_at_once), clock, telemetry


def off_lists(telemetry: Telemetry) -> tuple[float, float]:
    """How often retired items were off all lists, and the seconds that this took in all."""
    names = [f"streamer_item_off_lists_seconds_{name}" for name in ("count", "sum")]
    count, total = (telemetry.registry.get_sample_value(name) or 0.0 for name in names)
    return count, total


def test_many_items_are_looked_for_together() -> None:
    """One look an interval, however many batches retire items; a list that waits already is made once."""
    asked: list[list[int]] = []
    retirement, clock, telemetry = make(lambda rows: asked.append(rows) or [ANONYMOUS_ROW, 1, 2, 3], 4)
    retirement.retire(["a"], [5])
    retirement.look()
    assert retirement.is_waiting
    retirement.retire(["b"], [6])
    retirement.retire(["c", "b"], [7, 6])
    clock.advance(LOOK_INTERVAL_S / 2)
    retirement.look()
    assert asked == [[5]]
    clock.advance(LOOK_INTERVAL_S / 2)
    retirement.look()
    assert asked == [[5], [6, 7]]
    assert retirement.take().tolist() == [ANONYMOUS_ROW, 1, 2, 3]
    retirement.written(4)
    assert off_lists(telemetry) == (1.0, LOOK_INTERVAL_S)
    assert not retirement.is_waiting
    assert not retirement.take().size


def test_many_lists_are_cut_before_any_is_made_again() -> None:
    """Some at a time, and the items are off the lists with the last cut; those retired meanwhile are cut out in their turn.

    Few are made again beside that.
    """
    found = {5: [ANONYMOUS_ROW, 1, 2, 3, 4], 6: [3, 4]}
    retirement, clock, telemetry = make(lambda rows: found[rows[0]], 3)
    retirement.retire(["a", "of no row"], [5])
    retirement.look()
    assert retirement.take().tolist() == [ANONYMOUS_ROW]
    rows, item_ids = retirement.take_uncut(3)
    assert (rows.tolist(), item_ids) == ([ANONYMOUS_ROW, 1, 2], frozenset(("a", "of no row")))
    retirement.cut(3)
    assert off_lists(telemetry) == (0.0, 0.0)
    retirement.retire(["b"], [6])
    clock.advance(LOOK_INTERVAL_S)
    retirement.look()
    assert retirement.take_uncut(3).user_rows.tolist() == [3, 4]
    retirement.cut(2)
    assert off_lists(telemetry) == (1.0, LOOK_INTERVAL_S)
    retirement.look()
    rows, item_ids = retirement.take_uncut(3)
    assert (rows.tolist(), item_ids) == ([3, 4], frozenset(("a", "of no row", "b")))
    retirement.cut(2)
    assert off_lists(telemetry) == (2.0, 2 * LOOK_INTERVAL_S)
    for expected in ([1, 2, 3], [4]):
        retirement.look()
        assert not retirement.take_uncut(3).user_rows.size
        assert retirement.take().tolist() == expected
        retirement.written(len(expected))
    assert off_lists(telemetry) == (2.0, 2 * LOOK_INTERVAL_S)
    assert not retirement.is_waiting


def test_an_item_that_is_back_is_not_cut() -> None:
    """Retired, and there again before its lists were looked for, or while they are cut."""
    asked: list[list[int]] = []
    retirement, clock, _ = make(lambda rows: asked.append(rows) or [1, 2, 3, 4], 1)
    retirement.retire(["a", "b", "c"], [5, 6, 7])
    retirement.restore(["a"], [5])
    retirement.look()
    assert asked == [[6, 7]]
    assert retirement.take_uncut(1).item_ids == {"b", "c"}
    retirement.restore(["b"], [6])
    assert retirement.take_uncut(1).item_ids == {"c"}
    retirement.restore(["c"], [7])
    clock.advance(LOOK_INTERVAL_S)
    retirement.look()
    assert len(asked) == 1


def test_a_cut_list_is_as_it_was_but_for_its_items() -> None:
    """Bytes of what stays are not touched; what is no list, or holds none of the items, is left alone."""
    head, tail = (
        b'{"version":"recommendations.v1","user_id":"\\u00fc","items":[',
        b'],"position":{"a-0":5},"new":1e-07}',
    )
    items = [
        b'{"id":"%s","score":%s}' % one for one in ((b"a", b"0.250"), (b"\\u0062", b"1e-3"), (b"c", b"7"))
    ]
    assert (
        without_items(head + b",".join(items) + tail, {"b", "x"}) == head + items[0] + b"," + items[2] + tail
    )
    assert without_items(head + items[0] + tail, {"a"}) == head + tail
    assert without_items(head + items[0] + tail, {"b"}) is None
    for value in (
        b'{"items":[{"id":"\xff"}]}',
        b"",
        b"no list",
        b"[]",
        b"{}",
        b'{"items":[{}]}',
        b'{"items":' + b"[" * 10_000,
    ):
        assert without_items(value, {"a"}) is None
