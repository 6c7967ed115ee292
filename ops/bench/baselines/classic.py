"""Popularity, item-kNN and ALS. All read the user's history as it is at the event, however old the model."""

import warnings
from typing import Protocol

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender
from implicit.utils import ParameterWarning
from numpy.typing import NDArray

from baselines.protocol import Log


class Model(Protocol):
    """What is compared: trained on a prefix of the log, now and then, and asked for scores in between."""

    name: str

    def fit(self, log: Log, stop: int) -> None:
        """Train on the events before `stop`; anew, or from where the last call left it."""

    def scores(self, log: Log, events: NDArray[np.int64]) -> NDArray[np.float32]:
        """(m, n_items) for m events, from what the user took before each; of items not trained on: anything."""


class Popularity:
    """How often an item was taken in the part that was trained on; the same for everyone."""

    name = "most popular"

    def fit(self, log: Log, stop: int) -> None:
        """Count anew."""
        self._counts = np.bincount(log.item[:stop], minlength=log.n_items).astype(np.float32)

    def scores(self, log: Log, events: NDArray[np.int64]) -> NDArray[np.float32]:  # noqa: ARG002  as Model has it
        """The counts, once an event."""
        return np.tile(self._counts, (events.size, 1))


class ItemKnn:
    """Sum of similarities between an item and all that the user took; `implicit`, its 20 neighbours an item.

    Args:
        weighting: "cosine" or "BM25" (K1 1.2, B 0.75).
    """

    def __init__(self, weighting: str) -> None:
        self.name = f"item-kNN, {weighting}"
        self._make = {"cosine": CosineRecommender, "BM25": BM25Recommender}[weighting]

    def fit(self, log: Log, stop: int) -> None:
        """Count similarities anew."""
        self._model = self._make(K=20, num_threads=1)
        with warnings.catch_warnings():
            # its weighting makes a COO matrix, and its next step complains of that
            warnings.simplefilter("ignore", ParameterWarning)
            self._model.fit(log.taken(stop), show_progress=False)

    def scores(self, log: Log, events: NDArray[np.int64]) -> NDArray[np.float32]:
        """Sums over the user's history."""
        return (log.histories(events) @ self._model.similarity).toarray().astype(np.float32)


class Als:
    """Implicit ALS (Hu, Koren and Volinsky 2008), `implicit`: 64 factors, 15 iterations; the user solved at each event.

    Args:
        seed: Of the factors at the start.
    """

    name = "ALS"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def fit(self, log: Log, stop: int) -> None:
        """Factorise anew."""
        self._model = AlternatingLeastSquares(factors=64, num_threads=1, random_state=self._seed)
        self._model.fit(log.taken(stop), show_progress=False)

    def scores(self, log: Log, events: NDArray[np.int64]) -> NDArray[np.float32]:
        """Factors of the user's history times those of the items."""
        users = self._model.recalculate_user(np.arange(events.size), log.histories(events))
        return users @ self._model.item_factors.T
