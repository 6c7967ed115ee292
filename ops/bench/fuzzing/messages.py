"""Messages of all kinds through `decode` and the fold, on tables so small that they are full at once."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing import Verdict
from fuzzing.mutation import Mutator
from streamer import pipeline
from streamer.datasets import Message
from streamer.errors import InvalidEvent
from streamer.events import (
    CatalogItem,
    Event,
    Interaction,
    ItemRetired,
    Kind,
    Profile,
    UserErased,
    decode,
)
from streamer.graph import FoldSettings
from streamer.propagate.learner import Trainer
from streamer.texts import content_key, content_of

EXAMPLES = Path(__file__).resolve().parents[3] / "schemas" / "examples"
FOLDERS: dict[Kind, str] = {
    "interactions": "interaction.v1",
    "catalog": "catalog.v1",
    "profiles": "profile.v1",
    "texts": "texts.v1",
}
WEIGHTS = {"interactions": 12, "catalog": 4, "profiles": 3, "texts": 1}
MODEL = "made-up"
SETTINGS = FoldSettings(
    max_items=256, max_users=128, max_nodes=256, max_taken=16_384, n_neighbours=32, training_interval=512,
    explore_share=0.1, text_model=MODEL,
)  # fmt: skip
N_USERS, N_ITEMS = 150, 250  # with ids that are not ours, more than there is room for
BATCH = 200
RANK_EVERY = 5  # batches
STEP_MS = 30_000
BEGIN_MS = 1_600_000_000_000


def names_in(documents: Iterable[bytes]) -> list[str]:
    """Of the fields of those documents that are JSON objects."""
    objects = (json.loads(document) for document in documents if document.startswith(b"{"))
    return sorted({name for fields in objects for name in fields})


class Stream:
    """Messages of all kinds, a third as they should be, the others broken.

    Args:
        seed: Of everything.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._mutators: dict[str, Mutator] = {}
        for kind, folder in FOLDERS.items():
            seeds = [file.read_bytes() for file in sorted(EXAMPLES.glob(f"valid/{folder}/*.json"))]
            self._mutators[kind] = Mutator(self._rng, seeds, names_in(seeds))
        self._time_ms = BEGIN_MS
        self._keys = [b"0123456789abcdef" * 4]  # of texts that items have

    def message(self) -> Message:
        """The next one."""
        rng = self._rng
        kind: Any = rng.choices(list(WEIGHTS), WEIGHTS.values())[0]
        mutator = self._mutators[kind]
        if rng.random() < 0.03:
            return Message(kind, self._key(kind, None), None)
        is_good = rng.random() < 0.4
        value = self._at_home(mutator.good() if is_good else mutator.seed())
        value = value if is_good else mutator.broken(value)
        return Message(kind, self._key(kind, value), value)

    def learn(self, message: Message, outcome: object) -> None:
        """What became of a message: those with a new outcome are broken further, texts of items get vectors."""
        if message.value is not None:
            self._mutators[message.kind].learn(message.value, outcome)

    def described(self, item: CatalogItem) -> None:
        """An item has this text from now on."""
        content = content_of(item)
        if content:
            self._keys = [*self._keys[-50:], content_key(MODEL, content).encode()]

    @property
    def n_outcomes(self) -> int:
        """Different ones so far, over all kinds."""
        return sum(mutator.n_outcomes for mutator in self._mutators.values())

    def _at_home(self, value: bytes) -> bytes:
        """The same with ids of the few users and items there are, mostly, and a time that moves on."""
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            return value
        if not isinstance(document, dict):
            return value
        rng = self._rng
        self._time_ms += rng.randrange(STEP_MS)
        if rng.random() < 0.9:
            if "user_id" in document:
                document["user_id"] = f"u{rng.randrange(N_USERS)}"
            if "item_id" in document:
                document["item_id"] = f"i{rng.randrange(N_ITEMS)}"
        if "timestamp" in document and rng.random() < 0.8:
            document["timestamp"] = self._time_ms - rng.choice((0, 0, 0, 90_000, 10**9))
        if "title" in document and rng.random() < 0.5:
            document["title"] = f"{rng.choice(('red', 'blue', 'old'))} lamp {rng.randrange(40)}"
        return json.dumps(document).encode()

    def _key(self, kind: Kind, value: bytes | None) -> bytes | None:
        rng = self._rng
        if rng.random() < 0.05:
            return rng.choice(
                (
                    None,
                    b"",
                    b"\xff\xfe",
                    b"a" * 300,
                    b"u1\n",
                    b"__streamer_anonymous__",
                    "é".encode(),
                    b"\x00",
                )
            )
        if kind == "texts":
            return rng.choice(self._keys)
        if value is None:
            return b"i%d" % rng.randrange(N_ITEMS) if kind == "catalog" else b"u%d" % rng.randrange(N_USERS)
        if value.strip() == b"null":
            return b"i1" if kind == "catalog" else b"u1"
        return None


