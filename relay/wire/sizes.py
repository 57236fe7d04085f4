"""How much many payloads are together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, islice

from relay.wire.acceleration import IS_COMPILED, compiled

__all__ = ["fitting", "octets_of", "plain_fitting", "plain_octets_of"]


def plain_octets_of(payloads: Sequence[bytes]) -> int:
    """Octets of all `payloads`."""
    return sum(map(len, payloads))


def plain_fitting(payloads: Sequence[bytes], start: int, stop: int, octets_max: int) -> int:
    """How many of `payloads`, from `start` to before `stop`, have no more than `octets_max`."""
    return bisect_right(list(accumulate(map(len, islice(payloads, start, stop)))), octets_max)


octets_of = compiled.octets_of if IS_COMPILED else plain_octets_of
fitting = compiled.fitting if IS_COMPILED else plain_fitting
