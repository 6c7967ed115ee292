"""What must be true in the evening."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from redis import Redis

from soaking.day import Ledger
from soaking.place import Place
from soaking.watch import RETIRED_WITHIN_S
from streamer.client import Recommendations

N_LOOKED_AT = 1_000  # users who came last, and users who left
GIVEN_UP_S = 60.0  # where it is on one still, it is waited for so long: late is another defect than never


class Check(NamedTuple):
    """One of them."""

    what: str
    expected: str
    got: str
    holds: bool


class _List(msgspec.Struct):
    items: list[dict[str, Any]]
    position: dict[str, int]


def accounted(ledger: Ledger, report: Mapping[str, Any], letters: list[tuple[str, str, str]]) -> list[Check]:
    """Every interaction that was sent was learned, or is a dead letter, or a duplicate, or of somebody erased before it came.

    The last happens where Redis has lost the order of the fold: the tombstone may be read before what it covers.
    """
    n_learned = int(report["events"])
    n_dead = len({letter for letter in letters if letter[0] == "interactions"})
    n_lost = ledger.n_learned - n_learned
    learned = f"{ledger.n_learned:,}, less at most {ledger.n_of_erased:,} of users who left"
    return [
        Check(
            "interactions learned, each once", learned, f"{n_learned:,}", 0 <= n_lost <= ledger.n_of_erased
        ),
        Check("dead letters, each once", f"{ledger.n_broken:,}", f"{n_dead:,}", ledger.n_broken == n_dead),
    ]


def positions(place: Place, sent: Counter[tuple[str, int]]) -> list[Check]:
    """The log was read to its end."""
    return [Check("records not committed", "0", f"{place.n_unread:,}", place.has_read(sent))]


def lists(place: Place, ledger: Ledger, last_seen: Mapping[str, tuple[str, int, int]]) -> list[Check]:
    """Those who came last have lists that know it, without items that are gone; those who left have none."""
    began_s = time.monotonic()
    time.sleep(RETIRED_WITHIN_S)
    recent = [user for user in last_seen if user not in ledger.erased][-N_LOOKED_AT:]
    gone = sorted(ledger.erased)[-N_LOOKED_AT:]
    with place.client() as client:
        raw = _lists_of(client, recent)
        n_left = sum(found is not None for found in _lists_of(client, gone))
        n_old, still_listed = 0, Counter[str]()
        for user, found in zip(recent, raw, strict=True):
            topic, partition, offset = last_seen[user]
            n_old += found is not None and found.position.get(f"{topic}-{partition}", 0) <= offset
            still_listed.update(_retired(found, ledger))
        reader = Recommendations(client)
        n_shown = sum(bool({item.id for item in reader.get(user).items} & ledger.retired) for user in recent)
        n_retired = _n_with_retired(raw, ledger)
        told = f"{n_retired:,}"
        if n_retired:
            named = ", ".join(f"{item_id} on {n:,}" for item_id, n in still_listed.most_common(3))
            told += f" ({named}); {_how_late(client, recent, ledger, began_s)}"
    n_there = sum(found is not None for found in raw)
    return [
        Check("lists of users who came last", f"{len(recent):,}", f"{n_there:,}", n_there == len(recent)),
        Check("of these, older than their last event", "0", f"{n_old:,}", n_old == 0),
        Check("of these, with a retired item for a reader", "0", f"{n_shown:,}", n_shown == 0),
        Check(
            "of these, with a retired item in Redis",
            "0",
            told,
            n_retired == 0,
        ),
        Check(f"lists of {len(gone):,} erased users", "0", f"{n_left:,}", n_left == 0),
    ]


def _lists_of(client: Redis, users: list[str]) -> list[_List | None]:
    values = client.mget([f"streamer:list:{user}" for user in users]) if users else []
    return [msgspec.json.decode(value, type=_List) if value else None for value in values]


def _retired(found: _List | None, ledger: Ledger) -> set[str]:
    return {item["id"] for item in found.items} & ledger.retired if found is not None else set()


def _n_with_retired(lists: list[_List | None], ledger: Ledger) -> int:
    return sum(bool(_retired(found, ledger)) for found in lists)


def _how_late(client: Redis, users: list[str], ledger: Ledger, began_s: float) -> str:
    """Until when these lists hold retired items."""
    while (n_left := _n_with_retired(_lists_of(client, users), ledger)) and (
        time.monotonic() - began_s < GIVEN_UP_S
    ):
        time.sleep(0.2)
    return f"{n_left:,} after {time.monotonic() - began_s:.1f} s"
