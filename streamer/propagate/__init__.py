"""The attention network: co-propagated vectors of users, items and feature nodes, trained beside the fold.

    settings   what it is made of, what it reads, what it learns from
    network    all its state as plain arrays; growth, digest, checkpoint
    tables     a version of it as tables for the fold's kernels; what a new item is worth in that version
    forward    the forward pass in torch
    step       one step of Adam
    training   a round: `train_round(network, examples, inputs) -> network`
    learner    rounds in their order: what changed and its examples in, the tables of a new version out

Only `forward`, `step` and `training` import torch, so a process that ranks but does not train goes without: `learner` imports
`training` when a round begins.
"""

from streamer.propagate.network import Network, digest, from_arrays, new_network, to_arrays
from streamer.propagate.settings import Architecture, Examples, Inputs, no_examples
from streamer.propagate.tables import ItemVectors, encode, export

__all__ = [
    "Architecture",
    "Examples",
    "Inputs",
    "ItemVectors",
    "Network",
    "digest",
    "encode",
    "export",
    "from_arrays",
    "new_network",
    "no_examples",
    "to_arrays",
]
