"""Session: items that share sessions with the items of the user's present session."""

from streamer.compiled import kernel
from streamer.graph.candidates import CURRENT
from streamer.paths.evidence import score_column


@kernel
def score(graph, cands, user_row, path):
    """Evidence from whole sessions, whatever the order in them."""
    score_column(graph, cands, path, CURRENT, True, False)


@kernel
def score_sharp(graph, cands, user_row, path):
    """The same, sharpened."""
    score_column(graph, cands, path, CURRENT, True, True)
