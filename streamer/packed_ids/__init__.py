"""Ids of users, packed: kernels and their table (`table`), and the class around them."""

from streamer.packed_ids.packed import MAX_BYTES, PackedIds, warm_up

__all__ = ["MAX_BYTES", "PackedIds", "warm_up"]
