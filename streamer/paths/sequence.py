"""Sequence: items that followed, or preceded, the user's last items."""

from streamer.compiled import kernel
from streamer.graph.scratch import FAR, LAST, NEAR
from streamer.paths.evidence import score_column


@kernel
def score_near(graph, cands, user_row, path):
    """The last handful of items count (0.8 a step)."""
    score_column(graph, cands, path, NEAR, True, False)


@kernel
def score_sharp(graph, cands, user_row, path):
    """The same, sharpened: takes most of the weight in shops."""
    score_column(graph, cands, path, NEAR, True, True)


@kernel
def score_far(graph, cands, user_row, path):
    """The last twenty items count nearly alike (0.95 a step): films want this."""
    score_column(graph, cands, path, FAR, True, False)


@kernel
def score_lag_one(graph, cands, user_row, path):
    """What came right after the user's last item, undamped: the next page, the next episode."""
    score_column(graph, cands, path, LAST, False, False)
