"""Bench of the peers: other recommenders on the same events under the same protocol, each in a process of its own."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from baselines import compare
from baselines.protocol import Log, figures
from baselines.streaming import BiasedMf, Imf, Recent, RedisRecipe, Streaming
from figures import markdown
from options import Options
from processes import alone
from redis import Redis
from threadpoolctl import threadpool_limits

from streamer import replay
from streamer.config import Settings
from streamer.errors import ConfigError
from streamer.servers import EmbeddedRedis

SLICES = ("all", "cold_items", "cold_users", "new_sessions")
PACKAGES = {"river-biased-mf": "river", "flurs-imf": "flurs"}
RETRAINED = ("item-knn-cosine", "item-knn-bm25", "als")
STREAMING: dict[str, Callable[[], Streaming]] = {
    "most-recent": Recent,
    "river-biased-mf": BiasedMf,
    "flurs-imf": Imf,
}
PEERS = ("streamer", *STREAMING, *RETRAINED, "redis-alone")
HEADER = ("model", "how", *(f"HR@10 {name}" for name in SLICES), "learn us", "list us", "events/s", "MB")


def peers(options: Options) -> tuple[str, list[dict[str, Any]]]:
    """One table: HR@10 on the second half of the log, CPU microseconds, what that makes a second, and memory.

    Events a second are one event learned and one list ranked for each, on one core, by CPU time (Redis' own included);
    memory is what the process took at its peak beyond the log, or Redis beyond nothing. Texts are embedded before.
    """
    unknown = sorted(set(options.peers) - set(PEERS))
    if unknown:
        raise ConfigError(f"--peer: expected some of {', '.join(PEERS)}; got {', '.join(unknown)}")
    rows: list[dict[str, Any]] = []
    for name in options.peers or PEERS:
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            rows.append({"model": name, "how": f"skipped: {PACKAGES[name]} is not installed"})
        else:
            rows += alone(measure, name, options.data, options.max_events)
    return markdown(HEADER, map(_line, rows)), rows


def measure(name: str, data: Path, max_events: int | None) -> list[dict[str, Any]]:
    """Rows of one peer, of this process: call it in a new one."""
    settings = Settings()
    log = compare.read_log(data, settings, max_events)
    _forget_peak()
    before = _peak_bytes()
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1))  # BLAS: what is shown is what one core does
        if name == "streamer":
            rows = _streamer(log, data, settings, max_events)
        elif name in RETRAINED:
            rows = [_retrained(log, name)]
        elif name == "redis-alone":
            rows = [_redis_alone(stack, log)]
        else:
            rows = [_streaming(log, STREAMING[name](), time.process_time)]
    for row in rows:
        row.setdefault("bytes", _peak_bytes() - before)
    return rows


def _streamer(log: Log, data: Path, settings: Settings, max_events: int | None) -> list[dict[str, Any]]:
    """Ours and the two plain lists beside it. To learn costs what a replay takes that ranks nothing; the rest is ranking."""
    found = compare.of_streamer(data, settings, max_events, log, _tell_nobody)
    rows = [{"model": row["row"], "how": row["training"], "slices": row["slices"]} for row in found]
    unranked = settings.model_copy(update={"measure_share": 0.0})
    learn_s = replay.run(data, unranked, max_events=max_events)["timing"]["cpu_seconds"]
    rank_s = found[0]["training_cpu_seconds"] - learn_s
    rows[0] |= _costs(learn_s / log.item.size, rank_s / log.counted(0, log.item.size).size)
    for row in rows[1:]:
        row["bytes"] = None  # they live in the same tables
    return rows


def _retrained(log: Log, name: str) -> dict[str, Any]:
    """Trained on the first half, then again on everything so far every so many events."""
    model = compare.models()[name]()
    n, half = log.item.size, log.item.size // 2
    every = max(1, min(compare.RETRAIN_EVERY, (n - half) // 10))
    learn_s = rank_s = 0.0
    parts = []
    for start in range(half, n, every):
        began_s = time.process_time()
        model.fit(log, start)
        learn_s += time.process_time() - began_s
        began_s = time.process_time()
        parts.append(compare.found_ranks(log, model, start, start, min(start + every, n), None))
        rank_s += time.process_time() - began_s
    events = log.counted(half, n)
    how = f"again every {every:,} events"
    return _row(
        model.name, how, log, events, np.concatenate(parts), learn_s / (n - half), rank_s / events.size
    )


def _redis_alone(stack: ExitStack, log: Log) -> dict[str, Any]:
    server = stack.enter_context(EmbeddedRedis())
    client = stack.enter_context(Redis.from_url(server.url))
    process = psutil.Process(server.pid)
    recipe = RedisRecipe(client)
    row = _streaming(log, recipe, lambda: time.process_time() + sum(process.cpu_times()[:2]))
    return {**row, "bytes": recipe.n_bytes()}


def _streaming(log: Log, model: Streaming, cpu_s: Callable[[], float]) -> dict[str, Any]:
    """Learns every event; from half of the log on, one counted event in `rank_every` is ranked before it."""
    n = log.item.size
    events = log.counted(n // 2, n)[:: model.rank_every]
    found, learn_s, rank_s, at = np.zeros(events.size, np.int32), 0.0, 0.0, 0
    for place, event in enumerate([*events.tolist(), n]):
        began_s = cpu_s()
        for learned in range(at, event):
            model.learn(log, learned)
        learn_s += cpu_s() - began_s
        at = event
        if event < n:
            began_s = cpu_s()
            found[place] = model.rank(log, event)
            rank_s += cpu_s() - began_s
    how = f"every event, ranks of 1 in {model.rank_every}"
    return _row(model.name, how, log, events, found, learn_s / n, rank_s / max(events.size, 1))


def _row(
    name: str, how: str, log: Log, events: Any, found: Any, learn_s: float, rank_s: float
) -> dict[str, Any]:
    return {
        "model": name,
        "how": how,
        "slices": figures(log, events, found),
        **_costs(learn_s, rank_s),
    }


def _costs(learn_s: float, rank_s: float) -> dict[str, float]:
    """Of an event, and of a list."""
    return {
        "learn_us": learn_s * 1e6,
        "rank_us": rank_s * 1e6,
        "events_per_second": 1.0 / (learn_s + rank_s),
    }


def _line(row: dict[str, Any]) -> Sequence[str]:
    slices = row.get("slices", {})
    ratios = [slices.get(name, {}).get("hit_ratio") for name in SLICES]
    numbers = [row.get(name) for name in ("learn_us", "rank_us", "events_per_second")]
    n_bytes = row.get("bytes")
    return [
        row["model"],
        row["how"],
        *("" if ratio is None else f"{ratio:.4f}" for ratio in ratios),
        *("" if number is None else f"{number:,.0f}" for number in numbers),
        "" if n_bytes is None else f"{n_bytes / 1e6:,.0f}",
    ]


def _forget_peak() -> None:
    """Reading the log took more than the log: the peak begins anew, where the system lets us."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_bytes() -> int:
    """The most memory this process has held at a time since then, where the system tells; else what it holds now."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    except OSError:
        return int(psutil.Process().memory_info().rss)


def _tell_nobody(what: str, share: float) -> None:
    """A process of its own has no bar."""
