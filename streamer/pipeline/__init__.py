"""The fold: `state, info = step(state, batch)`. Pure: no clock, no I/O, no chance.

The tables of a state are moved in place, since they may be gigabytes: whoever calls `step` gives the state away and goes on
with the one that comes back.

    state.py   what there is, its bytes and its hash
    batch.py   one batch into the state
    lists.py   lists out of it
"""

from streamer.pipeline.batch import StepInfo, step, warm_up
from streamer.pipeline.lists import Ranking, gaps_ms, idle_users, rank_users
from streamer.pipeline.state import Ids, State, new_state, path_weights, state_hash, switchable, table_bytes

__all__ = [
    "Ids",
    "Ranking",
    "State",
    "StepInfo",
    "gaps_ms",
    "idle_users",
    "new_state",
    "path_weights",
    "rank_users",
    "state_hash",
    "step",
    "switchable",
    "table_bytes",
    "warm_up",
]
