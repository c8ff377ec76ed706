"""Which partition a symbol is in: that of Kafka's own clients, murmur2 of the key.

Invariant: the answer is that of every Java client and of librdkafka's ``murmur2_random``.
"""

from __future__ import annotations

from typing import Final

__all__ = ["murmur2", "partition_of"]

_MASK: Final = 0xFFFFFFFF
_M: Final = 0x5BD1E995
_SEED: Final = 0x9747B28C


def partition_of(symbol: str, n_partitions: int) -> int:
    """The partition of a topic with `n_partitions` that holds all messages of a symbol."""
    return (murmur2(symbol.encode()) & 0x7FFFFFFF) % n_partitions


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 of some bytes."""
    whole = len(data) & ~3
    found = _SEED ^ len(data)
    for begin in range(0, whole, 4):
        word = int.from_bytes(data[begin : begin + 4], "little") * _M & _MASK
        word = (word ^ word >> 24) * _M & _MASK
        found = found * _M & _MASK ^ word
    if rest := data[whole:]:
        found = (found ^ int.from_bytes(rest, "little")) * _M & _MASK
    found = (found ^ found >> 13) * _M & _MASK
    return found ^ found >> 15
