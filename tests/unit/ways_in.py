"""Kernels that only other kernels call, as tests call them: the same names, with a way in from Python."""

from collections.abc import Callable
from typing import Any

from streamer import mixture, rank
from streamer.compiled import entry_kernel
from streamer.graph import candidates, clocks, histories, vectors
from streamer.ranker import memory, network, taste


def _open(kernel: Callable[..., Any]) -> Callable[..., Any]:
    return entry_kernel(getattr(kernel, "py_func", kernel))


choose_best = _open(candidates.choose_best)
clock_weight = _open(clocks.clock_weight)
compare_taste = _open(taste.compare_taste)
context_of = _open(mixture.context_of)
copy_history = _open(histories.copy_history)
gap_bucket = _open(vectors.gap_bucket)
has_taken = _open(histories.has_taken)
is_new_session = _open(histories.is_new_session)
keep = _open(memory.keep)
learn = _open(network.learn)
learn_again = _open(memory.learn_again)
score = _open(network.score)
top_k = _open(rank.top_k)
weigh_taste = _open(taste.weigh_taste)
weigh_traits = _open(taste.weigh_traits)
