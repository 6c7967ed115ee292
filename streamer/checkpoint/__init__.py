"""The whole state of the fold as bytes, and back: what a restart resumes from.

    blocks   arrays without their empty places
    file     a header and arrays as bytes; hostile ones are refused
    slots    which arrays there may be, of which type and size
    sound    whether what tables name is there
    state    state and scoreboard <-> arrays
    config   which settings it belongs to
    pointer  which checkpoints there are, the newest first

All of it is pure: where the bytes go, and when, is up to `runner.checkpoints`.
"""

from streamer.checkpoint.config import check_config, config_of
from streamer.checkpoint.file import Header, Meta, Reader, read_header, written
from streamer.checkpoint.pointer import Kept
from streamer.checkpoint.state import Arrays, Restored, Room, freeze, restore, room_for

__all__ = [
    "Arrays",
    "Header",
    "Kept",
    "Meta",
    "Reader",
    "Restored",
    "Room",
    "check_config",
    "config_of",
    "freeze",
    "read_header",
    "restore",
    "room_for",
    "written",
]
