"""What it costs the lists behind a long log that a start reads it in haste, beside one that learns it all as a replay does."""

import time
from collections.abc import Sequence
from contextlib import closing

from figures import Row
from offline import batches
from options import Options

from streamer.config import Settings
from streamer.datasets import load
from streamer.events import Event, Interaction, decode
from streamer.measure import Scoreboard
from streamer.propagate.learner import Learner
from streamer.runner.model import Model
from streamer.training import ThreadTrainer

N_BEHIND = 20_000  # interactions that come when the log was read, all measured
NOW_MS = 4_000_000_000_000  # no event of a set happened later
DEFAULTS = {"text_model": "none"}
WAYS = {"in haste": {}, "as a replay": {"training_waits": "true"}}


def haste(options: Options) -> list[Row]:
    """HR@10 of the events behind the log, and events/s while it was read, by how it was read; without texts, no Kafka."""
    dataset = load(options.data, catalog_first=False, max_events=options.max_events)
    events = [decode(message.kind, message.key, message.value) for message in dataset.messages()]
    n_log = dataset.n_interactions - min(N_BEHIND, dataset.n_interactions // 2)
    log, behind = _cut(events, n_log)
    rows = []
    for way, wanted in WAYS.items():
        settings = Settings(**{**DEFAULTS, **options.settings, **wanted})
        ratio = Row("haste", f"{way}: lists behind {n_log:,} events", "HR@10, %")
        speed = Row("haste", f"{way}: reading", "events/s")
        for _ in range(options.n_runs):
            with closing(ThreadTrainer(Learner(), waits=settings.training_waits)) as trainer:
                model = Model(settings, trainer)
                model.warm_up()
                took_s = _read(model, log, settings)
                speed.add(n_log / took_s, took_s)
                ratio.add(_follow(model, behind, settings))
        rows += [ratio, speed]
    return rows


def _read(model: Model, log: Sequence[Event], settings: Settings) -> float:
    """Fold what a start finds on the log; seconds."""
    began_s, n_left = time.monotonic(), _count(log)
    for batch in batches(log, settings.max_batch_catch_up):
        n_left -= _count(batch)
        model.fold(batch, NOW_MS, is_serving=False, n_left=n_left)
    return time.monotonic() - began_s


def _follow(model: Model, events: Sequence[Event], settings: Settings) -> float:
    """Fold what came behind the log; HR@10 of it alone, %."""
    model.scoreboard = Scoreboard()
    for batch in batches(events, settings.max_batch_catch_up):
        model.fold(batch, NOW_MS, is_serving=False)
    return 100.0 * model.scoreboard.lists()["streamer"]["all"]["hit_ratio"]


def _cut(events: Sequence[Event], n_log: int) -> tuple[Sequence[Event], Sequence[Event]]:
    """The log, to its last interaction of `n_log`, and what came behind it."""
    interactions = [at for at, event in enumerate(events) if isinstance(event, Interaction)]
    end = interactions[n_log - 1] + 1
    return events[:end], events[end:]


def _count(events: Sequence[Event]) -> int:
    return sum(isinstance(event, Interaction) for event in events)
