"""One step of training: the rows it touches are taken out of the tables, moved by Adam, and put back."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamer.graph.vectors import GAP_EDGES_S
from streamer.propagate.forward import Histories, Parameters, Rows, item_inputs, item_vectors, user_vectors
from streamer.propagate.network import BY_ITEM, BY_ROW, Network
from streamer.propagate.settings import Architecture, Examples, Inputs, as_float

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_NEVER = -1e9  # logit of an item that is no negative


class Slice(NamedTuple):
    """The part of the catalog that a step works on."""

    rows: NDArray[np.int64]  # item rows, ascending
    node_rows: NDArray[np.int64]  # feature node rows, ascending
    places: NDArray[np.int64]  # (n_items + 1,) item row + 1 -> place in `rows` + 1; 0 = not there
    fixed: Rows
    candidates: NDArray[np.int64]  # places in `rows` that stand in the softmax, ascending
    log_q: NDArray[np.float32]  # (n_candidates,) log of the chance of each to stand there; 0 = certain


def take_slice(
    net: Network,
    inputs: Inputs,
    rows: NDArray[np.int64],
    candidates: NDArray[np.int64],
    log_q: NDArray[np.float32],
) -> Slice:
    """The slice of these item rows; `candidates` are item rows among them. `net` has room for all of the inputs."""
    a = net.architecture
    places = np.zeros(inputs.known.size + 1, np.int64)
    places[rows + 1] = np.arange(1, rows.size + 1)
    text = inputs.text[rows] if a.use_text else inputs.text[rows, :0]
    nodes = inputs.nodes[rows] if a.use_features else inputs.nodes[rows, :0]
    neighbours = inputs.neighbours[rows] if a.item_steps else inputs.neighbours[rows, :0]
    there = np.zeros(net.weights["node"].shape[0] + 1, np.bool_)
    there[nodes] = True
    there[0] = False
    return Slice(
        rows=rows,
        node_rows=np.flatnonzero(there[1:]),
        places=places,
        fixed=Rows(
            text=torch.from_numpy(as_float(text)),
            nodes=torch.from_numpy((np.cumsum(there) * there)[nodes]),
            neighbours=torch.from_numpy(places[neighbours]),
        ),
        candidates=places[candidates + 1] - 1,
        log_q=log_q,
    )


def histories_of(examples: Examples, a: Architecture, places: NDArray[np.int64]) -> Histories:
    """Histories in the numbers of a slice; items that are not in it send no message."""
    bucket = np.searchsorted(GAP_EDGES_S, examples.gap_s, side="right") - 1
    bucket = np.clip(bucket, 0, GAP_EDGES_S.size - 1) if a.use_gaps else np.zeros_like(bucket)
    z_score = np.nan_to_num(examples.z_score) if a.use_ratings else np.zeros_like(examples.z_score)
    return Histories(
        torch.from_numpy(places[examples.items + 1]), torch.from_numpy(bucket), torch.from_numpy(z_score)
    )


def move(net: Network, part: Slice, examples: Examples, rng: np.random.Generator, n_steps: int) -> None:
    """One step of Adam on the cross entropy of the targets, in place.

    All gradients are taken at the old values before any of them moves.

    Args:
        net: Its weights, mean and square are written.
        part: Holds every target among its candidates.
        examples: At least one.
        rng: For the id dropout.
        n_steps: Of Adam, with this one.
    """
    a = net.architecture
    p = parameters_of(net, part.rows, part.node_rows)
    kept = rng.random((part.rows.size, 1), np.float32) >= a.id_dropout
    keep = torch.from_numpy((kept if a.use_ids else np.zeros_like(kept)).astype(np.float32))
    before, x = item_inputs(a, p, part.fixed, keep)
    candidates = torch.from_numpy(part.candidates)
    whole = part.candidates.size == part.rows.size
    fixed = part.fixed if whole else part.fixed._replace(neighbours=part.fixed.neighbours[candidates])
    h = item_vectors(a, p, x if whole else x[candidates], x, fixed)
    histories = histories_of(examples, a, part.places)
    u = user_vectors(a, p, before, x, histories)
    _backward(p, part, examples, u, h, histories)
    _adam(net, part, p, n_steps)


def parameters_of(net: Network, rows: NDArray[np.int64], node_rows: NDArray[np.int64]) -> Parameters:
    """The weights as leaves of torch, tables that grow cut down to these rows."""
    p = {}
    for name, value in net.weights.items():
        table = value
        if name in BY_ROW:
            table = value[rows if name in BY_ITEM else node_rows]
        p[name] = torch.from_numpy(table).requires_grad_()
    return p


def _backward(
    p: Parameters, part: Slice, examples: Examples, u: Tensor, h: Tensor, histories: Histories
) -> None:
    """Gradients of the mean cross entropy into the leaves.

    By hand down to u and h: that saves half the passes over the logits, the largest array there is.
    """
    column = np.zeros(part.rows.size + 1, np.int64)  # place in `rows` + 1 -> column of the logits + 1
    column[part.candidates + 1] = np.arange(1, part.candidates.size + 1)
    target = torch.from_numpy(column[part.places[examples.target + 1]] - 1)[:, None]
    past = torch.from_numpy(column)[histories.items] - 1
    chosen = slice(None) if part.candidates.size == part.rows.size else torch.from_numpy(part.candidates)
    with torch.no_grad():
        scaled = u * p["scale"]
        logits = torch.addmm(p["bias"][chosen].T - torch.from_numpy(part.log_q), scaled, h.T)
        own = logits.gather(1, target)
        # What the user just took is no negative; a place that is not there points to the target, which is put back.
        logits.scatter_(1, torch.where(past >= 0, past, target), _NEVER)
        logits.scatter_(1, target, own)
        g = torch.softmax(logits, 1)
        g.scatter_add_(1, target, torch.full_like(own, -1.0))
        g /= g.shape[0]
        g_scaled = g @ h
        p["scale"].grad = (g_scaled * u).sum()[None]
        p["bias"].grad = torch.zeros_like(p["bias"])
        p["bias"].grad[chosen] = g.sum(0)[:, None]
        g_u, g_h = g_scaled * p["scale"], g.T @ scaled
    torch.autograd.backward([u, h], [g_u, g_h])


def _adam(net: Network, part: Slice, p: Parameters, n_steps: int) -> None:
    """Kingma and Ba 2015; rows outside the slice rest, their moments too (as torch.optim.SparseAdam)."""
    correct_1, correct_2 = 1.0 - _BETA_1**n_steps, 1.0 - _BETA_2**n_steps
    rates = net.architecture.embedding_rate, net.architecture.rate
    with torch.no_grad():
        for name, leaf in p.items():
            if leaf.grad is None:
                continue  # a part of the network that the settings turn off
            weight, mean, square = net.weights[name], net.mean[name], net.square[name]
            rows = None if name not in BY_ROW else part.rows if name in BY_ITEM else part.node_rows
            m, v = (torch.from_numpy(t if rows is None else t[rows]) for t in (mean, square))
            m.lerp_(leaf.grad, 1.0 - _BETA_1)
            v.mul_(_BETA_2).addcmul_(leaf.grad, leaf.grad, value=1.0 - _BETA_2)
            rate = rates[0] if name in BY_ROW else rates[1]
            leaf.addcdiv_(m, (v / correct_2).sqrt_().add_(_EPSILON), value=-rate / correct_1)
            if rows is not None:
                weight[rows], mean[rows], square[rows] = leaf.detach().numpy(), m.numpy(), v.numpy()
