"""Bench of the whole: producer -> Kafka -> worker -> Redis, every part a process of its own."""

from collections.abc import Iterable, Iterator

from figures import Row
from options import MODELS, Options
from servers import Log, Stage, measured_percent, staged

from streamer.datasets import load

ALL = "1000000"  # more than a batch has
# Counter and histograms of the worker -> what its main thread was at.
STAGES = {
    "streamer_step_seconds_sum": "measuring and learning",
    "streamer_rank_seconds_sum": "ranking and encoding",
    "streamer_write_seconds_sum": "writing",
}


def loop(options: Options) -> list[Row]:
    """Events a second from the first message sent to the last list acknowledged by Redis, by model and share measured.

    Beside them lists a second, CPU seconds a million events of every process, and what of its time the worker's main
    thread spends where.
    """
    log = load(options.data, catalog_first=True, max_events=options.max_events)
    rows: list[Row] = []
    for model, settings in MODELS.items():
        for name, measuring in _measuring(options.shares):
            case = _Case(f"{model}, {name}")
            for _ in range(options.n_runs):
                wanted = {**settings, **options.settings, **measuring}
                with staged(log, None, options.kafka, wanted) as stage:
                    case.run(stage, log)
            rows += case.rows()
    return rows


def _measuring(shares: Iterable[float]) -> Iterator[tuple[str, dict[str, str]]]:
    """The defaults, which measure fewer events the longer batches are; and fixed shares, whatever that costs."""
    yield "defaults", {}
    for share in shares:
        yield f"measure_share={share:g}", {"measure_share": f"{share:g}", "max_measured": ALL}


def maximum(options: Options, log: Log) -> float:
    """Events a second of one run of the loop with the default share."""
    case = _Case("maximum")
    with staged(log, None, options.kafka, options.settings) as stage:
        case.run(stage, log)
    return case.speed.values[0]


class _Case:
    def __init__(self, name: str) -> None:
        self._name = name
        self.speed, self._lists = Row("loop", name, "events/s"), self._row("lists written", "lists/s")
        self._measured = self._row("measured", "% of counted")
        self._cost: dict[str, Row] = {}
        self._where: dict[str, Row] = {}

    def rows(self) -> list[Row]:
        return [self.speed, self._lists, self._measured, *self._cost.values(), *self._where.values()]

    def run(self, stage: Stage, log: Log) -> None:
        before, before_s = stage.metrics(), stage.cpu_s()
        stage.go()
        stage.wait_until_read()
        after_s, after = stage.cpu_s(), stage.metrics()
        wall_s = stage.wall_s(after)
        cpu_s = {name: after_s[name] - before_s[name] for name in after_s}
        n_events = log.n_interactions
        self.speed.note = f"{stage.broker.kind} Kafka"
        self.speed.add(n_events / wall_s, wall_s, cpu_s)
        written = "streamer_lists_written_total"
        self._lists.add((after.total(written) - before.total(written)) / wall_s)
        self._measured.add(measured_percent(before, stage))
        for name, seconds in cpu_s.items():
            row = self._cost.setdefault(name, self._row(f"CPU of {name}", "s/million events"))
            row.add(seconds / n_events * 1e6)
        for metric, what in STAGES.items():
            row = self._where.setdefault(what, self._row(f"worker {what}", "% of wall"))
            row.add(100.0 * (after.total(metric) - before.total(metric)) / wall_s)

    def _row(self, what: str, unit: str) -> Row:
        return Row("loop", f"{self._name}: {what}", unit)
