"""Scratch space in which one list is made: candidates, with a column for every kind of evidence and every path.

    slot[hash]  -> index of a candidate + 1; 0 = free (open addressing)
    row[index], closed[index], evidence[index, :], score[path, index], mixed[index]
    final[: n_final] -> the indices that the last stage looks at

Only what was used is cleared, so a list of ten costs no more in a scratch for thousands.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.cachelines import zeros
from streamer.graph.state import DIM, HISTORY, MAX_NEIGHBOURS, N_CLOCKS, N_HEADS, N_NUMBERS, NODES

# candidates at most: 20 rows of 256 neighbours, and some 1,500 that the lists propose or name
CAPACITY = 8192
N_SLOTS = 16384
DEPTH = 20  # how many of the user's last items are looked at
N_FINAL = 128  # candidates by evidence that survive to the last stage; more where a list is to be longer
MAX_K = 200  # longest list
N_BINS = 4096
N_INTERESTS = 4  # columns of a user's interest in a node
CATEGORY = 3  # the last of them, see `graph.content`
N_DRAWN = 16  # items drawn to guess at those that nobody proposed
N_AFFINITIES = 8  # category nodes kept of the user

_PADDING = 48  # columns whose starts are a power of two apart would fight for the same cache lines
N_COLUMNS = 11  # evidence, gathered over the user's last items, k = 0 the newest
NEAR, FAR, TOGETHER, LAST = range(4)
# of sequence: in the last row, the one before, the most in any; rows that hold the candidate; sum of
# decay * log(1 + seen / SMOOTH); of its backward part: in the last row, decayed as NEAR
FIRST, SECOND, MOST, N_ROWS, BAYES, BACK_FIRST, BACK_NEAR = range(4, N_COLUMNS)

N_PROPOSING = 6  # feature nodes that interest the user most, which propose items
N_LENDING = 8  # candidates with the most evidence, which lend it to others

# indices of Candidates.n
N_ALL, N_CHOSEN, N_PROPOSED, N_LIKED, N_HISTORY, N_INTERESTED, N_LENDERS = range(7)


class Candidates(NamedTuple):
    """See the picture above; `mass[path]` is what a path's scores add up to over *all* items, listed or not."""

    # table
    slot: NDArray[np.int32]
    row: NDArray[np.int32]
    closed: NDArray[np.bool_]  # may not be listed for this user
    chosen: NDArray[np.bool_]  # is in `final`
    final: NDArray[np.int32]
    n: NDArray[np.int64]  # (7,) see N_ALL ...
    score: NDArray[np.float32]  # (n_paths, CAPACITY + padding)
    mass: NDArray[np.float64]  # (n_paths,)
    shared: NDArray[np.float64]  # (n_paths,) the mixture's weights over the paths that have anything to say
    mixed: NDArray[np.float32]  # (CAPACITY,)
    bins: NDArray[np.int32]  # (N_BINS,) histogram of `choose_best`
    order: NDArray[np.int64]  # (MAX_K,) indices of the best, best first
    # evidence, see `gather`
    evidence: NDArray[np.float32]  # (CAPACITY, 16) N_COLUMNS of a cache line
    row_mass: NDArray[np.float32]  # (DEPTH,) of SEQ in the row of each of the user's last items
    back_mass: NDArray[np.float32]  # (DEPTH,) the same, of BACK
    together_mass: NDArray[np.float32]  # (DEPTH,) the same, of CO
    row_bayes: NDArray[np.float32]  # (MAX_NEIGHBOURS,) scratch
    # last stage: what is of candidates is filled in for those in `final` alone
    current: NDArray[np.float32]  # (CAPACITY, N_CLOCKS) the item's weight on every clock
    n_events: NDArray[np.int32]  # (CAPACITY,) of the item
    rate: NDArray[np.float32]  # (CAPACITY,) its rate as a share of all items' rates
    in_turn: NDArray[np.float32]  # (CAPACITY,) scratch: numbers side by side
    taken_weight: NDArray[np.float64]  # (N_CLOCKS,) of what the user cannot be listed any more
    gap_ms: NDArray[np.int64]  # (1,) since the user's last event
    drawn: NDArray[np.int32]  # (N_DRAWN,) rows of items that stand for those nobody proposed
    # (2,) of items that nobody proposed: mean squared likeness; nearness by text of all together
    unlisted: NDArray[np.float32]
    # interest, see `graph.content`
    interest: NDArray[np.float32]  # (max_nodes, N_INTERESTS) of the user in every feature node
    interested: NDArray[np.int32]  # (DEPTH * NODES,) the nodes in which it is not zero
    interest_norm: NDArray[np.float32]  # (N_INTERESTS,)
    proposing: NDArray[np.int32]  # (N_PROPOSING,) nodes that propose items
    node: NDArray[np.int32]  # (N_AFFINITIES,) the user's category nodes
    affinity: NDArray[np.float32]  # (N_AFFINITIES,) his share in each, sums to at most 1
    likeness: NDArray[np.float32]  # (CAPACITY, N_INTERESTS) of an item's features to his, last stage only
    drawn_likeness: NDArray[np.float32]  # (N_INTERESTS,) the same, of one that was drawn
    # text
    text: NDArray[np.float32]  # (CAPACITY,) nearness to the user's last items, last stage only
    lending: NDArray[np.int32]  # (N_LENDING,) candidates with the most evidence
    text_recent: NDArray[np.int8]  # (max_text_dim,) direction of the texts of the user's last items
    text_total: NDArray[np.float32]  # (max_text_dim,) scratch; nothing wider may come
    # attention network
    logit: NDArray[np.float32]  # (CAPACITY,) score, -inf = no vector yet, last stage only
    has_vector: NDArray[np.bool_]  # (1,) whether `logit` was filled in for this list
    h_u: NDArray[np.float32]  # (DIM,) the user's vector
    pooled: NDArray[np.float32]  # (N_HEADS, DIM) scratch of `user_vector`
    past_items: NDArray[np.int32]  # (HISTORY,) newest first
    past_gap_s: NDArray[np.float32]  # (HISTORY,)
    past_z: NDArray[np.float32]  # (HISTORY,)
    # ranker
    waiting: NDArray[np.int32]  # (CAPACITY,) indices that may come on its short list
    user_numbers: NDArray[np.float32]  # (2, N_NUMBERS) of the user's last item; mean of his last items


