"""What the attention network's vectors are worth alone, and each part of them: prequential HR@10 on the first events of sets.

Protocol: an event counts when its item had an event before and this user had not taken it; its rank is among all such items,
ties against us; the tables are those of the round that ended `--lag` rounds before. New items are encoded with the weights
of that round. Repeats stand in histories, first takes alone are learned.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from figures import markdown
from numpy.typing import NDArray
from vector_log import Log, read_log

from streamer.errors import StreamerError
from streamer.graph.vectors import user_vectors as kernel_users
from streamer.propagate import Architecture, Inputs, Network, export, new_network
from streamer.propagate.settings import take
from streamer.propagate.training import train_round, user_vectors

DEFAULT_SETS = Path(__file__).resolve().parents[1] / "data"
DEFAULT_PREFIXES = {"online-retail": 40_000, "ml-latest-small": 30_000, "movietweetings-100k": 40_000}
N_NEIGHBOURS = 8
N_RANKED = 512  # users ranked at once

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "graph attention": {"attention": "graph"},
    "no item step": {"item_steps": 0},
    "full softmax": {"max_full_softmax": 1 << 30},
    "minus text": {"use_text": False},
    "minus features": {"use_features": False},
    "minus ids": {"use_ids": False},
    "minus self-loop": {"use_self_loop": False},
    "minus gaps": {"use_gaps": False},
    "minus ratings": {"use_ratings": False},
    "no replay": {"n_replayed": 0},
    "one replayed": {"n_replayed": 1},
}


class Result(NamedTuple):
    """Of one variant on one set."""

    hit_ratio: float
    second_half: float
    cold_items: float  # items with fewer than 5 events
    training_us: float  # CPU, an example
    n_counted: int


class CoTaken:
    """Items taken by one user within few events, counted event by event; each item's most frequent companions."""

    def __init__(self, n_items: int) -> None:
        self.count: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self.top = np.zeros((n_items, N_NEIGHBOURS), np.int32)

    def learn(self, items: NDArray[np.int32], target: NDArray[np.int32]) -> None:
        """Pair each target with the user's five last items."""
        touched = set()
        for past, item in zip(items[:, :5].tolist(), target.tolist(), strict=True):
            for other in past:
                if other >= 0 and other != item:
                    self.count[other][item] += 1
                    self.count[item][other] += 1
                    touched |= {item, other}
        for row in touched:
            best = [item + 1 for item, _ in self.count[row].most_common(N_NEIGHBOURS)]
            self.top[row, : len(best)] = best


def main(
    *,
    sets: Annotated[Path, typer.Option(help="Directory of the sets")] = DEFAULT_SETS,
    prefix: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="NAME:EVENTS; may be repeated; default those of the README that are there"
        ),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"One of: {', '.join(VARIANTS)}")] = None,
    round_size: Annotated[int, typer.Option(min=1, help="First takes a round of training")] = 256,
    lag: Annotated[int, typer.Option(min=0, help="Rounds between examples and the tables they are in")] = 1,
    setting: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER of every variant")] = None,
) -> None:
    """Print HR@10 of all counted events, of their second half, of cold items, and CPU microseconds of training an example."""
    torch.set_num_threads(1)
    unknown = set(only or ()) - VARIANTS.keys()
    if unknown:
        raise typer.BadParameter(f"expected one of {', '.join(VARIANTS)}; got {', '.join(sorted(unknown))}")
    base = Architecture()._replace(**_numbers(setting or []))
    logs = [read_log(sets / name, n, base.n_history) for name, n in prefixes(sets, prefix or [])]
    lines = []
    for variant in only or VARIANTS:
        results = [replay(log, base._replace(**VARIANTS[variant]), round_size, lag) for log in logs]
        lines.append([variant, *(_shown(result) for result in results)])
        typer.echo(" ".join(lines[-1]), err=True)
    typer.echo(markdown(["HR@10: all / second half / cold items / us", *(log.name for log in logs)], lines))


def prefixes(sets: Path, named: list[str]) -> list[tuple[str, int]]:
    """Sets, and how many events of each; where none is named, those of `DEFAULT_PREFIXES` that are there."""
    if named:
        return [_prefix(text) for text in named]
    here = [(name, n_events) for name, n_events in DEFAULT_PREFIXES.items() if (sets / name).is_dir()]
    if not here:
        raise typer.BadParameter(
            f"none of {', '.join(DEFAULT_PREFIXES)} is in {sets}; name one by --set NAME:EVENTS"
        )
    return here


