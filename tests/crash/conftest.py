"""What the crash tests need: programs that end with the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import Programs, running_programs


@pytest.fixture
def programs() -> Iterator[Programs]:
    """Programs added here end with the test; their logs are shown if it failed."""
    with running_programs() as running:
        yield running
