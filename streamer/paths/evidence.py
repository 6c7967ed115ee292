"""What the evidence paths share: turn a column of evidence into scores and their mass."""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.scratch import N_ALL

FAINTEST = 1e-30  # evidence that faded further is silence: dividing by what is left would not give a number


@kernel
def score_column(graph, cands, path, column, damped, sharp):
    """Scores of one evidence column.

    Args:
        column: Row of `cands.evidence`.
        damped: Multiply by the item's damping, (events + 5) ** -0.4.
        sharp: Raise to the power 1.5: evidence of several history items then multiplies a little instead of only adding.
    """
    mass = 0.0
    for index in range(cands.n[N_ALL]):
        value = cands.evidence[index, column]
        if cands.closed[index]:
            value = np.float32(0.0)
        if damped:
            value *= graph.damping[cands.row[index]]
        if sharp:
            value *= np.sqrt(value)
        cands.score[path, index] = value
        mass += value
    cands.mass[path] = mass if mass > FAINTEST else 0.0
