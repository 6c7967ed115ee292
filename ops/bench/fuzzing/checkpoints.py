"""Checkpoints whose bytes are changed, or forged with all hashes right: refused, or a state that can be resumed."""

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import xxhash

from fuzzing import Verdict
from fuzzing.messages import SETTINGS, Folding, Stream
from fuzzing.mutation import VALUES, Mutator, written
from streamer import checkpoint, pipeline
from streamer.checkpoint.file import MAGIC
from streamer.errors import CheckpointRefused, InvalidEvent
from streamer.events import Event
from streamer.measure import Scoreboard
from streamer.propagate.learner import Trainer

N_FOLDED = 3_000  # messages of the state that is kept
N_AFTER = 60  # events folded on what was taken
_HASHED_FROM = len(MAGIC) + 4 + 16
META = checkpoint.Meta({"k": "v"}, [("interactions", 0, 7)], 3, 1, 2, "fuzz")


class Forger:
    """A good checkpoint, and ways to spoil it.

    Args:
        rng: Of everything.
        data: The good one.
    """

    def __init__(self, rng: random.Random, data: bytes) -> None:
        self._rng = rng
        self.data = data
        length = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 4], "little")
        self._header: dict[str, Any] = json.loads(data[_HASHED_FROM : _HASHED_FROM + length])
        self._body = data[_HASHED_FROM + length :]
        self._mutator = Mutator(
            rng, [data[:4096]], ["name", "format", "meta", "arrays", "config", "positions"]
        )

    def spoiled(self) -> tuple[str, bytes]:
        """What was done, and what came of it."""
        ways: dict[str, Callable[[], bytes]] = {
            "bytes changed": lambda: self._mutator.bytes_broken(self.data),
            "bits flipped": self._flipped,
            "cut short": lambda: self.data[: self._rng.randrange(len(self.data))],
            "header forged": self._with_header,
            "lengths forged": self._with_lengths,
            "arrays forged": self._with_arrays,
        }
        name = self._rng.choice(list(ways))
        return name, ways[name]()

    def _flipped(self) -> bytes:
        found = bytearray(self.data)
        for _ in range(self._rng.randint(1, 8)):
            found[self._rng.randrange(len(found))] ^= 1 << self._rng.randrange(8)
        return bytes(found)

    def _with_header(self) -> bytes:
        return _sealed(self._mutator.broken(json.dumps(self._header).encode()), self._body)

    def _with_lengths(self) -> bytes:
        header = json.loads(json.dumps(self._header))
        entry = self._rng.choice(header["arrays"])
        at = self._rng.choice((1, 2, 2, 3, 4, 4))
        entry[at] = (
            self._rng.choice((*VALUES, 10**6, 10**9, entry[at])) if at != 2 else self._shape(entry[at])
        )
        return _sealed(written(header), self._body)

    def _shape(self, shape: list[int]) -> list[int]:
        sizes = (0, 1, -1, 2, 2**31, 2**62, shape[0] + 1, max(0, shape[0] - 1))
        return (
            [self._rng.choice(sizes), *shape[1:]]
            if self._rng.random() < 0.7
            else [*shape, self._rng.choice(sizes)]
        )

    def _with_arrays(self) -> bytes:
        """Numbers of one to three arrays overwritten, with the hashes of somebody who knows how they are made."""
        body, header = bytearray(self._body), dict(self._header)
        for _ in range(self._rng.randint(1, 3)):
            n_before, entry = 0, self._rng.choice(header["arrays"])
            for other in header["arrays"]:
                if other is entry:
                    break
                n_before += other[4]
            for _ in range(self._rng.choice((1, 1, 4, 64)) if entry[4] else 0):
                width = min(self._rng.choice((1, 4, 8)), entry[4])
                at = n_before + self._rng.randrange(entry[4] - width + 1)
                number = self._rng.choice(
                    (0, 1, 2**31 - 1, -1, self._rng.randrange(300), self._rng.getrandbits(63))
                )
                body[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
        header["body_hash"] = xxhash.xxh3_128_hexdigest(bytes(body))
        return _sealed(json.dumps(header).encode(), bytes(body))


def _sealed(header: bytes, body: bytes) -> bytes:
    return MAGIC + len(header).to_bytes(4, "little") + xxhash.xxh3_128_digest(header) + header + body


def a_checkpoint(seed: int, trainer: Trainer | None) -> bytes:
    """Of a state that has seen some of everything."""
    stream, folding, board = Stream(seed), Folding(trainer), Scoreboard()
    for _ in range(N_FOLDED):
        folding.take(stream.message())
    folding.flush()
    return b"".join(checkpoint.written(META, checkpoint.freeze(folding.state, board)()))


def fuzz(n: int, seed: int, new_trainer: Callable[[], Trainer | None]) -> Verdict:
    """So many spoiled checkpoints."""
    verdict, rng = Verdict("checkpoints"), random.Random(seed)
    forger, events = Forger(rng, a_checkpoint(seed, None)), _some_events(seed)
    for _ in range(n):
        how, data = forger.spoiled()
        verdict.n_tried += 1
        try:
            _go_on(data, new_trainer(), events)
            verdict.outcomes[f"{how}: taken, and resumed"] += 1
        except CheckpointRefused:
            verdict.outcomes[f"{how}: refused"] += 1
        except Exception as exc:  # noqa: BLE001  whatever it is, it is what we look for
            verdict.crash(exc, how)
        if verdict.is_over:
            break
    return verdict


def _some_events(seed: int) -> list[Event]:
    stream, events = Stream(seed + 1), list[Event]()
    folding = Folding(None)
    while len(events) < N_AFTER:
        became = folding.take(stream.message())
        if became is not None and not isinstance(became, InvalidEvent):
            events.append(became)
    return events


def _go_on(data: bytes, trainer: Trainer | None, events: list[Event]) -> None:
    reader = checkpoint.Reader([data])
    state, _ = checkpoint.restore(checkpoint.read_header(reader), reader, SETTINGS, trainer)
    state, _ = pipeline.step(state, events)
    pipeline.rank_users(state, np.arange(-1, state.ids.users.n_rows, dtype=np.int32), 10)


def target(data: bytes) -> None:
    """For a guided fuzzer: a checkpoint as it is."""
    try:
        _go_on(data, None, [])
    except CheckpointRefused:
        return
