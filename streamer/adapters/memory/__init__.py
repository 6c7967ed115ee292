"""In-memory twins of every adapter: for `replay`, for embedding streamer into a program, and for tests.

They keep the contracts of `ports` (the same suite runs against the real servers) and can be taken away
(`down`) to see what a dependency's absence does. None is safe to share between threads, except `SystemClock`.

clock        the machine's, and one that moves only when told to
log          a broker, its readers and writers
lists        published lists
checkpoints  checkpoints, and the log of folds
vectors      published vectors
receipts     what was removed of erased users
texts        the cache of embedded texts, and models
"""

from streamer.adapters.memory.clock import ManualClock, SystemClock
from streamer.adapters.memory.lists import MemoryLists
from streamer.adapters.memory.log import MemoryLog, MemorySink, MemorySource

__all__ = ["ManualClock", "MemoryLists", "MemoryLog", "MemorySink", "MemorySource", "SystemClock"]
