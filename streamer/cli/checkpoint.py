"""`streamer checkpoint`: which ones there are, what they hold, whether they can be resumed from, and one step back."""

import time
from contextlib import closing

import typer
from rich import box
from rich.table import Table

from streamer import checkpoint, pipeline
from streamer.checkpoint import Header, Kept, Reader, pointer
from streamer.cli.worker import checkpoint_store, new_trainer
from streamer.config import Settings
from streamer.drawing import ago, plain, wide_console
from streamer.errors import CheckpointRefused, DataError
from streamer.log import printable
from streamer.ports import Checkpoints

_N_ARRAYS = 10  # shown, the largest


def show_all(settings: Settings) -> None:
    """The checkpoints, the newest first."""
    with closing(checkpoint_store(settings)) as store:
        kept = pointer.decode(store.read_pointer())
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("checkpoint", "taken", "interactions", "batches", "MB", "by"):
            # whole: `show` and `verify` want the name as it stands here
            is_text = heading in ("checkpoint", "taken")
            table.add_column(heading, justify="left" if is_text else "right", no_wrap=is_text)
        for one in kept:
            figures = f"{one.n_events:,}", f"{one.n_batches:,}", f"{one.n_bytes / 1e6:,.1f}"
            table.add_row(*map(plain, (one.name, f"{_age(one.made_ms)} ago", *figures, one.made_by)))
        typer.echo(f"{len(kept)} checkpoint{'s' if len(kept) != 1 else ''}, {printable(store.where)}")
        if kept:
            wide_console().print(table)


def show_one(settings: Settings, name: str | None) -> None:
    """What one of them stands for, and what is large in it.

    Raises:
        DataError: there is none, or none of this name.
        CheckpointRefused: it is damaged.
    """
    with closing(checkpoint_store(settings)) as store:
        one = _chosen(store, name)
        header = checkpoint.read_header(Reader(store.read(one.name)))
    meta = header.meta
    typer.echo(f"{one.name}: taken {_age(meta.made_ms)} ago by streamer {printable(meta.made_by)}")
    typer.echo(f"{one.n_events:,} interactions in {meta.n_batches:,} batches, {header.n_bytes / 1e6:,.1f} MB")
    for topic, partition, offset in meta.positions:
        typer.echo(printable(f"{topic}[{partition}] next {offset}"))
    for setting, value in sorted(meta.config.items()):
        typer.echo(printable(f"{setting} = {value}"))
    for array in sorted(header.arrays, key=lambda array: -array.n_bytes)[:_N_ARRAYS]:
        typer.echo(
            printable(f"{array.n_bytes / 1e6:10,.2f} MB  {array.name} {array.dtype} {tuple(array.shape)}")
        )


def verify_one(settings: Settings, name: str | None) -> None:
    """Put the state of one of them together, as a start does, and say its hash.

    Raises:
        DataError: there is none, or none of this name.
        CheckpointRefused: no worker can resume from it, and why.
    """
    with closing(checkpoint_store(settings)) as store:
        one = _chosen(store, name)
        reader = Reader(store.read(one.name))
        try:
            header = checkpoint.read_header(reader)
            _restore(settings, header, reader)
        except CheckpointRefused as exc:
            raise CheckpointRefused(f"{one.name}: {exc}") from exc


def _restore(settings: Settings, header: Header, reader: Reader) -> None:
    checkpoint.check_config(header.meta.config, checkpoint.config_of(settings.fold(), settings.measure_share))
    trainer = new_trainer(settings)
    try:
        restored = checkpoint.restore(header, reader, settings.fold(), trainer)
        typer.echo(f"ok, state hash {pipeline.state_hash(restored.state)}")
    finally:
        if trainer is not None:
            trainer.close()


def roll_back(settings: Settings) -> None:
    """Let the newest one no longer count: the next start resumes from the one before, and repeats what came since.

    Raises:
        DataError: there is none before it.
    """
    with closing(checkpoint_store(settings)) as store:
        kept = pointer.decode(store.read_pointer())
        if len(kept) < 2:
            raise DataError(
                f"{store.where}: expected at least two checkpoints, found {len(kept)}; nothing was done"
            )
        store.write_pointer(pointer.encode(kept[1:]))
    typer.echo(f"{kept[0].name} no longer counts; the next start resumes from {kept[1].name}")
    typer.echo("a worker that runs now does not notice: its next checkpoint becomes the newest")


def _chosen(store: Checkpoints, name: str | None) -> Kept:
    kept = pointer.decode(store.read_pointer())
    for one in kept:
        if name is None or one.name == name:
            return one
    what = "there is no checkpoint" if name is None else f"there is no checkpoint {name[:100]!r}"
    raise DataError(f"{store.where}: {what}; `streamer checkpoint list` shows all")


def _age(made_ms: int) -> str:
    return ago(time.time_ns() // 1_000_000 - made_ms)