def _prefix(text: str) -> tuple[str, int]:
    name, _, n_events = text.rpartition(":")
    if not (name and n_events.isdecimal() and int(n_events)):
        raise typer.BadParameter(f"--set: expected NAME:EVENTS, as online-retail:40000; got {text}")
    return name, int(n_events)


def _numbers(settings: list[str]) -> Mapping[str, float | int]:
    pairs = [setting.partition("=") for setting in settings]
    return {name: float(value) if "." in value else int(value) for name, _, value in pairs}


def _shown(result: Result) -> str:
    return f"{result.hit_ratio:.4f} / {result.second_half:.4f} / {result.cold_items:.4f} / {result.training_us:.0f}"


def replay(log: Log, architecture: Architecture, round_size: int, lag: int) -> Result:
    """Test, then learn: rank every event with the tables served then, and train a round whenever it is full."""
    n_events, n_items = log.user.size, log.text.shape[0]
    taken = np.zeros((int(log.user.max()) + 1, n_items), np.bool_)
    rank = np.zeros(n_events, np.int64)
    n_before = np.zeros(n_events, np.int64)
    seen = np.zeros(n_items, np.int64)
    co_taken = CoTaken(n_items)
    network = served = new_network(architecture, log.text.shape[1])
    waiting: list[Network] = []
    spent_s, n_trained = 0.0, 0
    takes = np.flatnonzero(log.first_take)
    ends = [*(takes[round_size - 1 :: round_size] + 1).tolist(), n_events]
    for begin, end in zip([0, *ends], ends, strict=False):
        inputs = _inputs_until(log, end, co_taken)
        _rank(log, begin, end, served, inputs, taken, rank)
        for n in range(begin, end):
            n_before[n] = seen[log.examples.target[n]]
            seen[log.examples.target[n]] += 1
        if end == n_events:
            break
        examples = take(log.examples, begin + np.flatnonzero(log.first_take[begin:end]))
        if architecture.item_steps:
            co_taken.learn(examples.items, examples.target)
        began_s = time.process_time()
        network = train_round(network, examples, inputs)
        spent_s += time.process_time() - began_s
        n_trained += examples.target.size
        waiting.append(network)
        if len(waiting) > lag:
            served = waiting.pop(0)
    counted = rank > 0
    hit = rank[counted] <= 10
    late = np.flatnonzero(counted) >= n_events // 2
    return Result(
        float(hit.mean()),
        float(hit[late].mean()),
        float(hit[n_before[counted] < 5].mean()),
        1e6 * spent_s / max(n_trained, 1),
        int(counted.sum()),
    )


def _inputs_until(log: Log, end: int, co_taken: CoTaken) -> Inputs:
    """What is known of the items that came before event `end`."""
    n_items = int(log.examples.target[:end].max()) + 1
    return Inputs(
        log.text[:n_items], log.nodes[:n_items], np.ones(n_items, np.bool_), co_taken.top[:n_items].copy()
    )


def _rank(
    log: Log,
    begin: int,
    end: int,
    served: Network,
    inputs: Inputs,
    taken: NDArray[np.bool_],
    rank: NDArray[np.int64],
) -> None:
    """Ranks of the counted events from `begin` to `end` (0 = not counted), and what they take, in place."""
    tables = export(served, inputs)
    a = served.architecture
    for first in range(begin, end, N_RANKED):
        histories = take(log.examples, slice(first, min(first + N_RANKED, end)))
        if a.attention == "graph":
            h_u = user_vectors(served, histories, inputs)
        else:
            h_u = np.empty((histories.target.size, a.dim), np.float32)
            pooled = np.empty((a.n_heads, a.dim), np.float32)
            kernel_users(tables, histories.items, histories.gap_s, histories.z_score, pooled, h_u)
        scores = h_u @ tables.h.T + tables.bias
        for n, score in enumerate(scores, start=first):
            target, n_known = log.examples.target[n], log.n_known[n]
            if log.first_take[n] and target < n_known:
                better = score[:n_known] >= score[target]
                rank[n] = int((better & ~taken[log.user[n], :n_known]).sum())  # itself among them: from 1
            taken[log.user[n], target] = True


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamerError as exc:
        raise SystemExit(f"ops/bench/vectors: {exc}") from exc
