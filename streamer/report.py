"""`report.v1` of `schemas/`: what was measured, in one document.

Only `timing`, which the caller adds, may differ between two replays.
"""

from typing import Any

from streamer import pipeline
from streamer.measure import K, Scoreboard


def build(
    data: str, settings: dict[str, Any], state: pipeline.State, scoreboard: Scoreboard
) -> dict[str, Any]:
    """The report of everything folded so far.

    Args:
        data: Name of the data set or topic.
        settings: Settings beside those of the fold that shaped the figures.
    """
    lists = scoreboard.lists()
    served = lists.pop("served", None)
    weights = pipeline.path_weights(state)
    return {
        "data": data,
        "settings": {**state.settings._asdict(), **settings},
        "events": scoreboard.n_events,
        "counted": scoreboard.n_counted,
        "k": K,
        "state_hash": pipeline.state_hash(state),
        "lists": lists,
        **({"served": served} if served is not None else {}),
        "beyond": scoreboard.beyond(len(state.ids.items)),
        "months": scoreboard.months(),
        "paths": {name: {"weight": weights[name], **counts} for name, counts in scoreboard.paths().items()},
    }
