"""A data set as arrays for the bench of vectors: events with their histories, items with their features and texts."""

import re
from collections import Counter, defaultdict, deque
from pathlib import Path
from typing import NamedTuple

import numpy as np
import wordllama
from numpy.typing import NDArray

from streamer.datasets import load
from streamer.events import CatalogItem, Interaction, decode
from streamer.propagate import Examples, no_examples

N_BINS = 16
N_NODES = 16
MIN_RATINGS_STD = 0.5


class Log(NamedTuple):
    """The first events of a set; items and users are numbered in the order of their first event."""

    name: str
    user: NDArray[np.int32]  # (n_events,)
    examples: Examples  # one an event: its item, and the user's last items before it
    first_take: NDArray[np.bool_]  # (n_events,) the user had not taken the item before
    n_known: NDArray[np.int32]  # (n_events,) items that had an event before this one: rows 0 to n_known - 1
    text: NDArray[np.float32]  # (n_items, 256)
    nodes: NDArray[np.int32]  # (n_items, N_NODES) feature node + 1


def read_log(directory: Path, n_events: int, n_history: int) -> Log:
    """The first `n_events` interactions of the set in the directory, the catalog they touch, and its texts."""
    interactions: list[Interaction] = []
    catalog: dict[str, CatalogItem] = {}
    for message in load(directory, catalog_first=False, max_events=n_events).messages():
        event = decode(message.kind, message.key, message.value)
        if isinstance(event, Interaction):
            interactions.append(event)
        elif isinstance(event, CatalogItem):
            catalog[event.item_id] = event
    user_rows: dict[str, int] = {}
    item_rows: dict[str, int] = {}
    user = np.array([user_rows.setdefault(e.user_id, len(user_rows)) for e in interactions], np.int32)
    item = np.array([item_rows.setdefault(e.item_id, len(item_rows)) for e in interactions], np.int32)
    items = [catalog.get(item_id) for item_id in item_rows]
    texts = [_text(item) for item in items]
    return Log(
        directory.name,
        user,
        _histories(interactions, user, item, n_history),
        _first_takes(user, item),
        np.concatenate([[0], np.maximum.accumulate(item)[:-1] + 1]).astype(np.int32),
        _embedded(texts),
        _nodes(items, texts),
    )


def _histories(
    interactions: list[Interaction], user: NDArray[np.int32], item: NDArray[np.int32], n_history: int
) -> Examples:
    examples = no_examples(user.size, n_history)
    past: dict[int, deque[tuple[int, float, float]]] = defaultdict(lambda: deque(maxlen=n_history))
    ratings: dict[int, tuple[int, float, float]] = {}  # user -> number, mean, sum of squared deviations
    examples.target[:] = item
    for n, event in enumerate(interactions):
        time_s = event.timestamp_ms / 1000
        for k, (row, then_s, z_score) in enumerate(past[int(user[n])]):
            examples.items[n, k] = row
            examples.gap_s[n, k] = max(time_s - then_s, 0.0)
            examples.z_score[n, k] = z_score
        z_score = float("nan")
        if event.value is not None:
            # one measure for stars and for quantities with a heavy tail
            value = float(np.sign(event.value) * np.log1p(abs(event.value)))
            count, mean, squares = ratings.get(int(user[n]), (0, 0.0, 0.0))
            moved = mean + (value - mean) / (count + 1)
            squares += (value - mean) * (value - moved)
            ratings[int(user[n])] = count + 1, moved, squares
            z_score = (value - moved) / max((squares / (count + 1)) ** 0.5, MIN_RATINGS_STD)
        past[int(user[n])].appendleft((int(item[n]), time_s, float(np.clip(z_score, -3, 3))))
    return examples


def _first_takes(user: NDArray[np.int32], item: NDArray[np.int32]) -> NDArray[np.bool_]:
    pair = user.astype(np.int64) * (int(item.max()) + 1) + item
    first = np.zeros(user.size, np.bool_)
    first[np.unique(pair, return_index=True)[1]] = True
    return first


def _text(item: CatalogItem | None) -> str:
    if item is None:
        return ""
    values = [value for values in item.categorical.values() for value in values]
    return ", ".join(part for part in (item.title, *values) if part)


def _embedded(texts: list[str]) -> NDArray[np.float32]:
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    return np.asarray(model.embed(texts, norm=True), np.float32)


def _nodes(items: list[CatalogItem | None], texts: list[str]) -> NDArray[np.int32]:
    """Categories, quantile bins of each number, and words that occur twice; bins over the whole prefix, for simplicity."""
    words = [list(dict.fromkeys(re.findall(r"\w\w+", text.lower()))) for text in texts]
    count = Counter(word for one in words for word in one)
    fields = sorted({field for item in items if item for field in item.numerical})
    edges = {}
    for field in fields:
        values = [item.numerical[field] for item in items if item and field in item.numerical]
        edges[field] = np.quantile(values, np.arange(1, N_BINS) / N_BINS)
    numbers: dict[tuple[str, object], int] = {}
    nodes = np.zeros((len(items), N_NODES), np.int32)
    for row, item in enumerate(items):
        names: list[tuple[str, object]] = []
        if item is not None:
            names += [(field, value) for field, values in item.categorical.items() for value in values]
            names += [(field, int(np.searchsorted(edges[field], x))) for field, x in item.numerical.items()]
        names += [("word", word) for word in words[row] if count[word] > 1]
        kept = names[:N_NODES]
        nodes[row, : len(kept)] = [numbers.setdefault(name, len(numbers)) + 1 for name in kept]
    return nodes
