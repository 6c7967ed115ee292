"""Rounds of training in their order: what changed since the last one and its examples in, the tables of a new version out."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.graph.vectors import Tables
from streamer.propagate.network import Network, digest, from_arrays, new_network, to_arrays, without_rows
from streamer.propagate.settings import Architecture, Examples, Inputs, check_inputs
from streamer.propagate.tables import export

TEXT_DIM = 384  # of the network's text inputs: narrower vectors are filled up with zeros, wider ones cut
N_NEIGHBOURS = 8  # most co-taken items that send messages to an item
_ITEMS_A_EXPORT = 20_000  # a catalog n times as large is exported every n-th round


class Round(NamedTuple):
    """What a round of training needs; its own copy, since the fold goes on meanwhile."""

    examples: Examples
    n_items: int  # rows in use
    rows: NDArray[np.int64]  # (n,) items that changed since the last round
    text: NDArray[np.int8]  # (n, any) of these: vector times 127; zeros = none
    nodes: NDArray[np.int32]  # (n, NODES) feature node rows + 1; 0 = none
    known: NDArray[np.bool_]  # (n,) taken once, and listable
    neighbours: NDArray[np.int32]  # (n, N_NEIGHBOURS) item rows + 1; 0 = none
    # (n,) rows, among `rows`, that were given up since the last round: what was known of them goes
    evicted: NDArray[np.int64]


class Trainer(Protocol):
    """Trains beside the fold. A round's tables are asked for when the next one begins, and not before."""

    def submit(self, job: Round) -> None:
        """Begin a round. The one before has been taken."""

    def take(self) -> tuple[bool, Tables | None]:
        """Whether the next round may begin, and the tables of the last one, where it has ended and made some.

        False: that one is late and nobody waits for it, or the trainer rests; ask again when the next one would begin.
        """

    def digest(self) -> bytes:
        """Canonical bytes of the network once all rounds are done; waits for them."""

    def n_bytes(self) -> int:
        """Memory of the network and of what it knows of the items, bytes."""

    def freeze(self) -> Callable[[], dict[str, NDArray[Any]]]:
        """The state as it is now, with the round at hand done and not taken; returns at once.

        What comes back may be called later, in another thread: it waits for that round, and gives the state as arrays.
        """

    def thaw(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the state that `freeze` gave; nothing was submitted before.

        Raises:
            ValueError: it is that of another network, or of none.
        """


class Learner:
    """The network and the items as it knows them. Not safe to share between threads.

    Args:
        architecture: Of the network.
    """

    def __init__(self, architecture: Architecture | None = None) -> None:
        self._network = new_network(architecture or Architecture(), TEXT_DIM)
        self._n_rounds = 0
        self._n_known = 0  # rows of the inputs that anything is known of
        self._inputs = Inputs(
            np.zeros((0, TEXT_DIM), np.int8),
            np.zeros((0, 0), np.int32),
            np.zeros(0, np.bool_),
            np.zeros((0, N_NEIGHBOURS), np.int32),
        )

    @property
    def network(self) -> Network:
        """As the last round left it."""
        return self._network

    def learn(self, job: Round) -> Tables | None:
        """Do one round; tables of the new version, where it is time to make some."""
        from streamer.propagate.training import train_round  # noqa: PLC0415  torch is loaded by who trains

        self._take_changes(job)
        n, known = job.n_items, self._inputs
        inputs = Inputs(known.text[:n], known.nodes[:n], known.known[:n], known.neighbours[:n])
        self._network = train_round(self._network, job.examples, inputs)
        self._n_rounds += 1
        if self._n_rounds % (1 + job.n_items // _ITEMS_A_EXPORT):
            return None
        return export(self._network, inputs)

    def digest(self) -> bytes:
        """Canonical bytes of the network."""
        return digest(self._network)

    def n_bytes(self) -> int:
        """Memory of the network, its moments and buffer, and of the inputs."""
        net = self._network
        parts = [*net.weights.values(), *net.mean.values(), *net.square.values(), *net.buffer, *self._inputs]
        return sum(int(part.nbytes) for part in parts)

    def freeze(self) -> dict[str, NDArray[Any]]:
        """The state as arrays. Of the network they are its own, which nobody changes: a round makes a new one."""
        return {
            **{f"network.{name}": array for name, array in to_arrays(self._network).items()},
            **{
                f"inputs.{name}": part[: self._n_known].copy()
                for name, part in self._inputs._asdict().items()
            },
            "n_rounds": np.array([self._n_rounds], np.int64),
        }

    def thaw(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the state that `freeze` gave.

        Raises:
            ValueError: it is that of another network, or of none.
        """
        prefix = "network."
        parts = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        network = from_arrays(self._network.architecture, TEXT_DIM, parts)
        inputs = Inputs(*(arrays[f"inputs.{name}"].copy() for name in Inputs._fields))
        check_inputs(inputs, TEXT_DIM)
        self._network, self._inputs = network, inputs
        self._n_known = self._inputs.known.size
        self._n_rounds = int(arrays["n_rounds"][0])

    def _take_changes(self, job: Round) -> None:
        self._n_known = max(self._n_known, job.n_items, int(job.rows.max(initial=-1)) + 1)
        n_nodes = job.nodes.shape[1]
        if job.n_items > self._inputs.known.size or n_nodes != self._inputs.nodes.shape[1]:
            self._inputs = _grown(self._inputs, 2 * job.n_items, n_nodes)
        if job.evicted.size:
            self._forget(job.evicted)
        dim = min(TEXT_DIM, job.text.shape[1])
        self._inputs.text[job.rows, :dim] = job.text[:, :dim]
        self._inputs.nodes[job.rows] = job.nodes
        self._inputs.known[job.rows] = job.known
        self._inputs.neighbours[job.rows] = job.neighbours

    def _forget(self, rows: NDArray[np.int64]) -> None:
        self._network = without_rows(self._network, rows)
        for part in self._inputs:
            part[rows] = 0
        is_gone = np.zeros(self._inputs.known.size + 1, np.bool_)
        is_gone[rows + 1] = True
        neighbours = self._inputs.neighbours
        neighbours[is_gone[neighbours]] = 0  # of items that did not change, too


def _grown(inputs: Inputs, n_items: int, n_nodes: int) -> Inputs:
    grown = Inputs(
        np.zeros((n_items, TEXT_DIM), np.int8),
        np.zeros((n_items, n_nodes), np.int32),
        np.zeros(n_items, np.bool_),
        np.zeros((n_items, N_NEIGHBOURS), np.int32),
    )
    for new, old in zip(grown, inputs, strict=True):
        new[: old.shape[0], ...] = old if new.ndim == 1 or new.shape[1] == old.shape[1] else 0
    return grown
