"""rsyslog and syslog-ng to our plain listeners: UDP, TCP and TLS, in every framing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.certificate_files import SERVER_NAME
from tests.interop.lab import Lab
from tests.interop.messages import assert_exactly, in_bursts, legacy_messages, messages, wait_for
from tests.plain_senders import feed_lines, feed_stream
from tests.processes import free_port

FRAMINGS = ["traditional", "octet-counted"]


def source(lab: Lab, scheme: str, port: int) -> dict[str, Any]:
    return {
        "listen": f"{scheme}://127.0.0.1:{port}",
        **(lab.server_tls if scheme == "tls" else {}),
    }


def omfwd(lab: Lab, feed: int, port: int, parameters: str, *, template: str = "raw-frame") -> None:
    """Start an rsyslogd that sends what it gets at `feed` to `port`."""
    lab.rsyslog(
        f"""
        module(load="imptcp" threads="1")
        input(type="imptcp" port="{feed}" address="127.0.0.1")
        action(type="omfwd" target="127.0.0.1" port="{port}" template="{template}"
          action.resumeRetryCount="-1" action.resumeInterval="1" {parameters})
        """,
        tcp=[feed],
    )


@pytest.mark.parametrize("framing", FRAMINGS)
def test_rsyslog_over_tcp(lab: Lab, framing: str) -> None:
    feed, port = free_port(), free_port()
    lab.relay_from(source(lab, "tcp", port))
    omfwd(lab, feed, port, f'protocol="tcp" TCP_Framing="{framing}"')
    feed_stream(feed, messages(2000))
    assert_exactly(lab.arrived, messages(2000))


@pytest.mark.parametrize("framing", FRAMINGS)
def test_rsyslog_with_its_template_for_rfc_5424(lab: Lab, framing: str) -> None:
    feed, port = free_port(), free_port()
    lab.relay_from(source(lab, "tcp", port))
    template = "RSYSLOG_SyslogProtocol23Format"  # ends with a newline of its own
    omfwd(lab, feed, port, f'protocol="tcp" TCP_Framing="{framing}"', template=template)
    feed_stream(feed, messages(200))
    assert_exactly(lab.arrived, messages(200))


def test_rsyslog_over_udp(lab: Lab) -> None:
    feed, port = free_port(), free_port()
    lab.relay_from(source(lab, "udp", port))
    omfwd(lab, feed, port, 'protocol="udp"', template="RSYSLOG_TraditionalForwardFormat")
    in_bursts(feed_stream, feed, legacy_messages(500), lab.arrived)
    assert_exactly(lab.arrived, legacy_messages(500))


@pytest.mark.parametrize("driver", ["gtls", "ossl"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_rsyslog_over_tls(lab: Lab, driver: str, framing: str) -> None:
    feed, port = free_port(), free_port()
    lab.relay_from(source(lab, "tls", port))
    own = lab.certificates
    tls = (
        f'streamDriver="{driver}" streamDriverMode="1" streamDriverAuthMode="x509/name"'
        f' streamDriverPermittedPeers="{SERVER_NAME}" streamDriver.CAFile="{own.ca}"'
        f' streamDriver.CertFile="{own.client_certificate}"'
        f' streamDriver.KeyFile="{own.client_key}"'
    )
    omfwd(lab, feed, port, f'protocol="tcp" TCP_Framing="{framing}" {tls}')
    feed_stream(feed, messages(1000))
    assert_exactly(lab.arrived, messages(1000))


def syslog_ng_to(lab: Lab, feed: int, destination: str, *, flags: str = "syslog-protocol") -> None:
    """Start a syslog-ng that sends what it gets at `feed`, one per line."""
    lab.syslog_ng(
        f"""
        source s {{ network(ip(127.0.0.1) port({feed}) transport(tcp) flags({flags})); }};
        destination d {{ {destination}; }};
        log {{ source(s); destination(d); flags(flow-control); }};
        """,
        tcp=[feed],
    )


def syslog_ng_driver(lab: Lab, driver: str, transport: str, port: int) -> str:
    tls = lab.syslog_ng_tls("client") if transport == "tls" else ""
    digits = 0 if driver == "network" else 6  # as in the messages that are fed in
    return f'{driver}("127.0.0.1" port({port}) transport({transport}) frac-digits({digits}) {tls})'


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_syslog_ng_network(lab: Lab, transport: str) -> None:
    feed, port = free_port(), free_port()
    lab.relay_from(source(lab, transport, port))
    network = syslog_ng_driver(lab, "network", transport, port)
    syslog_ng_to(lab, feed, network, flags="store-legacy-msghdr")
    feed_lines(feed, legacy_messages(1000))
    assert_exactly(lab.arrived, legacy_messages(1000))


def test_syslog_ng_network_over_udp(lab: Lab) -> None:
    feed, port = free_port(), free_port()
    lab.relay_from(source(lab, "udp", port))
    network = syslog_ng_driver(lab, "network", "udp", port)
    syslog_ng_to(lab, feed, network, flags="store-legacy-msghdr")
    in_bursts(feed_lines, feed, legacy_messages(500), lab.arrived)
    assert_exactly(lab.arrived, legacy_messages(500))


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_syslog_ng_syslog(lab: Lab, transport: str) -> None:
    feed, port = free_port(), free_port()
    lab.relay_from(source(lab, transport, port))
    syslog_ng_to(lab, feed, syslog_ng_driver(lab, "syslog", transport, port))
    feed_lines(feed, messages(1000))
    assert_exactly(lab.arrived, messages(1000))


def test_syslog_ng_in_its_own_envelope(lab: Lab) -> None:
    feed, port = free_port(), free_port()
    lab.relay_from(source(lab, "tcp", port))
    syslog_ng_to(lab, feed, f'syslog-ng(server("127.0.0.1") port({port}))')
    feed_lines(feed, messages(500))
    envelopes = wait_for(lab.arrived, 500)
    assert len(envelopes) == 500
    for number, (envelope, message) in enumerate(zip(envelopes, messages(500), strict=True)):
        inside = re.fullmatch(
            rb"<\d+>1 \S+ \S+ @syslog-ng - - (?:-|\[.*?[^\\]\]) (\{.*\})", envelope
        )
        assert inside, envelope
        pairs = json.loads(inside[1])
        assert pairs["PID"] == str(1000 + number)
        assert message.decode().endswith(pairs["MESSAGE"])
        assert pairs["MESSAGE"].startswith(f"number={number} ")
