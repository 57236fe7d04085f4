"""Connections that end at their age, while rsyslog, syslog-ng and relays send without a pause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.interop.lab import Lab
from tests.interop.messages import wait_for
from tests.plain_senders import feed_stream
from tests.processes import free_port
from tests.relay_process import RelayProcess

AGE = {"connection_seconds_max": 0.5}
ENDS = 4
"""Connections that end at their age in one test."""
CHUNK = 500
CHUNKS_MAX = 2000
UNDERWAY = 2500
"""Messages that have not arrived yet while the next ones are fed."""


def source_of(relay: RelayProcess) -> dict[str, Any]:
    (source,) = ask(str(relay.state_dir), "status")["sources"]
    found: dict[str, Any] = source
    return found


def feed_until(
    lab: Lab, feed: int, is_enough: Callable[[], bool], *, underway: int = UNDERWAY
) -> list[bytes]:
    """Feed messages until it is enough; return them all."""
    sent: list[bytes] = []
    for _ in range(CHUNKS_MAX):
        chunk = [
            f"<13>1 2026-10-11T22:14:15+00:00 web-1 app - - - n={len(sent) + n}".encode()
            for n in range(CHUNK)
        ]
        feed_stream(feed, chunk)
        sent += chunk
        wait_for(lab.arrived, len(sent) - underway)
        if is_enough():
            return sent
    raise AssertionError(f"not enough after {len(sent)} messages")


def losses_and_duplicates(lab: Lab, sent: list[bytes]) -> tuple[int, int]:
    """How many never arrived, and how many came more than once."""
    counts = Counter(wait_for(lab.arrived, len(sent)))
    assert counts.keys() <= set(sent)
    return len(set(sent) - counts.keys()), sum(count - 1 for count in counts.values())


def ends(server: RelayProcess) -> int:
    return int(source_of(server)["connections_closed"].get("age", 0))


@pytest.mark.parametrize("library", ["", "openssl"], ids=["plain", "openssl"])
def test_rsyslog_over_relp(lab: Lab, library: str) -> None:
    feed, port = free_port(), free_port()
    tls = lab.server_tls if library else {}
    scheme = "relp+tls" if library else "relp"
    server = lab.relay_from({"listen": f"{scheme}://127.0.0.1:{port}", **tls, **AGE})
    lab.rsyslog(
        f"""
        module(load="imptcp" threads="1")
        module(load="omrelp" {f'tls.tlsLib="{library}"' if library else ""})
        input(type="imptcp" port="{feed}" address="127.0.0.1")
        action(type="omrelp" target="127.0.0.1" port="{port}" template="raw-frame"
          action.resumeRetryCount="-1" action.resumeInterval="1"
          {lab.rsyslog_relp_tls("client") if library else ""})
        """,
        tcp=[feed],
    )
    sent = feed_until(lab, feed, lambda: ends(server) >= 2)  # it pauses for a second after each
    assert losses_and_duplicates(lab, sent) == (0, 0)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_relay_over_relp_connects_again_at_once_and_counts_no_failure(
    lab: Lab, tls: bool
) -> None:
    feed, port = free_port(), free_port()
    scheme = "relp+tls" if tls else "relp"
    server_tls, client_tls = (lab.server_tls, lab.client_tls) if tls else ({}, {})
    server = lab.relay(
        "server",
        source={"listen": f"{scheme}://127.0.0.1:{port}", **server_tls, **AGE},
        destination={"connect": f"file://{lab.arrived}"},
    )
    sender = lab.relay_to(
        feed,
        {
            "connect": f"{scheme}://127.0.0.1:{port}",
            "retry_seconds_min": 0.3,
            "retry_seconds_max": 60.0,
            **client_tls,
        },
    )
    sent = feed_until(lab, feed, lambda: ends(server) >= ENDS)
    assert losses_and_duplicates(lab, sent) == (0, 0)
    status = ask(str(sender.state_dir), "status")
    (destination,) = status["destinations"]
    assert (destination["failures"], destination["exactly_once"]) == (0, True)
    assert destination["connects"] > ENDS
    assert source_of(server)["duplicate_records"] == 0


# syslog-ng looks for the end of the stream while it has nothing to send.
@pytest.mark.parametrize(("sender", "underway"), [("rsyslog", UNDERWAY), ("syslog-ng", 0)])
def test_plain_syslog_over_tcp(lab: Lab, sender: str, underway: int) -> None:
    feed, port = free_port(), free_port()
    server = lab.relay_from({"listen": f"tcp://127.0.0.1:{port}", **AGE})
    if sender == "rsyslog":
        lab.rsyslog(
            f"""
            module(load="imptcp" threads="1")
            input(type="imptcp" port="{feed}" address="127.0.0.1")
            action(type="omfwd" protocol="tcp" target="127.0.0.1" port="{port}"
              TCP_Framing="octet-counted" template="raw-frame"
              action.resumeRetryCount="-1" action.resumeInterval="1")
            """,
            tcp=[feed],
        )
    else:
        lab.syslog_ng(
            f"""
            source feed {{ network(ip("127.0.0.1") port({feed}) transport(tcp) flags(no-parse)
              log-iw-size(10000)); }};
            destination relay {{ network("127.0.0.1" port({port}) transport(tcp)
              template("${{MSG}}\\n") time-reopen(1)); }};
            log {{ source(feed); destination(relay); flags(flow-control); }};
            """,
            tcp=[feed],
        )
    sent = feed_until(lab, feed, lambda: ends(server) >= ENDS, underway=underway)
    assert losses_and_duplicates(lab, sent) == (0, 0)
