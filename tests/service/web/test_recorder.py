from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from relay.service.web.recorder import Recorder
from tests.connections import RecordingNotices

START = 1_800_000_000.0


class Setup:
    """A recorder with counters that a test sets; clocks run together."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.totals = {"messages": 100, "severity3": 7}
        self.step = 0.0
        self.notices: Any = RecordingNotices()
        self.path = path
        self.recorder = Recorder(
            path=str(path),
            totals=lambda: dict(self.totals),
            queued=lambda: (5, 500),
            notices=self.notices,
            now=lambda: START + self.step + self.clock.seconds(),
            clock=self.clock,
        )

    def messages(self) -> list[tuple[float, int]]:
        return [(each.at - START, each.counts[0]) for each in self.recorder.samples(86400)]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    made = Setup(tmp_path / "history.ring")
    made.recorder.startService()
    yield made
    made.recorder.stopService()


def test_a_sample_is_what_was_counted_in_ten_seconds(setup: Setup) -> None:
    setup.totals["messages"] += 3
    setup.clock.advance(10)
    setup.totals.update(messages=113, severity3=9)
    setup.clock.advance(10)
    first, second = setup.recorder.samples(86400)
    assert (first.counts[0], second.counts[0]) == (3, 10)
    assert second.counts[8] == 2
    assert (second.seconds, second.queued_records, second.queued_bytes) == (10.0, 5, 500)


def test_a_restart_goes_on_and_the_stop_keeps_the_rest(setup: Setup) -> None:
    setup.clock.advance(10)
    setup.totals["messages"] += 4
    setup.clock.advance(3)
    setup.recorder.stopService()
    again = Setup(setup.path)
    again.step = 20.0
    again.recorder.startService()
    again.clock.advance(10)
    assert again.messages() == [(13, 4), (30, 0)]
    again.recorder.stopService()
    setup.recorder.startService()


def test_counters_that_go_back_count_as_nothing(setup: Setup) -> None:
    setup.totals["messages"] = 1
    setup.clock.advance(10)
    assert setup.messages() == [(10, 0)]


def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    made = Setup(tmp_path / "history.ring")
    made.path.write_bytes(b"x" * 100)
    made.recorder.startService()
    (said,) = made.notices.said
    assert said[2].endswith("it is no history; the charts of the last day begin anew")
    made.recorder.stopService()


def test_a_file_that_cannot_be_made_is_reported_and_tried_again(tmp_path: Path) -> None:
    made = Setup(tmp_path / "missing" / "history.ring")
    made.recorder.startService()
    assert "cannot open " in made.notices.said[0][2]
    made.path.parent.mkdir()
    made.totals["messages"] += 2
    made.clock.advance(10)
    assert made.messages() == [(10, 2)]
    made.recorder.stopService()


def test_a_removed_file_is_written_again(setup: Setup) -> None:
    setup.totals["messages"] += 2
    setup.clock.advance(10)
    setup.path.unlink()
    setup.clock.advance(10)
    again = Setup(setup.path)
    again.step = 20.0
    again.recorder.startService()
    assert again.messages() == [(10, 2), (20, 0)]
    again.recorder.stopService()
