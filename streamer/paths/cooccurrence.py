"""Co-occurrence: items taken within a window of the user's last items, by anyone, in any order."""

from streamer.compiled import kernel
from streamer.graph.scratch import TOGETHER
from streamer.paths.evidence import score_column


@kernel
def score(graph, cands, user_row, path):
    """Counts, damped by popularity."""
    score_column(graph, cands, path, TOGETHER, True, False)


@kernel
def score_sharp(graph, cands, user_row, path):
    """The same, sharpened."""
    score_column(graph, cands, path, TOGETHER, True, True)
