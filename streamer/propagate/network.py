"""The network as plain arrays: weights, the state of Adam, the examples it may see again.

Rows of items and feature nodes come as the catalog does. A table grows by doubling, and a new row's first values are a hash
of seed, table, row and column: when and how often it grew cannot be seen in it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from streamer.fastmath import GOLDEN, mixed
from streamer.graph.vectors import N_GAPS
from streamer.propagate.settings import (
    Architecture,
    Examples,
    check_architecture,
    no_examples,
    take,
    without_items,
)

Weights = dict[str, NDArray[np.float32]]

BY_ITEM = ("item", "bias")  # tables with a row an item
BY_ROW = (*BY_ITEM, "node")  # tables that grow
_MIN_ROWS = 1024
_SPREAD = {"item": 0.05, "bias": 0.0, "node": 0.15}  # first values are uniform within +- this; measured


class Network(NamedTuple):
    """All that training reads and writes. A value: training makes a new one."""

    architecture: Architecture
    version: int  # rounds trained
    n_steps: int  # of Adam
    n_seen: int  # examples so far
    weights: Weights
    mean: Weights  # Adam's running mean of the gradients, by the names of `weights`
    square: Weights  # and of their squares
    buffer: Examples  # ring of past examples: number n stands at n % n_buffered
    # (item capacity,) how often each item was a target: popularity for the sampler
    n_taken: NDArray[np.int64]


def hashed_rows(seed: int, table: str, rows: NDArray[np.int64], dim: int) -> NDArray[np.float32]:
    """First values of some rows of a table: (rows.size, dim) float32, a function of the arguments only."""
    salt = (seed * 0xD1342543DE82EF95 + (BY_ROW.index(table) + 1) * 0xA0761D6478BD642F) % (1 << 64)
    index = rows.astype(np.uint64)[:, None] * np.uint64(dim) + np.arange(dim, dtype=np.uint64)
    bits: NDArray[np.uint64] = mixed(index * GOLDEN + np.uint64(salt))
    unit = (bits >> np.uint64(40)).astype(np.float64) / float(1 << 24)
    return np.asarray(_SPREAD[table] * (2.0 * unit - 1.0), np.float32)


def table_rows(network: Network, table: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """A copy of some rows of a table that grows; rows it has not grown to yet stand at their first values."""
    kept = network.weights[table]
    inside = rows < kept.shape[0]
    found = np.empty((rows.size, kept.shape[1]), np.float32)
    found[inside] = kept[rows[inside]]
    found[~inside] = hashed_rows(network.architecture.seed, table, rows[~inside], kept.shape[1])
    return found


def new_network(architecture: Architecture, text_dim: int) -> Network:
    """A network that has seen nothing.

    Args:
        architecture: Its sizes and settings.
        text_dim: Width of the text embeddings; 0 where there are none.

    Raises:
        ValueError: a setting is out of range.
    """
    check_architecture(architecture)
    weights = _first_weights(architecture, text_dim)
    return Network(
        architecture,
        version=0,
        n_steps=0,
        n_seen=0,
        weights=weights,
        mean={name: np.zeros_like(value) for name, value in weights.items()},
        square={name: np.zeros_like(value) for name, value in weights.items()},
        buffer=no_examples(architecture.n_buffered, architecture.n_history),
        n_taken=np.zeros(0, np.int64),
    )


def _first_weights(architecture: Architecture, text_dim: int) -> Weights:
    dim, n_heads = architecture.dim, architecture.n_heads
    rng = np.random.default_rng([architecture.seed, 0])
    eye = np.eye(dim, dtype=np.float32)

    def zeros(*shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    def drawn(n_in: int, n_out: int) -> NDArray[np.float32]:
        return np.asarray(rng.standard_normal((n_in, n_out)) / np.sqrt(max(n_in, 1)), np.float32)

    weights: Weights = {
        "item": zeros(0, dim),
        "node": zeros(0, dim),
        "bias": zeros(0, 1),
        "text": drawn(text_dim, dim),
        "item_out": eye.copy(),
        "self_loop": eye * np.float32(0.5),
        "h_0": zeros(dim),
        "scale": np.ones(1, np.float32),
        "gap_value": zeros(N_GAPS, dim),
        "pos_value": zeros(architecture.n_history, dim),
        "rating_value": zeros(dim),
    }
    if architecture.item_steps:
        weights["neighbour"] = zeros(dim, dim)
    if architecture.attention == "weights":
        by_age = -0.1 * np.arange(architecture.n_history, dtype=np.float32)  # newer items weigh more at first
        weights["gap_bias"] = zeros(N_GAPS, n_heads)
        weights["pos_bias"] = np.repeat(by_age[:, None], n_heads, axis=1)
        weights["mix"] = np.stack([eye / (2 * n_heads)] * n_heads)
    else:
        for relation in ("node_item", "item_user_1", "item_user_2"):
            weights[f"{relation}_value"] = drawn(dim, dim)
            weights[f"{relation}_left"] = drawn(dim // n_heads, n_heads)
            weights[f"{relation}_right"] = drawn(dim // n_heads, n_heads)
    return weights


def _capacity(n_rows: int, n_now: int) -> int:
    return n_now if n_rows <= n_now else max(_MIN_ROWS, 1 << (n_rows - 1).bit_length())


def grown(network: Network, n_items: int, n_nodes: int) -> Network:
    """The same network with arrays of its own, and room for so many items and feature nodes."""
    n_rows = {
        "item": _capacity(n_items, network.weights["item"].shape[0]),
        "bias": _capacity(n_items, network.weights["bias"].shape[0]),
        "node": _capacity(n_nodes, network.weights["node"].shape[0]),
    }

    def padded(tables: Weights) -> Weights:
        copies = {name: value.copy() for name, value in tables.items()}
        for name, n in n_rows.items():
            more = n - copies[name].shape[0]
            copies[name] = np.concatenate([copies[name], np.zeros((more, copies[name].shape[1]), np.float32)])
        return copies

    weights = padded(network.weights)
    for name, n in n_rows.items():
        new = np.arange(network.weights[name].shape[0], n)
        weights[name][new] = hashed_rows(network.architecture.seed, name, new, weights[name].shape[1])
    n_more = n_rows["item"] - network.n_taken.size
    return network._replace(
        weights=weights,
        mean=padded(network.mean),
        square=padded(network.square),
        buffer=take(network.buffer, np.arange(network.buffer.target.size)),
        n_taken=np.concatenate([network.n_taken, np.zeros(n_more, np.int64)]),
    )


def without_rows(network: Network, rows: NDArray[np.int64]) -> Network:
    """A network that never heard of these items: their rows stand at their first values, and no example names them.

    Args:
        rows: (n,) item rows, each once; some may lie beyond what the network has grown to.
    """
    n_rows = network.n_taken.size
    inside = rows[rows < n_rows]
    weights, mean, square = dict(network.weights), dict(network.mean), dict(network.square)
    for name in BY_ITEM:
        weights[name], mean[name], square[name] = (tables[name].copy() for tables in (weights, mean, square))
        dim = weights[name].shape[1]
        weights[name][inside] = hashed_rows(network.architecture.seed, name, inside, dim)
        mean[name][inside] = square[name][inside] = 0.0
    n_taken = network.n_taken.copy()
    n_taken[inside] = 0
    is_gone = np.zeros(max(n_rows, int(network.buffer.items.max(initial=-1)) + 1), np.bool_)
    is_gone[inside] = True
    n_buffered = network.architecture.n_buffered
    ages = np.arange(max(0, network.n_seen - n_buffered), network.n_seen) % n_buffered  # the oldest first
    kept = without_items(take(network.buffer, ages), is_gone)
    n_kept = kept.target.size
    buffer = no_examples(n_buffered, network.architecture.n_history)
    for whole, part in zip(buffer, kept, strict=True):
        whole[:n_kept] = part
    return network._replace(
        weights=weights, mean=mean, square=square, buffer=buffer, n_taken=n_taken, n_seen=n_kept
    )


def to_arrays(network: Network) -> dict[str, NDArray[np.generic]]:
    """The network as named arrays, for a checkpoint; slots of the ring that were never filled are left out."""
    n_kept = min(network.n_seen, network.architecture.n_buffered)
    arrays: dict[str, NDArray[np.generic]] = {
        "counters": np.array([network.version, network.n_steps, network.n_seen], np.int64),
        "n_taken": network.n_taken,
    }
    for part in ("weights", "mean", "square"):
        arrays |= {f"{part}.{name}": value for name, value in getattr(network, part).items()}
    arrays |= {f"buffer.{name}": getattr(network.buffer, name)[:n_kept] for name in Examples._fields}
    return arrays


def from_arrays(
    architecture: Architecture, text_dim: int, arrays: Mapping[str, NDArray[np.generic]]
) -> Network:
    """The network that `to_arrays` took apart; it shares no memory with the arrays.

    Raises:
        ValueError: an array is missing, unknown, or of a shape or dtype that this architecture does not have.
    """
    blank = new_network(architecture, text_dim)
    expected = to_arrays(blank)
    if arrays.keys() != expected.keys():
        odd = sorted(arrays.keys() ^ expected.keys())
        raise ValueError(
            f"network arrays: expected those of {architecture}, got {', '.join(odd)} too many or few"
        )
    for name, array in arrays.items():
        like = expected[name]
        grows = name == "n_taken" or name.split(".")[0] == "buffer" or name.split(".")[-1] in BY_ROW
        n_fixed = 1 if grows else 0
        if array.dtype != like.dtype or array.shape[n_fixed:] != like.shape[n_fixed:]:
            raise ValueError(
                f"network array {name}: expected {like.dtype} {like.shape}, got {array.dtype} {array.shape}"
            )
    for names in (BY_ITEM, ("node",)):
        tables = [f"{part}.{name}" for part in ("weights", "mean", "square") for name in names]
        tables += ["n_taken"] if names is BY_ITEM else []
        if len({len(arrays[table]) for table in tables}) > 1:
            raise ValueError(f"network arrays: expected as many rows of {', '.join(tables)}")
    if len({len(arrays[f"buffer.{name}"]) for name in Examples._fields}) > 1:
        raise ValueError("network arrays: expected as many examples in each part of the buffer")
    version, n_steps, n_seen = (int(value) for value in np.asarray(arrays["counters"]))
    for name in Examples._fields:
        kept = arrays[f"buffer.{name}"]
        getattr(blank.buffer, name)[: kept.shape[0]] = kept

    def part(prefix: str) -> Weights:
        return {name: np.array(arrays[f"{prefix}.{name}"], np.float32) for name in blank.weights}

    return Network(
        architecture,
        version,
        n_steps,
        n_seen,
        part("weights"),
        part("mean"),
        part("square"),
        blank.buffer,
        np.array(arrays["n_taken"], np.int64),
    )


def digest(network: Network) -> bytes:
    """16 bytes that two networks share only if all they are made of is equal, bit by bit (xxh3)."""
    total = xxhash.xxh3_128(repr(network.architecture).encode())
    for name, array in sorted(to_arrays(network).items()):
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.digest()