def new_candidates(n_paths: int, max_nodes: int, max_text_dim: int) -> Candidates:
    """An empty scratch for this many paths, feature nodes, and numbers of a text vector; about a megabyte."""
    return Candidates(
        slot=np.zeros(N_SLOTS, np.int32),
        row=np.zeros(CAPACITY, np.int32),
        closed=np.zeros(CAPACITY, np.bool_),
        chosen=np.zeros(CAPACITY, np.bool_),
        final=np.zeros(CAPACITY, np.int32),
        n=np.zeros(N_LENDERS + 1, np.int64),
        score=np.zeros((n_paths, CAPACITY + _PADDING), np.float32),
        mass=np.zeros(n_paths),
        shared=np.zeros(n_paths),
        mixed=np.zeros(CAPACITY, np.float32),
        bins=np.zeros(N_BINS, np.int32),
        order=np.zeros(MAX_K, np.int64),
        evidence=zeros((CAPACITY, 16), np.float32),
        row_mass=np.zeros(DEPTH, np.float32),
        back_mass=np.zeros(DEPTH, np.float32),
        together_mass=np.zeros(DEPTH, np.float32),
        row_bayes=np.zeros(MAX_NEIGHBOURS, np.float32),
        current=np.zeros((CAPACITY, N_CLOCKS), np.float32),
        n_events=np.zeros(CAPACITY, np.int32),
        rate=np.zeros(CAPACITY, np.float32),
        in_turn=np.zeros(CAPACITY, np.float32),
        taken_weight=np.zeros(N_CLOCKS),
        gap_ms=np.zeros(1, np.int64),
        drawn=np.zeros(N_DRAWN, np.int32),
        unlisted=np.zeros(2, np.float32),
        interest=np.zeros((max_nodes, N_INTERESTS), np.float32),
        interested=np.zeros(DEPTH * NODES, np.int32),
        interest_norm=np.zeros(N_INTERESTS, np.float32),
        proposing=np.zeros(N_PROPOSING, np.int32),
        node=np.zeros(N_AFFINITIES, np.int32),
        affinity=np.zeros(N_AFFINITIES, np.float32),
        likeness=np.zeros((CAPACITY, N_INTERESTS), np.float32),
        drawn_likeness=np.zeros(N_INTERESTS, np.float32),
        text=np.zeros(CAPACITY, np.float32),
        lending=np.zeros(N_LENDING, np.int32),
        text_recent=np.zeros(max_text_dim, np.int8),
        text_total=np.zeros(max_text_dim, np.float32),
        logit=np.zeros(CAPACITY, np.float32),
        has_vector=np.zeros(1, np.bool_),
        h_u=np.zeros(DIM, np.float32),
        pooled=np.zeros((N_HEADS, DIM), np.float32),
        past_items=np.zeros(HISTORY, np.int32),
        past_gap_s=np.zeros(HISTORY, np.float32),
        past_z=np.zeros(HISTORY, np.float32),
        waiting=np.zeros(CAPACITY, np.int32),
        user_numbers=np.zeros((2, N_NUMBERS), np.float32),
    )
