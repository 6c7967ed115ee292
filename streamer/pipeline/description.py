"""What the catalog and the context of an event say: feature nodes, numbers, texts; put into the tables."""

from collections.abc import Iterable
from itertools import islice

import numpy as np

from streamer import nearest
from streamer.encode.names import CONTEXT, WORD
from streamer.events import CatalogItem
from streamer.graph.catalog import move_to_nodes
from streamer.graph.state import EVENTS, NODES, POOLED
from streamer.pipeline.state import N_EXACT, State
from streamer.texts import content_key, content_of

# Share of the nodes' table beyond which no new node of a kind is admitted. A row is never given back, so what is new in every
# record (numbers of models among the words, ids in a context) would fill it for good, and categories and profiles go without.
_WORDS_UP_TO = 0.5
_CONTEXTS_UP_TO = 0.75


def give_features(state: State, item_row: int, event: CatalogItem) -> State:
    """An item lies at these feature nodes, and has this text, from now on."""
    features = state.encoders.item(event)
    categories = _admit_nodes(state, features.categories, NODES)
    others = _admit_nodes(state, (*features.bins, *features.words), NODES - len(categories))
    nodes, numbers = np.array([*categories, *others], np.int32), np.array(features.numbers, np.float32)
    move_to_nodes(state.graph, item_row, nodes, len(categories), numbers)
    state.changed.add(item_row)
    settings = state.settings
    has_texts = settings.text_model != "none" and "text" not in settings.without
    return _give_text(state, item_row, event) if has_texts else state


def segment_rows(state: State, names: Iterable[str], n_most: int) -> list[int]:
    """Rows + 1 of the first nodes of a profile or a context; of those that find room."""
    return [row + 1 for row in _admit_nodes(state, names, n_most)]


def hear_of(state: State, item_row: int) -> None:
    """Note when one that never was in the catalog of lists was named last: it has no other age."""
    items = state.graph.items
    if not items["flags"][item_row] & POOLED:
        items["first_event"][item_row] = state.graph.counters[EVENTS]


def put_text(state: State, item_row: int, encoded: bytes) -> State:
    """An item's text has this vector, as the log has it; one of another length than the first is left out."""
    vector = np.frombuffer(encoded, "<f2").astype(np.float32)
    if state.nearest is None:
        table = nearest.Nearest(state.settings.max_items, vector.size, N_EXACT)
        state = state._replace(nearest=table, graph=state.graph._replace(near=table.table))
    near = state.nearest
    if near is not None and near.table.vector.shape[1] == vector.size:
        near.put(item_row, vector)
        state.changed.add(item_row)
    return state


def _give_text(state: State, item_row: int, event: CatalogItem) -> State:
    content = content_of(event)
    key = content_key(state.settings.text_model, content) if content else ""
    key_prev, near = state.texts.key(item_row), state.nearest
    if key == key_prev:
        return state
    code_prev = near.table.vector[item_row].copy() if near is not None else np.zeros(0, np.int8)
    vector, twin_row = state.texts.describe(item_row, key)
    if code_prev.any():
        # for whoever has the old text next: its vector is on the log already, and nobody sends it again
        state.texts.arrive(key_prev, code_prev.astype("<f2").tobytes())
    if vector is not None:
        return put_text(state, item_row, vector)
    if near is not None:
        if twin_row >= 0 and near.table.vector[twin_row].any():
            near.put(item_row, near.table.vector[twin_row].astype(np.float32))
        else:
            near.drop(item_row)
    return state


def _admit_nodes(state: State, names: Iterable[str], n_most: int) -> list[int]:
    """Rows of the first names that find room. A row is never given back, so none is given to a name that is not used."""
    admitted = (row for name in names if (row := _admit_node(state, name)) >= 0)
    return list(islice(admitted, n_most))


def _admit_node(state: State, name: str) -> int:
    n_most = state.settings.max_nodes
    if name.startswith(WORD):
        n_most = int(_WORDS_UP_TO * n_most)
    elif name.startswith(CONTEXT):
        n_most = int(_CONTEXTS_UP_TO * n_most)
    return state.ids.nodes.admit(name, n_most)
