"""Features of what was taken with what: evidence of the user's last items for a candidate, against what chance would bring.

A lift is `log((seen + 0.3) / (expected + 0.3)) / 2`; expected is the candidate's share of all events times the mass of the row.
"""

import numpy as np

from streamer.compiled import kernel
from streamer.fastmath import log
from streamer.graph.candidates import BAYES_DECAYS, DECAYS, SMOOTH
from streamer.graph.learning import BACKWARD
from streamer.graph.scratch import (
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
    TOGETHER,
)
from streamer.ranker.state import SHORT

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
N_MASSES = 5
_NEAR, _FAR, _TOGETHER, _BACK, _MOST = range(N_MASSES)


@kernel
def weigh_rows(cands, n_history, masses):
    """Write the mass of the rows of the user's last items, faded as the evidence is: (N_MASSES,) float32."""
    masses[:] = 0.0
    for k in range(n_history):
        masses[_NEAR] += DECAYS[NEAR, k] * cands.row_mass[k]
        masses[_FAR] += DECAYS[FAR, k] * cands.row_mass[k]
        masses[_TOGETHER] += DECAYS[TOGETHER, k] * cands.together_mass[k]
        masses[_BACK] += DECAYS[NEAR, k] * cands.back_mass[k]
        masses[_MOST] = max(masses[_MOST], cands.row_mass[k])


@kernel
def describe_evidence(cands, ranker, n_history, x):
    """Write EVIDENCE_NAMES of the short list into x[:8]; n_history >= 1."""
    n, masses, row_mass = ranker.n[SHORT], ranker.masses, cands.row_mass
    for c in range(n):
        evidence = cands.evidence[ranker.candidate[c]]
        x[0, c] = evidence[FIRST]
        x[1, c] = evidence[SECOND]
        x[2, c] = evidence[MOST]
        x[3, c] = evidence[NEAR]
        x[4, c] = evidence[FAR]
        x[5, c] = evidence[TOGETHER]
        x[6, c] = evidence[BAYES]
        x[7, c] = evidence[N_ROWS] / np.float32(10.0)
    _take_lift(x[0], ranker.share, row_mass[0], n)
    if n_history > 1:
        _take_lift(x[1], ranker.share, row_mass[1], n)
    else:
        x[1, :n] = 0.0
    _take_lift(x[2], ranker.share, masses[_MOST], n)
    for c in range(n):
        x[2, c] = max(np.float32(0.0), x[2, c])
    _take_lift(x[3], ranker.share, masses[_NEAR], n)
    _take_lift(x[4], ranker.share, masses[_FAR], n)
    _take_lift(x[5], ranker.share, masses[_TOGETHER], n)
    _take_expected(cands, ranker, n_history, x[6])


@kernel
def describe_order(cands, ranker, x):
    """Write ORDER_NAMES of the short list into x[:4]: it may follow the last item, or be what that one follows."""
    n, masses = ranker.n[SHORT], ranker.masses
    back = np.float32(BACKWARD)  # what SEQ counts of it
    for c in range(n):
        evidence = cands.evidence[ranker.candidate[c]]
        x[0, c] = np.float32(1.0) + evidence[LAST]
        x[1, c] = max(np.float32(0.0), evidence[FIRST] - back * evidence[BACK_FIRST])
        x[2, c] = evidence[BACK_FIRST]
        x[3, c] = evidence[BACK_NEAR]
    lag_one = x[0]
    for c in range(n):
        lag_one[c] = log(lag_one[c]) * np.float32(0.5)
    ahead = max(np.float32(0.0), cands.row_mass[0] - back * cands.back_mass[0])
    _take_lift(x[1], ranker.share, ahead, n)
    _take_lift(x[2], ranker.share, cands.back_mass[0], n)
    _take_lift(x[3], ranker.share, masses[_BACK], n)


@kernel
def _take_lift(seen, share, mass, n):
    """Turn amounts of evidence into half their log ratio to what is expected, smoothed."""
    for c in range(n):
        seen[c] = log((seen[c] + _SMOOTH) / (share[c] * mass + _SMOOTH)) * np.float32(0.5)


@kernel
def _take_expected(cands, ranker, n_history, bayes):
    """Take from `evidence[BAYES]` what it would be, were the item seen in each row as often as its share of all events says."""
    n, share = ranker.n[SHORT], ranker.share
    for k in range(n_history):
        per_share, decay = cands.row_mass[k] * _PER_SMOOTH, BAYES_DECAYS[k]
        for c in range(n):
            bayes[c] -= decay * log(np.float32(1.0) + share[c] * per_share)
    for c in range(n):
        bayes[c] *= np.float32(0.25)
