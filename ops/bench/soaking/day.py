"""The messages of a day, seeded: sessions of `synthetic.Stream` on items and by users that are replaced all along."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from synthetic import Stream

N_BLOCKS = 500  # pieces of the day, at most; between two of them items and users are replaced
LEAST_BLOCK = 50
ITEM_LIVES, USER_LIVES = 4, 3  # times that an item, a user is replaced in a day, where nothing else is said
DUPLICATE_SHARE, LATE_SHARE, BROKEN_SHARE = 0.01, 0.01, 0.002
CHANGED_SHARE = 0.002  # of the catalog, a block
LATE_MS = 6 * 3_600_000
FILL = 20  # the places of users are full after a 20th of the day
BROKEN = (
    b"", b"garbage", b"[]", b'{"user_id": "u"}', b'{"user_id":"u","item_id":"","type":"view","timestamp":1}',
    b'{"user_id":"u","item_id":"i","type":"view","timestamp":"yesterday"}', b"\xff\xfe", b'{"a":' * 50,
)  # fmt: skip
COUNTRIES = ("se", "de", "fr", "jp", "br")


class Sent(NamedTuple):
    """One message on its way."""

    topic: str
    key: bytes
    value: bytes | None


@dataclass
class Ledger:
    """What was sent so far, and what must come of it."""

    n_learned: int = 0  # interactions, each once
    n_duplicates: int = 0
    n_late: int = 0
    n_broken: int = 0
    n_described: int = 0
    retired: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    n_of_erased: int = 0  # interactions of theirs, of those learned

    @property
    def n_interactions(self) -> int:
        """Records on the topic of interactions."""
        return self.n_learned + self.n_duplicates + self.n_broken


class Block(NamedTuple):
    """A piece of the day."""

    messages: list[Sent]
    # tombstones: to be sent when all before them was read, since topics have no common order
    leaving: list[Sent]


class Day:
    """All of it, a block at a time.

    Args:
        n_events: Interactions, without the duplicates and what is broken.
        seed: Of everything.
        item_lives: Times that each item is replaced.
    """

    def __init__(self, n_events: int, seed: int, item_lives: int = ITEM_LIVES) -> None:
        self._item_lives = item_lives
        self.n_items = 100 * min(50, max(2, n_events // 20_000))
        self.n_users = min(100_000, max(50, n_events // 50))
        self.ledger = Ledger()
        self._n_events = n_events
        self._rng = random.Random(seed)
        self._stream = Stream(self.n_items, FILL * self.n_users, n_events, seed)
        self._item_phase, self._user_phase = _phases(self.n_items), _phases(self.n_users)
        self._here: Counter[int] = Counter()  # places of users who did something, with how much

    @property
    def max_items(self) -> int:
        """Items of all the day: rows of items are not given again."""
        return self.n_items * (self._item_lives + 2)

    def opening(self) -> list[Sent]:
        """The catalog of the morning."""
        lives = _lives(self._item_phase, 0.0)
        return [self._described(item, int(lives[item])) for item in range(self.n_items)]

    def blocks(self) -> Iterator[Block]:
        """The day."""
        size, n_before = max(LEAST_BLOCK, self._n_events // N_BLOCKS), 0
        items_prev, users_prev = _lives(self._item_phase, 0.0), _lives(self._user_phase, 0.0)
        for users, items, times in self._stream.chunks():
            for begin in range(0, users.size, size):
                share = n_before / self._n_events
                item_lives, user_lives = (
                    _lives(self._item_phase, share * self._item_lives),
                    _lives(self._user_phase, share * USER_LIVES),
                )
                leaving = [*self._replaced(items_prev, item_lives), *self._gone(users_prev, user_lives)]
                part = slice(begin, begin + size)
                places = users[part] % self.n_users
                messages = self._changes(item_lives, items_prev, n_before) + self._profiles(
                    places, user_lives
                )
                messages += self._interactions(
                    places, user_lives, items[part], item_lives, times[part], n_before
                )
                n_before += places.size
                items_prev, users_prev = item_lives, user_lives
                yield Block(messages, leaving)

    def _interactions(
        self,
        places: NDArray[np.int64],
        user_lives: NDArray[np.int64],
        items: NDArray[np.int64],
        item_lives: NDArray[np.int64],
        times: NDArray[np.int64],
        n_before: int,
    ) -> list[Sent]:
        rng, ledger, valid, sent = self._rng, self.ledger, list[Sent](), list[Sent]()
        columns = (places, user_lives[places], items, item_lives[items], times)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        value = b'{"event_id":"e%d","user_id":"u%d-%d","item_id":"i%d-%d","type":"view","timestamp":%d}'
        for number, (place, life, item, item_life, time_ms) in enumerate(rows, n_before):
            is_late = rng.random() < LATE_SHARE
            when = time_ms - LATE_MS * is_late
            valid.append(
                Sent(
                    "interactions",
                    b"u%d-%d" % (place, life),
                    value % (number, place, life, item, item_life, when),
                )
            )
            sent.append(valid[-1])
            ledger.n_late += is_late
            if rng.random() < DUPLICATE_SHARE:
                sent.append(rng.choice(valid[-200:]))
                ledger.n_duplicates += 1
            if rng.random() < BROKEN_SHARE:
                sent.append(Sent("interactions", b"broken", rng.choice(BROKEN)))
                ledger.n_broken += 1
        ledger.n_learned += len(valid)
        self._here.update(places.tolist())
        return sent

    def _changes(self, lives: NDArray[np.int64], lives_prev: NDArray[np.int64], n_before: int) -> list[Sent]:
        """New items, changed ones, and what is known of some users."""
        rng = self._rng
        changed = set(np.flatnonzero(lives != lives_prev).tolist())
        changed |= {
            rng.randrange(self.n_items) for _ in range(1 + int(CHANGED_SHARE * self.n_items)) if n_before
        }
        return [self._described(item, int(lives[item])) for item in sorted(changed)]

    def _profiles(self, places: NDArray[np.int64], lives: NDArray[np.int64]) -> list[Sent]:
        sent = []
        for place in places[:: max(1, places.size // 5)].tolist():
            user_id = f"u{place}-{lives[place]}"
            profile = {
                "user_id": user_id,
                "categorical": {"country": [COUNTRIES[place % len(COUNTRIES)]]},
                "timestamp": 1,
            }
            sent.append(Sent("profiles", user_id.encode(), json.dumps(profile).encode()))
        return sent

    def _described(self, item: int, life: int) -> Sent:
        self.ledger.n_described += 1
        item_id = f"i{item}-{life}"
        record = {
            "item_id": item_id,
            "title": f"cluster{item // 100} thing {item % 40}",
            "categorical": {
                "kind": [f"k{item % (self.n_items // 100)}"],
                "brand": [f"b{(item * 7 + life) % 50}"],
            },
            "numerical": {"price": item % 30 + self._rng.randrange(4) / 4},
            "timestamp": 1,
        }
        return Sent("catalog", item_id.encode(), json.dumps(record).encode())

    def _replaced(self, lives_prev: NDArray[np.int64], lives: NDArray[np.int64]) -> list[Sent]:
        gone = np.flatnonzero(lives != lives_prev).tolist()
        ids = [f"i{item}-{lives_prev[item]}" for item in gone]
        self.ledger.retired.update(ids)
        return [Sent("catalog", item_id.encode(), None) for item_id in ids]

    def _gone(self, lives_prev: NDArray[np.int64], lives: NDArray[np.int64]) -> list[Sent]:
        """Users who leave, and want to be forgotten: those who never did anything are none."""
        gone = [place for place in np.flatnonzero(lives != lives_prev).tolist() if place in self._here]
        self.ledger.n_of_erased += sum(self._here.pop(place) for place in gone)
        ids = [f"u{place}-{lives_prev[place]}" for place in gone]
        self.ledger.erased.update(ids)
        return [Sent("profiles", user_id.encode(), None) for user_id in ids]


def _phases(n: int) -> NDArray[np.float64]:
    """Evenly spread over [0, 1): as many are replaced in any part of the day as in another."""
    return (np.arange(n) * 0.6180339887498949) % 1.0


def _lives(phases: NDArray[np.float64], progress: float) -> NDArray[np.int64]:
    """Which life each place is in."""
    return np.floor(phases + progress).astype(np.int64)
