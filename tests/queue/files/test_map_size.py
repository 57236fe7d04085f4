"""How large the map of a queue is."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from relay.queue.files import map_size
from relay.queue.files.map_size import (
    ROOMY_BYTES_MAX,
    bytes_max_of,
    map_bytes_for,
    roomy_map_bytes,
)

GIB = 2**30


@pytest.mark.parametrize("bytes_max", [2**20, 4 * GIB, 2**44])
def test_a_map_has_room_for_what_is_removed_and_for_what_was_already_taken(bytes_max: int) -> None:
    assert map_bytes_for(bytes_max) == 2 * bytes_max + GIB
    assert bytes_max_of(map_bytes_for(bytes_max)) == bytes_max


def test_a_map_is_made_for_a_limit_that_is_raised_later() -> None:
    assert roomy_map_bytes(2**20) == roomy_map_bytes(4 * GIB) == map_bytes_for(ROOMY_BYTES_MAX)


def test_a_limit_above_the_roomy_one_gets_what_it_needs() -> None:
    assert roomy_map_bytes(4 * ROOMY_BYTES_MAX) == map_bytes_for(4 * ROOMY_BYTES_MAX)


@pytest.mark.parametrize("error", [OSError, OverflowError])
def test_without_addresses_it_is_as_small_as_it_can_be(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def no_room(*arguments: object, **keywords: object) -> None:
        raise error

    monkeypatch.setattr(map_size.mmap, "mmap", no_room)
    assert roomy_map_bytes(4 * GIB) == map_bytes_for(4 * GIB)


def test_a_limit_of_the_address_space_is_respected() -> None:
    script = "from relay.queue.files.map_size import *; print(roomy_map_bytes(2**30))"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1500 * GIB, 1500 * GIB))  # one map, not two

    said = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=limit,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert int(said.stdout) == map_bytes_for(GIB)
