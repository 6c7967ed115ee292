"""Ways in for tests: kernels that only other kernels call, compiled once and read from disk afterwards.

First those that are called as they are, then those that need a few lines around them.
"""

from collections.abc import Callable
from typing import Any

from streamer import fastmath, mixture, rank
from streamer.compiled import entry_kernel
from streamer.graph import candidates, clocks, histories, vectors
from streamer.graph.rates import log_lift, rate_of, settle_node
from streamer.graph.scratch import N_ALL
from streamer.ranker import memory, network, taste
from streamer.ranker.company import compare_company, weigh_company
from streamer.ranker.guard import watch
from streamer.ranker.scaling import scale, watch_features
from streamer.ranker.shortlist import calibrate, shortlist
from streamer.ranker.state import SHORT


def _open(kernel: Callable[..., Any]) -> Callable[..., Any]:
    return entry_kernel(getattr(kernel, "py_func", kernel))


choose_best = _open(candidates.choose_best)
clock_weight = _open(clocks.clock_weight)
compare_taste = _open(taste.compare_taste)
context_of = _open(mixture.context_of)
copy_history = _open(histories.copy_history)
deal_out = _open(rank.deal_out)
draw_unshown = _open(rank.draw_unshown)
gap_bucket = _open(vectors.gap_bucket)
has_taken = _open(histories.has_taken)
is_new_session = _open(histories.is_new_session)
keep = _open(memory.keep)
learn = _open(network.learn)
learn_again = _open(memory.learn_again)
score = _open(network.score)
scramble = _open(fastmath.scramble)
top_k = _open(rank.top_k)
weigh_taste = _open(taste.weigh_taste)
weigh_traits = _open(taste.weigh_traits)


@entry_kernel
def logarithms(x, found):
    """Logarithm of each number."""
    for n in range(x.size):
        found[n] = fastmath.log(x[n])


@entry_kernel
def exponentials(x, found):
    """Exponential of each number."""
    for n in range(x.size):
        found[n] = fastmath.exp(x[n])


@entry_kernel
def rates_of(graph, rows, rates, lifts):
    """Rate of each item, and the logarithm of its lift."""
    for n in range(rows.size):
        rates[n] = rate_of(graph, rows[n])
        lifts[n] = log_lift(graph, graph.items[rows[n]])


@entry_kernel
def admit_and_clear(graph, cands, rows):
    """Admit these items as candidates, then forget them; returns how many there were."""
    for n in range(rows.size):
        candidates.admit(graph, cands, rows[n])
    n_admitted = cands.n[N_ALL]
    candidates.clear(cands)
    return n_admitted


@entry_kernel
def settle(graph, node_row):
    """Bring a node up to the present."""
    settle_node(graph, node_row)


@entry_kernel
def take_shortlist(cands, ranker):
    """Fill the ranker's short list."""
    shortlist(cands, ranker)


@entry_kernel
def score_list(ranker):
    """Score what lies in the scratch."""
    network.score(ranker, ranker.x, ranker.base, ranker.n[SHORT])


@entry_kernel
def learn_list(ranker, taken):
    """Score what lies in the scratch, and learn that this candidate was taken."""
    n = ranker.n[SHORT]
    network.score(ranker, ranker.x, ranker.base, n)
    network.learn(ranker, ranker.x, n, taken)


@entry_kernel
def count_foretold(graph, cands, ranker, taken):
    """Hold the short list against what was taken."""
    calibrate(graph, cands, ranker, taken)


@entry_kernel
def watch_ranks(ranker, by_ranker, by_mixture):
    """Let the guard count events."""
    for n in range(by_ranker.size):
        watch(ranker, by_ranker[n], by_mixture[n])


@entry_kernel
def scale_list(ranker):
    """Scale the features that lie in the scratch, then let the scaling see them."""
    scale(ranker)
    watch_features(ranker)


@entry_kernel
def company_of(graph, ranker, user_row, n_history, rows, x):
    """The features of company of each item, for this user: (features, items)."""
    weigh_company(graph, ranker, user_row, n_history)
    ranker.n[SHORT] = rows.size
    for n in range(rows.size):
        ranker.row[n] = rows[n]
    compare_company(graph, ranker, x)
