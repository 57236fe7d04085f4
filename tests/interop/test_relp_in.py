"""rsyslog's omrelp to our RELP server: plain, and with certificates verified on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.interop.lab import Lab
from tests.interop.messages import assert_exactly, legacy_messages, messages
from tests.plain_senders import feed_stream
from tests.processes import free_port
from tests.relay_process import RelayProcess

LIBRARIES = ["openssl", "gnutls"]
LINEAGE_COUNTERS = ["duplicate_records", "missing_records", "refused_lineages"]


def omrelp(
    lab: Lab, feed: int, port: int, *, library: str = "", template: str = "raw-frame"
) -> None:
    """Start an rsyslogd that sends what it gets at `feed` to `port`."""
    lab.rsyslog(
        f"""
        module(load="imptcp" threads="1")
        module(load="omrelp" {f'tls.tlsLib="{library}"' if library else ""})
        input(type="imptcp" port="{feed}" address="127.0.0.1")
        action(type="omrelp" target="127.0.0.1" port="{port}" template="{template}"
          action.resumeRetryCount="-1" action.resumeInterval="1"
          {lab.rsyslog_relp_tls("client") if library else ""})
        """,
        tcp=[feed],
    )


def relay(lab: Lab, port: int, *, tls: bool) -> RelayProcess:
    source: dict[str, Any] = {"listen": f"relp://127.0.0.1:{port}"}
    if tls:
        source = {"listen": f"relp+tls://127.0.0.1:{port}", **lab.server_tls}
    return lab.relay_from(source)


@pytest.mark.parametrize("library", ["", *LIBRARIES], ids=["plain", *LIBRARIES])
def test_all_arrive_once_and_in_order(lab: Lab, library: str) -> None:
    feed, relp = free_port(), free_port()
    server = relay(lab, relp, tls=bool(library))
    omrelp(lab, feed, relp, library=library)
    feed_stream(feed, messages(2000))
    assert_exactly(lab.arrived, messages(2000))
    (source,) = ask(str(server.state_dir), "status")["sources"]
    assert [source[name] for name in LINEAGE_COUNTERS] == [0, 0, 0]


@pytest.mark.parametrize("template", ["RSYSLOG_SyslogProtocol23Format", "raw"])
def test_templates_that_end_with_a_newline(lab: Lab, template: str) -> None:
    feed, relp = free_port(), free_port()
    relay(lab, relp, tls=False)
    omrelp(lab, feed, relp, template=template)
    feed_stream(feed, messages(200))
    assert_exactly(lab.arrived, messages(200))


def test_the_template_of_rfc_3164(lab: Lab) -> None:
    feed, relp = free_port(), free_port()
    relay(lab, relp, tls=False)
    omrelp(lab, feed, relp, template="RSYSLOG_TraditionalForwardFormat")
    feed_stream(feed, legacy_messages(200))
    assert_exactly(lab.arrived, legacy_messages(200))


def test_messages_wait_at_the_sender_while_the_relay_is_away(lab: Lab) -> None:
    feed, relp = free_port(), free_port()
    server = relay(lab, relp, tls=False)
    omrelp(lab, feed, relp)
    feed_stream(feed, messages(100))
    assert_exactly(lab.arrived, messages(100))
    server.stop()
    feed_stream(feed, messages(500)[100:])
    server.start()
    assert_exactly(lab.arrived, messages(500))
