"""Nearest items by text: a bounded table that kernels of the fold read, and that every new vector moves a little.

table.py     the table and its kernels
segments.py  approximate search, once there are too many vectors to look at each
nearest.py   put, drop, search, snapshot, restore
"""

from streamer.nearest.nearest import Nearest, warm_up
from streamer.nearest.table import N_NEAR, NearTable, similarity

__all__ = ["N_NEAR", "NearTable", "Nearest", "similarity", "warm_up"]
