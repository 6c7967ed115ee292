"""The fold: `state, info = step(state, batch)`. Pure: no clock, no I/O, no chance.

The tables of a state are moved in place, since they may be gigabytes: whoever calls `step` gives the state away and goes on
with the one that comes back.

    state.py        what there is, its bytes and its hash
    delivery.py     what comes twice, and what erased users did before, is left out
    batch.py        one batch into the state
    run.py          interactions that follow each other: gathered, measured, learned
    description.py  what the catalog says of an item, into the tables
    measuring.py    which interactions are ranked before they are learned
    info.py         what a batch did
    eviction.py     room for new users in a full table
    leaving.py      which items make way, and the long part of it, a stretch at a time
    items.py        room for new items in a full table
    segments.py     lists for those of whom one value of a profile is known
    rounds.py       training beside the fold
    lists.py        lists and vectors out of it
"""

from streamer.pipeline.batch import step, warm_up, warm_up_fold, warm_up_lists
from streamer.pipeline.info import Erased, StepInfo
from streamer.pipeline.items import rows_of_nobody
from streamer.pipeline.lists import (
    Ranking,
    gaps_ms,
    idle_users,
    n_explored,
    rank_users,
    user_histories,
    user_vectors,
)
from streamer.pipeline.state import (
    Ids,
    State,
    Table,
    leaving_rows,
    new_state,
    path_weights,
    state_hash,
    switchable,
    table_bytes,
    tables,
)

__all__ = [
    "Erased",
    "Ids",
    "Ranking",
    "State",
    "StepInfo",
    "Table",
    "gaps_ms",
    "idle_users",
    "leaving_rows",
    "n_explored",
    "new_state",
    "path_weights",
    "rank_users",
    "rows_of_nobody",
    "state_hash",
    "step",
    "switchable",
    "table_bytes",
    "tables",
    "user_histories",
    "user_vectors",
    "warm_up",
    "warm_up_fold",
    "warm_up_lists",
]