class Folding:
    """Decodes and folds, and knows what became of every message.

    Args:
        trainer: Of the attention network; None: there are no vectors.
        last: File that holds the batch at hand, for when the process dies over it.
    """

    def __init__(self, trainer: Trainer | None, last: Path | None = None) -> None:
        self.verdict = Verdict("messages")
        self.state = pipeline.new_state(SETTINGS, trainer)
        self._last = last
        self._messages: list[Message] = []
        self._events: list[Event] = []
        self._n_batches = 0

    def take(self, message: Message) -> Event | InvalidEvent | None:
        """Decode a message, and fold it with the next ones; None when it crashed."""
        self.verdict.n_tried += 1
        try:
            event = decode(message.kind, message.key, message.value)
        except InvalidEvent as exc:
            self.verdict.outcomes[f"refused: {exc.reason}"] += 1
            return exc
        except Exception as exc:  # noqa: BLE001  whatever it is, it is what we look for
            self.verdict.crash(exc, message)
            return None
        self._messages.append(message)
        self._events.append(event)
        if len(self._events) == BATCH:
            self.flush()
        return event

    def flush(self) -> None:
        """Fold what is there."""
        events, messages, self._events, self._messages = self._events, self._messages, [], []
        if self._last is not None:
            self._last.write_text(repr(messages))
        try:
            self.state, info = pipeline.step(self.state, events)
            self._count(events, info)
            self._n_batches += 1
            if self._n_batches % RANK_EVERY == 0:
                self._rank()
        except Exception as exc:  # noqa: BLE001
            self.verdict.crash(exc, messages)
            self.verdict.outcomes["crashed"] += len(events) - 1
            self.state = pipeline.new_state(SETTINGS, self.state.trainer)

    def _count(self, events: list[Event], info: pipeline.StepInfo) -> None:
        n = Counter(type(event) for event in events)
        skipped = Counter[str]()
        for (kind, why), n_events in info.n_skipped.items():
            skipped[kind] += n_events
            self.verdict.outcomes[why] += n_events
        expected = (
            n[Interaction] - skipped["interactions"],
            n[CatalogItem] + n[ItemRetired] - skipped["catalog"],
            n[Profile] - skipped["profiles"],
            n[UserErased],
        )
        n_of_catalog = info.n_catalog + info.n_items_retired
        got = (info.n_interactions, n_of_catalog, info.n_profiles, info.n_users_erased)
        if expected != got:
            raise AssertionError(f"expected {expected}, got {info}")
        outcomes = self.verdict.outcomes
        outcomes["interactions learned"] += info.n_interactions
        outcomes["other events folded"] += len(events) - info.n_interactions - skipped.total()
        notes = self.verdict.notes
        n_bytes = sum(pipeline.table_bytes(self.state).values())
        n_evicted = len(info.evicted_item_rows)
        notes["items that made room"] = notes.get("items that made room", 0) + n_evicted
        notes["table bytes, most"] = max(notes.get("table bytes, most", 0), n_bytes)

    def _rank(self) -> None:
        """Lists of everybody: finite scores, only what may be listed."""
        state = self.state
        users = np.arange(-1, state.ids.users.n_rows, dtype=np.int32)
        ranking = pipeline.rank_users(state, users, 10)
        listed = ranking.items[ranking.items >= 0]
        if not np.isfinite(ranking.scores[ranking.items >= 0]).all():
            raise AssertionError("a score on a list is not finite")
        if listed.size and (listed.max() >= state.ids.items.n_rows or state.graph.unlistable[listed].any()):
            raise AssertionError("an item on a list may not be there")
        self.verdict.notes["lists looked at"] = self.verdict.notes.get("lists looked at", 0) + users.size


def fuzz(n_messages: int, seed: int, trainer: Trainer | None = None, last: Path | None = None) -> Verdict:
    """So many messages."""
    stream, folding = Stream(seed), Folding(trainer, last)
    for _ in range(n_messages):
        message = stream.message()
        became = folding.take(message)
        if isinstance(became, CatalogItem):
            stream.described(became)
        stream.learn(message, _outcome(became))
        if folding.verdict.is_over:
            break
    folding.flush()
    folding.verdict.notes["different outcomes"] = stream.n_outcomes
    return folding.verdict


def _outcome(became: Event | InvalidEvent | None) -> object:
    """What two messages must differ in to count as different: reason and field, or the fields that are filled."""
    if isinstance(became, InvalidEvent):
        return became.reason, became.path[:60], "".join(c for c in became.detail if not c.isdigit())[:80]
    if became is None:
        return None
    return type(became), tuple(_size(getattr(became, name)) for name in became.__struct_fields__)


def _size(value: object) -> object:
    """A class of values: of texts and tables by length, of numbers by magnitude."""
    if isinstance(value, str | bytes | dict):
        return len(value).bit_length()
    return (
        type(value) if not isinstance(value, int | float) else (value > 0, int(abs(value)).bit_length() // 16)
    )


_target_folding: list[Folding] = []


def target(data: bytes) -> None:
    """For a guided fuzzer: the first byte is the kind, the second whether there is a key; the rest is the value."""
    if not _target_folding:
        _target_folding.append(Folding(None))
    folding, kinds = _target_folding[0], list(FOLDERS)
    kind: Any = kinds[data[0] % len(kinds)] if data else "catalog"
    key = (None, b"u1", b"i1", b"0123456789abcdef" * 4)[data[1] % 4] if len(data) > 1 else None
    folding.take(Message(kind, key, data[2:]))
    folding.flush()
    if folding.verdict.crashes:
        raise AssertionError(folding.verdict.crashes[-1])
