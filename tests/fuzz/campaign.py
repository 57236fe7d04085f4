"""Run a number of inputs from a seed; make the first one that fails as small as possible."""

from __future__ import annotations

import random
from collections.abc import Iterable

from tests.fuzz.corpus import mutated
from tests.fuzz.targets import TARGETS

__all__ = ["input_of", "run"]

_SHRINK_CHECKS_MAX = 5000


def input_of(seed: int, name: str, number: int) -> bytes:
    """Input `number` of the target `name`."""
    return mutated(_chance(seed, name, number, "input"), TARGETS[name].seeds)


def _chance(seed: int, name: str, number: int, use: str) -> random.Random:
    return random.Random(f"{seed} {name} {number} {use}")


def run(seed: int, name: str, numbers: Iterable[int]) -> int:
    """Check these inputs of the target `name`; return how many.

    Raises:
        AssertionError: With the smallest input that was found to fail in that way.
    """
    count = 0
    for number in numbers:
        data = input_of(seed, name, number)
        failure = _failure(seed, name, number, data)
        if failure is not None:
            small = _shrunk(seed, name, number, data, type(failure))
            text = repr(_failure(seed, name, number, small))
            raise AssertionError(
                f"{name}: input {number} of seed {seed} fails: {text[:2000]}\n"
                f"smallest input: {small!r}\n"
                f"again: FUZZ_SEED={seed} FUZZ_TARGET={name} FUZZ_NUMBER={number} "
                "python -m tests.fuzz"
            ) from failure
        count += 1
    return count


def _failure(seed: int, name: str, number: int, data: bytes) -> Exception | None:
    try:
        TARGETS[name].check(data, _chance(seed, name, number, "check"))
    except Exception as error:
        return error
    return None


def _shrunk(seed: int, name: str, number: int, data: bytes, kind: type[Exception]) -> bytes:
    """Leave out what the failure does not need: halves, quarters, …, single bytes."""
    checks = 0
    size = max(1, len(data) // 2)
    while size:
        at = 0
        while at < len(data) and checks < _SHRINK_CHECKS_MAX:
            shorter = data[:at] + data[at + size :]
            checks += 1
            if type(_failure(seed, name, number, shorter)) is kind:
                data = shorter
            else:
                at += size
        size //= 2
    return data
