from __future__ import annotations

import pytest

from relay.wire.sizes import fitting, octets_of, plain_fitting, plain_octets_of

PAYLOADS = [b"a", b"bb", b"", b"cccc"]


@pytest.mark.parametrize("function", [octets_of, plain_octets_of])
def test_all_octets_are_counted(function: object) -> None:
    assert callable(function)
    assert [function(PAYLOADS), function(tuple(PAYLOADS[1:])), function([])] == [7, 6, 0]


@pytest.mark.parametrize("function", [fitting, plain_fitting])
@pytest.mark.parametrize(
    ("start", "stop", "octets_max", "count"),
    [
        *((0, 4, 7, 4), (0, 4, 6, 3), (0, 4, 3, 3), (0, 4, 2, 1), (0, 4, 0, 0), (2, 4, 0, 1)),
        *((1, 2, 100, 1), (1, 99, 100, 3), (4, 4, 100, 0), (9, 9, 100, 0)),
    ],
)
def test_what_fits_is_counted_from_the_start(
    function: object, start: int, stop: int, octets_max: int, count: int
) -> None:
    assert callable(function)
    assert function(PAYLOADS, start, stop, octets_max) == count
