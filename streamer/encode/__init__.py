"""Catalog, profile and context fields -> feature nodes and numbers; running encoder state.

Each catalog or profile event passes through once and is learned before it is encoded. Of river only this package knows.

    encoders     catalog items, profiles and contexts -> names of nodes, and numbers for the ranker
    fields       all fields of one kind of record
    names        names of nodes: two different features never share one
    categorical  one categorical field
    numerical    one numerical field
    words        words of titles and texts
    bins         bins of a stream of numbers that keep their meaning while the quantiles move
    quantiles    running quantiles, in bounded memory
    drift        notices that the distribution of a field has changed
    river_state  river's estimators <-> plain data
"""

from streamer.encode.drift import Drift
from streamer.encode.encoders import N_NUMBERS, Encoders, Features

__all__ = ["N_NUMBERS", "Drift", "Encoders", "Features"]
