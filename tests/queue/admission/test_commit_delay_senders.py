"""The committer, when commits follow each other at an interval."""

from __future__ import annotations

import pytest

from tests.queue.test_committer import Relay


@pytest.fixture
def relay() -> Relay:
    """1/64 s from one commit to the next; one of two messages is over at once."""
    relay = Relay(commit_seconds_min=1 / 64)
    relay.append("one", a=[b"1", b"2"])
    relay.disk.finish()
    relay.disk.tried.clear()
    relay.news()
    return relay


def test_what_streams_in_is_committed_together(relay: Relay) -> None:
    relay.append("two", a=[b"3"])
    relay.clock.advance(1 / 128)
    relay.append("three", a=[b"4"])
    assert not relay.disk.busy
    relay.clock.advance(1 / 128)
    relay.disk.finish()
    assert relay.disk.tried == [({"a": [b"3", b"4"]}, {})]
    assert relay.news() == ["two", "three", ("a", 5)]


def test_a_pause_in_the_stream_costs_nobody_anything(relay: Relay) -> None:
    relay.clock.advance(1.0)
    relay.append("two", a=[b"3"])
    assert relay.disk.busy
    relay.disk.finish()
    relay.append("three", a=[b"4"])  # the commit before had one
    assert relay.disk.busy


def test_closing_waits_for_no_interval(relay: Relay) -> None:
    relay.append("two", a=[b"3"])
    relay.close()
    assert relay.disk.busy
    relay.disk.finish()
    assert relay.news() == ["two", ("a", 4), "closed"]
    assert relay.clock.getDelayedCalls() == []


def test_an_operation_waits_for_no_interval(relay: Relay) -> None:
    relay.append("two", a=[b"3"])
    relay.operate("an operation")
    relay.disk.finish()
    relay.clock.advance(1 / 64)
    relay.disk.finish()
    assert relay.disk.tried == ["an operation", ({"a": [b"3"]}, {})]
