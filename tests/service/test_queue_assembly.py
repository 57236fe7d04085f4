from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.service.configuration import (
    Configuration,
    DestinationConfiguration,
    SourceConfiguration,
)
from relay.service.queue_assembly import new_admission, new_queue, sets_aside
from relay.service.queue_limits import new_limits
from relay.service.refusal import StartRefused
from relay.service.url import Url
from tests.clocks import wall_of
from tests.connections import RecordingNotices
from tests.threads import Reactor


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, False),
        ({"oversize": "quarantine"}, True),
        ({"unauthorised": "quarantine"}, False),  # nobody has to show anything
        ({"unauthorised": "quarantine", "authorise": ("token",)}, True),
        ({"authorise": ("token",)}, False),
    ],
)
def test_which_sources_have_a_quarantine(keys: dict[str, Any], expected: bool) -> None:
    assert sets_aside(SourceConfiguration("in", Url("udp", "::", 514), **keys)) is expected


def test_there_is_room_for_as_much_as_is_configured(tmp_path: Path) -> None:
    admission = new_admission(
        Configuration("web-1", str(tmp_path), queue_bytes_max=10_000_000, reserve_bytes=0)
    )
    source = admission.for_source([])
    admission.set_queue_bytes(9_000_000)
    assert not source.closed
    admission.set_queue_bytes(10_000_000)
    assert source.closed


def test_a_queue_opens_when_it_is_started(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_bytes(b"no directory")
    configuration = Configuration("web-1", str(blocked), allow_volatile_state=True)
    notices = RecordingNotices()
    limits = new_limits(configuration, notices)
    reactor = Reactor()
    admission = new_admission(configuration)
    queue = new_queue(configuration, admission, limits, notices, wall_of(reactor), reactor)
    with pytest.raises(StartRefused, match="is a file, and has to be a directory"):
        queue.startService()


def test_commits_follow_each_other_as_configured(tmp_path: Path) -> None:
    configuration = Configuration(
        "web-1",
        str(tmp_path),
        destinations=(DestinationConfiguration("out", Url("relp", "::1", 20514), ("in",)),),
        allow_volatile_state=True,
        commit_seconds_min=0.5,
    )
    notices, reactor = RecordingNotices(), Reactor()
    limits = new_limits(configuration, notices)
    admission = new_admission(configuration)
    queue = new_queue(configuration, admission, limits, notices, wall_of(reactor), reactor)
    queue.startService()
    reactor.settle(queue.append({"out": [b"one", b"two"]}))
    third = queue.append({"out": [b"three"]})
    assert [call.getTime() for call in reactor.getDelayedCalls()] == [0.5]
    reactor.advance(0.5)
    assert reactor.settle(third) is None
    reactor.settle(queue.stopService())
