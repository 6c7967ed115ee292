"""Lists come first: what runs beside the fold gives way where both want a core."""

import os
import sys
import threading
from contextlib import suppress

NICER = 10  # of 19, below the thread that folds


def give_way() -> None:
    """Let the other threads go before the one that calls this, where threads have a priority of their own (Linux)."""
    if sys.platform == "linux":
        own = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid it: then all are equal
            os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + NICER)
