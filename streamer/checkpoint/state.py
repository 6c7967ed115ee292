"""State and scoreboard <-> named arrays.

Names say whose an array is: `table.users`, `ids.items.text`, `trainer.network.weights.item`, ... Each stage takes its own part
apart and puts it together again; here is only who has which prefix, and what may be there (`slots`).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer import pipeline
from streamer.checkpoint.file import Header, Reader, missing, read_arrays
from streamer.checkpoint.slots import slots_of
from streamer.checkpoint.sound import check_rows, check_trainer
from streamer.encode import Encoders
from streamer.erased import ErasedUsers
from streamer.errors import CheckpointRefused
from streamer.graph import FoldSettings
from streamer.graph.catalog import withdraw
from streamer.ids import IdTable
from streamer.measure import Scoreboard
from streamer.nearest import Nearest
from streamer.packed_ids import PackedIds
from streamer.pipeline.state import N_EXACT, Ids, State
from streamer.propagate.learner import Trainer
from streamer.propagate.tables import tables_from_arrays, tables_to_arrays
from streamer.texts import TextRows
from streamer.window import refill

Arrays = dict[str, NDArray[Any]]
Room = Mapping[str, NDArray[np.uint8]]

_LARGE = 1 << 20  # bytes of a table from which on room is made for its copy
_SPARE = 0.02  # of it, for what comes until the copy is made


class Restored(NamedTuple):
    """What a checkpoint holds."""

    state: State
    scoreboard: Scoreboard


def room_for(state: State) -> Callable[[], Room]:
    """Room for a copy of the large tables; what comes back is called in another thread, and makes it.

    The system gives pages when they are first written, which takes as long as the copy: better before the fold waits for it.
    """
    sizes = {name: table.used.nbytes for name, table in pipeline.tables(state).items()}

    def made() -> Room:
        large = {name: n_bytes for name, n_bytes in sizes.items() if n_bytes >= _LARGE}
        return {name: _touched(n_bytes + int(n_bytes * _SPARE) + _LARGE) for name, n_bytes in large.items()}

    return made


def _touched(n_bytes: int) -> NDArray[np.uint8]:
    array = np.empty(n_bytes, np.uint8)
    array.fill(0)
    return array


def freeze(state: State, scoreboard: Scoreboard, room: Room | None = None) -> Callable[[], Arrays]:
    """Copy what the fold moves. Only this is waited for; what comes back may be called in another thread, and gives the arrays.

    It waits there for the round of training at hand, whose outcome is part of the state: which event it belongs to is fixed.

    Args:
        room: As `room_for` made it a short while ago, given away; None: the copy makes its own.
    """
    spare = room or {}
    arrays = {
        f"table.{name}": _copied(table.used, spare.get(name))
        for name, table in pipeline.tables(state).items()
    }
    arrays |= {f"takes.{name}": part.copy() for name, part in state.graph.takes._asdict().items()}
    # not copied: tables of a version are never changed, the next one brings its own
    arrays |= {f"vectors.{name}": part for name, part in tables_to_arrays(state.graph.vectors).items()}
    arrays |= _under("board", scoreboard.freeze())
    arrays["encoders"] = np.frombuffer(state.encoders.freeze(), np.uint8)
    arrays["changed"] = np.array(sorted(state.changed), np.int64)
    arrays["evicted"] = np.array(sorted(state.evicted), np.int64)
    arrays["leaving.rows"] = pipeline.leaving_rows(state)
    arrays["leaving.progress"] = state.leaving.progress.copy()
    arrays["segments"] = np.array(list(state.segments.items()), np.int32).reshape(-1, 2)
    later = {f"ids.{kind}": ids.freeze() for kind, ids in state.ids._asdict().items()}
    later["texts"] = state.texts.freeze()
    later["erased"] = state.erased.freeze()
    if state.nearest is not None:
        later["nearest"] = state.nearest.freeze()
    if state.trainer is not None:
        later["trainer"] = state.trainer.freeze()

    def everything() -> Arrays:
        for prefix, part in later.items():
            arrays.update(_under(prefix, part()))
        later.clear()
        return arrays

    return everything


def restore(header: Header, reader: Reader, settings: FoldSettings, trainer: Trainer | None) -> Restored:
    """A state that goes on exactly as the one that was frozen.

    Args:
        header: Just read from `reader`.
        trainer: A new one; given away.

    Raises:
        CheckpointRefused: what is read is not the state of a fold with these settings.
    """
    state, scoreboard = pipeline.new_state(settings, trainer), Scoreboard()
    slots = slots_of(state, scoreboard, header)
    arrays = read_arrays(header, reader, slots.get)
    missing(arrays, (name for name, slot in slots.items() if not slot.is_optional))
    try:
        return _put_together(state, scoreboard, arrays)
    except (ValueError, IndexError, KeyError, OverflowError) as exc:
        raise CheckpointRefused(f"it does not fit together: {exc}") from exc


def _put_together(state: State, scoreboard: Scoreboard, arrays: Arrays) -> Restored:
    settings = state.settings
    ids = Ids(
        users=PackedIds.thaw(settings.max_users, _of(arrays, "ids.users")),
        items=IdTable.thaw(settings.max_items, _of(arrays, "ids.items")),
        nodes=IdTable.thaw(settings.max_nodes, _of(arrays, "ids.nodes")),
    )
    encoders = Encoders.from_bytes(arrays["encoders"].tobytes())
    if encoders.arguments != state.encoders.arguments:
        raise ValueError("encoders: expected those of these settings")
    for part, array in state.graph.takes._asdict().items():
        array[:] = arrays[f"takes.{part}"]
    vectors = tables_from_arrays(_of(arrays, "vectors"))
    near = _nearest(settings, _of(arrays, "nearest"))
    graph = state.graph._replace(vectors=vectors, near=near.table if near is not None else state.graph.near)
    state.leaving.is_gone[arrays["leaving.rows"] + 1] = True
    state.leaving.progress[:] = arrays["leaving.progress"]
    scoreboard.thaw(_of(arrays, "board"))
    state = state._replace(
        graph=graph,
        ids=ids,
        encoders=encoders,
        texts=TextRows.thaw(settings.max_items, _of(arrays, "texts")),
        nearest=near,
        changed=set(arrays["changed"].tolist()),
        evicted=set(arrays["evicted"].tolist()),
        segments=dict(arrays["segments"].tolist()),
        erased=ErasedUsers.thaw(settings.max_erased, _of(arrays, "erased")),
    )
    for name, table in pipeline.tables(state).items():
        if len(arrays[f"table.{name}"]) != table.n_used:
            raise ValueError(
                f"table {name}: expected {table.n_used} rows, got {len(arrays[f'table.{name}'])}"
            )
    check_rows(state)
    _leave_lists(state)
    refill(state.window)
    if state.trainer is not None:  # last, since it is the caller's, who may try an older checkpoint next
        trained = _of(arrays, "trainer")
        check_trainer(trained, ids.items.n_rows, ids.nodes.n_rows)
        state.trainer.thaw(trained)
    return Restored(state, scoreboard)


def _leave_lists(state: State) -> None:
    """Take items that may not be listed off the clocks' lists: checkpoints of earlier versions have them there."""
    n_rows, graph = state.ids.items.n_rows, state.graph
    is_there = graph.items["position"][:n_rows].any(axis=1)
    for row in np.flatnonzero(is_there & graph.unlistable[:n_rows]).tolist():
        withdraw(graph, row, n_rows)


def _nearest(settings: FoldSettings, arrays: Mapping[str, NDArray[Any]]) -> Nearest | None:
    if not arrays:
        return None
    nearest = Nearest(settings.max_items, arrays["table.vector"].shape[1], N_EXACT)
    nearest.restore(arrays)
    return nearest


def _copied(used: NDArray[Any], spare: NDArray[np.uint8] | None) -> NDArray[Any]:
    # as bytes: numpy copies records field by field
    flat = (used.view(np.uint8) if used.size else np.zeros(0, np.uint8)).reshape(-1)
    copy = spare[: flat.size] if spare is not None and spare.size >= flat.size else np.empty_like(flat)
    np.copyto(copy, flat)
    return copy.view(used.dtype).reshape(used.shape)


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def _of(arrays: Mapping[str, NDArray[Any]], prefix: str) -> Arrays:
    start = f"{prefix}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
