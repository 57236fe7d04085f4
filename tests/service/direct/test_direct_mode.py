"""A whole relay whose RELP source is answered by a log."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address

from relay.codec import encode_syslog
from relay.flow.publishing import Run
from relay.wire.relp.frame import encode_frame
from relay.wire.relp.lineage import LineageOffer, format_lineage
from tests.connections import Wire, lose
from tests.fake_log import FakePublisher
from tests.log_kind import WITH_LOG, logs
from tests.reloading_relay import ReloadingRelay, Tables

LINEAGE = "00000000-0000-0000-0000-00000000000a"
OFFER = LineageOffer(LINEAGE, "0" * 16, 5, 9, knows_pass=True)
OPEN = b"relp_version=0\ncommands=syslog\n" + format_lineage(OFFER)
PEER = IPv4Address("TCP", "192.0.2.1", 5)


def tables(folder: Path, **bus: Any) -> Tables:
    return {
        "relay": {
            "name": "r",
            "state_dir": str(folder / "state"),
            "allow_volatile_state": True,
            "pending_bytes_max": "64 KiB",
        },
        "sources": {
            "net": {
                "listen": "relp://127.0.0.1:0",
                "answer": "bus",
                "oversize": "quarantine",
                "frame_bytes_max": 480,
            }
        },
        "destinations": {"bus": {"connect": "log://paper", **bus}},
    }


class Port:
    """A listener that nobody connects to."""

    def __init__(self, fileno: int, family: int) -> None:
        self._bound = socket.fromfd(fileno, family, socket.SOCK_STREAM)

    def fileno(self) -> int:
        return self._bound.fileno()

    def stopListening(self) -> None:
        self._bound.close()


class DirectRelay(ReloadingRelay):
    def __init__(self, folder: Path, **bus: Any) -> None:
        super().__init__(folder, tables(folder, **bus), kinds=WITH_LOG)
        self.factories: list[Any] = []
        self.protocols: list[Any] = []
        reactor: Any = self.reactor
        reactor.adoptStreamPort = self.listen
        self.start()
        self.log = logs["paper"]

    @property
    def publisher(self) -> FakePublisher:
        return logs["paper"].publishers[-1]

    def listen(self, fileno: int, family: int, factory: Any) -> Port:
        self.factories.append(factory)
        return Port(fileno, family)

    def connected(self) -> tuple[Any, Wire]:
        protocol = self.factories[-1].buildProtocol(PEER)
        self.protocols.append(protocol)
        protocol.makeConnection(wire := Wire(peerAddress=PEER))
        protocol.dataReceived(encode_frame(1, b"open", OPEN))
        wire.clear()
        return protocol, wire

    def stop(self) -> None:
        for protocol in self.protocols:
            lose(protocol)
        super().stop()

    def source(self) -> Any:
        return self.report("sources", "net")

    def settled(self) -> None:
        """The turn has ended."""
        self.reactor.advance(0)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[DirectRelay]:
    relay = DirectRelay(tmp_path)
    yield relay
    if relay in relay.running:
        relay.stop()


def test_a_sender_is_answered_when_the_log_has_acknowledged(relay: DirectRelay) -> None:
    protocol, wire = relay.connected()
    protocol.dataReceived(encode_syslog(2, [b"<13>a", b"<13>b"]))
    relay.settled()
    assert relay.publisher.runs == [Run([b"<13>a", b"<13>b"], LINEAGE, [5, 6], 0, "192.0.2.1:5")]
    assert wire.value() == b""
    relay.publisher.store()
    assert wire.value() == b"2 rsp 6 200 OK\n3 rsp 6 200 OK\n"
    report = relay.source()
    assert report["stored_records"] == 2
    assert report["answers"]["acknowledged_records"] == 2
    (bus,) = relay.ask("status")["destinations"]
    assert bus["received_records"] == 0  # nothing went into its queue


def test_a_log_that_is_away_makes_the_relay_unhealthy(relay: DirectRelay) -> None:
    relay.log.events[0].on_state("brokers away: k1", False)
    report = relay.source()
    assert (report["ready"], report["state"]) == (False, "brokers away: k1")
    assert "net: brokers away: k1" in relay.ask("status")["degraded"]
    relay.log.events[0].on_state("3 brokers", True)
    assert "ready" not in relay.source()


def test_a_source_stops_reading_when_too_much_is_in_flight(relay: DirectRelay) -> None:
    protocol, wire = relay.connected()
    protocol.dataReceived(encode_syslog(2, [b"<13>" + b"x" * 400] * 100))
    relay.settled()
    assert wire.producerState == "paused"
    assert not wire.disconnecting
    relay.publisher.store(99)
    assert wire.producerState == "producing"
    assert wire.value().count(b"200 OK") == 100


def test_what_is_too_long_is_answered_when_the_disk_has_it(relay: DirectRelay) -> None:
    protocol, wire = relay.connected()
    protocol.dataReceived(encode_syslog(2, [b"<13>" + b"x" * 999, b"<13>b"]))
    relay.settled()
    assert [run.seqs for run in relay.publisher.runs] == [[6]]
    relay.publisher.store()
    while not wire.value():
        relay.reactor.run_next()
    assert wire.value().count(b"200 OK") == 2
    report = relay.source()
    assert report["quarantine"]["records"] == 1


def test_what_the_log_refuses_is_in_the_quarantine_of_the_source(relay: DirectRelay) -> None:
    protocol, wire = relay.connected()
    relay.publisher.refuses.add(b"<13>a")
    protocol.dataReceived(encode_syslog(2, [b"<13>a"]))
    relay.settled()
    relay.publisher.store()
    while not wire.value():
        relay.reactor.run_next()
    report = relay.source()
    assert report["quarantined_records"] == report["quarantine"]["records"] == 1
    assert report["stored_records"] == 0


def test_a_stall_makes_another_publisher(relay: DirectRelay) -> None:
    protocol, wire = relay.connected()
    protocol.dataReceived(encode_syslog(2, [b"<13>a"]))
    relay.settled()
    first = relay.publisher
    for _ in range(200):
        relay.reactor.advance(1)
    assert first.closed
    assert relay.publisher is not first
    relay.publisher.store()
    assert wire.value() == b"2 rsp 6 200 OK\n"


def test_a_stop_leaves_what_is_in_flight_unanswered(relay: DirectRelay) -> None:
    protocol, wire = relay.connected()
    protocol.dataReceived(encode_syslog(2, [b"<13>a"]))
    relay.settled()
    stopped = relay.service.stopService()
    for _ in range(16):
        relay.reactor.advance(0.1)
    assert wire.value() == b"0 serverclose 0\n"
    relay.running.remove(relay)
    lose(relay.protocols.pop())
    relay.reactor.settle(stopped)
    assert relay.publisher.closed


def test_routes_may_change_while_it_runs(relay: DirectRelay, tmp_path: Path) -> None:
    protocol, wire = relay.connected()
    relay.reload(tables(tmp_path, match={"severity": "..err"}))
    assert relay.log is logs["paper"]
    assert len(relay.log.publishers) == 1
    protocol.dataReceived(encode_syslog(2, [b"<13>a", b"<11>b"]))
    relay.settled()
    assert [(run.payloads, run.seqs) for run in relay.publisher.runs] == [([b"<11>b"], [6])]
    relay.publisher.store()
    assert wire.value().count(b"200 OK") == 2


def test_another_log_takes_another_publisher(relay: DirectRelay, tmp_path: Path) -> None:
    before = relay.publisher
    changed = tables(tmp_path, retry_seconds_max=9)
    assert relay.reload(changed)["failures"] == []
    assert before.closed
    assert relay.publisher is not before
