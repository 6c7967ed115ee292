"""Catalog, profile and context fields -> feature nodes and numbers; running encoder state.

Each catalog or profile event passes through once and is learned before it is encoded. Of river only this package knows.
"""

from streamer.encode.drift import Drift
from streamer.encode.encoders import N_NUMBERS, Encoders, Features

__all__ = ["N_NUMBERS", "Drift", "Encoders", "Features"]
