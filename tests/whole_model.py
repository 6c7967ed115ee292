"""A stream that moves every part of the model, and a trainer without torch that answers at once."""

import hashlib

import numpy as np

from streamer import pipeline
from streamer.events import (
    CatalogItem,
    Interaction,
    ItemRetired,
    Profile,
    TextEmbedded,
    UserErased,
)
from streamer.graph import FoldSettings
from streamer.graph.state import DIM, HISTORY, N_HEADS
from streamer.graph.vectors import N_GAPS, Tables
from streamer.propagate.tables import tables_from_arrays, tables_to_arrays
from streamer.texts import content_key, content_of

MODEL = "made-up"
TEXT_DIM = 8
SETTINGS = FoldSettings(
    max_items=96,
    max_users=32,
    max_nodes=160,
    max_taken=16_384,
    n_neighbours=32,
    training_interval=16,
    explore_share=0.1,
    text_model=MODEL,
)
_WORDS = ("red", "blue", "cup", "tea", "lamp", "iron", "old", "glass", "box", "bird")


class DrawnTables:
    """A `Trainer` whose tables are drawn anew a round, from the bytes of all rounds so far.

    So the least difference between two rounds makes every vector another one. `late` rounds are not ready when asked for.
    """

    def __init__(self, late=()):
        self.rounds, self.late = [], set(late)
        self._state, self._tables, self._n_asked, self._n_before = b"", None, 0, 0

    def submit(self, job):
        """Begin a round, and end it."""
        assert self._tables is None
        self.rounds.append(job)
        arrays = [*job.examples, job.rows, job.text, job.nodes, job.known, job.neighbours, job.evicted]
        parts = [self._state, job.n_items.to_bytes(8, "little"), *(array.tobytes() for array in arrays)]
        self._state = hashlib.sha256(b"".join(parts)).digest()
        self._tables = drawn_tables(int.from_bytes(self._state[:8], "little"), job.n_items, self._n_rounds())

    def take(self):
        """The tables of the last round."""
        self._n_asked += 1
        if self._n_asked in self.late:
            return False, None
        tables, self._tables = self._tables, None
        return True, tables

    def digest(self):
        """Of all rounds."""
        return self._state

    def freeze(self):
        """The bytes of all rounds so far, how often it was asked, and the tables that nobody took yet."""
        arrays = {
            "state": np.frombuffer(self._state, np.uint8),
            "counts": np.array([self._n_asked, self._n_rounds()]),
        }
        if self._tables is not None:
            arrays |= {f"tables.{name}": part for name, part in tables_to_arrays(self._tables).items()}
        return lambda: arrays

    def thaw(self, arrays):
        """As it was; of the rounds only how many there were."""
        self._state, (self._n_asked, self._n_before) = arrays["state"].tobytes(), arrays["counts"].tolist()
        tables = {name.removeprefix("tables."): a for name, a in arrays.items() if name.startswith("tables.")}
        self._tables = tables_from_arrays(tables) if tables else None

    def _n_rounds(self):
        return self._n_before + len(self.rounds)

    def n_bytes(self):
        """Nothing worth counting."""
        return 0


def drawn_tables(seed, n_items, version=1):
    """Tables of a network that was never trained: every number drawn."""
    rng = np.random.default_rng(seed)

    def drawn(*shape):
        return rng.normal(0.0, 0.3, shape).astype(np.float32)

    return Tables(
        x=drawn(n_items, DIM),
        h=drawn(n_items, DIM),
        bias=drawn(n_items),
        gap_bias=drawn(N_GAPS, N_HEADS),
        pos_bias=drawn(HISTORY, N_HEADS),
        gap_value=drawn(N_GAPS, DIM),
        pos_value=drawn(HISTORY, DIM),
        rating_value=drawn(DIM),
        mix=drawn(N_HEADS, DIM, DIM) / 8.0,
        self_loop=drawn(DIM, DIM) / 8.0,
        h_0=drawn(DIM),
        version=version,
    )


