"""Our TCP, TLS and UDP output to rsyslog's imtcp and imudp and to syslog-ng."""

from __future__ import annotations

from typing import Any

import pytest

from tests.certificate_files import CLIENT_NAME
from tests.interop.lab import Lab
from tests.interop.messages import assert_exactly, in_bursts, legacy_messages, messages
from tests.plain_senders import feed_stream
from tests.processes import free_port

FRAMINGS = ["octet-counting", "newline"]


def destination(lab: Lab, scheme: str, port: int, framing: str) -> dict[str, Any]:
    return {
        "connect": f"{scheme}://127.0.0.1:{port}",
        "framing": framing,
        **(lab.client_tls if scheme == "tls" else {}),
    }


def imtcp(lab: Lab, port: int, *, driver: str = "") -> None:
    """Start an rsyslogd that takes syslog at `port`; with TLS if `driver` is given."""
    secure = (
        f'streamDriver.Name="{driver}" streamDriver.Mode="1" streamDriver.AuthMode="x509/name"'
        f' permittedPeer=["{CLIENT_NAME}"]'
    )
    lab.rsyslog(
        f"""
        {lab.rsyslog_stream_tls("server", driver) if driver else ""}
        module(load="imtcp" {secure if driver else ""})
        input(type="imtcp" port="{port}" address="127.0.0.1")
        action(type="omfile" file="{lab.arrived}" template="raw")
        """,
        tcp=[port],
    )


@pytest.mark.parametrize("framing", FRAMINGS)
def test_rsyslog_over_tcp(lab: Lab, framing: str) -> None:
    feed, port = free_port(), free_port()
    imtcp(lab, port)
    lab.relay_to(feed, destination(lab, "tcp", port, framing))
    feed_stream(feed, messages(2000))
    assert_exactly(lab.arrived, messages(2000))


@pytest.mark.parametrize("driver", ["gtls", "ossl"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_rsyslog_over_tls(lab: Lab, driver: str, framing: str) -> None:
    feed, port = free_port(), free_port()
    imtcp(lab, port, driver=driver)
    lab.relay_to(feed, destination(lab, "tls", port, framing))
    feed_stream(feed, messages(1000))
    assert_exactly(lab.arrived, messages(1000))


def test_rsyslog_over_udp(lab: Lab) -> None:
    feed, port = free_port(), free_port()
    lab.rsyslog(
        f"""
        module(load="imudp")
        input(type="imudp" port="{port}" address="127.0.0.1")
        action(type="omfile" file="{lab.arrived}" template="raw")
        """,
        udp=[port],
    )
    lab.relay_to(feed, {"connect": f"udp://127.0.0.1:{port}"})
    in_bursts(feed_stream, feed, messages(500), lab.arrived)
    assert_exactly(lab.arrived, messages(500))


def syslog_ng_source(lab: Lab, driver: str, transport: str, port: int, flags: str) -> str:
    tls = lab.syslog_ng_tls("server") if transport == "tls" else ""
    return f"{driver}(ip(127.0.0.1) port({port}) transport({transport}) flags({flags}) {tls})"


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize(
    ("driver", "framing"), [("network", "newline"), ("syslog", "octet-counting")]
)
def test_syslog_ng(lab: Lab, transport: str, driver: str, framing: str) -> None:
    feed, port = free_port(), free_port()
    lab.syslog_ng(
        f"""
        source s {{ {syslog_ng_source(lab, driver, transport, port, "no-parse")}; }};
        destination d {{ file("{lab.arrived}" template("$MSG\\n")); }};
        log {{ source(s); destination(d); flags(flow-control); }};
        """,
        tcp=[port],
    )
    lab.relay_to(feed, destination(lab, transport, port, framing))
    feed_stream(feed, messages(1000))
    assert_exactly(lab.arrived, messages(1000))


def test_syslog_ng_understands_the_fields(lab: Lab) -> None:
    feed, port = free_port(), free_port()
    lab.syslog_ng(
        f"""
        source s {{ {syslog_ng_source(lab, "network", "tcp", port, "syslog-protocol")}; }};
        destination d {{ file("{lab.arrived}"
          template("<$PRI>1 $ISODATE $HOST $PROGRAM $PID $MSGID ${{SDATA:--}} $MSG\\n")); }};
        log {{ source(s); destination(d); flags(flow-control); }};
        """,
        tcp=[port],
    )
    lab.relay_to(feed, destination(lab, "tcp", port, "newline"))
    feed_stream(feed, messages(200))
    assert_exactly(lab.arrived, messages(200))


def test_syslog_ng_over_udp(lab: Lab) -> None:
    feed, port = free_port(), free_port()
    lab.syslog_ng(
        f"""
        source s {{ {syslog_ng_source(lab, "network", "udp", port, "no-parse")}; }};
        destination d {{ file("{lab.arrived}" template("$MSG\\n")); }};
        log {{ source(s); destination(d); }};
        """,
        udp=[port],
    )
    lab.relay_to(feed, {"connect": f"udp://127.0.0.1:{port}"})
    in_bursts(feed_stream, feed, legacy_messages(500), lab.arrived)
    assert_exactly(lab.arrived, legacy_messages(500))
