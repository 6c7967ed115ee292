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
    rows = []
    for way, wanted in WAYS.items():
        settings = Settings(**{**DEFAULTS, **options.settings, **wanted})
        ratio = Row("haste", f"{way}: lists behind {n_log:,} events", "HR@10, %")
        speed = Row("haste", f"{way}: reading", "events/s")
        for _ in range(options.n_runs):
            with closing(ThreadTrainer(Learner(), waits=settings.training_waits)) as trainer:
                model = Model(settings, trainer)
                model.warm_up()
                took_s = _read(model, events, n_log, settings)
                speed.add(n_log / took_s, took_s)
                ratio.add(100.0 * model.scoreboard.lists()["streamer"]["all"]["hit_ratio"])
        rows += [ratio, speed]
    return rows


def _read(model: Model, events: Sequence[Event], n_log: int, settings: Settings) -> float:
    """Fold the log, then what is behind it, which alone is on the scoreboard afterwards; seconds that the log took."""
    began_s, n_read, took_s = time.monotonic(), 0, None
    for batch in batches(events, settings.max_batch_catch_up):
        n_read += sum(isinstance(event, Interaction) for event in batch)
        if took_s is None and n_read > n_log:
            took_s = time.monotonic() - began_s
            model.scoreboard = Scoreboard()
        model.fold(batch, NOW_MS, is_serving=False, n_left=max(0, n_log - n_read))
    return took_s or time.monotonic() - began_s
