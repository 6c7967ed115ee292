"""The benches by name; see README.md beside this file."""

import json
import os
import platform
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from figures import Row, speed_table
from options import DEFAULT_DATA, Options
from synthetic import CLUSTER

from streamer.errors import ConfigError, StreamerError

# Name -> module and function, `Options` -> rows. Loaded when asked for: they load kernels, and `--help` does not need them.
ROWS = {
    "learn": "offline:learn",
    "list": "offline:lists",
    "nearest": "nearest:nearest",
    "loop": "whole:loop",
    "profile": "profiling:profile",
    "limits": "limits:limits",
    "freshness": "freshness:freshness",
    "arrivals": "arrivals:arrivals",
    "catch-up": "start:catch_up",
    "haste": "haste:haste",
    "start": "start:start",
    "checkpoints": "keeping:checkpoints",
    "reading": "reading:reading",
    "growth": "growth:growth",
    "returning": "returning:returning",
}
# The same, `Options` -> a table of its own and what goes into the document.
TABLES = {"peers": "peers:peers", "quality": "offline:quality"}
BENCHES = (*ROWS, *TABLES)
DEFAULTS = Options()


def main(
    *,
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(BENCHES)}; may be repeated")
    ] = None,
    data: Annotated[Path, typer.Option(help="Set of the benches that read one")] = DEFAULT_DATA,
    events: Annotated[int | None, typer.Option(min=1, help="Interactions of it; default all")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Repetitions")] = DEFAULTS.n_runs,
    kafka: Annotated[
        str | None,
        typer.Option(
            help="Directory of a real broker, or `embedded`; default ../shared/kafka where it is there"
        ),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(help="Interactions a second of freshness, or `80%` of the maximum; may be repeated"),
    ] = None,
    share: Annotated[
        list[float] | None, typer.Option(help="A `measure_share` of loop; may be repeated")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of every worker; may be repeated")
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="Users of the state of start")] = DEFAULTS.n_users,
    size: Annotated[
        list[str] | None, typer.Option(metavar="ITEMS:USERS", help="A size of growth; may be repeated")
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option(help="One of the peers; may be repeated; default all")
    ] = None,
    sets: Annotated[
        Path, typer.Option(help="Directory of the sets of quality, each a subdirectory")
    ] = DEFAULT_DATA.parent,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME or NAME:repeats of a set; default all, no repeats")
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures there as JSON")] = None,
) -> None:
    """Print the figures of this machine as Markdown."""
    options = Options(
        data=data,
        max_events=events,
        n_runs=runs,
        kafka=kafka,
        rates=tuple(rate or DEFAULTS.rates),
        shares=tuple(share or DEFAULTS.shares),
        settings=settings_of(setting or ()),
        n_users=users,
        sizes=tuple(_size(text) for text in size or ()),
        peers=tuple(peer or ()),
        sets=sets,
        set_names=tuple(set_ or ()),
    )
    _run(_chosen(only or BENCHES), options, out)


def _chosen(only: tuple[str, ...] | list[str]) -> list[str]:
    unknown = sorted(set(only) - set(BENCHES))
    if unknown:
        raise typer.BadParameter(f"expected some of {', '.join(BENCHES)}; got {', '.join(unknown)}")
    # the machine's limits are only worth something beside the loop, in the same run
    return [name for name in BENCHES if name in only or (name == "limits" and "loop" in only)]


def _size(text: str) -> tuple[int, int]:
    n_items, _, n_users = text.partition(":")
    if not (n_items.isdecimal() and n_users.isdecimal() and int(n_items) >= CLUSTER and int(n_users) >= 1):
        raise ConfigError(f"--size: expected ITEMS:USERS, at least {CLUSTER}:1; got {text}")
    return int(n_items), int(n_users)


def settings_of(assignments: list[str] | tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE as settings.

    Raises:
        ConfigError: one is not of this form.
    """
    pairs = [assignment.partition("=") for assignment in assignments]
    for name, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"--setting: expected NAME=VALUE, got {name}")
    return {name: value for name, _, value in pairs}


def _run(chosen: list[str], options: Options, out: Path | None) -> None:
    """Measure, printing each table when its rows are there; the document is written anew after each bench."""
    rows: list[Row] = []
    document: dict[str, Any] = {"machine": machine(), "runs": options.n_runs, "rows": []}
    for name in chosen:
        typer.echo(f"{name} ...", err=True)
        if name in TABLES:
            table, document[name] = _function(TABLES[name])(options)
        else:
            new = _function(ROWS[name])(options)
            rows += new
            table = speed_table(new)
        document["rows"] = [row.document() for row in rows]
        typer.echo(f"{table}\n")
        if out is not None:
            out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": os.getloadavg()[0]}


def _function(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


if __name__ == "__main__":
    try:
        typer.run(main)
    except StreamerError as exc:
        raise SystemExit(f"ops/bench: {exc}") from exc
