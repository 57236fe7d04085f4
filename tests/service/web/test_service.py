from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.model.origin import Origin, Transport
from relay.observe.metrics import DESTINATIONS, SOURCES
from relay.queue.admission.backpressure import Admission
from relay.service.configuration.model import TlsConfiguration, Url, WebConfiguration
from relay.service.refusal import StartRefused
from relay.service.sources.service import DatagramSource
from relay.service.web.service import WebService
from tests.assembled_relay import Relay, reached
from tests.certificate_files import make_certificate_files
from tests.connections import Wire

pytestmark = pytest.mark.usefixtures("relays_end")

ANY_PORT = WebConfiguration(Url("http", host="127.0.0.1"))


def service_of(relay: Relay) -> WebService:
    (found,) = [each for each in relay.service if isinstance(each, WebService)]
    return found


def get(relay: Relay, path: str) -> tuple[int, str]:
    """Status and body of the answer to a request."""
    channel: Any = service_of(relay)._factory.buildProtocol(None)
    channel.makeConnection(wire := Wire())
    channel.dataReceived(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = wire.value().partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_without_the_table_there_is_none(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    assert [each for each in relay.service if isinstance(each, WebService)] == []
    assert relay.ask("status")["web"] is None


def test_pages_show_what_the_relay_counts(tmp_path: Path) -> None:
    relay = Relay(tmp_path, web=ANY_PORT)
    relay.start()
    app = next(each for _, each in reached(relay.service) if isinstance(each, DatagramSource))
    app.counters.received_records = 3
    app.counters.peers.of(Origin("app", Transport.UNIX)).records = 2
    relay.reactor.advance(2.0)
    while app.kept.has_changed:  # those on disk are shown
        relay.reactor.run_next()
    status, text = get(relay, "/metrics")
    assert status == 200
    for line in (
        f'syslogrelay_source_received_messages_total{{source="{app.id}"}} 3.0',
        f'syslogrelay_source_peer_messages_total{{peer="local",source="{app.id}"}} 2.0',
        'syslogrelay_destination_queued_messages{destination="all"} 0.0',
    ):
        assert line in text.splitlines()
    assert get(relay, "/healthz") == (200, "the relay answers\n")


def test_readiness_is_that_of_status(tmp_path: Path) -> None:
    relay = Relay(tmp_path, web=ANY_PORT)
    relay.start()
    relay.ask("pause", destination="all")
    status, text = get(relay, "/readyz")
    assert status == 503
    assert text.splitlines() == relay.ask("status")["degraded"]
    assert "all: paused by hand since " in text
    assert get(relay, "/healthz")[0] == 200


def test_a_balancer_learns_of_a_queue_that_is_full(tmp_path: Path) -> None:
    relay = Relay(tmp_path, web=ANY_PORT)
    relay.start()
    assert get(relay, "/accepting") == (200, "accepting\n")
    admission = next(each for _, each in reached(relay.service) if isinstance(each, Admission))
    admission.set_pending_bytes(2**40)  # a burst is no reason to go elsewhere
    assert get(relay, "/accepting")[0] == 200
    admission.set_queue_bytes(2**50)
    assert get(relay, "/accepting") == (503, "the queue cannot take more\n")


def test_a_balancer_learns_of_a_stop_before_the_sources_end(tmp_path: Path) -> None:
    relay = Relay(tmp_path, web=replace(ANY_PORT, health_lead_seconds=7.0))
    relay.start()
    stopping = relay.service.stopService()
    assert get(relay, "/accepting") == (503, "the relay stops\n")
    assert get(relay, "/healthz")[0] == 200
    relay.reactor.advance(6)
    assert all(child.running for child in relay.service)
    relay.reactor.advance(1)
    assert not all(child.running for child in relay.service)
    relay.running.remove(relay)
    relay.reactor.settle(stopping)


def test_it_listens_and_says_where(tmp_path: Path) -> None:
    relay = Relay(tmp_path, web=ANY_PORT)
    relay.start()
    report = relay.ask("status")["web"]
    assert report["ready"]
    assert int(report["address"].removeprefix("http://127.0.0.1:")) > 0


def test_a_port_that_is_taken_refuses_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = Url("http", host="127.0.0.1", port=taken.getsockname()[1])
        relay = Relay(tmp_path, web=WebConfiguration(url))
        with pytest.raises(StartRefused, match=r"web\.listen: cannot listen on .* in use"):
            service_of(relay).privilegedStartService()


def test_without_its_certificate_it_waits(tmp_path: Path) -> None:
    files = make_certificate_files(tmp_path)
    missing = tmp_path / "late.pem"
    tls = TlsConfiguration(
        certificate=str(missing), private_key=files.server_key, peer_verify="none"
    )
    web = WebConfiguration(Url("https", host="127.0.0.1"), tls=tls)
    relay = Relay(tmp_path, web=web)
    relay.start()
    document = relay.ask("status")
    assert not document["web"]["ready"]
    assert [text for text in document["degraded"] if text.startswith("web server: ")]
    missing.write_bytes(Path(files.server_certificate).read_bytes())
    relay.reactor.advance(60)
    document = relay.ask("status")
    assert document["web"]["ready"]
    assert not [text for text in document["degraded"] if "web server: " in text]


LEFT_OUT = {"since", "paused_since", "exactly_once", "receive_buffer_bytes", "failures"}
"""Numbers of sources and destinations that are a setting, a stamp, a promise, or the sum of others:
of failures by cause."""


def test_every_count_of_the_status_is_a_metric(tmp_path: Path) -> None:
    relay = Relay(tmp_path, web=ANY_PORT)
    relay.start()
    document = relay.ask("status")
    for metrics, reports in ((SOURCES, "sources"), (DESTINATIONS, "destinations")):
        keys = {metric.key.split(".")[0] for metric in metrics}
        for report in document[reports]:
            counted = {key for key, value in report.items() if is_counted(key, value)}
            assert counted - LEFT_OUT <= keys
            assert len(counted) > 15


def is_counted(key: str, value: object) -> bool:
    """Whether a part of a report is a number, a histogram or several of them by name."""
    if isinstance(value, dict):
        return "buckets" in str(value) or key.endswith("_records")
    return isinstance(value, int | float)
