"""One run of the ablation: a variant of the model over a whole log, or a model on the second half of it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ledger import key_of, source_version

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {  # kind of run -> what it is made of
    "variant": ("streamer",),
    "streamer": ("streamer", "ops/bench/baselines"),
    "baseline": (
        "ops/bench/baselines",
        "streamer/datasets.py",
        "streamer/measure.py",
        "streamer/prequential.py",
    ),
}

Progress = Callable[[str, float], None]  # what is going on, and which share of it is done
Rows = list[dict[str, Any]]


class Run(NamedTuple):
    """What to run.

    Args:
        kind: One of SOURCES.
        name: Row of the table, or name of the baseline.
        directory: The set.
        settings: Setting -> value, `without` among them.
        max_events: Only the first so many; None: all.
        catalog_first: The whole catalog is known before the first interaction; of variants only.
    """

    kind: str
    name: str
    directory: Path
    settings: dict[str, Any]
    max_events: int | None
    catalog_first: bool

    @property
    def set_name(self) -> str:
        """The set and the rule it is measured under, as on the command line."""
        return self.directory.name + (":repeats" if self.settings.get("repeats") else "")

    def key(self) -> str:
        """Equal for runs that give the same rows."""
        version = _version(self.kind)
        return key_of({**self._asdict(), "directory": str(self.directory.resolve()), "version": version})


@cache
def _version(kind: str) -> str:
    """Read once: what is edited while rows are running is not what they are made of."""
    return source_version(ROOT, SOURCES[kind])


def execute(run: Run, progress: Progress) -> Rows:
    """Rows of one run.

    Raises:
        StreamerError: the set cannot be read, or a setting is wrong.
    """
    from streamer.config import load  # noqa: PLC0415  heavy, and `--help` does not need it

    settings = load(run.settings).settings
    if run.kind == "variant":
        from streamer import replay  # noqa: PLC0415

        report = replay.run(
            run.directory,
            settings,
            max_events=run.max_events,
            catalog_first=run.catalog_first,
            progress=lambda n_done, n: progress(run.name, n_done / n),
        )
        return [
            {
                "row": run.name,
                "slices": report["lists"]["streamer"],
                "beyond": report["beyond"],
                "events_per_second": report["timing"]["events_per_second"],
            }
        ]
    from baselines import compare  # noqa: PLC0415

    log = compare.read_log(run.directory, settings, run.max_events)
    if run.kind == "streamer":
        return compare.of_streamer(run.directory, settings, run.max_events, log, progress)
    return compare.of_model(log, compare.models()[run.name](), progress)


def execute_silently(run: Run) -> Rows:
    """As `execute`, for a process of its own."""
    return execute(run, _tell_nobody)


def _tell_nobody(what: str, share: float) -> None:
    """A process of its own has no bar."""
