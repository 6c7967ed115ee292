"""Retired items on published lists, against the memory twins."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from test_runner import World, interaction

from streamer.adapters.memory import ManualClock
from streamer.events import ANONYMOUS, segment_list_id
from streamer.publish import ANONYMOUS_ROW
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
    """Of users, segments and the user nobody knows: the raw values, in slices of a batch, within the two seconds."""
    seen: dict[str, object] = {}

    def retire() -> None:
        seen["before"] = holders(world)
        world.append(RETIREMENTS[how], topic="catalog")
        world.told.clear()

    world.at_poll[CAUGHT_UP] = retire
    world.at_poll[CAUGHT_UP + 10] = lambda: seen.update(after=holders(world))  # not only when it stops
    worker = world.worker(max_batch=8, anonymous_interval_s=1000, without="vectors").run()
    assert {ANONYMOUS, SEGMENT, "u0", "u39"} <= set(seen["before"])  # type: ignore[call-overload]
    assert seen["after"] == holders(world) == []
    slices = [told for told in world.told if isinstance(told, list) and told]
    assert max(len(users) for users in slices) <= 8 + 1  # a segment comes with the anonymous list
    assert worker.value("lists_remade_total") == len(seen["before"])  # type: ignore[arg-type]
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


def make(found: Callable[[list[int]], list[int]]) -> tuple[Retirement, ManualClock, Telemetry]:
    """One with a made-up table of lists."""
    clock = ManualClock()
    telemetry = Telemetry(clock)
    holders = lambda rows: np.array(found(rows.tolist()), np.int32)  # noqa: E731
    return Retirement(holders, clock, telemetry), clock, telemetry


def test_many_items_are_looked_for_together() -> None:
    """One look an interval, however many batches retire items; a list that waits already is made once."""
    asked: list[list[int]] = []
    retirement, clock, telemetry = make(lambda rows: asked.append(rows) or [ANONYMOUS_ROW, 1, 2, 3])
    retirement.retire([5])
    assert retirement.take(2).tolist() == [ANONYMOUS_ROW, 1]
    retirement.retire([6])
    retirement.retire([7, 6])
    clock.advance(LOOK_INTERVAL_S / 2)
    assert retirement.take(1).tolist() == [2]
    clock.advance(LOOK_INTERVAL_S / 2)
    assert retirement.take(10).tolist() == [3, ANONYMOUS_ROW, 1, 2]
    assert asked == [[5], [6, 7]]
    retirement.written(4)
    count = telemetry.registry.get_sample_value("streamer_item_off_lists_seconds_sum")
    assert count == pytest.approx(LOOK_INTERVAL_S)
    assert not retirement.is_waiting
    assert retirement.take(10).size == 0