def new_state(settings=SETTINGS, trainer=None):
    """A state before the first event, with a trainer of its own."""
    return pipeline.new_state(settings, trainer or DrawnTables())


def rows_of_users(state):
    """Rows of the users who are there, those who stand for segments among them."""
    return [row for _, row in state.ids.users.items()]


def record_of(rng, item, time_ms, n_kinds=5):
    """A catalog record with some of everything; what an item is like depends on its number."""
    categorical = {"kind": [f"k{item % n_kinds}"], "brand": [f"b{rng.integers(0, 6)}"]}
    title = " ".join(rng.choice(_WORDS, rng.integers(0, 4)))
    return CatalogItem(
        item_id=f"i{item}",
        title=title,
        text=f"variant {item % 7}" if title else "",
        categorical=categorical if rng.random() < 0.9 else {},
        numerical={"price": float(rng.gamma(2.0, 10.0))} if rng.random() < 0.8 else {},
        available=bool(rng.random() < 0.95),
        timestamp_ms=time_ms,
    )


def embedded(content, model=MODEL, dim=TEXT_DIM):
    """The vector of a text: equal texts, equal vectors; texts that share words are near each other."""
    total = np.zeros(dim)
    for word in content.split():
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        total += np.random.default_rng(seed).normal(0.0, 1.0, dim)
    vector = (total / np.linalg.norm(total)).astype("<f2").tobytes()
    return TextEmbedded(content_key(model, content), model, vector)


def view_of(rng, user, item, time_ms):
    """An interaction, some with a value and some with a context."""
    value = float(rng.integers(1, 6)) if rng.random() < 0.5 else None
    context = {"device": str(rng.choice(["phone", "desk"])), "hour": float(rng.integers(0, 24))}
    return Interaction(f"u{user}", f"i{item}", "view", time_ms, value, context if rng.random() < 0.4 else {})


def a_log(seed, n_views=300, n_users=12, n_items=50):
    """Events of every kind, in the order of a log; deterministic. The catalog has ten items more, which nobody takes."""
    rng = np.random.default_rng(seed)
    log, time_ms = [], 1_600_000_000_000
    first = rng.choice(n_items + 10, n_items // 3, replace=False).tolist()
    log += [record_of(rng, item, time_ms) for item in first]
    for n in range(n_views):
        time_ms += int(rng.choice([1_000, 60_000, 4_000_000]))
        user = int(rng.integers(0, n_users))
        n_there = 10 + (n_items - 10) * n // n_views  # new ones come all the time
        item = (min(int(rng.geometric(4.0 / n_items)) - 1, n_items - 1) + 5 * user) % n_there
        late_ms = int(rng.choice([0, 0, 0, 90_000]))
        log.append(view_of(rng, user, item, time_ms - late_ms))
        if n % 6 == 0:
            log.append(record_of(rng, int(rng.integers(0, n_items + 10)), time_ms))
        if n % 9 == 0:
            profile = {"country": [f"c{rng.integers(0, 3)}"]}
            log.append(
                Profile(
                    user_id=f"u{user}",
                    categorical=profile,
                    numerical={"age": float(rng.integers(18, 80))},
                    timestamp_ms=time_ms,
                )
            )
        if n % 70 == 69:
            log.append(ItemRetired(f"i{rng.integers(0, n_items)}"))
        if n % 90 == 89:
            log.append(UserErased(f"u{rng.integers(0, n_users)}"))
    return _with_texts(rng, log)


def _with_texts(rng, log):
    """The log, with the vector of every text some events before or after the first record that has it."""
    placed, seen = [], set()
    for at, event in enumerate(log):
        placed.append((float(at), event))
        content = content_of(event) if isinstance(event, CatalogItem) else ""
        if content and content not in seen:
            seen.add(content)
            placed.append((at + float(rng.integers(-8, 25)) + 0.5, embedded(content)))
    return [event for _, event in sorted(placed, key=lambda pair: pair[0])]
