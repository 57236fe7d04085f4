from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.queue.admission.backpressure import SourceAdmission
from relay.queue.files.map_size import roomy_map_bytes
from relay.service.configuration.model import (
    Configuration,
)
from relay.service.configuration.url import Url
from relay.service.queue import assembly as queue_assembly
from relay.service.queue.assembly import new_admission, new_queue, new_watches, sets_aside
from relay.service.queue.limits import new_limits
from relay.service.queue.service import QueueSettings
from relay.service.refusal import StartRefused
from tests.clocks import wall_of
from tests.configurations import new_destination, new_source
from tests.connections import RecordingNotices
from tests.recording import record
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
    assert sets_aside(new_source("in", Url("udp", "::", 514), **keys)) is expected


def test_there_is_room_for_as_much_as_is_configured(tmp_path: Path) -> None:
    admission = new_admission(
        Configuration("web-1", str(tmp_path), queue_bytes_max=10_000_000, reserve_bytes=0)
    )
    source = SourceAdmission(admission.shared_with([]))
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
        destinations=(new_destination("out", Url("relp", "::1", 20514), ("in",)),),
        allow_volatile_state=True,
        commit_seconds_min=0.5,
    )
    notices, reactor = RecordingNotices(), Reactor()
    limits = new_limits(configuration, notices)
    admission = new_admission(configuration)
    queue = new_queue(configuration, admission, limits, notices, wall_of(reactor), reactor)
    queue.startService()
    reactor.settle(queue.committer.append({"out": [b"one", b"two"]}))
    third = queue.committer.append({"out": [b"three"]})
    assert [call.getTime() for call in reactor.getDelayedCalls()] == [0.5]
    reactor.advance(0.5)
    assert reactor.settle(third) is None
    reactor.settle(queue.stopService())


QUEUE: Any = object()
NOTICES: Any = object()
REACTOR: Any = object()
WALL: Any = object()
ADMISSION: Any = object()


def configured(**keywords: Any) -> Configuration:
    url = Url("relp", "::1", 20514)
    return Configuration(
        "web-1",
        "/x",
        sources=(
            new_source("in", Url("udp", "::", 514), oversize="quarantine"),
            new_source("other", Url("udp", "::", 515)),
        ),
        destinations=(
            new_destination("out", url, ("in",), history=60.0),
            new_destination("two", url, ("in",), order="live-first"),
        ),
        **keywords,
    )


@pytest.mark.parametrize("yes", [True, False])
def test_the_queue_is_told_what_is_configured(monkeypatch: pytest.MonkeyPatch, yes: bool) -> None:
    made = record(monkeypatch, queue_assembly, "QueueService")
    configuration = configured(
        strict_queue=yes,
        examine_fully=not yes,
        allow_volatile_state=yes,
        queue_bytes_max=5 * 2**20,
        commit_seconds_min=0.25,
        lineages_max=500,
    )
    limits: Any = {"out": "its limit"}
    new_queue(configuration, ADMISSION, limits, NOTICES, WALL, REACTOR)
    settings, parts = made[0].arguments
    assert parts.histories.limits.keys() == {"out"}
    assert parts.exit_status._reactor is REACTOR
    assert (parts.admission, parts.notices) == (ADMISSION, NOTICES)
    assert (parts.reactor, parts.wall) == (REACTOR, WALL)
    assert settings.check_path.keywords == {"may_forget": yes}
    assert settings == QueueSettings(
        path="/x/queue",
        destinations=["out", "two"],
        sources=["in"],
        lanes=["two"],
        map_bytes=roomy_map_bytes(5 * 2**20),
        check_path=settings.check_path,
        limits=("its limit",),  # type: ignore[arg-type]
        strict=yes,
        fully=not yes,
        commit_seconds_min=0.25,
        lineages_max=500,
        relay_name="web-1",
    )


def test_what_looks_after_the_queue_is_told_what_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configuration = configured(
        quarantine_bytes_max=44, quarantine_seconds_max=55.0, min_free_bytes=66
    )
    quarantines = record(monkeypatch, queue_assembly, "QuarantineLimits")
    histories = record(monkeypatch, queue_assembly, "HistoryWatch")
    for name in ("PlaceWatch", "QueueWatch"):
        record(monkeypatch, queue_assembly, name)
    limits: Any = {"out": "its limit"}
    new_watches(configuration, QUEUE, ADMISSION, limits, NOTICES, WALL, REACTOR)
    assert quarantines[0].keywords == {
        "queue": QUEUE,
        "bytes_max": 44,
        "seconds_max": 55.0,
        "notices": NOTICES,
        "wall": WALL,
        "clock": REACTOR,
    }
    assert histories[0].keywords["destinations"] is limits
    assert histories[0].keywords["free_bytes_min"] == 66


def test_admission_keeps_to_all_of_its_limits() -> None:
    admission = new_admission(
        configured(
            queue_bytes_max=1000, reserve_bytes=100, pending_bytes_max=50, min_free_bytes=400
        )
    )
    for say, low, high in (
        (admission.set_queue_bytes, 0, 900),
        (admission.set_pending_bytes, 0, 51),
        (admission.set_free_bytes, 10_000, 399),
    ):
        say(high)
        assert admission.closed
        say(low)
        assert not admission.closed
    assert admission.queue_bytes_max == 1000
