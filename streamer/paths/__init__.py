"""The paths: one short file each, and the registry that names them in order.

A path is a distribution over items for one user. It comes as two kernels, both with the signature
`(graph, cands, user_row, path)`:

- `propose` brings items to the last stage (`candidates.choose`);
- `score` writes `cands.score[path, index]` and `cands.mass[path]`, such that score / mass is a probability: the mass counts
  all items, also those that nobody proposed. A truncated list must not look surer than it is, or EM believes it.

Evidence paths score every candidate that the neighbour rows hold and propose nothing themselves: the best of their mixture
go on. List paths then propose, and score what is in the last stage.

A new path is one file and one line here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from streamer.compiled import kernel, kernel_named
from streamer.graph.state import AUDIENCES, HALF_LIVES
from streamer.paths import (
    category,
    cooccurrence,
    feature,
    fresh,
    repeat,
    segment,
    sequence,
    text,
    trending,
    vectors,
)


class Path(NamedTuple):
    """A path's name in lists and reports, its kernels, and the weight that it begins with in every context."""

    name: str
    score: Callable[..., Any]
    propose: Callable[..., Any] | None = None
    first_weight: float = 1.0


EVIDENCE_PATHS = (
    Path("sequence", sequence.score_near),
    Path("sequence_sharp", sequence.score_sharp),
    Path("sequence_far", sequence.score_far),
    Path("lag_one", sequence.score_lag_one),
    Path("cooccurrence", cooccurrence.score),
    Path("cooccurrence_sharp", cooccurrence.score_sharp),
)
LIST_PATHS = (
    *(
        Path(trending.name(half_life, audience), *trending.kernels(clock), trending.FIRST_WEIGHT[audience])
        for clock, (half_life, audience) in enumerate(zip(HALF_LIVES, AUDIENCES, strict=True))
    ),
    Path("fresh", fresh.score, fresh.propose),
    Path("category", category.score, category.propose),
    Path("repeat", repeat.score, repeat.propose),
    Path("segment", segment.score, segment.propose),
    Path("feature", feature.score, feature.propose),
    Path("feature_cold", feature.score_cold),
    Path("feature_new", feature.score_new),
    Path("rate", feature.score_rate),
    Path("text", text.score, text.propose),
    Path("text_cold", text.score_cold),
    Path("text_new", text.score_new),
    Path("vectors", vectors.score),
    Path("transfer", text.score_transfer, text.propose_borrowers),
)
PATHS = EVIDENCE_PATHS + LIST_PATHS
NAMES = tuple(path.name for path in PATHS)
N_PATHS, N_EVIDENCE_PATHS = len(PATHS), len(EVIDENCE_PATHS)
FIRST_WEIGHTS = np.array([path.first_weight for path in PATHS])


_N_IN_TURN = 12


@kernel
def _silent(graph, cands, user_row, path):
    """Stands where a turn has no path."""


def _in_turn(name: str, kernels: list[tuple[int, Callable[..., Any]]]) -> Callable[..., Any]:
    """One kernel that calls each of these with its path number: numba cannot loop over functions.

    A dozen calls a kernel, since the compiler optimises all that a kernel calls once more for each of its callers.
    """
    turn, rest = kernels[:_N_IN_TURN], kernels[_N_IN_TURN:]
    numbers = tuple(path for path, _ in turn) + (0,) * (_N_IN_TURN - len(turn))
    p_0, p_1, p_2, p_3, p_4, p_5, p_6, p_7, p_8, p_9, p_10, p_11 = numbers
    calls = tuple(call for _, call in turn) + (_silent,) * (_N_IN_TURN - len(turn))
    f_0, f_1, f_2, f_3, f_4, f_5, f_6, f_7, f_8, f_9, f_10, f_11 = calls

    @kernel_named(f"{name}_{turn[0][0]}_to_{turn[-1][0]}")
    def a_dozen(graph, cands, user_row):
        has = graph.has_path
        if has[p_0]:
            f_0(graph, cands, user_row, p_0)
        if has[p_1]:
            f_1(graph, cands, user_row, p_1)
        if has[p_2]:
            f_2(graph, cands, user_row, p_2)
        if has[p_3]:
            f_3(graph, cands, user_row, p_3)
        if has[p_4]:
            f_4(graph, cands, user_row, p_4)
        if has[p_5]:
            f_5(graph, cands, user_row, p_5)
        if has[p_6]:
            f_6(graph, cands, user_row, p_6)
        if has[p_7]:
            f_7(graph, cands, user_row, p_7)
        if has[p_8]:
            f_8(graph, cands, user_row, p_8)
        if has[p_9]:
            f_9(graph, cands, user_row, p_9)
        if has[p_10]:
            f_10(graph, cands, user_row, p_10)
        if has[p_11]:
            f_11(graph, cands, user_row, p_11)

    if not rest:
        return a_dozen
    others = _in_turn(name, rest)

    @kernel_named(f"{name}_from_{turn[0][0]}")
    def all_of_them(graph, cands, user_row):
        a_dozen(graph, cands, user_row)
        others(graph, cands, user_row)

    return all_of_them


score_evidence_paths = _in_turn(
    "score_evidence", [(n, path.score) for n, path in enumerate(PATHS[:N_EVIDENCE_PATHS])]
)
score_list_paths = _in_turn(
    "score_lists", [(n, path.score) for n, path in enumerate(PATHS) if n >= N_EVIDENCE_PATHS]
)
propose_lists = _in_turn(
    "propose_lists", [(n, path.propose) for n, path in enumerate(PATHS) if path.propose is not None]
)
