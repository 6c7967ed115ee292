"""What the command line says, as every bench is given it."""

from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_DATA = Path(__file__).resolve().parents[1] / "data" / "online-retail"

# Settings of the two models that are timed. The first has counts alone, as `../shared/research/kernels.md` had: no features,
# no texts, nothing trained.
MODELS: dict[str, dict[str, str]] = {
    "counting paths alone": {"text_model": "none", "without": "ranker,content,vectors"},
    "everything on": {},
}


@dataclass(frozen=True)
class Options:
    """What to measure, and how much of it.

    Args:
        data: Set of the benches that read one.
        max_events: Only the first so many of its interactions; None: all.
        n_runs: Repetitions.
        kafka: Directory of a real broker's script, or "embedded"; None: the real one where it is there.
        rates: Of `freshness`, interactions a second; `NN%` of the measured maximum.
        shares: Of `loop`: values of `measure_share`.
        settings: More settings of every worker.
        n_users: Of the synthetic logs of `catch-up` and `start`.
        sizes: Of `growth`: items, users.
        sets: Directory of the sets of `quality`.
        set_names: NAME or NAME:repeats of those; empty: all.
        peers: Of `peers`; empty: all.
    """

    data: Path = DEFAULT_DATA
    max_events: int | None = None
    n_runs: int = 3
    kafka: str | None = None
    rates: tuple[str, ...] = ("100", "1000", "5000", "80%")
    shares: tuple[float, ...] = (0.0, 0.05, 1.0)
    settings: dict[str, str] = field(default_factory=dict)
    n_users: int = 1_000_000
    sizes: tuple[tuple[int, int], ...] = ()
    sets: Path = DEFAULT_DATA.parent
    set_names: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
