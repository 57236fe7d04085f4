"""What the crash tests need: programs that end with the test; and what `make torture` prints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes import Programs, running_programs


@pytest.fixture
def programs() -> Iterator[Programs]:
    """Programs added here end with the test; their logs are shown if it failed."""
    with running_programs() as running:
        yield running


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """With TORTURE set: what the tests that passed have counted, without the logs of programs."""
    if not os.environ.get("TORTURE"):
        return
    terminalreporter.section("what was done")
    for report in terminalreporter.stats.get("passed", []):
        for line in report.capstdout.splitlines() if report.when == "call" else ():
            terminalreporter.write_line(f"{report.nodeid.rpartition('/')[2]}: {line}")
