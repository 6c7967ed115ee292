"""Breaks what is read from outside, and shows what the code that reads it does; see README.md beside this file."""

import faulthandler
import json
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from fuzzing import Verdict, checkpoints, guided, messages, options

from streamer.errors import StreamerError
from streamer.propagate.learner import Learner
from streamer.training import ThreadTrainer


def main(
    *,
    n_messages: Annotated[
        int, typer.Option("--messages", min=0, help="Messages through decode and fold")
    ] = 1_000_000,
    n_checkpoints: Annotated[int, typer.Option("--checkpoints", min=0, help="Spoiled checkpoints")] = 10_000,
    n_settings: Annotated[int, typer.Option("--settings", min=0, help="Settings, from all places")] = 20_000,
    seed: Annotated[int, typer.Option(help="Of everything")] = 1,
    training: Annotated[bool, typer.Option(help="Train the attention network beside the fold")] = True,
    last: Annotated[
        Path, typer.Option(help="File that holds the batch at hand: what to look at should the process die")
    ] = Path("fuzz-last-batch.txt"),
    under: Annotated[
        str | None,
        typer.Option(
            "--guided",
            metavar="TARGET",
            help=f"Run atheris on one of {', '.join(guided.TARGETS)}, --messages times",
        ),
    ] = None,
    corpus: Annotated[Path, typer.Option(help="Where atheris keeps its inputs")] = Path("fuzz-corpus"),
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures there as JSON")] = None,
) -> None:
    """Print what became of everything; exit 1 when something crashed or was lost."""
    faulthandler.enable()  # a kernel that reads behind its table ends the process
    if under is not None:
        if under not in guided.TARGETS:
            raise typer.BadParameter(f"expected one of {', '.join(guided.TARGETS)}; got {under}")
        guided.fuzz(under, n_messages, seed, corpus)
        return
    document: dict[str, Any] = {"seed": seed, "targets": []}
    with closing(ThreadTrainer(Learner(), waits=True)) as trainer:
        fold = lambda: messages.fuzz(n_messages, seed, trainer if training else None, last)  # noqa: E731
        _show(fold, document)
    last.unlink(missing_ok=True)
    _show(lambda: checkpoints.fuzz(n_checkpoints, seed, lambda: None), document)
    _show(lambda: options.fuzz(n_settings, seed), document)
    if out is not None:
        out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if any(found["crashes"] or found["lost"] for found in document["targets"]):
        raise typer.Exit(1)


def _show(run: Any, document: dict[str, Any]) -> None:
    """One target's figures, when they are there."""
    began_s = time.monotonic()
    verdict: Verdict = run()
    seconds = time.monotonic() - began_s
    outcomes = dict(sorted(verdict.outcomes.items()))
    document["targets"].append(
        {
            "target": verdict.target,
            "tried": verdict.n_tried,
            "lost": verdict.n_lost,
            "crashes": verdict.crashes,
            "outcomes": outcomes,
            "notes": verdict.notes,
            "seconds": round(seconds, 1),
        }
    )
    lines = [
        f"| {verdict.target} | n |",
        "|---|---:|",
        f"| tried, in {seconds:.0f} s | {verdict.n_tried:,} |",
    ]
    lines += [f"| {what} | {n:,} |" for what, n in outcomes.items()]
    lines += [f"| not accounted for | {verdict.n_lost:,} |", f"| **crashes** | {len(verdict.crashes):,} |"]
    lines += [f"| {what} | {n:,.0f} |" for what, n in verdict.notes.items()]
    typer.echo("\n".join(lines) + "\n")
    for crash in verdict.crashes:
        typer.echo(crash, err=True)


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamerError as exc:
        raise SystemExit(f"ops/bench/fuzz: {exc}") from exc
