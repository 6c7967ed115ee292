"""All that the log has taught so far: made, measured in bytes, and hashed."""

from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from streamer import mixture, paths
from streamer.encode import Encoders
from streamer.erased import ErasedUsers
from streamer.errors import ConfigError
from streamer.events.contract import MAX_TEXT_DIM
from streamer.graph import FoldSettings, Graph, new_graph
from streamer.graph.scratch import Candidates, new_candidates
from streamer.graph.state import EVENTS, N_ARRIVED, N_SLOTS_USED, SWITCHES, WITH_VECTORS
from streamer.ids import IdTable
from streamer.nearest import Nearest
from streamer.packed_ids import PackedIds
from streamer.propagate.learner import Trainer
from streamer.ranker import Ranker, new_ranker
from streamer.ranker.features import N_FEATURES
from streamer.texts import TextRows
from streamer.window import Window, new_window

# vectors of texts up to which nearest items are exact; a scan of as many takes a millisecond
N_EXACT = 100_000
# what `FoldSettings.without` can keep from the encoders
FEATURE_KINDS = ("numerical", "categorical", "words", "context")
OTHER_KINDS = ("text", "rating")


class Ids(NamedTuple):
    """The three kinds of outside names."""

    users: PackedIds  # there may be tens of millions
    items: IdTable
    nodes: IdTable  # feature nodes, "field=value" and the like, and segments of users


class Contents(NamedTuple):
    """What the last record of each item and user said, as hashes: one that is sent again changes nothing. 0 = none."""

    items: NDArray[np.uint64]  # (max_items,)
    users: NDArray[np.uint64]  # (max_users,)


# indices of Leaving.progress
N_PASSED, N_USERS, SINCE = range(3)


class Leaving(NamedTuple):
    """Items chosen to make way, and how far the pass has come that takes them out of all rows; see `leaving`."""

    is_gone: NDArray[np.bool_]  # (max_items + 1,) by row + 1
    # (3,) rows passed, users first; users to be passed; number of the last event before they were chosen
    progress: NDArray[np.int64]


class State(NamedTuple):
    """Everything that the log has taught so far."""

    settings: FoldSettings
    graph: Graph
    ids: Ids
    encoders: Encoders
    texts: TextRows
    nearest: Nearest | None  # items by text; None until the first vector says how wide they are
    ranker: Ranker
    trainer: Trainer | None  # of the attention network; None: nobody trains
    changed: set[int]  # item rows that the trainer has not seen as they are now
    evicted: set[int]  # of these, rows given up since the last round: it must forget what it knows of them
    leaving: Leaving
    segments: dict[int, int]  # node row of a profile's value -> row of the user who stands for it
    window: Window  # of the event ids folded lately
    contents: Contents
    erased: ErasedUsers
    scratch: Candidates  # no state: where lists are made


def switchable() -> tuple[str, ...]:
    """Every name that `FoldSettings.without` takes: paths, and kinds of evidence."""
    return (*paths.NAMES, *SWITCHES, *FEATURE_KINDS, *OTHER_KINDS)


def new_state(settings: FoldSettings, trainer: Trainer | None = None) -> State:
    """The state before the first event.

    Args:
        trainer: Of the attention network. None, or "vectors" among `settings.without`: there are no vectors.

    Raises:
        ConfigError: the settings switch something off that there is not.
        ValueError: a size is out of range.
    """
    unknown = sorted(set(settings.without) - set(switchable()))
    if unknown:
        raise ConfigError(f"without: expected some of {', '.join(switchable())}; got {', '.join(unknown)}")
    has_trainer = trainer is not None and "vectors" not in settings.without
    graph = new_graph(settings, mixture.N_CONTEXTS, paths.NAMES)
    graph.weights[:] = paths.FIRST_WEIGHTS
    graph.switches[WITH_VECTORS] = has_trainer
    return State(
        settings,
        graph,
        Ids(PackedIds(settings.max_users), IdTable(settings.max_items), IdTable(settings.max_nodes)),
        Encoders(ignore=frozenset(settings.without) & frozenset(FEATURE_KINDS)),
        TextRows(settings.max_items),
        None,
        new_ranker(N_FEATURES),
        trainer if has_trainer else None,
        set(),
        set(),
        Leaving(np.zeros(settings.max_items + 1, np.bool_), np.zeros(3, np.int64)),
        {},
        new_window(settings.dedup_window),
        Contents(np.zeros(settings.max_items, np.uint64), np.zeros(settings.max_users, np.uint64)),
        ErasedUsers(settings.max_erased),
        new_candidates(paths.N_PATHS, settings.max_nodes, MAX_TEXT_DIM),
    )


class Table(NamedTuple):
    """A table of the state at its cap, and how much of it is in use."""

    array: NDArray[Any]
    n_used: int  # rows; nothing was ever written behind them, or nothing that is read again

    @property
    def used(self) -> NDArray[Any]:
        """The rows in use; a view."""
        return self.array[: self.n_used]


