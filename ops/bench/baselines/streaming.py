"""Peers that learn event by event, and lists made by Redis alone, all under the protocol of the baselines."""

from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from redis import Redis

from baselines.protocol import NO_CANDIDATE, Log

Scores = NDArray[np.float32]


class Streaming(Protocol):
    """What is compared: told of every event in log order, and asked for a rank before some of them."""

    name: str
    rank_every: int
    """One counted event in so many is ranked: enough for a figure, and the slow ones must end."""

    def learn(self, log: Log, event: int) -> None:
        """Learn from an event."""

    def rank(self, log: Log, event: int) -> int:
        """Rank of the event's item among its candidates, from 1; 0 where it is not listed."""


class Recent:
    """No model: what anybody took last, the newest first, less what the user took. Where a log moves on it is hard to beat."""

    name = "what was taken last"
    rank_every = 1
    N_LIST = 10

    def __init__(self) -> None:
        self._last: dict[int, None] = {}  # in order

    def learn(self, log: Log, event: int) -> None:
        """Its item is the newest."""
        item = int(log.item[event])
        self._last.pop(item, None)
        self._last[item] = None

    def rank(self, log: Log, event: int) -> int:
        """Place on the list that the user would be given."""
        had = set() if log.repeats else set(log.history(event).tolist())
        listed = islice((item for item in reversed(self._last) if item not in had), self.N_LIST)
        own = int(log.item[event])
        return next((place for place, item in enumerate(listed, start=1) if item == own), 0)


class BiasedMf:
    """river `reco.BiasedMF`, its defaults; taught the event's value, standardised by river and cut at 3 deviations.

    Raw values of sets with heavy tails (quantities) make it diverge.
    """

    name = "river BiasedMF"
    rank_every = 40

    def __init__(self, seed: int = 0) -> None:
        from river import reco, stats  # noqa: PLC0415  who is not installed is not loaded

        self._model: Any = reco.BiasedMF(seed=seed)
        self._mean, self._var = stats.Mean(), stats.Var()

    def learn(self, log: Log, event: int) -> None:
        """One step of SGD."""
        value = float(log.value[event])
        value = 1.0 if np.isnan(value) else value
        self._mean.update(value)
        self._var.update(value)
        spread = self._var.get() ** 0.5
        y = (value - self._mean.get()) / spread if spread > 0.0 else 1.0
        self._model.learn_one(int(log.user[event]), int(log.item[event]), max(-3.0, min(3.0, y)))

    def rank(self, log: Log, event: int) -> int:
        """By `predict_one` of every candidate."""
        user = int(log.user[event])
        scores = [self._model.predict_one(user, item) for item in range(log.n_known[event])]
        return _rank(log, event, np.array(scores, np.float32))


class Imf:
    """FluRS `MFRecommender`, its defaults: incremental matrix factorisation of positive-only feedback (Vinagre 2014)."""

    name = "FluRS iMF"
    rank_every = 5

    def __init__(self, seed: int = 0) -> None:
        from flurs.recommender import MFRecommender  # noqa: PLC0415  who is not installed is not loaded

        np.random.seed(seed)  # noqa: NPY002  it draws from the global generator
        self._model: Any = MFRecommender()
        self._model.initialize()

    def learn(self, log: Log, event: int) -> None:
        """One step of SGD."""
        from flurs.data.entity import Event, Item, User  # noqa: PLC0415

        user, item = User(int(log.user[event])), Item(int(log.item[event]))
        self._know(user, item)
        self._model.update(Event(user, item))

    def rank(self, log: Log, event: int) -> int:
        """By its scores, the smaller the better."""
        from flurs.data.entity import User  # noqa: PLC0415

        user = User(int(log.user[event]))
        self._know(user, None)
        scores = self._model.score(user, np.arange(log.n_known[event]))
        return _rank(log, event, -scores.astype(np.float32))

    def _know(self, user: Any, item: Any) -> None:
        if self._model.is_new_user(user.index):
            self._model.register(user)
        if item is not None and self._model.is_new_item(item.index):
            self._model.register(item)


class RedisRecipe:
    """Redis alone: a sorted set of co-taken items an item, and one ZUNIONSTORE over those of the user's last items a list.

    An event adds one to the pairs of its item with the user's last `N_LAST`, both ways, and to a count of all; two round trips
    an event and a list together, as an app would. A user without a history is given the counts.

    Args:
        client: An empty database.
    """

    name = "Redis alone, ZUNIONSTORE"
    rank_every = 5
    N_LAST = 10
    N_LIST = 10

    def __init__(self, client: "Redis[bytes] | Any") -> None:
        self._client = client
        self._n_bytes_before = self._used()

    def learn(self, log: Log, event: int) -> None:
        """One round trip."""
        user, item = int(log.user[event]), int(log.item[event])
        pipe = self._client.pipeline(transaction=False)
        for other in set(log.history(event)[-self.N_LAST :].tolist()) - {item}:
            pipe.zincrby(f"with:{other}", 1, item)
            pipe.zincrby(f"with:{item}", 1, other)
        pipe.zincrby("taken", 1, item)
        pipe.lpush(f"last:{user}", item)
        pipe.ltrim(f"last:{user}", 0, self.N_LAST - 1)
        if not log.repeats:
            pipe.sadd(f"had:{user}", item)
        pipe.execute()

    def rank(self, log: Log, event: int) -> int:
        """Place on the list that the user would be given."""
        user, item = int(log.user[event]), int(log.item[event])
        pipe = self._client.pipeline(transaction=False)
        pipe.lrange(f"last:{user}", 0, -1)
        pipe.smembers(f"had:{user}")
        last, had = pipe.execute()
        key, n = "taken", self.N_LIST + len(had)
        pipe = self._client.pipeline(transaction=False)
        if last:
            key = f"list:{user}"
            pipe.zunionstore(key, [b"with:" + other for other in dict.fromkeys(last)])
            pipe.expire(key, 3600)
        pipe.zrevrange(key, 0, n - 1)
        listed = [int(found) for found in pipe.execute()[-1] if found not in had][: self.N_LIST]
        return listed.index(item) + 1 if item in listed else 0

    def n_bytes(self) -> int:
        """What Redis has taken since."""
        return self._used() - self._n_bytes_before

    def _used(self) -> int:
        return int(self._client.info("memory")["used_memory"])


def _rank(log: Log, event: int, scores: Scores) -> int:
    """By the protocol's own rules; nan is no score."""
    scores = np.where(np.isnan(scores), NO_CANDIDATE, scores)
    own = scores[log.item[event]]
    if own == NO_CANDIDATE:
        return 0
    if not log.repeats:
        scores[log.history(event)] = NO_CANDIDATE
    return int(np.count_nonzero(scores >= own))
