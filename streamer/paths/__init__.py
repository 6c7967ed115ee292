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

from streamer.compiled import kernel_named
from streamer.graph.state import HALF_LIVES
from streamer.paths import category, cooccurrence, feature, fresh, repeat, segment, sequence, text, trending, vectors


class Path(NamedTuple):
    """A path's name in lists and reports, and its kernels."""

    name: str
    score: Callable[..., Any]
    propose: Callable[..., Any] | None = None


EVIDENCE_PATHS = (
    Path("sequence", sequence.score_near),
    Path("sequence_sharp", sequence.score_sharp),
    Path("sequence_far", sequence.score_far),
    Path("lag_one", sequence.score_lag_one),
    Path("cooccurrence", cooccurrence.score),
    Path("cooccurrence_sharp", cooccurrence.score_sharp),
)
LIST_PATHS = (
    *(Path(trending.name(half_life), *trending.kernels(clock)) for clock, half_life in enumerate(HALF_LIVES)),
    Path("fresh", fresh.score, fresh.propose),
    Path("category", category.score, category.propose),
    Path("repeat", repeat.score, repeat.propose),
    Path("segment", segment.score, segment.propose),
    Path("feature", feature.score, feature.propose),
    Path("feature_cold", feature.score_cold),
    Path("rate", feature.score_rate),
    Path("text", text.score, text.propose),
    Path("text_cold", text.score_cold),
    Path("vectors", vectors.score),
    Path("transfer", text.score_transfer, text.propose_borrowers),
)
PATHS = EVIDENCE_PATHS + LIST_PATHS
NAMES = tuple(path.name for path in PATHS)
N_PATHS, N_EVIDENCE_PATHS = len(PATHS), len(EVIDENCE_PATHS)


def _in_turn(name: str, kernels: list[tuple[int, Callable[..., Any]]]) -> Callable[..., Any]:
    """One kernel that calls each of these with its path number: numba cannot loop over functions.

    A tree of halves and no chain, since the compiler optimises all that a kernel calls once more for each of its callers.
    """
    if len(kernels) == 1:
        path, only = kernels[0]

        @kernel_named(f"{name}_{path}")
        def one(graph, cands, user_row):
            if graph.has_path[path]:
                only(graph, cands, user_row, path)

        return one
    half = len(kernels) // 2
    first, second = _in_turn(name, kernels[:half]), _in_turn(name, kernels[half:])

    @kernel_named(f"{name}_{kernels[0][0]}_to_{kernels[-1][0]}")
    def both(graph, cands, user_row):
        first(graph, cands, user_row)
        second(graph, cands, user_row)

    return both


score_evidence_paths = _in_turn(
    "score_evidence", [(n, path.score) for n, path in enumerate(PATHS[:N_EVIDENCE_PATHS])]
)
score_list_paths = _in_turn(
    "score_lists", [(n, path.score) for n, path in enumerate(PATHS) if n >= N_EVIDENCE_PATHS]
)
propose_lists = _in_turn(
    "propose_lists", [(n, path.propose) for n, path in enumerate(PATHS) if path.propose is not None]
)
