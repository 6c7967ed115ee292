"""Scaling: features of like size around zero, whatever the data set, so that one learning rate suits all of them.

The mean and the spread of every feature over the candidates of the last lists; each list is scaled with what the lists before
it showed. Measured (HR@10), together with the longer memory: ml-latest-small .187 -> .192, movietweetings .292 -> .294.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.ranker.state import SHORT

_KEPT = 1.0 - 1.0 / 10_000.0  # of the sums, a list: what a feature was like months ago fades
_EVERY = 4  # candidates, of which one is looked at
N_BELIEVED = 1000.0  # candidates that the first guess counts for: mean 0, spread GUESSED
GUESSED = 0.5
SCALED = np.float32(0.5)  # spread of a feature once it is scaled
_LEAST = 0.05  # spread that is scaled: what hardly ever differs stays small


@kernel
def scale(ranker):
    """Scale the features of the short list in place."""
    scaling = ranker.scaling
    for f in range(ranker.x.shape[0]):
        x, centre, factor = ranker.x[f], scaling.centre[f], scaling.factor[f]
        for c in range(ranker.n[SHORT]):
            x[c] = (x[c] - centre) * factor


@kernel
def _sums(x, n):
    """Sum of every _EVERY-th number, and of their squares; four at a time, since one sum would wait for itself."""
    t_0 = t_1 = t_2 = t_3 = q_0 = q_1 = q_2 = q_3 = np.float32(0.0)
    n_fours = n - n % (4 * _EVERY)
    for c in range(0, n_fours, 4 * _EVERY):
        x_0, x_1, x_2, x_3 = x[c], x[c + _EVERY], x[c + 2 * _EVERY], x[c + 3 * _EVERY]
        t_0, t_1, t_2, t_3 = t_0 + x_0, t_1 + x_1, t_2 + x_2, t_3 + x_3
        q_0, q_1, q_2, q_3 = q_0 + x_0 * x_0, q_1 + x_1 * x_1, q_2 + x_2 * x_2, q_3 + x_3 * x_3
    for c in range(n_fours, n, _EVERY):
        t_0 += x[c]
        q_0 += x[c] * x[c]
    return (t_0 + t_1) + (t_2 + t_3), (q_0 + q_1) + (q_2 + q_3)


@kernel
def watch_features(ranker):
    """Count the scaled list at hand in; to be called once it was scored."""
    scaling = ranker.scaling
    n_seen = np.float64((ranker.n[SHORT] + _EVERY - 1) // _EVERY)
    scaling.n[0] = scaling.n[0] * _KEPT + n_seen
    per_n = 1.0 / (scaling.n[0] + N_BELIEVED)
    for f in range(ranker.x.shape[0]):
        total, square = _sums(ranker.x[f], ranker.n[SHORT])
        # from sums of (raw - centre) * factor to those of raw
        centre, per_factor = np.float64(scaling.centre[f]), 1.0 / np.float64(scaling.factor[f])
        moved = total * per_factor
        scaling.total[f] = scaling.total[f] * _KEPT + moved + n_seen * centre
        scaling.square[f] = (
            scaling.square[f] * _KEPT
            + square * per_factor * per_factor
            + 2.0 * centre * moved
            + n_seen * centre * centre
        )
        mean = scaling.total[f] * per_n
        variance = (scaling.square[f] + N_BELIEVED * GUESSED * GUESSED) * per_n - mean * mean
        scaling.centre[f] = np.float32(mean)
        scaling.factor[f] = SCALED / np.float32(max(np.sqrt(max(variance, 0.0)), _LEAST))
