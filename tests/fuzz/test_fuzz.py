"""Twenty thousand inputs in each run; `make fuzz` takes a million.

FUZZ_SEED chooses others than the usual ones.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.fuzz.campaign import input_of, run
from tests.fuzz.targets import TARGETS, Target

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("FUZZ_SEED") or 5424)
INPUTS = 20_000


@pytest.mark.parametrize("name", TARGETS)
def test_any_input(name: str) -> None:
    each = -(-INPUTS // len(TARGETS))
    assert run(SEED, name, range(each)) == each


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_themselves_pass(name: str) -> None:
    chance = random.Random(SEED)
    for stream in TARGETS[name].seeds:
        for _ in range(10 if len(stream) < 200 else 2):
            TARGETS[name].check(stream, chance)


def test_an_input_can_be_made_again() -> None:
    assert input_of(SEED, "parse", 7) == input_of(SEED, "parse", 7)
    assert input_of(SEED, "parse", 7) != input_of(SEED, "parse", 8)


def test_a_failure_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(data: bytes, _: object) -> None:
        assert b"needle" not in data

    seeds = [b"x" * 300 + b"needle" + b"y" * 300]
    monkeypatch.setitem(TARGETS, "search", Target(seeds, check))
    with pytest.raises(AssertionError, match="smallest input: b'needle'"):
        run(SEED, "search", range(1000))
