"""Weights of the ranker, and the scratch in which one list is scored."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.graph.state import COMPANY

N_BEST, N_COLD = 96, 32  # candidates that are put in order: the most probable ones, then cold items
N_RANKED = N_BEST + N_COLD
N_HIDDEN = 32
N_LISTS, N_KEPT = 2048, 32  # lists remembered; candidates of each
N_TRAITS = 4  # see `taste`
LAST_TAKEN, MEAN = range(2)  # rows of Ranker.taste

SHORT = 0  # index of Ranker.n: candidates in the scratch


class Weights(NamedTuple):
    """One set of arrays in the shapes of the network: its parameters, their gradient, or Adam's moments."""

    linear: NDArray[np.float32]  # (n_features,)
    hidden: NDArray[np.float32]  # (n_features, N_HIDDEN)
    bias: NDArray[np.float32]  # (N_HIDDEN,)
    out: NDArray[np.float32]  # (N_HIDDEN,)


class Memory(NamedTuple):
    """Lists to learn from once more: heads of short lists. See `memory`."""

    x: NDArray[np.float32]  # (N_LISTS, N_KEPT, n_features)
    base: NDArray[np.float32]  # (N_LISTS, N_KEPT)
    n: NDArray[np.int32]  # (N_LISTS,) candidates
    taken: NDArray[np.int32]  # (N_LISTS,) which of them was taken
    n_kept: NDArray[np.int64]  # (1,) lists so far


class Scaling(NamedTuple):
    """See `scaling`. All but `n` are (n_features,)."""

    total: NDArray[np.float64]  # fading sums of the features
    square: NDArray[np.float64]  # of their squares
    n: NDArray[np.float64]  # (1,) candidates in them
    centre: NDArray[np.float32]  # what is taken from a feature
    factor: NDArray[np.float32]  # and what the rest is multiplied with


class Ranker(NamedTuple):
    """What the ranker has learned; then, no state, the scratch of the list at hand.

    Candidates are numbered 0.. in the scratch; `candidate` says which one of `graph.candidates` each is.
    """

    weights: Weights
    first_moment: Weights
    second_moment: Weights
    n_updates: NDArray[np.int64]  # (1,)
    scaling: Scaling
    memory: Memory
    guard: NDArray[np.float64]  # see `guard`
    # scratch
    gradient: Weights
    candidate: NDArray[np.int64]  # (N_RANKED,)
    x: NDArray[np.float32]  # (N_RANKED + 1, n_features); the last one stays zero, as in the next two
    activation: NDArray[np.float32]  # (N_RANKED + 1, N_HIDDEN) before the rectifier
    wrong: NDArray[np.float32]  # (N_RANKED + 1,) probability, less one for the taken candidate
    moving: NDArray[np.int64]  # (N_RANKED + 3,) candidates that move the weights
    summed: NDArray[np.float32]  # (2, n_features) sums over a list, see `scaling`
    head: NDArray[np.int64]  # (N_KEPT,) the candidates worth remembering
    traits: NDArray[np.float32]  # (N_TRAITS,) of the item at hand
    taste: NDArray[np.float32]  # (2, N_TRAITS) of the user
    company: NDArray[np.int8]  # (3, COMPANY) of the user, see `company`
    company_total: NDArray[np.float32]  # (COMPANY,)
    affine: NDArray[np.float32]  # (N_RANKED,) score by the attention network
    base: NDArray[np.float32]  # (N_RANKED,) log-probability by the mixture
    score: NDArray[np.float32]  # (N_RANKED,)
    probability: NDArray[np.float32]  # (N_RANKED,) softmax of the scores
    masses: NDArray[np.float32]  # (5,) see `evidence.weigh_rows`
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
        Scaling(
            np.zeros(n_features),
            np.zeros(n_features),
            np.zeros(1),
            np.zeros(n_features, np.float32),
            np.ones(n_features, np.float32),
        ),
        Memory(
            np.zeros((N_LISTS, N_KEPT, n_features), np.float32),
            np.zeros((N_LISTS, N_KEPT), np.float32),
            np.zeros(N_LISTS, np.int32),
            np.zeros(N_LISTS, np.int32),
            np.zeros(1, np.int64),
        ),
        np.zeros(4),
        gradient=_weights(n_features),
        candidate=np.zeros(N_RANKED, np.int64),
        x=np.zeros((N_RANKED + 1, n_features), np.float32),
        activation=np.zeros((N_RANKED + 1, N_HIDDEN), np.float32),
        wrong=np.zeros(N_RANKED + 1, np.float32),
        moving=np.zeros(N_RANKED + 3, np.int64),
        summed=np.zeros((2, n_features), np.float32),
        head=np.zeros(N_KEPT, np.int64),
        traits=np.zeros(N_TRAITS, np.float32),
        taste=np.zeros((2, N_TRAITS), np.float32),
        company=np.zeros((3, COMPANY), np.int8),
        company_total=np.zeros(COMPANY, np.float32),
        affine=np.zeros(N_RANKED, np.float32),
        base=np.zeros(N_RANKED, np.float32),
        score=np.zeros(N_RANKED, np.float32),
        probability=np.zeros(N_RANKED, np.float32),
        masses=np.zeros(5, np.float32),
        n=np.zeros(1, np.int64),
    )
