"""Adapters: the ports of `streamer.ports`, filled by Kafka, Redis, and memory twins of each.

kafka             the log
redis             published lists and vectors, checkpoints, the log of folds, receipts, embedded texts
memory            a twin of each
file_checkpoints  checkpoints in a directory or bucket
text_model        texts -> vectors
text_process      the same, in a process of its own
expiry            what every store that forgets checks
unit_rows         what every text model gives: rows of norm 1
text_cache        the cache of embedded texts in a file, for `replay`
"""
