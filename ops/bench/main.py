"""The benches by name; see README.md beside this file."""

import json
import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer
from figures import Row, speed_table

from streamer.errors import StreamerError

BENCHES = ("learn", "list", "nearest", "loop", "freshness", "quality")
DEFAULT_DATA = Path(__file__).resolve().parents[1] / "data" / "online-retail"


def main(
    *,
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(BENCHES)}; may be repeated")
    ] = None,
    data: Annotated[Path, typer.Option(help="Set of the speed benches")] = DEFAULT_DATA,
    events: Annotated[int | None, typer.Option(min=1, help="Interactions of the speed benches")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Repetitions of the speed benches")] = 3,
    rate: Annotated[float, typer.Option(min=1.0, help="Interactions a second of freshness")] = 2000.0,
    sets: Annotated[
        Path, typer.Option(help="Directory of the sets of quality, each a subdirectory")
    ] = DEFAULT_DATA.parent,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME or NAME:repeats of a set; default all, no repeats")
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures there as JSON")] = None,
) -> None:
    """Print the figures of this machine as Markdown."""
    unknown = set(only or ()) - set(BENCHES)
    if unknown:
        raise typer.BadParameter(f"expected one of {', '.join(BENCHES)}; got {', '.join(sorted(unknown))}")
    chosen = only or BENCHES
    rows: list[Row] = []
    document: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "runs": runs,
    }
    for name in chosen:
        if name != "quality":
            typer.echo(f"{name} ...", err=True)
            rows += _speed(name, data, events, runs, rate)
    if rows:
        typer.echo(speed_table(rows))
    document["rows"] = [row.document() for row in rows]
    if "quality" in chosen:
        import offline  # noqa: PLC0415  loads the kernels

        table, document["quality"] = offline.quality(sets, set_ or ())
        typer.echo(f"\n{table}")
    if out is not None:
        out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _speed(name: str, data: Path, events: int | None, runs: int, rate: float) -> list[Row]:
    import nearest  # noqa: PLC0415  loads the kernels, and `--help` does not need them
    import offline  # noqa: PLC0415
    import whole  # noqa: PLC0415

    match name:
        case "learn":
            return offline.learn(data, events, runs)
        case "list":
            return offline.lists(data, events, runs)
        case "nearest":
            return nearest.nearest()
        case "loop":
            return whole.loop(data, events, runs)
        case _:
            return whole.freshness(data, rate, runs)


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamerError as exc:
        raise SystemExit(f"ops/bench: {exc}") from exc
