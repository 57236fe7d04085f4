from __future__ import annotations

import dataclasses

import pytest

from relay.flow.routing import Route


def test_a_route_is_a_value() -> None:
    assert Route("central", None) == Route("central", None)
    assert Route("central", None) != Route("archive", None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Route("central", None).destination = "archive"  # type: ignore[misc]
