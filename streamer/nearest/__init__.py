"""Nearest items by text: a bounded table that kernels of the fold read, and that every new vector moves a little.

table     the table, what is kept beside it, and the order of neighbours
links     the kernels that keep it: look at rows, link both ways, count masses, let go
segments  approximate search, once there are too many vectors to look at each
sound     is what a checkpoint holds of this package what it once wrote?
nearest   put, drop, search, snapshot, restore
"""

from streamer.nearest.nearest import Nearest, warm_up
from streamer.nearest.table import N_NEAR, NearTable, similarity

__all__ = ["N_NEAR", "NearTable", "Nearest", "similarity", "warm_up"]
