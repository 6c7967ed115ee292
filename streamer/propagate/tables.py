"""The tables of one version of the network, in numpy: what the fold reads, and what an item that just came is worth."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.graph.vectors import N_GAPS, Tables
from streamer.propagate.network import Network, table_rows
from streamer.propagate.settings import Inputs, as_float, check_inputs

_CHUNK = 4096  # items encoded at once


class ItemVectors(NamedTuple):
    """Some items, in the order asked for; float32. Rows of `Tables`."""

    x: NDArray[np.float32]  # (n, dim) as it stands in a history
    h: NDArray[np.float32]  # (n, dim) as it is scored
    bias: NDArray[np.float32]  # (n,)


def encode(network: Network, inputs: Inputs, rows: NDArray[np.int64]) -> ItemVectors:
    """The vectors of some items, for `Tables` of the same version: an item that came after `export` need not wait for the next.

    Args:
        network: Of the version of the tables.
        inputs: Of all items; rows that the network has not grown to are fine.
        rows: (n,) item rows of the inputs.
    """
    a, w = network.architecture, network.weights
    x = _sent(network, inputs, rows)
    h = x @ w["item_out"]
    if a.item_steps:
        near = inputs.neighbours[rows]
        senders = np.unique(near[near > 0]).astype(np.int64)
        messages = _padded(_sent(network, inputs, senders - 1))[_places(senders, near)]
        count = np.maximum((near > 0).sum(1, keepdims=True), 1).astype(np.float32)
        h += (messages.sum(1) / count) @ w["neighbour"]
    return ItemVectors(x, h * w["scale"], table_rows(network, "bias", rows)[:, 0])


def _padded(table: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((1, table.shape[1]), np.float32), table])


def _places(used: NDArray[np.int64], wanted: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where in a padded table of `used` each wanted row + 1 stands; 0, none, stands at 0."""
    return np.where(wanted > 0, np.searchsorted(used, wanted) + 1, 0)


def _sent(network: Network, inputs: Inputs, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """x of some items: (n, dim), as `forward.item_inputs` has it without dropout."""
    a, w = network.architecture, network.weights
    x = table_rows(network, "item", rows) if a.use_ids else np.zeros((rows.size, a.dim), np.float32)
    if a.use_text and w["text"].shape[0]:
        x += as_float(inputs.text[rows]) @ w["text"]
    if not a.use_features:
        return x
    nodes = inputs.nodes[rows]
    used = np.unique(nodes[nodes > 0]).astype(np.int64)
    place = _places(used, nodes)
    table = _padded(table_rows(network, "node", used - 1))
    if a.attention == "graph":
        return x + _attend(network, x, table[place], nodes > 0)
    count = np.maximum((nodes > 0).sum(1, keepdims=True), 1)
    for column in range(nodes.shape[1]):
        x += table[place[:, column]] / np.sqrt(count).astype(np.float32)
    return x


def _attend(
    network: Network, x: NDArray[np.float32], senders: NDArray[np.float32], there: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Messages from feature nodes to items, as `forward._attend` sends them: (n, dim) and (n, n_nodes, dim) -> (n, dim)."""
    w, n_heads = network.weights, network.architecture.n_heads
    value = (senders @ w["node_item_value"]).reshape(*senders.shape[:2], n_heads, -1)
    query = (x @ w["node_item_value"]).reshape(x.shape[0], n_heads, -1)
    left = np.einsum("nhd,dh->nh", query, w["node_item_left"])
    logits = left[:, None] + np.einsum("nkhd,dh->nkh", value, w["node_item_right"])
    weight = np.exp(np.where(logits > 0, logits, 0.2 * logits)) * there[:, :, None]
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-30)
    return np.asarray(np.einsum("nkh,nkhd->nhd", weight, value).reshape(x.shape), np.float32)


def export(network: Network, inputs: Inputs) -> Tables:
    """The tables of all items of the inputs.

    With attention "graph", `x`, `h` and `bias` hold, but the kernel of `streamer.graph.vectors` does not know its users:
    theirs come from `streamer.propagate.training.user_vectors`.

    Raises:
        ValueError: arrays do not fit each other.
    """
    a, w = network.architecture, network.weights
    check_inputs(inputs, w["text"].shape[0])
    n_items = inputs.known.size
    items = ItemVectors(
        np.empty((n_items, a.dim), np.float32),
        np.empty((n_items, a.dim), np.float32),
        np.empty(n_items, np.float32),
    )
    for begin in range(0, n_items, _CHUNK):
        rows = np.arange(begin, min(begin + _CHUNK, n_items))
        for whole, part in zip(items, encode(network, inputs, rows), strict=True):
            whole[rows] = part
    learned = a.attention == "weights"
    gap_bias = w["gap_bias"] if learned else np.zeros((N_GAPS, a.n_heads), np.float32)
    return Tables(
        *items,
        gap_bias=_by_gap(gap_bias, a.use_gaps),
        pos_bias=w["pos_bias"].copy() if learned else np.zeros((a.n_history, a.n_heads), np.float32),
        gap_value=_by_gap(w["gap_value"], a.use_gaps),
        pos_value=w["pos_value"].copy(),
        rating_value=w["rating_value"].copy(),
        mix=w["mix"].copy() if learned else np.zeros((a.n_heads, a.dim, a.dim), np.float32),
        self_loop=w["self_loop"].copy() if a.use_self_loop else np.zeros_like(w["self_loop"]),
        h_0=w["h_0"].copy(),
        version=network.version,
    )


def _by_gap(table: NDArray[np.float32], use_gaps: bool) -> NDArray[np.float32]:
    """Without gaps, every bucket reads what the first one learned."""
    return table.copy() if use_gaps else np.repeat(table[:1], N_GAPS, axis=0)


def tables_to_arrays(tables: Tables) -> dict[str, NDArray[Any]]:
    """The tables by the names of their fields, not copied; `version` as an array of one."""
    return {name: np.atleast_1d(np.asarray(part)) for name, part in tables._asdict().items()}


def tables_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Tables:
    """The tables that `tables_to_arrays` took apart; other names are passed over."""
    parts: dict[str, Any] = {name: arrays[name] for name in Tables._fields}
    return Tables(**parts | {"version": int(parts["version"][0])})
