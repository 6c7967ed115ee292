"""The whole state of the fold as bytes, and back: what a restart goes on from.

blocks   arrays without their empty places
file     a header and arrays as bytes; hostile ones are refused
slots    which arrays there may be, of which type and size
sound    whether what tables name is there
state    state and scoreboard <-> arrays
pointer  which checkpoints there are, the newest first
"""

from streamer.checkpoint.file import Header, Meta, Reader, read_header, skim, written
from streamer.checkpoint.state import Restored, freeze, restore

__all__ = ["Header", "Meta", "Reader", "Restored", "freeze", "read_header", "restore", "skim", "written"]
