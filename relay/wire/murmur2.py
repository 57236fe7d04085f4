"""The partition that Kafka's own clients choose for a key: murmur2, as Java's.

It is fixed here, and not left to a library, because a lineage has to stay in one partition whatever
client writes it.
"""

from __future__ import annotations

_M = 0x5BD1E995
_SEED = 0x9747B28C
_BITS = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The hash of `data`, 0 to 2**32 - 1 (org.apache.kafka.common.utils.Utils.murmur2)."""
    length = len(data)
    found = _SEED ^ length
    for start in range(0, length - 3, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _M & _BITS
        word = (word ^ word >> 24) * _M & _BITS
        found = found * _M & _BITS ^ word
    if rest := data[length & ~3 :]:
        found = (found ^ int.from_bytes(rest, "little")) * _M & _BITS
    found = (found ^ found >> 13) * _M & _BITS
    return found ^ found >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, 0 to `partitions` - 1."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
