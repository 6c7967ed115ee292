"""What may stand in a checkpoint of these settings: the type, shape and most rows of every array.

Read off a state before its first event, so that no bytes of a file decide how much memory is taken.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer import pipeline
from streamer.checkpoint.file import Header, Slot
from streamer.errors import CheckpointRefused
from streamer.graph.state import DIM, HISTORY, N_HEADS, NODES
from streamer.graph.vectors import no_tables
from streamer.measure import Scoreboard
from streamer.nearest import Nearest
from streamer.pipeline.state import N_EXACT, State
from streamer.propagate.tables import tables_to_arrays

_MAX_ID_BYTES = 4096  # of names of nodes, too: a field and a value, escaped
_MAX_ENCODER_BYTES = 512 << 20
_MAX_GRAPH_BYTES = 256 << 20  # of 32,768 vectors and their edges
_SOME = 65_536  # rows of what has a cap of its own: blocks and months of the report, the network's ring of examples
_BYTES, _ROWS, _COUNTS = np.dtype(np.uint8), np.dtype(np.int32), np.dtype(np.int64)

Slots = dict[str, Slot]


def slots_of(state: State, scoreboard: Scoreboard, header: Header) -> Slots:
    """Name -> slot. Tables of the state are filled in place.

    Args:
        state, scoreboard: Before the first event.
        header: Says whether there are texts, and how wide; and which graphs over them.

    Raises:
        CheckpointRefused: the texts have vectors of a width that no model has.
    """
    caps = {
        "users": state.settings.max_users,
        "items": state.settings.max_items,
        "nodes": state.settings.max_nodes,
    }
    n_items, max_text_dim = caps["items"], state.scratch.text_total.size
    slots: Slots = {}
    for name, table in pipeline.tables(state).items():
        slots[f"table.{name}"] = _slot(table.array, 0, len(table.array), table.array)
    for kind, cap in caps.items():
        slots |= dict(_id_slots(f"ids.{kind}", cap))
    slots |= {f"takes.{name}": _exact(part) for name, part in state.graph.takes._asdict().items()}
    slots |= {
        f"board.{name}": _growing(part, 2 * n_items + _SOME) for name, part in scoreboard.freeze().items()
    }
    slots |= {
        "encoders": Slot(_BYTES, (), 0, _MAX_ENCODER_BYTES),
        "changed": Slot(_COUNTS, (), 0, n_items),
        "evicted": Slot(_COUNTS, (), 0, n_items),
        "leaving.rows": Slot(_COUNTS, (), 0, n_items),
        "leaving.progress": Slot(_COUNTS, (), 3, 3),
        "segments": Slot(_ROWS, (2,), 0, caps["users"]),
        "erased.users": Slot(np.dtype(np.uint64), (), 0, state.settings.max_erased),
        "erased.log_ms": Slot(_COUNTS, (), 0, state.settings.max_erased),
        "texts.rows": Slot(_ROWS, (), 0, n_items),
        "texts.keys": Slot(_BYTES, (32,), 0, n_items),
        "texts.early_keys": Slot(_BYTES, (32,), 0, n_items),
        "texts.early_sizes": Slot(_ROWS, (), 0, n_items),
        "texts.early": Slot(_BYTES, (), 0, n_items * 2 * max_text_dim),
    }
    slots |= _vector_slots("vectors.", n_items, is_optional=False)
    if state.trainer is not None:
        n_most = 2 * max(*caps.values(), _SOME)
        blank = state.trainer.freeze()()
        slots |= {f"trainer.{name}": _growing(part, n_most) for name, part in blank.items()}
        is_blank = any(a.name == "trainer.inputs.nodes" and a.shape == [0, 0] for a in header.arrays)
        # before the first round it has no columns yet; only then is their number open
        if "inputs.nodes" in blank and not is_blank:
            slots["trainer.inputs.nodes"] = Slot(_ROWS, (NODES,), 0, n_most)
        slots |= _vector_slots("trainer.tables.", n_items, is_optional=True)
    return slots | _nearest_slots(header, n_items, max_text_dim)


def _slot(like: NDArray[Any], n_min: int, n_max: int, into: NDArray[Any] | None = None) -> Slot:
    return Slot(like.dtype, like.shape[1:], n_min, n_max, into)


def _exact(like: NDArray[Any]) -> Slot:
    return _slot(like, len(like), len(like))


def _growing(like: NDArray[Any], n_most: int) -> Slot:
    """As many rows as before the first event; more only where it had none then."""
    return _slot(like, 0, n_most) if not len(like) else _exact(like)


def _id_slots(prefix: str, cap: int) -> Iterator[tuple[str, Slot]]:
    yield f"{prefix}.text", Slot(_BYTES, (), 0, cap * _MAX_ID_BYTES)
    for name in ("lengths", "rows", "released"):
        yield f"{prefix}.{name}", Slot(_ROWS, (), 0, cap)
    yield f"{prefix}.n_rows", Slot(_COUNTS, (), 1, 1)


def _vector_slots(prefix: str, n_items: int, *, is_optional: bool) -> Slots:
    blank = tables_to_arrays(no_tables(DIM, N_HEADS, HISTORY))
    slots = {name: _growing(part, n_items) for name, part in blank.items()}
    return {prefix + name: slot._replace(is_optional=is_optional) for name, slot in slots.items()}


def _nearest_slots(header: Header, n_items: int, max_text_dim: int) -> Slots:
    """Those of `Nearest.freeze`, where the header names any."""
    shape_of = {entry.name: entry.shape for entry in header.arrays if entry.name.startswith("nearest.")}
    if not shape_of:
        return {}
    shape = shape_of.get("nearest.table.vector", [0, 0])
    if len(shape) != 2 or not 1 <= shape[1] <= max_text_dim:
        raise CheckpointRefused(
            f"array nearest.table.vector: expected 1 to {max_text_dim} columns, got {shape}"
        )
    blank = Nearest(n_items, shape[1], N_EXACT).snapshot()
    slots = {f"nearest.{name}": _growing(part, n_items) for name, part in blank.items()}
    for name in shape_of.keys() - slots.keys():
        kind, _, number = name.removeprefix("nearest.segments.").partition(".")
        if number.isdecimal() and len(number) < 9 and kind in ("rows", "graph"):
            slots[name] = (
                Slot(_ROWS, (), 0, n_items) if kind == "rows" else Slot(_BYTES, (), 0, _MAX_GRAPH_BYTES)
            )
    return slots
