"""A seeded stream of any size: Zipf popularity, sessions within clusters of items, features and titles.

- **Items** lie in clusters of 100. A cluster is drawn by Zipf (exponent .8), an item within it by Zipf (1). One event in five
  leaves its session's cluster and takes an item by Zipf (1) over all of them.
- **Users** come in sessions: a geometric number of events (mean 4), an exponential half minute apart, in one cluster. New users
  are spread evenly over the whole stream until all have come, or sessions run out; returning ones are drawn evenly.
- **Catalog**: category (of the cluster), brand (one of 1,000), price and weight (log-normal), a title of five words: the
  cluster's, and four by Zipf (1) of 5,000.

Everything is drawn by numpy from the seed, some 20,000 sessions at a time: the same arguments give the same stream, on the
same numpy.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamer.datasets import Message
from streamer.events import CatalogItem, Interaction

CLUSTER = 100
N_WORDS, N_BRANDS = 5_000, 1_000
AWAY = 0.2  # share of events outside their session's cluster
GAP_MS = 30_000.0
EVENTS_A_S = 10.0  # event time
BEGIN_MS = 1_600_000_000_000
SESSIONS_A_CHUNK = 20_000
ITEMS_A_CHUNK = 10_000

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """Some users' interactions with some items.

    Args:
        n_items, n_users: >= 100; >= 1.
        n_interactions: Exactly so many.
        seed: Of everything.
        with_catalog: Messages begin with the catalog.
        session_events: Mean length of a session, >= 1.
    """

    n_items: int
    n_users: int
    n_interactions: int
    seed: int = 0
    with_catalog: bool = True
    session_events: float = 4.0

    def messages(self) -> Iterator[Message]:
        """On the wire: the catalog, then the interactions."""
        encode = msgspec.json.Encoder().encode
        for item in self.catalog() if self.with_catalog else ():
            yield Message("catalog", item.item_id.encode(), encode(item))
        number = 0
        for chunk in self.chunks():
            for user, item, time_ms in zip(*(column.tolist() for column in chunk), strict=True):
                value = b'{"event_id":"e%d","user_id":"u%d","item_id":"i%d","type":"view","timestamp":%d}'
                yield Message("interactions", b"u%d" % user, value % (number, user, item, time_ms))
                number += 1

    def catalog(self) -> Iterator[CatalogItem]:
        """Every item once, popular ones of all clusters first."""
        rng = np.random.default_rng([self.seed, 1])
        words = _cumulative(N_WORDS, 1.0)
        for begin in range(0, self.n_items, ITEMS_A_CHUNK):
            n = min(ITEMS_A_CHUNK, self.n_items - begin)
            title = np.searchsorted(words, rng.random((n, 4)))
            brand = rng.integers(N_BRANDS, size=n)
            numbers = np.round(rng.lognormal(2.0, 1.0, (n, 2)), 2)
            for at in range(n):
                item, (price, weight) = begin + at, numbers[at].tolist()
                cluster = item % self._n_clusters
                yield CatalogItem(
                    item_id=f"i{item}",
                    title=" ".join([f"cluster{cluster}", *(f"word{word}" for word in title[at].tolist())]),
                    categorical={"category": [f"c{cluster}"], "brand": [f"b{brand[at]}"]},
                    numerical={"price": price, "weight": weight},
                    timestamp_ms=BEGIN_MS,
                )

    def batches(self) -> Iterator[list[Interaction]]:
        """The interactions, in log order."""
        number = 0
        for chunk in self.chunks():
            rows = enumerate(zip(*(column.tolist() for column in chunk), strict=True), start=number)
            yield [
                Interaction(f"u{u}", f"i{i}", "view", time_ms, event_id=f"e{n}")
                for n, (u, i, time_ms) in rows
            ]
            number += chunk[0].size

    def chunks(self) -> Iterator[tuple[Numbers, Numbers, Numbers]]:
        """(users, items, times in ms) of the interactions, in log order, some at a time."""
        rng = np.random.default_rng([self.seed, 0])
        new_share = min(1.0, self.n_users * self.session_events / self.n_interactions)
        popularity = [
            _cumulative(n, exponent)
            for n, exponent in ((self._n_clusters, 0.8), (CLUSTER, 1.0), (self.n_items, 1.0))
        ]
        n_left, n_users, begin_ms = self.n_interactions, 0, float(BEGIN_MS)
        while n_left:
            n = min(SESSIONS_A_CHUNK, n_left)  # a session has an event at least
            is_new = (rng.random(n) < new_share) | (n_users == 0)
            known = n_users + np.cumsum(is_new)
            user = np.where(is_new, known - 1, (rng.random(n) * known).astype(np.int64)) % self.n_users
            n_users = min(int(known[-1]), self.n_users)
            new_share = new_share if n_users < self.n_users else 0.0
            session = np.repeat(np.arange(n), rng.geometric(1.0 / self.session_events, n))[:n_left]
            length_ms = session.size / EVENTS_A_S * 1000.0
            times = np.sort(rng.random(n) * length_ms)[session] + _within(
                session, rng.exponential(GAP_MS, session.size)
            )
            items = self._items(rng, session, n, popularity)
            order = np.argsort(times, kind="stable")
            yield user[session[order]], items[order], (begin_ms + times[order]).astype(np.int64)
            n_left -= session.size
            begin_ms += length_ms

    @property
    def _n_clusters(self) -> int:
        return self.n_items // CLUSTER

    def _items(
        self,
        rng: np.random.Generator,
        session: Numbers,
        n_sessions: int,
        popularity: list[NDArray[np.float64]],
    ) -> Numbers:
        clusters, within, everywhere = popularity
        cluster = np.searchsorted(clusters, rng.random(n_sessions))[session]
        near = np.searchsorted(within, rng.random(session.size)) * self._n_clusters + cluster
        far = np.searchsorted(everywhere, rng.random(session.size))
        return np.where(rng.random(session.size) < AWAY, far, near)


def _cumulative(n: int, exponent: float) -> NDArray[np.float64]:
    """Of the Zipf distribution over 0 to n - 1; `searchsorted` of a uniform number draws from it."""
    weights = np.arange(1.0, n + 1) ** -exponent
    sums = np.cumsum(weights)
    return sums[:-1] / sums[-1]  # without the last, which rounding may leave below 1


def _within(session: Numbers, gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time since its session's first event, of each event; sessions lie together."""
    total = np.cumsum(gaps)
    is_first = np.concatenate([[True], session[1:] != session[:-1]])
    return total - total[is_first][np.cumsum(is_first) - 1]
