"""The user vector of the attention network, from tables, event by event: what ranking needs, without torch.

    a_k,head = softmax over k of (gap_bias[b_k, head] + pos_bias[k, head])
    z_k      = x[item_k] + gap_value[b_k] + pos_value[k] + rating_value * z_score_k
    h_u      = h_0 + x[item_0] W_self + sum over heads of (sum over k of a_k,head z_k) W_mix[head]

`streamer.propagate` trains the network and exports the tables; a test holds the two forwards against each other.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.compiled import entry_kernel, kernel

N_GAPS = 24  # buckets of time gaps
GAP_UNIT_S = 30.0
MAX_HISTORY = 32  # positions that the kernel has room for
# bucket b holds the gaps from GAP_EDGES_S[b] on: 0 s, 30 s, 90 s, 210 s, ... 8 years
GAP_EDGES_S = GAP_UNIT_S * (2.0 ** np.arange(N_GAPS) - 1.0)


class Tables(NamedTuple):
    """What the kernels and the vectors in Redis need of one version of the network; all float32, C order.

    The score of an item for a user is `h_u . h[item] + bias[item]`; the learned scale is folded into `h`.
    """

    x: NDArray[np.float32]  # (n_items, dim) item as it stands in a history
    h: NDArray[np.float32]  # (n_items, dim) item as it is scored
    bias: NDArray[np.float32]  # (n_items,)
    gap_bias: NDArray[np.float32]  # (N_GAPS, n_heads)
    pos_bias: NDArray[np.float32]  # (n_history, n_heads), position 0 the newest
    gap_value: NDArray[np.float32]  # (N_GAPS, dim)
    pos_value: NDArray[np.float32]  # (n_history, dim)
    rating_value: NDArray[np.float32]  # (dim,)
    mix: NDArray[np.float32]  # (n_heads, dim, dim)
    self_loop: NDArray[np.float32]  # (dim, dim)
    h_0: NDArray[np.float32]  # (dim,) the user without a history
    version: int  # of the network; vectors of two versions never meet


def no_tables(dim: int, n_heads: int, n_history: int) -> Tables:
    """Tables of version 0: no item has a vector."""
    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731  twelve shapes read best in a column
    return Tables(
        x=zeros(0, dim),
        h=zeros(0, dim),
        bias=zeros(0),
        gap_bias=zeros(N_GAPS, n_heads),
        pos_bias=zeros(n_history, n_heads),
        gap_value=zeros(N_GAPS, dim),
        pos_value=zeros(n_history, dim),
        rating_value=zeros(dim),
        mix=zeros(n_heads, dim, dim),
        self_loop=zeros(dim, dim),
        h_0=zeros(dim),
        version=0,
    )


@kernel
def gap_bucket(gap_s):
    """Logarithmic bucket of a time gap: min(23, floor(log2(1 + gap / 30 s))); what is not positive is in bucket 0."""
    bucket = 0
    while bucket < N_GAPS - 1 and gap_s >= GAP_EDGES_S[bucket + 1]:
        bucket += 1
    return bucket


@kernel
def user_vector(tables, item_rows, gap_s, z_score, pooled, out):
    """h_u of one user, from his last items.

    Args:
        tables: `Tables`; a row >= its n_items, or one whose bias is -inf, is read as "no item".
        item_rows: (n_history,) int32, newest first; -1 = none.
        gap_s: (n_history,) seconds from each event to now.
        z_score: (n_history,) float32 z-scored ratings; nan = none, counts as 0.
        pooled: (n_heads, dim) float32 scratch.
        out: (dim,) float32, overwritten.
    """
    n_heads, dim = tables.mix.shape[0], tables.h_0.size
    n_history, n_items = tables.pos_bias.shape[0], tables.x.shape[0]
    pooled[:] = 0.0
    newest = -1
    # The biases are bounded by training and their largest is not needed: exp of a sum of two small numbers.
    for head in range(n_heads):
        total = np.float32(0.0)
        for k in range(n_history):
            item = item_rows[k]
            if item < 0 or item >= n_items or tables.bias[item] == -np.inf:
                continue
            newest = k if newest < 0 else newest
            b = gap_bucket(gap_s[k])
            a = np.float32(math.exp(tables.gap_bias[b, head] + tables.pos_bias[k, head]))
            z = z_score[k] if z_score[k] == z_score[k] else np.float32(0.0)
            total += a
            for d in range(dim):
                pooled[head, d] += a * (
                    tables.x[item, d]
                    + tables.gap_value[b, d]
                    + tables.pos_value[k, d]
                    + z * tables.rating_value[d]
                )
        if total > 0.0:
            for d in range(dim):
                pooled[head, d] /= total
    for d in range(dim):
        out[d] = tables.h_0[d]
    if newest < 0:
        return
    last = item_rows[newest]
    for row in range(dim):
        weight = tables.x[last, row]
        for d in range(dim):
            out[d] += weight * tables.self_loop[row, d]
    for head in range(n_heads):
        for row in range(dim):
            weight = pooled[head, row]
            for d in range(dim):
                out[d] += weight * tables.mix[head, row, d]


@entry_kernel
def user_vectors(tables, item_rows, gap_s, z_score, pooled, out):
    """`user_vector` of every row of (n_users, n_history) arrays into `out` (n_users, dim)."""
    for n in range(out.shape[0]):
        user_vector(tables, item_rows[n], gap_s[n], z_score[n], pooled, out[n])
