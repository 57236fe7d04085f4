from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from relay.queue.commit_times import CommitTimes


def test_the_whole_time_and_what_the_thread_took_are_counted_apart() -> None:
    clock = Clock()
    times = CommitTimes(clock)
    ended = times.begin()
    clock.advance(1.0)

    def write() -> str:
        clock.advance(2.0)
        return "written"

    assert times.measured(write)() == "written"
    clock.advance(4.0)
    ended()
    assert (times.whole.total, times.whole.sum) == (1, 7.0)
    assert (times.writing.total, times.writing.sum) == (1, 2.0)


def test_what_fails_counts_as_well() -> None:
    clock = Clock()
    times = CommitTimes(clock)

    def fail() -> None:
        clock.advance(3.0)
        raise OSError

    with pytest.raises(OSError):
        times.measured(fail)()
    assert times.writing.sum == 3.0
