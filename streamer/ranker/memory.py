"""Memory: the heads of the last lists that taught the ranker. With every event it learns once more from one drawn of them.

One list an event is a noisy gradient, and a larger step makes it worse; a second look at an old list does not (experience replay,
Lin 1992). Measured (HR@10): ml-latest-small +.003, movietweetings and online-retail +.001; with 2,048 lists instead of 256
another +.001. Of a list the N_KEPT most probable
candidates are kept: nearly all of the gradient, for a quarter of the time. A list whose taken item is not among them is not kept;
adding it would teach that what is improbable gets taken (measured: new sessions lose .006).
"""

import numpy as np

from streamer.compiled import kernel
from streamer.fastmath import scramble
from streamer.graph.candidates import place_best
from streamer.ranker.network import learn, score
from streamer.ranker.state import N_KEPT, N_LISTS, SHORT


@kernel
def _choose_head(ranker):
    """`ranker.head`: the most probable candidates, best first. Returns how many."""
    head, probability, n = ranker.head, ranker.probability, 0
    for c in range(ranker.n[SHORT]):
        n = place_best(head, n, N_KEPT, c, probability)
    return n


@kernel
def keep(ranker, taken):
    """Remember the list at hand, in the place of the oldest one; to be called before the scores change."""
    n = _choose_head(ranker)
    taken_at = -1
    for at in range(n):
        if ranker.head[at] == taken:
            taken_at = at
    if taken_at < 0:
        return
    memory = ranker.memory
    place = memory.n_kept[0] % N_LISTS
    for at in range(n):
        memory.base[place, at] = ranker.base[ranker.head[at]]
    for f in range(ranker.x.shape[0]):
        to, x = memory.x[place, f], ranker.x[f]
        for at in range(n):
            to[at] = x[ranker.head[at]]
    memory.n[place] = n
    memory.taken[place] = taken_at
    memory.n_kept[0] += 1


@kernel
def learn_again(ranker):
    """One step from a remembered list, drawn by the number of steps so far: the same in every replay. Uses the scratch."""
    memory = ranker.memory
    n_kept = memory.n_kept[0]
    if n_kept == 0:
        return
    place = np.int64(scramble(np.uint64(ranker.n_updates[0])) % np.uint64(min(n_kept, N_LISTS)))
    n, x = np.int64(memory.n[place]), memory.x[place]
    score(ranker, x, memory.base[place], n)
    learn(ranker, x, n, np.int64(memory.taken[place]))
