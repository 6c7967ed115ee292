"""A compressed day: what happens on it, what goes wrong, what is seen meanwhile, and what must be true in the evening.

day      events, a catalog that drifts, users who come and go
place    the servers, the worker, and the producer's side of the log
faults   what goes wrong, and when
watch    memory, lag and errors over time
checks   what must be true at the end
"""
