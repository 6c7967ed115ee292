"""The forward pass in torch: item vectors of some rows, user vectors of a batch. Pure functions of parameters and inputs.

With attention "weights" it is what `streamer.graph.vectors` draws; with "graph" it is the reference network:

    x'_i = x_i + concat over heads of sum over its feature nodes f of alpha_if W x_f            (feature -> item)
    u'   = h_0 + the same sum over the user's items k of alpha_k W z_k                          (item -> user, layer 1)
    h_u  = u' + the same sum over k of alpha'_k W' z'_k + x'_last W_self                        (item -> user, layer 2)
    alpha_ij,head = softmax over i of LeakyReLU_0.2(l_head . W x_j + r_head . W x_i)

Source: ELCoRec, arXiv 2406.18825, and its published code. Differs: an item is linked to its own features; self-loops; time
gaps in logarithmic buckets, with positions; ratings as numbers; no target in the user's graph, so h_i can be kept; items
send nothing back to features, since these would then differ from user to user.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from streamer.propagate.settings import Architecture

Parameters = dict[str, Tensor]


class Rows(NamedTuple):
    """The items of a step, renumbered from 0: everything about them that is not learned."""

    text: Tensor  # (n_rows, text_dim) float32; zeros = none
    nodes: Tensor  # (n_rows, any) int64 index into the step's nodes + 1; 0 = none
    neighbours: Tensor  # (n_rows, any) int64 index into the step's rows + 1; 0 = none


class Histories(NamedTuple):
    """The users of a step, newest item first."""

    items: Tensor  # (n, n_history) int64 index into the step's rows + 1; 0 = none
    gap: Tensor  # (n, n_history) int64 bucket
    z_score: Tensor  # (n, n_history) float32; 0 where there is no rating


def _padded(table: Tensor) -> Tensor:
    """The table with a row of zeros before it: what index 0 stands for."""
    return functional.pad(table, (0, 0, 1, 0))


def _mean(table: Tensor, index: Tensor, power: float) -> Tensor:
    """Sum of the rows at index - 1, over their number to the power; 0 where there are none."""
    total = functional.embedding_bag(index, _padded(table), mode="sum", padding_idx=0)
    count = (index > 0).sum(1, keepdim=True).clamp(min=1)
    return total / count.to(total.dtype).pow(power)


def item_inputs(a: Architecture, p: Parameters, rows: Rows, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """What items send: (x before features, x after), each (n_rows, dim). With attention "weights" they are one.

    `keep` (n_rows, 1) of 0 or 1: whether an item's id embedding counts. None: all do.
    """
    x = p["item"] if keep is None else p["item"] * keep
    if a.use_text and rows.text.shape[1]:
        x = x + rows.text @ p["text"]
    if not a.use_features or not rows.nodes.shape[1]:
        return x, x
    if a.attention == "weights":
        x = x + _mean(p["node"], rows.nodes, power=0.5)
        return x, x
    senders = functional.embedding(rows.nodes, _padded(p["node"]))
    return x, x + _attend(a, p, "node_item", x, senders, rows.nodes > 0)


def item_vectors(a: Architecture, p: Parameters, x: Tensor, sent: Tensor, rows: Rows) -> Tensor:
    """h of some rows: (n, dim), without the scale.

    Args:
        x: (n, dim) of those rows.
        sent: (n_rows, dim) of all rows of the step.
        rows: `neighbours` is that of the n rows.
    """
    h = x @ p["item_out"]
    if a.item_steps and rows.neighbours.shape[1]:
        h = h + _mean(sent, rows.neighbours, power=1.0) @ p["neighbour"]
    return h


def user_vectors(a: Architecture, p: Parameters, before: Tensor, x: Tensor, histories: Histories) -> Tensor:
    """h_u of every history: (n, dim). `before` and `x` are those of `item_inputs`."""
    there = histories.items > 0
    around = (
        functional.embedding(histories.gap, p["gap_value"])
        + p["pos_value"]
        + histories.z_score[:, :, None] * p["rating_value"]
    )
    z = functional.embedding(histories.items, _padded(x)) + around
    h = p["h_0"]
    if a.use_self_loop:
        h = h + functional.embedding(histories.items[:, 0], _padded(x)) @ p["self_loop"]
    if a.attention == "weights":
        logits = functional.embedding(histories.gap, p["gap_bias"]) + p["pos_bias"]
        alpha = _softmax(logits, there)
        pooled = torch.einsum("bkh,bkd->bhd", alpha, z)
        return h + torch.einsum("bhd,hde->be", pooled, p["mix"])
    z_before = functional.embedding(histories.items, _padded(before)) + around
    user = p["h_0"].expand(z.shape[0], -1)
    user = user + _attend(a, p, "item_user_1", user, z_before, there)
    return h - p["h_0"] + user + _attend(a, p, "item_user_2", user, z, there)


def _softmax(logits: Tensor, there: Tensor) -> Tensor:
    """Over dimension 1, (n, n_senders, n_heads), of those that are there; all 0 where none is."""
    weight = torch.exp(logits) * there[:, :, None]
    return weight / weight.sum(1, keepdim=True).clamp(min=1e-30)


def _attend(
    a: Architecture, p: Parameters, relation: str, receiver: Tensor, senders: Tensor, there: Tensor
) -> Tensor:
    """Messages of one relation: receiver (n, dim), senders (n, n_senders, dim) -> (n, dim)."""
    n, n_senders, dim = senders.shape
    value = (senders @ p[f"{relation}_value"]).view(n, n_senders, a.n_heads, dim // a.n_heads)
    query = (receiver @ p[f"{relation}_value"]).view(n, a.n_heads, dim // a.n_heads)
    left = torch.einsum("bhd,dh->bh", query, p[f"{relation}_left"])
    right = torch.einsum("bkhd,dh->bkh", value, p[f"{relation}_right"])
    alpha = _softmax(functional.leaky_relu(left[:, None] + right, 0.2), there)
    return torch.einsum("bkh,bkhd->bhd", alpha, value).reshape(n, dim)
