"""Bench of where the worker's time goes: py-spy looks at every thread's stack a hundred times a second during the loop."""

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from figures import Row
from options import MODELS, Options
from servers import Stage, staged

from streamer.datasets import load
from streamer.errors import Unavailable

PER_S = 100
LONGEST_S = 600
ATTACH_S = 1.0  # more than it needs to find its way into a process; a worker that waits is not sampled
# The innermost of these functions on a stack is what the thread is at; (file, function) -> stage. Kernels have no frames of
# their own: they are seen as the Python line that calls them.
FUNCTIONS = {
    ("streamer/events/decoding.py", "decode"): "decode",
    ("streamer/ids.py", "admit"): "ids",
    ("streamer/ids.py", "admit_many"): "ids",
    ("streamer/pipeline/run.py", "_fold_from"): "kernel: rank before each event, learn, ranker",
    ("streamer/pipeline/batch.py", "step"): "step, in Python",
    ("streamer/pipeline/rounds.py", "next_round"): "step, in Python",
    ("streamer/pipeline/lists.py", "rank_users"): "rank",
    ("streamer/publish.py", "encode"): "encode",
    ("streamer/runner/publishing.py", "_write_once"): "write",
    ("streamer/runner/vectors.py", "write"): "vectors to Redis",
    ("streamer/runner/reading.py", "_read"): "poll",
    ("streamer/runner/loop.py", "_show"): "measuring and metrics",
    ("streamer/measure.py", "update"): "measuring and metrics",
    ("streamer/publish.py", "served"): "measuring and metrics",
    ("streamer/training.py", "_learn"): "training (its own thread)",
    ("streamer/telemetry/server.py", "do_GET"): "metrics port (its own threads)",
    ("streamer/embedding/background.py", "_work"): "embedding (its own thread)",
    ("streamer/runner/checkpoint_writer.py", "_try_to_write"): "checkpoints (their own thread)",
    ("streamer/runner/intake.py", "take"): "rest of intake",
    ("streamer/runner/model.py", "lists"): "rest of the lists",
    ("streamer/runner/loop.py", "run"): "rest of the loop",
}
# A thread whose innermost frame is `_work` waits, too: what it asks for the next thing to do has no frame.
_WAITING = ("wait", "select", "_work")


def profile(options: Options) -> list[Row]:
    """Share of the worker's busy samples by what it was at, for both models, every event measured.

    A thread that waits (for a message, for an answer of Redis) is not sampled. What one kernel does cannot be told apart from
    outside: `learn` has the step with and without ranking and ranker.
    """
    log = load(options.data, catalog_first=True, max_events=options.max_events)
    found = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if found is None:
        return [Row("profile", "where the worker's time goes", "%", note="skipped: py-spy is not installed")]
    rows = []
    for model, settings in MODELS.items():
        by_stage: dict[str, Row] = {}
        for _ in range(options.n_runs):
            with staged(log, None, options.kafka, {**settings, **options.settings}) as stage:
                samples = _sampled(found, stage)
            total = sum(samples.values())
            for what, n in samples.most_common():
                row = by_stage.setdefault(what, Row("profile", f"{model}: {what}", "% of busy samples"))
                row.add(100.0 * n / total)
        rows += by_stage.values()
    return rows


def _sampled(py_spy: str, stage: Stage) -> Counter[str]:
    """Stage -> samples, of the loop from the first event sent to the last list written."""
    out = stage.directory / "stacks"
    command = [py_spy, "record", "--pid", str(stage.worker.pid), "--format", "raw", "--output", str(out)]
    command += ["--rate", str(PER_S), "--duration", str(LONGEST_S), "--full-filenames"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as sampler:
        time.sleep(ATTACH_S)
        stage.go()
        stage.wait_until_read()
        sampler.send_signal(signal.SIGINT)  # it writes what it has
        _, errors = sampler.communicate(timeout=60)
    if not out.exists():
        raise Unavailable(f"py-spy could not look into the worker: {errors.decode().strip()[-300:]}")
    return by_stage_of(out.read_text().splitlines())


def by_stage_of(lines: Iterable[str]) -> Counter[str]:
    """Stage -> samples, of py-spy's raw format: `outermost (file:line);...;innermost (file:line) count`.

    Threads that wait for work are left out: they have no frame of ours, or wait for a condition.
    """
    samples: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [_frame(text) for text in stack.split(";")]
        if any("/streamer/" in file for file, _ in frames) and frames[-1][1] not in _WAITING:
            samples[next(_stages(frames), "the rest")] += int(count)
    return samples


def _frame(text: str) -> tuple[str, str]:
    """(file, function without its class)."""
    function, _, place = text.partition(" (")
    return place.rpartition(":")[0], function.rpartition(".")[2]


def _stages(frames: list[tuple[str, str]]) -> Iterator[str]:
    """Innermost first."""
    for file, function in reversed(frames):
        for (ending, name), stage in FUNCTIONS.items():
            if function == name and file.endswith(ending):
                yield stage
