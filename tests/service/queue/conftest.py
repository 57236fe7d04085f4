from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.queue_service import Setup


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    yield setup
    names = [thread.name for thread in threading.enumerate()]
    are_left = any("queue-" in name for name in names)
    if are_left:  # by a test that failed: the interpreter would wait for them at its end
        for service in filter(lambda each: each.running, setup.services):
            setup.reactor.settle(service.stopService())
    assert not are_left, names
