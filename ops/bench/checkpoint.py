"""What a checkpoint costs: how long the fold stands still, and how long the thread writes. Run it by itself:

    .venv/bin/python ops/bench/checkpoint.py [users, default 1000000]

The state is filled by hand: a fifth as many items as users, half of their neighbours in use, as after some months of a shop.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from streamer import checkpoint, pipeline
from streamer.config import Settings
from streamer.graph import FoldSettings
from streamer.graph.state import N_SLOTS_USED
from streamer.measure import Scoreboard
from streamer.pipeline import State
from streamer.propagate.learner import Learner
from streamer.training import ThreadTrainer

N_RUNS = 9
META = checkpoint.Meta({}, [], 0, 0, 0, "bench")


def filled(settings: FoldSettings, trainer: ThreadTrainer, n_users: int) -> State:
    """A state whose tables are in use."""
    state, n_items = pipeline.new_state(settings, trainer), n_users // 5
    for ids, n, name in ((state.ids.users, n_users, "user"), (state.ids.items, n_items, "item")):
        for number in range(n):
            ids.admit(f"{name}-{number * 7919}")
    graph, rng = state.graph, np.random.default_rng(1)
    graph.users["ring"][:n_users] = rng.integers(0, n_items, (n_users, graph.users["ring"].shape[1]))
    graph.users["n_events"][:n_users] = 20
    half = graph.neighbour.shape[1] // 2
    graph.neighbour[:n_items, :half] = 1
    graph.evidence[:n_items, :half] = rng.random((1, half, 1), np.float32)
    graph.company.sum[:n_items] = 1.0
    n_taken = min(32 * n_users, graph.taken.item.size)
    graph.taken.used[N_SLOTS_USED] = n_taken
    graph.taken.item[:n_taken:2] = 1
    return state


def pieces(path: Path) -> Iterator[bytes]:
    """A file, some MiB at a time."""
    with path.open("rb") as file:
        while piece := file.read(4 << 20):
            yield piece


def main(n_users: int) -> None:
    """Print a table."""
    settings = Settings(text_model="none").fold()
    trainers = ThreadTrainer(Learner()), ThreadTrainer(Learner())
    state = filled(settings, trainers[0], n_users)
    n_bytes = sum(table.used.nbytes for table in pipeline.tables(state).values())
    print(f"| state of {n_users:,} users and {n_users // 5:,} items | {n_bytes / 1e9:.2f} GB |\n|---|---|")
    pauses = []
    for _ in range(N_RUNS):
        room = checkpoint.room_for(state)()
        began_s = time.perf_counter()
        frozen = checkpoint.freeze(state, Scoreboard(), room)
        pauses.append(time.perf_counter() - began_s)
        del room
        if len(pauses) < N_RUNS:
            del frozen
    per_gb = [1e12 * pause_s / n_bytes for pause_s in sorted(pauses)]
    figures = ", ".join(f"{per_gb[at]:.0f}" for at in (0, N_RUNS // 2, -1))
    print(f"| the fold stands still, ms a GB: least, median, most | {figures} |")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "checkpoint"
        began_s = time.perf_counter()
        with path.open("wb") as file:
            for piece in checkpoint.written(META, frozen()):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        print(
            f"| written, beside the fold | {time.perf_counter() - began_s:.2f} s, {path.stat().st_size / 1e9:.2f} GB |"
        )
        began_s = time.perf_counter()
        reader = checkpoint.Reader(pieces(path))
        checkpoint.restore(checkpoint.read_header(reader), reader, settings, trainers[1])
        print(f"| read and checked | {time.perf_counter() - began_s:.2f} s |")
    for trainer in trainers:
        trainer.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
