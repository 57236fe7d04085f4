"""Our RELP client to rsyslog's imrelp: plain, and with certificates verified on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.interop.daemons import Rsyslog
from tests.interop.lab import Lab
from tests.interop.messages import assert_exactly, messages
from tests.plain_senders import feed_stream
from tests.processes import free_port, wait_until
from tests.recording_proxy import RecordingProxy

LIBRARIES = ["openssl", "gnutls"]


def imrelp(
    lab: Lab, port: int, *, library: str = "", permitted_peer: str = "", name: str = ""
) -> Rsyslog:
    """A running rsyslogd that takes RELP at `port`; with TLS if `library` is given."""
    tls = lab.rsyslog_relp_tls("server", permitted_peer=permitted_peer) if library else ""
    return lab.rsyslog(
        f"""
        module(load="imrelp" {f'tls.tlsLib="{library}"' if library else ""})
        input(type="imrelp" port="{port}" address="127.0.0.1" maxDataSize="64k" {tls})
        action(type="omfile" file="{lab.arrived}" template="raw")
        """,
        tcp=[port],
        name=f"rsyslog-{permitted_peer}{name}",
    )


def destination(lab: Lab, port: int, *, tls: bool) -> dict[str, Any]:
    if tls:
        return {"connect": f"relp+tls://127.0.0.1:{port}", **lab.client_tls}
    return {"connect": f"relp://127.0.0.1:{port}"}


@pytest.mark.parametrize("library", ["", *LIBRARIES], ids=["plain", *LIBRARIES])
def test_all_arrive_once_and_in_order(lab: Lab, library: str) -> None:
    feed, relp = free_port(), free_port()
    imrelp(lab, relp, library=library)
    relay = lab.relay_to(feed, destination(lab, relp, tls=bool(library)))
    feed_stream(feed, messages(2000))
    assert_exactly(lab.arrived, messages(2000))
    (destination_report,) = ask(str(relay.state_dir), "status")["destinations"]
    assert not destination_report["exactly_once"]  # rsyslog ignores the offer
    assert destination_report["state"].endswith(", every message acknowledged")
    relay.stop()
    assert_exactly(lab.arrived, messages(2000))


def test_an_upstream_that_is_restarted_gets_what_it_did_not_answer(lab: Lab) -> None:
    feed, relp = free_port(), free_port()
    first = imrelp(lab, relp)
    lab.relay_to(feed, destination(lab, relp, tls=False))
    feed_stream(feed, messages(100))
    assert_exactly(lab.arrived, messages(100))
    first.end()
    feed_stream(feed, messages(300)[100:])
    imrelp(lab, relp)
    assert_exactly(lab.arrived, messages(300))


def test_a_second_rsyslog_takes_over_and_the_first_one_gets_it_back(lab: Lab) -> None:
    feed, first_port, second_port = free_port(), free_port(), free_port()
    first = imrelp(lab, first_port, name="1")
    imrelp(lab, second_port, name="2")
    several = {
        "connect": [f"relp://127.0.0.1:{port}" for port in (first_port, second_port)],
        "probe_seconds": 0.2,
        "failback_probes": 2,
        "retry_seconds_min": 0.1,
    }
    relay = lab.relay_to(feed, several)

    def active() -> list[bool]:
        (report,) = ask(str(relay.state_dir), "status")["destinations"]
        return ["active" in line for line in report["details"]]

    feed_stream(feed, messages(100))
    assert_exactly(lab.arrived, messages(100))
    first.end()
    wait_until(lambda: active() == [False, True], "the second one is in use")
    feed_stream(feed, messages(200)[100:])
    assert_exactly(lab.arrived, messages(200))
    imrelp(lab, first_port, name="1")
    wait_until(lambda: active() == [True, False], "the way back")
    feed_stream(feed, messages(300)[200:])
    assert_exactly(lab.arrived, messages(300))


def test_small_windows_do_not_stall(lab: Lab) -> None:
    feed, relp = free_port(), free_port()
    imrelp(lab, relp)
    lab.relay_to(feed, {**destination(lab, relp, tls=False), "window_records": 1})
    feed_stream(feed, messages(200))
    assert_exactly(lab.arrived, messages(200))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_client_that_is_not_permitted_keeps_its_messages(lab: Lab, library: str) -> None:
    feed, relp = free_port(), free_port()
    strict = imrelp(lab, relp, library=library, permitted_peer="somebody.example.com")
    lab.relay_to(feed, destination(lab, relp, tls=True))
    feed_stream(feed, messages(20))
    wait_until(lambda: "authentication error" in strict.log(), "rsyslog refuses the relay's name")
    assert not lab.arrived.exists()
    strict.end()
    imrelp(lab, relp, library=library)
    assert_exactly(lab.arrived, messages(20))


def test_an_upstream_with_another_name_gets_nothing(lab: Lab) -> None:
    feed, relp = free_port(), free_port()
    imrelp(lab, relp, library="openssl")
    other_name = {**destination(lab, relp, tls=True), "server_name": "other.example.com"}
    relay = lab.relay_to(feed, other_name)
    feed_stream(feed, messages(20))
    wait_until(lambda: f"127.0.0.1:{relp}" in relay.log(), "the relay says what is wrong")
    relay.stop()
    assert not lab.arrived.exists()
    config = relay.config_path.read_text().replace("other.example.com", "central.example.com")
    relay.config_path.write_text(config)
    relay.start()
    assert_exactly(lab.arrived, messages(20))


def test_rsyslog_gets_no_reports(lab: Lab) -> None:
    feed, relp = free_port(), free_port()
    imrelp(lab, relp)
    proxy = RecordingProxy(relp)
    relay = lab.relay_to(feed, destination(lab, proxy.port, tls=False))
    feed_stream(feed, messages(100))
    assert_exactly(lab.arrived, messages(100))
    relay.stop()
    assert_exactly(lab.arrived, messages(100))
    assert b"syslogrelay_fleet=" in proxy.sent  # the offer, which librelp ignores
    assert b"syslogrelayfleet" not in proxy.sent
    proxy.close()
