"""Weights of the ranker, and the scratch in which one list is scored."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

N_RANKED = 128  # candidates that are put in order
N_HIDDEN = 32

SHORT = 0  # index of Ranker.n: candidates in the scratch


class Weights(NamedTuple):
    """One set of arrays in the shapes of the network: its parameters, their gradient, or Adam's moments."""

    linear: NDArray[np.float32]  # (n_features,)
    hidden: NDArray[np.float32]  # (n_features, N_HIDDEN)
    bias: NDArray[np.float32]  # (N_HIDDEN,)
    out: NDArray[np.float32]  # (N_HIDDEN,)


class Ranker(NamedTuple):
    """What the ranker has learned; then, no state, the scratch of the list at hand.

    Candidates are numbered 0.. in the scratch; `index` says which candidate of `graph.candidates` each is.
    """

    weights: Weights
    first_moment: Weights
    second_moment: Weights
    n_updates: NDArray[np.int64]  # (1,)
    guard: NDArray[np.float64]  # see `guard`
    # scratch
    gradient: Weights
    index: NDArray[np.int64]  # (N_RANKED,)
    x: NDArray[np.float32]  # (N_RANKED, n_features)
    activation: NDArray[np.float32]  # (N_RANKED, N_HIDDEN) before the rectifier
    base: NDArray[np.float32]  # (N_RANKED,) log-probability by the mixture
    score: NDArray[np.float32]  # (N_RANKED,)
    probability: NDArray[np.float32]  # (N_RANKED,) softmax of the scores
    n: NDArray[np.int64]  # (1,)


def _weights(n_features: int) -> Weights:
    return Weights(
        np.zeros(n_features, np.float32),
        np.zeros((n_features, N_HIDDEN), np.float32),
        np.zeros(N_HIDDEN, np.float32),
        np.zeros(N_HIDDEN, np.float32),
    )


def new_ranker(n_described: int, seed: int = 1) -> Ranker:
    """A ranker that orders as the mixture does: only the hidden layer starts at random, and nothing listens to it yet.

    Args:
        n_described: Features; the arrays have room for a multiple of four, and the rest stays zero.
    """
    n_features = -(-n_described // 4) * 4
    weights = _weights(n_features)
    rng = np.random.default_rng(seed)
    weights.hidden[:] = rng.normal(0.0, 1.0 / np.sqrt(n_features), weights.hidden.shape)
    return Ranker(
        weights,
        _weights(n_features),
        _weights(n_features),
        np.zeros(1, np.int64),
        np.zeros(4),
        gradient=_weights(n_features),
        index=np.zeros(N_RANKED, np.int64),
        x=np.zeros((N_RANKED, n_features), np.float32),
        activation=np.zeros((N_RANKED, N_HIDDEN), np.float32),
        base=np.zeros(N_RANKED, np.float32),
        score=np.zeros(N_RANKED, np.float32),
        probability=np.zeros(N_RANKED, np.float32),
        n=np.zeros(1, np.int64),
    )
