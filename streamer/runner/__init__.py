"""The worker: poll, decode, fold, rank, write, commit; back-off, dead letters, drain.

`worker` puts a worker together, of its `parts`; `loop` is the order of things, from where `opening` has put it. `patience`
waits for dependencies that are away, `reading` polls ahead, `admission` lets records in, `intake` makes events of them,
`positions` knows how far each partition was read, `lag` how much waits there, `outgoing` holds what must be on the log before
a commit, `texts` has the texts of items embedded, `model` is the pure core with its state, `publishing` keeps lists true to
it, `vectors` writes what the network makes of users and items, `retirement` finds the lists that hold a retired item,
`erasures` writes the receipts of erased users, `checkpoints` has the state kept (by `checkpoint_writer`), from where `start`,
`recovery`, `refold` and `phases` begin; `figures` tells all about it (with `drifts` and `first_listing`).

`returning` has a list made once more when its session is over, `renewal` has those of users who stay away made now and then;
`interval` says what need not be done every turn.
"""

from streamer.runner.checkpoint_writer import CheckpointPorts
from streamer.runner.texts import TextPorts
from streamer.runner.worker import Runner

__all__ = ["CheckpointPorts", "Runner", "TextPorts"]
