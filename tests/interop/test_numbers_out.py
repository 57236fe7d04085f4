"""What we send is never read as an octet count, whatever the messages begin with.

rsyslog takes any digit at the start of a line for a count, and drops what does not fit.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.interop.lab import Lab
from tests.plain_senders import feed_lines
from tests.processes import free_port
from tests.relay_process import wait_for_lines

LINES = [
    *(b"1650972789 box wrote this line", b"25 Oct 2026 10:11:12 backup", b"5 x", b"12"),
    *(b"9999999999 x", b"200001 x", b"007 agents", b"2026-10-11T22:14:15Z h app: text"),
    *(b"3rd of May", b"<13>Oct 11 22:14:15 h app: okay", b"no number"),
]
END = b"<13>Oct 11 22:14:15 h app: this is the end"
FORMS: dict[str, dict[str, Any]] = {
    "none": {},
    "template": {"template": "$UNIXTIME $HOST $MSG"},
}
RECEIVERS = ["imtcp", "imptcp", "syslog-ng", "relay"]
WAYS = [
    *((kind, form, "newline") for kind in RECEIVERS for form in FORMS),
    # syslog-ng's network() takes lines only.
    *((kind, "none", "octet-counting") for kind in RECEIVERS if kind != "syslog-ng"),
]


def receiver(lab: Lab, kind: str, port: int) -> None:
    """Start a receiver that writes each message as it came, without what it puts before it."""
    if kind == "relay":
        lab.relay(
            "receiver",
            source={"listen": f"tcp://127.0.0.1:{port}"},
            destination={"connect": f"file://{lab.arrived}"},
        )
    elif kind == "syslog-ng":
        lab.syslog_ng(
            f"""
            source s_in {{ network(ip(127.0.0.1) port({port}) transport(tcp) flags(no-parse)); }};
            destination d_out {{ file("{lab.arrived}" template("$MSG\\n")); }};
            log {{ source(s_in); destination(d_out); }};
            """,
            tcp=[port],
        )
    else:
        lab.rsyslog(
            f"""
            module(load="{kind}")
            input(type="{kind}" port="{port}" address="127.0.0.1")
            action(type="omfile" file="{lab.arrived}" template="raw")
            """,
            tcp=[port],
        )


@pytest.mark.parametrize(("kind", "form", "framing"), WAYS)
def test_lines_that_begin_with_numbers_arrive_one_by_one(
    lab: Lab, kind: str, form: str, framing: str
) -> None:
    feed, port = free_port(), free_port()
    receiver(lab, kind, port)
    lab.relay_to(feed, {"connect": f"tcp://127.0.0.1:{port}", "framing": framing, **FORMS[form]})
    feed_lines(feed, [*LINES, END])
    arrived = wait_for_lines(lab.arrived, len(LINES) + 1)
    assert len(arrived) == len(LINES) + 1
    if form == "none":
        found = [line.removeprefix(b"<13>") for line in arrived]
        assert found == [line.removeprefix(b"<13>") for line in (*LINES, END)]
        assert [line for line in arrived if not line.startswith(b"<13>")] == (
            [b"no number"] if framing == "newline" else []
        )
    else:
        for line in arrived:
            assert re.match(rb"<13>[0-9]{10} [^ ]+ ", line), line
