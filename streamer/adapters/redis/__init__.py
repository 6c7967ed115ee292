"""What is kept on Redis, Valkey or a cluster of either, by redis-py.

connection   what they share: commands in chunks, and which errors waiting heals
lists        published lists, and marks of retired items
fold_stream  the log of folds as a stream; lists append to it, too
folds        the log of folds
vectors      published vectors, and the state of the encoders
receipts     what was removed of erased users
checkpoints  checkpoints in chunks
texts        the cache of embedded texts
server       what a server says about itself
"""

from streamer.adapters.redis.connection import RedisConnection
from streamer.adapters.redis.lists import RedisLists

__all__ = ["RedisConnection", "RedisLists"]
