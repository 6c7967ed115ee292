"""Features of company: whether a candidate was always taken after the same items as the user's last ones were."""

import numpy as np

from streamer.compiled import kernel
from streamer.graph.company import point
from streamer.graph.content import DECAYS, NEWEST
from streamer.graph.histories import past_item
from streamer.graph.state import COMPANY
from streamer.nearest.table import ONE, dot_of
from streamer.ranker.state import SHORT

NAMES = ("company_fast", "company_slow", "company_last")


@kernel
def weigh_company(graph, ranker, user_row, n_history):
    """Fill `ranker.company` with the company that the user's last items keep: fading fast, fading slowly, of the last one."""
    total = ranker.company_total
    for row in range(3):
        total[:] = 0.0
        for k in range(n_history if row != NEWEST else min(n_history, 1)):
            code = graph.company.code[past_item(graph, user_row, k)]
            for d in range(COMPANY):
                total[d] += DECAYS[k, row] * np.float32(code[d])
        point(total, ranker.company[row])


@kernel
def compare_company(graph, ranker, x):
    """Write the features of the short list, cosines, into x[: len(NAMES)]."""
    code = graph.company.code
    for c in range(ranker.n[SHORT]):
        for row in range(3):
            x[row, c] = np.float32(dot_of(code, ranker.row[c], ranker.company[row])) / np.float32(ONE)
