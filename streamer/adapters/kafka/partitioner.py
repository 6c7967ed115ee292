"""Which partition the key of a message goes to, by the partitioners of librdkafka that depend on the key alone."""

import zlib
from collections.abc import Callable
from typing import Final

JAVA: Final = "murmur2_random"  # that of Java clients, and of what we send
LIBRDKAFKA: Final = "consistent_random"  # the default of librdkafka: Python, Go, .NET, Node

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


def murmur2(key: bytes) -> int:
    """MurmurHash2 as Kafka's Java clients have it (org.apache.kafka.common.utils.Utils.murmur2), unsigned."""
    h = 0x9747B28C ^ len(key)
    n_whole = len(key) // 4 * 4
    for at in range(0, n_whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if n_whole < len(key):
        h = (h ^ int.from_bytes(key[n_whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def _of_java(key: bytes) -> int:
    return murmur2(key) & 0x7FFFFFFF


_HASHES: dict[str, Callable[[bytes], int]] = {
    "murmur2": _of_java,
    "murmur2_random": _of_java,
    "consistent": zlib.crc32,
    "consistent_random": zlib.crc32,
}


def partition_of(key: bytes, n_partitions: int, partitioner: str) -> int | None:
    """Where a message with this key goes; None where the key does not say, or we do not know that partitioner."""
    place_of = _HASHES.get(partitioner)
    return place_of(key) % n_partitions if place_of is not None and key else None
