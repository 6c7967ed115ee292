"""A round of training: some thousand first takes in, a network one version newer out. And the forward pass for users."""

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.propagate.forward import item_inputs
from streamer.propagate.forward import user_vectors as forward_users
from streamer.propagate.network import Network, grown
from streamer.propagate.settings import Examples, Inputs, check_examples, check_inputs, take
from streamer.propagate.step import Slice, histories_of, move, parameters_of, take_slice

_SAMPLING_POWER = 0.75  # of popularity, in the sampler


def train_round(network: Network, examples: Examples, inputs: Inputs) -> Network:
    """Learn from a round of new examples, in their order, and from replayed ones beside them.

    A function of its arguments, bit by bit, on one kind of machine with one build of torch; it keeps and changes none of
    them. Several threads may add up in another order, so the caller sets `torch.set_num_threads(1)`.

    Args:
        network: Of any version.
        examples: The round's first takes, oldest first; any number, 0 too.
        inputs: The items as they are known now. Examples whose target is not known (retired since) are passed over.

    Returns:
        The network of the next version.

    Raises:
        ValueError: arrays do not fit each other.
    """
    a = network.architecture
    check_inputs(inputs, network.weights["text"].shape[0])
    check_examples(examples, a.n_history, inputs.known.size)
    net = grown(network, inputs.known.size, int(inputs.nodes.max(initial=0)))
    rng = np.random.default_rng([a.seed, network.version + 1])
    known = np.flatnonzero(inputs.known)
    whole = None  # a larger catalog is drawn from, step by step: a slice of all its texts would take gigabytes for nothing
    if known.size <= a.max_full_softmax:
        whole = take_slice(net, inputs, known, known, np.zeros(known.size, np.float32))
    chance = _chances(net, known)
    n_steps, n_seen = network.n_steps, network.n_seen
    for begin in range(0, examples.target.size, a.batch_size):
        batch = take(examples, slice(begin, begin + a.batch_size))
        step_examples = _usable(_with_replayed(net, batch, n_seen, rng), inputs)
        n_seen = _keep(net, batch, n_seen)
        if step_examples.target.size:
            part = whole
            if part is None:
                part = _sampled(net, inputs, step_examples, known, chance, rng)
            n_steps += 1
            move(net, part, step_examples, rng, n_steps)
    return net._replace(version=network.version + 1, n_steps=n_steps, n_seen=n_seen)


def _with_replayed(net: Network, batch: Examples, n_seen: int, rng: np.random.Generator) -> Examples:
    """The batch, and examples of the past after it; recent ones more often."""
    a = net.architecture
    n_kept = min(n_seen, a.n_buffered)
    if not n_kept or not a.n_replayed:
        return batch
    drawn = rng.random(a.n_replayed * batch.target.size)
    age = (n_kept * drawn**a.replay_power).astype(np.int64)
    slots = (n_seen - 1 - age) % a.n_buffered
    old = take(net.buffer, slots)
    return Examples(
        np.concatenate([batch.target, old.target]),
        np.concatenate([batch.items, old.items]),
        np.concatenate([batch.gap_s, old.gap_s]),
        np.concatenate([batch.z_score, old.z_score]),
    )


def _usable(examples: Examples, inputs: Inputs) -> Examples:
    """Those whose target is known."""
    return take(examples, inputs.known[examples.target])


def _keep(net: Network, batch: Examples, n_seen: int) -> int:
    """Put the batch into the ring and count its targets, in place. Returns n_seen after it."""
    for old, new in zip(net.buffer, batch, strict=True):
        # where a batch is longer than the ring, numpy keeps the last of several writes to a slot
        old[np.arange(n_seen, n_seen + new.shape[0]) % old.shape[0]] = new
    np.add.at(net.n_taken, batch.target, 1)
    return n_seen + batch.target.size


def _chances(net: Network, known: NDArray[np.int64]) -> NDArray[np.float64]:
    """How likely one draw of the sampler is to give each known item; sums to 1."""
    weight = (net.n_taken[known] + 1.0) ** _SAMPLING_POWER
    return np.asarray(weight / weight.sum())


def _sampled(
    net: Network,
    inputs: Inputs,
    examples: Examples,
    known: NDArray[np.int64],
    chance: NDArray[np.float64],
    rng: np.random.Generator,
) -> Slice:
    """A step on the targets of the batch and some sampled negatives, each once.

    Both are taken for draws by popularity: an item is there with chance Q = 1 - (1 - q)^n_draws, and log Q comes off its logit.

    Source: Bengio and Senecal 2008; Yi et al., RecSys 2019 (logQ correction of in-batch negatives).
    """
    a = net.architecture
    drawn = known[np.searchsorted(np.cumsum(chance)[:-1], rng.random(a.n_negatives), side="right")]
    there = np.zeros(inputs.known.size, np.bool_)
    there[examples.target] = True
    there[drawn] = True
    candidates = np.flatnonzero(there)
    q = np.zeros(inputs.known.size)
    q[known] = chance
    n_draws = a.n_negatives + examples.target.size
    log_q = np.log(-np.expm1(n_draws * np.log1p(-np.minimum(q[candidates], 0.5))))
    there[examples.items[examples.items >= 0]] = True
    if a.item_steps:
        near = inputs.neighbours[candidates]
        there[near[near > 0] - 1] = True
    return take_slice(net, inputs, np.flatnonzero(there), candidates, log_q.astype(np.float32))


def user_vectors(network: Network, histories: Examples, inputs: Inputs) -> NDArray[np.float32]:
    """h_u of each history (targets are not read): (n, dim) float32. The forward pass of training, without dropout."""
    a = network.architecture
    check_inputs(inputs, network.weights["text"].shape[0])
    net = grown(network, inputs.known.size, int(inputs.nodes.max(initial=0)))
    rows = np.unique(histories.items[histories.items >= 0]).astype(np.int64)
    part = take_slice(net, inputs, rows, rows, np.zeros(rows.size, np.float32))
    with torch.no_grad():
        p = parameters_of(net, part.rows, part.node_rows)
        keep = None if a.use_ids else torch.zeros(rows.size, 1)
        before, x = item_inputs(a, p, part.fixed, keep)
        return np.asarray(forward_users(a, p, before, x, histories_of(histories, a, part.places)).numpy())
