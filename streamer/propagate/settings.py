"""What the attention network is made of, what it reads, and what it learns from."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.graph.vectors import MAX_HISTORY


class Architecture(NamedTuple):
    """Everything that changes what the network computes; part of the state hash.

    Args:
        dim: Width of all vectors.
        n_history: How many of a user's last items send messages to him.
        n_heads: Attention heads.
        attention: "weights": learned by position and time gap alone; "graph": the reference's graph attention.
        item_steps: 1 adds to an item's vector a learned projection of the mean of its co-taken items.
        seed: Of all that is drawn: first values, dropout, replay, negatives.
        use_text, use_features, use_ids, use_ratings, use_gaps, use_self_loop: For the ablation.
        id_dropout: Share of items that stand in a step by their content alone, so that content learns to carry them.
        batch_size: New examples a step.
        n_replayed: Examples of the past a step, for each new one.
        n_buffered: Examples of the past that are kept.
        replay_power: The age of a replayed example is n_kept * u ** replay_power, u uniform; 1 = all ages alike.
        max_full_softmax: Up to this many known items, all of them are negatives.
        n_negatives: Beyond that, so many sampled by popularity, beside the targets of the step.
        embedding_rate, rate: Learning rates of Adam, for embeddings and biases, and for the rest.
    """

    dim: int = 64
    n_history: int = 20
    n_heads: int = 2
    attention: Literal["weights", "graph"] = "weights"
    item_steps: int = 1
    seed: int = 0
    use_text: bool = True
    use_features: bool = True
    use_ids: bool = True
    use_ratings: bool = True
    use_gaps: bool = True
    use_self_loop: bool = True
    id_dropout: float = 0.3
    batch_size: int = 128
    n_replayed: int = 3
    n_buffered: int = 65_536
    replay_power: float = 2.0
    max_full_softmax: int = 2048
    n_negatives: int = 1024
    embedding_rate: float = 0.006
    rate: float = 0.004


class Inputs(NamedTuple):
    """What the fold knows of the items; row by row, all of one length."""

    # (n_items, text_dim); int8 stands for 1/127ths; zeros = none
    text: NDArray[np.float32] | NDArray[np.int8]
    nodes: NDArray[np.int32]  # (n_items, any) feature node row + 1; 0 = none
    known: NDArray[np.bool_]  # (n_items,) arrived by an event, not retired: may be a target or a negative
    neighbours: NDArray[np.int32]  # (n_items, any) co-taken item row + 1; 0 = none; read if item_steps


class Examples(NamedTuple):
    """First takes: what was taken, and the user's last items at that moment."""

    target: NDArray[np.int32]  # (n,) item row
    items: NDArray[np.int32]  # (n, n_history) item rows, newest first, without holes; -1 = none
    gap_s: NDArray[np.float32]  # (n, n_history) from each of them to the target's time, >= 0
    z_score: NDArray[np.float32]  # (n, n_history) of their ratings; nan = none


def no_examples(n: int, n_history: int) -> Examples:
    """n examples of nothing, to be filled."""
    return Examples(
        target=np.full(n, -1, np.int32),
        items=np.full((n, n_history), -1, np.int32),
        gap_s=np.zeros((n, n_history), np.float32),
        z_score=np.full((n, n_history), np.nan, np.float32),
    )


def take(examples: Examples, which: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Examples:
    """Some of the examples, in the order of `which`; a slice gives views."""
    return Examples(
        examples.target[which], examples.items[which], examples.gap_s[which], examples.z_score[which]
    )


def without_items(examples: Examples, is_gone: NDArray[np.bool_]) -> Examples:
    """Copies of the examples without these items: histories close up. One that lost its target or all its history is left out.

    Args:
        is_gone: (n_items,) of every item row that the examples name.
    """
    gone = np.concatenate([is_gone, [True]])  # at -1: nobody is nobody to keep
    order = np.argsort(gone[examples.items], axis=1, kind="stable")
    items = np.take_along_axis(examples.items, order, axis=1)
    gap_s = np.take_along_axis(examples.gap_s, order, axis=1)
    z_score = np.take_along_axis(examples.z_score, order, axis=1)
    is_hole = gone[items]
    items[is_hole], gap_s[is_hole], z_score[is_hole] = -1, 0.0, np.nan
    return take(Examples(examples.target, items, gap_s, z_score), ~gone[examples.target] & ~is_hole[:, 0])


def as_float(text: NDArray[np.float32] | NDArray[np.int8]) -> NDArray[np.float32]:
    """Text embeddings as float32; int8 stands for 1/127ths."""
    if text.dtype == np.int8:
        return text.astype(np.float32) / np.float32(127.0)
    return text.astype(np.float32, copy=False)


def check_architecture(architecture: Architecture) -> None:
    """Refuse sizes that the network cannot have.

    Raises:
        ValueError: which setting, what was expected, what came.
    """
    for name in ("dim", "n_heads", "n_buffered", "batch_size", "n_negatives"):
        if getattr(architecture, name) < 1:
            raise ValueError(f"{name}: expected at least 1, got {getattr(architecture, name)}")
    if not 1 <= architecture.n_history <= MAX_HISTORY:
        raise ValueError(f"n_history: expected 1 to {MAX_HISTORY}, got {architecture.n_history}")
    if architecture.dim % architecture.n_heads:
        raise ValueError(f"dim: expected a multiple of {architecture.n_heads} heads, got {architecture.dim}")
    if architecture.attention not in {"weights", "graph"}:
        raise ValueError(f'attention: expected "weights" or "graph", got {architecture.attention!r}')
    if architecture.item_steps not in {0, 1}:
        raise ValueError(f"item_steps: expected 0 or 1, got {architecture.item_steps}")
    if architecture.n_replayed < 0:
        raise ValueError(f"n_replayed: expected 0 or more, got {architecture.n_replayed}")
    if not 0.0 <= architecture.id_dropout < 1.0:
        raise ValueError(f"id_dropout: expected a share from 0 to below 1, got {architecture.id_dropout}")


def check_inputs(inputs: Inputs, text_dim: int) -> None:
    """Refuse arrays that do not belong together.

    Raises:
        ValueError: which array, what was expected, what came.
    """
    n_items = inputs.known.size
    if inputs.text.shape != (n_items, text_dim):
        raise ValueError(f"inputs.text: expected shape {(n_items, text_dim)}, got {inputs.text.shape}")
    for name in ("nodes", "neighbours"):
        got = getattr(inputs, name).shape
        if len(got) != 2 or got[0] != n_items:
            raise ValueError(f"inputs.{name}: expected {n_items} rows, got shape {got}")
    if inputs.neighbours.max(initial=0) > n_items:
        raise ValueError(
            f"inputs.neighbours: expected item rows + 1, up to {n_items}, got {inputs.neighbours.max()}"
        )


def check_examples(examples: Examples, n_history: int, n_items: int) -> None:
    """Refuse examples of another shape or of items that the inputs do not have.

    Raises:
        ValueError: which array, what was expected, what came.
    """
    n = examples.target.size
    for name in ("items", "gap_s", "z_score"):
        got = getattr(examples, name).shape
        if got != (n, n_history):
            raise ValueError(f"examples.{name}: expected shape {(n, n_history)}, got {got}")
    for name, least in (("target", 0), ("items", -1)):
        rows = getattr(examples, name)
        if n and not (least <= rows.min() and rows.max() < n_items):
            raise ValueError(
                f"examples.{name}: expected item rows of the inputs, {least} to {n_items - 1}, "
                f"got {rows.min()} to {rows.max()}"
            )
