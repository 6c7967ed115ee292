"""Bench of checkpoints: what taking them costs the whole loop, beside the same loop without any, in turns."""

from pathlib import Path
from tempfile import TemporaryDirectory

from figures import Row
from options import MODELS, Options
from servers import Stage, staged
from synthetic import Stream

N_EVENTS = 3_000_000
N_ITEMS = 20_000
EVENTS_A_USER = 6
NONE = "no checkpoint"
KEEPING: dict[str, dict[str, str]] = {
    "checkpoints as set by default": {},
    "a checkpoint every 3 s": {"checkpoint_interval_s": "3"},
}
CASES = {NONE: {"checkpoint_interval_s": "0"}, **KEEPING}
TAKEN = "streamer_checkpoint_pause_seconds"


def checkpoints(options: Options) -> list[Row]:
    """Events a second of counting paths alone, by how often the state is kept in a directory, and the ratios to never.

    The fastest model has the most records, and so the most checkpoints, a second: `checkpoint_interval_events` comes first.
    Cases take turns, so that a ratio is of two runs that followed each other.
    """
    n_events = min(options.max_events or N_EVENTS, N_EVENTS)
    stream = Stream(N_ITEMS, max(1, n_events // EVENTS_A_USER), n_events, with_catalog=False)
    speeds = {case: Row("checkpoints", case, "events/s") for case in CASES}
    taken = {case: Row("checkpoints", f"{case}: taken", "a run") for case in KEEPING}
    ratios = {case: Row("checkpoints", f"{case} over none", "ratio") for case in KEEPING}
    for _ in range(options.n_runs):
        for case, settings in CASES.items():
            with TemporaryDirectory(prefix="streamer-bench-") as kept:
                wanted = {**MODELS["counting paths alone"], **options.settings, **settings}
                with staged(stream, None, options.kafka, {**wanted, "checkpoint_url": kept}) as stage:
                    n_taken, wall_s = _run(stage)
                sizes = [path.stat().st_size for path in Path(kept).rglob("*") if path.is_file()]
            speeds[case].add(n_events / wall_s, wall_s)
            speeds[case].note = f"{stage.broker.kind} Kafka"
            if case in KEEPING:
                taken[case].add(n_taken)
                taken[case].note = f"the largest {max(sizes, default=0) / 1e6:,.0f} MB"
                ratios[case].add(speeds[case].values[-1] / speeds[NONE].values[-1])
    return [*speeds.values(), *taken.values(), *ratios.values()]


def _run(stage: Stage) -> tuple[float, float]:
    """Checkpoints taken meanwhile, and seconds from the first event sent to the last list written."""
    n_before = stage.metrics().total(f"{TAKEN}_count")
    stage.go()
    stage.wait_until_read()
    after = stage.metrics()
    wall_s = stage.wall_s(after)
    return after.total(f"{TAKEN}_count") - n_before, wall_s
