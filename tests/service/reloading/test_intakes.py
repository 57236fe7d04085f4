from __future__ import annotations

from relay.model.hops import OwnHop
from relay.model.origin import Origin, Received, Transport
from relay.service.configuration.model import Configuration, Url
from relay.service.reloading.intakes import (
    fed_by,
    new_guard,
    new_quarantine,
    new_reading,
    warn_unrouted,
)
from tests.configurations import new_destination, new_source
from tests.connections import RecordingNotices

UDP = Url("udp", host="127.0.0.1", port=514)


def test_destinations_are_in_the_order_of_the_file() -> None:
    destinations = [
        new_destination(id, Url("file", path=f"/{id}"), sources)
        for id, sources in (("b", ("x", "y")), ("a", ("x",)), ("c", ("y",)))
    ]
    configuration = Configuration(destinations=tuple(destinations))
    assert (fed_by("x", configuration), fed_by("y", configuration)) == (["b", "a"], ["b", "c"])
    assert fed_by("z", configuration) == []


def test_a_source_is_read_as_it_is_configured() -> None:
    parts = {"authorise": None, "guard": None, "watch": None, "notices": RecordingNotices()}
    plain = new_reading(new_source("in", UDP), **parts)  # type: ignore[arg-type]
    numbered = new_reading(new_source("in", UDP, check_sequence=True), **parts)  # type: ignore[arg-type]
    assert (plain.sequences is None, numbered.sequences is None) == (True, False)


def test_what_is_set_aside() -> None:
    configuration = Configuration(quarantine_bytes_max=9)
    found = new_quarantine(new_source("in", UDP, oversize="quarantine"), configuration)
    assert (found.long, found.unauthorised, found.bytes_max) == (True, False, 9)


def test_loops_are_looked_for_unless_no_hop_may_be() -> None:
    notices = RecordingNotices()
    hop = OwnHop("web-1")
    assert new_guard("in", hop, 0, notices, carries=False) is None
    guard = new_guard("in", hop, 16, notices, carries=False)
    assert guard is not None
    batch = Received([b"<13>x: y"], Origin("in", Transport.UDP), {}, {})
    assert guard.sorted_out([batch]) == ([batch], {})


def test_messages_without_a_destination_are_warned_of() -> None:
    notices = RecordingNotices()
    warn_unrouted("in", notices, 2)
    assert "2 messages dropped: no destination takes them" in str(notices.__dict__)
