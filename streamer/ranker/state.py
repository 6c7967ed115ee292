"""Weights of the ranker, and the scratch in which one list is scored."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.graph.state import COMPANY

N_BEST, N_COLD = 96, 32  # candidates that are put in order: the most probable ones, then cold items
N_RANKED = N_BEST + N_COLD
N_HIDDEN = 32
# Of a row of candidates: rows a power of two apart would fight for the same cache lines.
WIDTH = N_RANKED + 16
N_ABREAST = 8  # features that go into one pass over a row
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

    x: NDArray[np.float32]  # (N_LISTS, n_features, N_KEPT)
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

    Candidates are numbered 0.. in the scratch; `candidate` says which one of `graph.candidates` each is. What is known of them
    lies in rows, a feature each, so that every loop over candidates vectorises without changing the order of a sum.

        x            candidate 0 1 2 3 ... N_RANKED - 1
        feature 0              . . . .
        feature 1              . . . .
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
    row: NDArray[np.int64]  # (N_RANKED,) item row of each
    share: NDArray[np.float32]  # (N_RANKED,) of all events
    x: NDArray[np.float32]  # (n_features, WIDTH)
    activation: NDArray[np.float32]  # (N_HIDDEN, WIDTH) before the rectifier
    moving: NDArray[np.int64]  # (N_RANKED + 3,) candidates that move the weights
    wrong: NDArray[np.float32]  # (N_RANKED + 3,) of these: probability, less one for the taken candidate
    back: NDArray[np.float32]  # (N_RANKED + 3, N_HIDDEN) of these: gradient before the rectifier
    head: NDArray[np.int64]  # (N_KEPT,) the candidates worth remembering
    traits: NDArray[np.float32]  # (N_TRAITS, WIDTH) of each; of the user's last items before that
    taste: NDArray[np.float32]  # (2, N_TRAITS) of the user
    company: NDArray[np.int8]  # (3, COMPANY) of the user: FAST, SLOW, NEWEST; see `company`
    company_total: NDArray[np.float32]  # (COMPANY,)
    logit: NDArray[np.float32]  # (WIDTH,) score by the attention network
    base: NDArray[np.float32]  # (WIDTH,) log-probability by the mixture
    score: NDArray[np.float32]  # (WIDTH,)
    probability: NDArray[np.float32]  # (WIDTH,) softmax of the scores
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
        n_described: Features; the arrays have room for a multiple of eight, and the rest stays zero.
    """
    n_features = -(-n_described // N_ABREAST) * N_ABREAST
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
            np.zeros((N_LISTS, n_features, N_KEPT), np.float32),
            np.zeros((N_LISTS, N_KEPT), np.float32),
            np.zeros(N_LISTS, np.int32),
            np.zeros(N_LISTS, np.int32),
            np.zeros(1, np.int64),
        ),
        np.zeros(4),
        gradient=_weights(n_features),
        candidate=np.zeros(N_RANKED, np.int64),
        row=np.zeros(N_RANKED, np.int64),
        share=np.zeros(N_RANKED, np.float32),
        x=np.zeros((n_features, WIDTH), np.float32),
        activation=np.zeros((N_HIDDEN, WIDTH), np.float32),
        moving=np.zeros(N_RANKED + 3, np.int64),
        wrong=np.zeros(N_RANKED + 3, np.float32),
        back=np.zeros((N_RANKED + 3, N_HIDDEN), np.float32),
        head=np.zeros(N_KEPT, np.int64),
        traits=np.zeros((N_TRAITS, WIDTH), np.float32),
        taste=np.zeros((2, N_TRAITS), np.float32),
        company=np.zeros((3, COMPANY), np.int8),
        company_total=np.zeros(COMPANY, np.float32),
        logit=np.zeros(WIDTH, np.float32),
        base=np.zeros(WIDTH, np.float32),
        score=np.zeros(WIDTH, np.float32),
        probability=np.zeros(WIDTH, np.float32),
        masses=np.zeros(5, np.float32),
        n=np.zeros(1, np.int64),
    )
