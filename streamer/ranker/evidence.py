"""Features of what was taken with what: evidence of the user's last items for a candidate, against what chance would bring.

A lift is `log((seen + 0.3) / (expected + 0.3)) / 2`; expected is the candidate's share of all events times the mass of the row.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.fastmath import log
from streamer.graph.candidates import (
    BACK_FIRST,
    BACK_NEAR,
    BAYES,
    FAR,
    FIRST,
    LAST,
    MOST,
    N_ROWS,
    NEAR,
    SECOND,
    SMOOTH,
    TOGETHER,
)
from streamer.graph.learning import BACKWARD

EVIDENCE_NAMES = (
    "lift_first",
    "lift_second",
    "lift_most",
    "lift_near",
    "lift_far",
    "lift_together",
    "bayes",
    "n_rows",
)
ORDER_NAMES = ("log_lag_one", "lift_ahead", "lift_back", "lift_back_near")

_SMOOTH, _PER_SMOOTH = np.float32(SMOOTH), np.float32(1.0 / SMOOTH)
_NEAR_DECAYS = (0.8 ** np.arange(32)).astype(np.float32)
_FAR_DECAYS = (0.95 ** np.arange(32)).astype(np.float32)
_BAYES_DECAYS = (0.9 ** np.arange(32)).astype(np.float32)
N_MASSES = 5
_NEAR, _FAR, _TOGETHER, _BACK, _MOST = range(N_MASSES)


@kernel
def weigh_rows(cands, n_history, masses):
    """Write the mass of the rows of the user's last items, faded as the evidence is: (N_MASSES,) float32."""
    masses[:] = 0.0
    for k in range(n_history):
        masses[_NEAR] += _NEAR_DECAYS[k] * cands.row_mass[k]
        masses[_FAR] += _FAR_DECAYS[k] * cands.row_mass[k]
        masses[_TOGETHER] += _FAR_DECAYS[k] * cands.together_mass[k]
        masses[_BACK] += _NEAR_DECAYS[k] * cands.back_mass[k]
        masses[_MOST] = max(masses[_MOST], cands.row_mass[k])


@kernel
def describe_evidence(cands, index, share, n_history, masses, x):
    """Write a candidate's EVIDENCE_NAMES; n_history >= 1."""
    evidence = cands.evidence[index]
    x[0] = lift(evidence[FIRST], share * cands.row_mass[0])
    x[1] = lift(evidence[SECOND], share * cands.row_mass[1]) if n_history > 1 else np.float32(0.0)
    x[2] = max(np.float32(0.0), lift(evidence[MOST], share * masses[_MOST]))
    x[3] = lift(evidence[NEAR], share * masses[_NEAR])
    x[4] = lift(evidence[FAR], share * masses[_FAR])
    x[5] = lift(evidence[TOGETHER], share * masses[_TOGETHER])
    x[6] = (evidence[BAYES] - _expected(cands, share, n_history)) * np.float32(0.25)
    x[7] = evidence[N_ROWS] / np.float32(10.0)


@kernel
def describe_order(cands, index, share, masses, x):
    """Write a candidate's ORDER_NAMES: it may follow the last item, or be what that one follows."""
    evidence = cands.evidence[index]
    back = np.float32(BACKWARD)  # what SEQ counts of it
    x[0] = log(np.float32(1.0) + evidence[LAST]) * np.float32(0.5)
    seen = max(np.float32(0.0), evidence[FIRST] - back * evidence[BACK_FIRST])
    x[1] = lift(seen, share * max(np.float32(0.0), cands.row_mass[0] - back * cands.back_mass[0]))
    x[2] = lift(evidence[BACK_FIRST], share * cands.back_mass[0])
    x[3] = lift(evidence[BACK_NEAR], share * masses[_BACK])


@kernel
def _expected(cands, share, n_history):
    """What `evidence[BAYES]` would be, were the item seen in each row as often as its share of all events says."""
    total = np.float32(0.0)
    for k in range(n_history):
        total += _BAYES_DECAYS[k] * log(np.float32(1.0) + share * cands.row_mass[k] * _PER_SMOOTH)
    return total


@kernel
def lift(seen, expected):
    """Half the log ratio of two amounts of evidence, smoothed."""
    return log((seen + _SMOOTH) / (expected + _SMOOTH)) * np.float32(0.5)