def tables(state: State) -> dict[str, Table]:
    """Every table that the log moves, but for those of `nearest`, of the network, and of the round to come."""
    graph, ids = state.graph, state.ids
    of_items = {
        "items": graph.items,
        "damping": graph.damping,
        "unlistable": graph.unlistable,
        "neighbours": graph.neighbour,
        "evidence": graph.evidence,
        "company": graph.company.sum,
        "company_codes": graph.company.code,
        "item_contents": state.contents.items,
    }
    of_users = {"users": graph.users, "user_contents": state.contents.users}
    of_nodes = {"nodes": graph.nodes, "node_items": graph.node_items}
    taken = {"taken": graph.taken.item, "taken_counts": graph.taken.times, "taken_last": graph.taken.last}
    rings = {"rates_ring": graph.rates.ring, "rates_arrived": graph.rates.arrived}
    n_used = {
        **dict.fromkeys(of_items, ids.items.n_rows),
        **dict.fromkeys(of_users, ids.users.n_rows),
        **dict.fromkeys(of_nodes, ids.nodes.n_rows),
        **dict.fromkeys(taken, int(graph.taken.used[N_SLOTS_USED])),
        "rates_ring": int(graph.counters[EVENTS]) + 1,
        "rates_arrived": int(graph.rates.n[N_ARRIVED]),
        "window_ring": int(state.window.n[0]),
    }
    arrays = {
        **of_items,
        **of_users,
        **of_nodes,
        **taken,
        "taken_free": graph.taken.free,
        "taken_used": graph.taken.used,
        "clock_scales": graph.clocks.scale,
        "clock_epochs": graph.clocks.epoch,
        "clock_masses": graph.clocks.mass,
        "clock_lists": graph.clocks.top,
        "clock_lengths": graph.clocks.n_top,
        **{
            f"rates_{name}": table
            for name, table in graph.rates._asdict().items()
            if name not in ("ring", "arrived")
        },
        **rings,
        "fresh": graph.fresh,
        "counters": graph.counters,
        "weights": graph.weights,
        "values": graph.values,
        "window_ring": state.window.ring,
        "window_n": state.window.n,
        **{
            f"ranker_{part}_{name}": table
            for part in ("weights", "first_moment", "second_moment", "memory", "scaling")
            for name, table in getattr(state.ranker, part)._asdict().items()
        },
        "ranker_updates": state.ranker.n_updates,
        "ranker_guard": state.ranker.guard,
    }
    return {
        name: Table(array, min(n_used.get(name, len(array)), len(array))) for name, array in arrays.items()
    }


def leaving_rows(state: State) -> NDArray[np.int64]:
    """Rows of the items that were chosen to make way, ascending."""
    return np.flatnonzero(state.leaving.is_gone[1:])


def _used_tables(state: State) -> dict[str, NDArray[Any]]:
    """Every table, cut to the rows that are in use."""
    return {name: table.used for name, table in tables(state).items()}


def table_bytes(state: State) -> dict[str, int]:
    """Bytes of every table in use, and of the id tables (of items and nodes estimated: 100 bytes beside the id itself)."""
    sizes = {
        name: table.nbytes for name, table in _used_tables(state).items() if not name.startswith("ranker_")
    }
    sizes["ranker"] = sum(t.nbytes for name, t in _used_tables(state).items() if name.startswith("ranker_"))
    sizes["ids_users"] = state.ids.users.n_bytes()
    sizes["ids_items"], sizes["ids_nodes"] = 140 * state.ids.items.n_rows, 140 * state.ids.nodes.n_rows
    sizes["window_slots"] = state.window.slots.nbytes if state.window.ring.size else 0
    sizes["erased"] = state.erased.n_bytes()
    sizes["encoders"] = state.encoders.n_bytes()
    sizes["texts"] = state.texts.n_bytes()
    sizes["nearest"] = state.nearest.n_bytes() if state.nearest is not None else 0
    sizes["network"] = state.trainer.n_bytes() if state.trainer is not None else 0
    sizes["leaving"] = state.ids.items.n_rows + 1
    sizes["vectors"] = sum(table.nbytes for table in state.graph.vectors[:-1])
    return sizes


def state_hash(state: State) -> str:
    """Equal states have equal hashes: settings, ids, encoders, texts and every table in use (xxh3, 128 bits, hexadecimal)."""
    digest = xxhash.xxh3_128(repr(tuple(state.settings)).encode())
    for ids in state.ids:
        for outside_id, row in ids.items():
            digest.update(f"{row}:{len(outside_id)}:{outside_id};".encode())
        digest.update(repr(ids.released).encode())
    for name, table in _used_tables(state).items():
        digest.update(f"{name}{table.shape}".encode())
        # a view of bytes: structured tables have no padding that differs, since they start as zeros
        digest.update(np.ascontiguousarray(table).view(np.uint8).data)
    digest.update(state.encoders.digest())
    digest.update(state.texts.digest())
    digest.update(state.erased.digest())
    digest.update(state.nearest.digest() if state.nearest is not None else b"none")
    digest.update(state.trainer.digest() if state.trainer is not None else b"none")
    # what the next round will be told, and what lists are ranked with until then
    digest.update(repr((sorted(state.changed), sorted(state.evicted))).encode())
    digest.update(repr((leaving_rows(state).tolist(), state.leaving.progress.tolist())).encode())
    for table in (*state.graph.takes, *state.graph.vectors[:-1]):
        digest.update(np.ascontiguousarray(table).view(np.uint8).data)
    digest.update(repr(state.graph.vectors.version).encode())
    return digest.hexdigest()


def path_weights(state: State) -> dict[str, float]:
    """Weight of every path, over all contexts by how much each was seen; sums to 1."""
    gathered = state.graph.weights.sum(axis=0)
    return dict(zip(paths.NAMES, (gathered / gathered.sum()).tolist(), strict=True))
