"""rsyslog and syslog-ng among themselves: what they cannot do, no test may ask of the relay."""

from __future__ import annotations

import pytest

from tests.interop.lab import Lab
from tests.interop.messages import assert_exactly, messages
from tests.plain_senders import feed_lines, feed_stream
from tests.processes import free_port


@pytest.mark.parametrize("library", ["openssl", "gnutls"])
def test_rsyslog_to_rsyslog_over_relp_with_tls(lab: Lab, library: str) -> None:
    feed, relp = free_port(), free_port()
    lab.rsyslog(
        f"""
        module(load="imrelp" tls.tlsLib="{library}")
        input(type="imrelp" port="{relp}" address="127.0.0.1" {lab.rsyslog_relp_tls("server")})
        action(type="omfile" file="{lab.arrived}" template="raw")
        """,
        tcp=[relp],
        name="receiver",
    )
    lab.rsyslog(
        f"""
        module(load="imptcp" threads="1")
        module(load="omrelp" tls.tlsLib="{library}")
        input(type="imptcp" port="{feed}" address="127.0.0.1")
        action(type="omrelp" target="127.0.0.1" port="{relp}" template="raw-frame"
          {lab.rsyslog_relp_tls("client")})
        """,
        tcp=[feed],
        name="sender",
    )
    feed_stream(feed, messages(500))
    assert_exactly(lab.arrived, messages(500))


def test_syslog_ng_writes_what_it_gets(lab: Lab) -> None:
    feed = free_port()
    lab.syslog_ng(
        f"""
        source s {{ network(ip(127.0.0.1) port({feed}) transport(tcp) flags(no-parse)); }};
        destination d {{ file("{lab.arrived}" template("$MSG\\n")); }};
        log {{ source(s); destination(d); flags(flow-control); }};
        """,
        tcp=[feed],
    )
    feed_lines(feed, messages(500))
    assert_exactly(lab.arrived, messages(500))
