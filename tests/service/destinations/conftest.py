from __future__ import annotations

import pytest

from tests.destination_setup import Setup


@pytest.fixture
def setup() -> Setup:
    return Setup()
