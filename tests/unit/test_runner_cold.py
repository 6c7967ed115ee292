"""New items and people nobody knows, through a whole worker in memory: how soon, and by which list, they are served."""

import json
import time
from typing import Any

from test_runner_texts import Worker, World

from streamer.events import ANONYMOUS, segment_list_id

WITHIN_S = 2.0
SIZES: dict[str, Any] = {"without": ("vectors",), "explore_share": 0.0, "k": 10}
WORDS = ("red lamp oak", "blue chair pine", "green desk steel")


def listed(world: World, owner: str) -> list[str]:
    """Ids on a list, best first."""
    value = world.lists.read(owner)
    return [] if value is None else [item["id"] for item in json.loads(value)["items"]]


def shop() -> World:
    """Three groups of 20 items with texts of their own; 30 users, each keeps to a group and takes every other item of it.

    No two of a group begin with the same.
    """
    world = World()
    for n in range(60):
        world.item(f"i{n}", f"{WORDS[n % 3]} number{n}")
    for user in range(30):
        items = list(range(user % 3, 60, 6))
        for n in items[user // 3 :] + items[: user // 3]:
            world.view(f"u{user}", f"i{n}")
    return world


def test_a_new_item_with_a_text_is_listed_within_two_seconds() -> None:
    """Its catalog event comes while the worker is live, its text is like that of a user's items, who then does something."""
    world = shop()
    worker = Worker(world, **SIZES)
    steps: list[float] = []

    def look() -> bool:
        if not worker.is_at_rest():
            return False
        if not steps:
            steps.append(time.monotonic())
            world.item("new", f"{WORDS[0]} number6 number12")
        elif len(steps) == 1 and len(world.embedded()) == 61:
            steps.append(time.monotonic())
            world.view("u0", "i0")
            world.view("u0", "i6")
        elif len(steps) == 2 and "new" in listed(world, "u0"):
            steps.append(time.monotonic())
        return len(steps) == 3

    worker.run(look)
    assert steps[-1] - steps[0] < WITHIN_S
    assert "new" not in listed(world, "u1")  # whose items are nothing like it
    assert worker.value("item_to_list_seconds_count") == 1
    assert 0.0 < (worker.value("item_to_list_seconds_sum") or 0.0) < WITHIN_S


def test_lists_of_segments_are_published() -> None:
    """Each value of a profile has its list once the worker has caught up, and it is renewed beside the anonymous one."""
    world = shop()
    for user in range(30):
        profile = {"user_id": f"u{user}", "categorical": {"room": [f"r{user % 3}"]}, "timestamp": 1}
        world.log.append("profiles", 0, f"u{user}".encode(), json.dumps(profile).encode())
    worker = Worker(world, anonymous_interval_s=0.01, **SIZES)
    owners = [segment_list_id(f"profile:room=r{n}") for n in range(3)]
    before: list[int] = []

    def made_at(owner: str) -> int:
        value = world.lists.read(owner)
        return 0 if value is None else int(json.loads(value)["position"]["interactions-0"])

    def look() -> bool:
        if not worker.is_at_rest():
            return False
        if not before:
            before.extend(map(made_at, owners))
            world.view("u0", "i0")
            return False
        return all(made_at(owner) > before[0] for owner in (*owners, ANONYMOUS))

    worker.run(look)
    assert before == [300, 300, 300]
    for group, owner in enumerate(owners):
        assert {int(item[1:]) % 3 for item in listed(world, owner)[:3]} == {group}
        assert json.loads(world.lists.read(owner) or b"")["event_time"] is None
    assert worker.value("users") == 30
