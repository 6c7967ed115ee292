"""The guard: the ranker orders lists only while its own hit ratio is ahead of the mixture's, on the same events.

guard = [decayed events, decayed hits of the ranker, decayed hits of the mixture, 1 while the ranker is on]
"""

import numpy as np

from streamer.compiled import kernel

EVENTS, RANKER_HITS, MIXTURE_HITS, IS_ON = range(4)
_KEPT = 1.0 - 1.0 / 2000.0  # an event: it looks back over some thousand counted events
_LEAST = 200.0  # decayed events before it may decide
_MARGIN = 0.5  # of a standard error of the difference: noise alone must not switch lists to and fro
K = 10


@kernel
def watch(ranker, rank_by_ranker, rank_by_mixture):
    """Count one event: ranks from 1, 0 = not listed."""
    guard = ranker.guard
    for n in range(IS_ON):
        guard[n] *= _KEPT
    guard[EVENTS] += 1.0
    guard[RANKER_HITS] += 1.0 if 1 <= rank_by_ranker <= K else 0.0
    guard[MIXTURE_HITS] += 1.0 if 1 <= rank_by_mixture <= K else 0.0
    ahead = guard[RANKER_HITS] - guard[MIXTURE_HITS]
    error = np.sqrt(guard[RANKER_HITS] + guard[MIXTURE_HITS] + 1.0)
    if guard[EVENTS] < _LEAST or ahead < -_MARGIN * error:
        guard[IS_ON] = 0.0
    elif ahead > 0.0:
        guard[IS_ON] = 1.0


@kernel
def is_on(ranker):
    """Whether lists are ordered by the ranker."""
    return ranker.guard[IS_ON] > 0.0
