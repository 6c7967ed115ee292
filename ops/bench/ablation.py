"""What each part of the model is worth, and what usual models do on the same events; see README.md beside this file."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Any

import typer
from figures import markdown
from ledger import Ledger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from runs import ROOT, Rows, Run, execute, execute_silently
from variants import chosen, variants

from streamer.config import parse_assignments
from streamer.errors import StreamerError

DEFAULT_DATA = str(ROOT / "ops" / "data" / "online-retail")
BASELINES = ("most-popular", "item-knn-cosine", "item-knn-bm25", "als", "sasrec")
VARIANT_SLICES = {
    "HR@10": "all",
    "cold items": "cold_items",
    "cold users": "cold_users",
    "new sessions": "new_sessions",
    "first events": "first_events",
}
BASELINE_SLICES = {title: key for title, key in VARIANT_SLICES.items() if key != "first_events"}

Execute = Callable[[Run, Callable[[str, float], None]], Rows]


def main(
    *,
    data: Annotated[
        list[str] | None, typer.Option(help="DIR or DIR:repeats of a set; may be repeated")
    ] = None,
    events: Annotated[int | None, typer.Option(min=1, help="Only the first so many interactions")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A row, a part, a path, a family of paths (trending*), full, baselines, {', '.join(BASELINES)}; "
            "may be repeated"
        ),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="name=value of a setting, for all")] = None,
    catalog_first: Annotated[
        bool, typer.Option(help="The catalog is known before the first interaction; not for baselines")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Rows at a time; speeds compare with 1 only")] = 1,
    out: Annotated[Path, typer.Option("--json", help="Rows that stand there are not run again")] = Path(
        "ablation.json"
    ),
) -> None:
    """Print what each part is worth as Markdown."""
    settings = parse_assignments(set_ or ())
    directories = data or [DEFAULT_DATA]
    try:
        runs = list(planned(directories, settings, events, catalog_first, only or ()))
        ledger = Ledger(out)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc
    perform(runs, ledger, jobs)
    typer.echo("\n\n".join(tables(runs, ledger)))


def planned(
    directories: Iterable[str],
    settings: dict[str, Any],
    max_events: int | None,
    catalog_first: bool,
    only: Sequence[str],
) -> Iterator[Run]:
    """All runs, set by set, variants first.

    Raises:
        ValueError: `only` names what there is not.
    """
    from streamer.paths import NAMES  # noqa: PLC0415  loads the kernels, and `--help` does not need them

    named = [name for name in only if name not in BASELINES and name != "baselines"]
    rows = chosen(variants(NAMES), named) if named or not only else []
    baselines = [name for name in BASELINES if not only or {name, "baselines"} & set(only)]
    for text in directories:
        path, _, rule = text.partition(":")
        if rule not in {"", "repeats"}:
            raise ValueError(f"--data: expected DIR or DIR:repeats, got {text}")
        own = {**settings, **({"repeats": True} if rule else {})}
        for row in rows:
            without = {"without": list(row.without)} if row.without else {}
            yield Run("variant", row.name, Path(path), {**own, **without}, max_events, catalog_first)
        if baselines:
            yield Run("streamer", "streamer", Path(path), own, max_events, False)
        for name in baselines:
            yield Run("baseline", name, Path(path), own, max_events, False)


def perform(runs: Sequence[Run], ledger: Ledger, n_jobs: int = 1, execute: Execute = execute) -> None:
    """Run what the ledger does not have; every row is noted as soon as it is there.

    Raises:
        StreamerError: a set cannot be read, or a setting is wrong.
    """
    todo = [run for run in runs if ledger.get(run.key()) is None]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        rows_task = bar.add_task("rows", total=len(runs), completed=len(runs) - len(todo))
        for run, rows in _in_turn(todo, bar, execute) if n_jobs == 1 else _at_once(todo, n_jobs):
            ledger.put(run.key(), {"set": run.set_name, "kind": run.kind, "name": run.name, "rows": rows})
            bar.advance(rows_task)


def _in_turn(todo: Sequence[Run], bar: Progress, execute: Execute) -> Iterator[tuple[Run, Rows]]:
    for run in todo:
        task = bar.add_task(f"{run.set_name}: {run.name}", total=100)

        def show(what: str, share: float, task: Any = task, run: Run = run) -> None:
            bar.update(task, description=f"{run.set_name}: {what}", completed=int(100 * share))

        yield run, execute(run, show)
        bar.remove_task(task)


def _at_once(todo: Sequence[Run], n_jobs: int) -> Iterator[tuple[Run, Rows]]:
    # spawned, not forked: a fork would share the threads' locks of numba and torch
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_jobs, mp_context=context, max_tasks_per_child=1) as pool:
        futures = {pool.submit(execute_silently, run): run for run in todo}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def tables(runs: Sequence[Run], ledger: Ledger) -> list[str]:
    """The variants over the whole log, and the baselines on its second half; each where there are any."""
    lines: dict[bool, list[list[str]]] = {True: [], False: []}
    for run in runs:
        entry = ledger.get(run.key()) or {"rows": []}
        for row in entry["rows"]:
            is_variant = run.kind == "variant"
            slices = (VARIANT_SLICES if is_variant else BASELINE_SLICES).values()
            ratios = [_ratio(row["slices"][name]["hit_ratio"]) for name in slices]
            ndcg = _ratio(row["slices"]["all"]["ndcg"])
            if is_variant:
                line = [run.set_name, row["row"], *ratios, ndcg, f"{row['events_per_second']:,.0f}"]
            else:
                seconds = row["training_cpu_seconds"]
                shown_s = "" if seconds is None else f"{seconds:,.1f}"
                line = [run.set_name, row["row"], row["training"], *ratios, ndcg, shown_s]
            lines[is_variant].append(line)
    headers = {
        True: ["set", "whole log", *VARIANT_SLICES, "NDCG@10", "events/s"],
        False: ["set", "second half", "trained on", *BASELINE_SLICES, "NDCG@10", "training CPU s"],
    }
    return [markdown(headers[is_variant], lines[is_variant]) for is_variant in lines if lines[is_variant]]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamerError as exc:
        raise SystemExit(f"ops/bench/ablation: {exc}") from exc
