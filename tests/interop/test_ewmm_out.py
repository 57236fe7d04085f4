"""Our EWMM envelope to a syslog-ng that opens it with its own ewmm-parser()."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.interop.lab import Lab
from tests.interop.messages import legacy_messages, messages, wait_for
from tests.plain_senders import feed_stream
from tests.processes import free_port


def delivered(lab: Lab, frames: Sequence[bytes]) -> list[dict[str, Any]]:
    """Send `frames` through the relay to syslog-ng; return the name-value pairs it found."""
    feed, port = free_port(), free_port()
    lab.syslog_ng(
        f"""
        source s {{
          network(ip(127.0.0.1) port({port}) transport(tcp) flags(syslog-protocol));
        }};
        parser p {{ ewmm-parser(); }};
        destination d {{ file("{lab.arrived}" template("$(format-json --leave-initial-dot
          --scope all-nv-pairs --pair tags=$TAGS --pair pri=$PRI --pair date=$ISODATE
          --pair sdata=$SDATA)\\n")); }};
        log {{ source(s); parser(p); destination(d); flags(flow-control); }};
        """,
        tcp=[port],
    )
    lab.relay_to(
        feed,
        {
            "connect": f"tcp://127.0.0.1:{port}",
            "framing": "newline",
            "rewrite": {"mode": "ewmm"},
        },
    )
    feed_stream(feed, frames)
    lines = wait_for(lab.arrived, len(frames))
    assert len(lines) == len(frames)
    return [json.loads(line) for line in lines]


def test_a_modern_message_survives(lab: Lab) -> None:
    frames = messages(500)
    for number, (pairs, frame) in enumerate(zip(delivered(lab, frames), frames, strict=True)):
        pri, stamp, host, program, pid, msgid, _ = frame.decode().split(" ", 6)
        assert pairs["HOST"] == host
        assert pairs["PROGRAM"] == program
        assert pairs["PID"] == pid
        assert pairs["MSGID"] == msgid
        assert pairs["pri"] == pri[1:-2]
        assert pairs["date"][:23] == stamp[:23]  # the envelope has milliseconds
        assert pairs["MESSAGE"].startswith(f"number={number} ")
        assert frame.decode().endswith(pairs["MESSAGE"])
        assert pairs["sdata"] == structured_data(frame)
        assert ".source.feed" in pairs["tags"].split(",")


def structured_data(frame: bytes) -> str:
    """SDATA as syslog-ng shows it: empty if there is none."""
    text = frame.decode().split(" ", 6)[6].partition(" number=")[0]
    return "" if text == "-" else text


def test_the_fields_of_structured_data_are_pairs(lab: Lab) -> None:
    pairs = delivered(lab, messages(2))[1]
    assert pairs[".SDATA"]["exampleSDID@32473"] == {
        "iut": "3",
        "eventSource": 'App"l]i\\cation',
        "eventID": "1011",
    }


def test_a_legacy_message_survives(lab: Lab) -> None:
    frames = legacy_messages(200)
    for number, pairs in enumerate(delivered(lab, frames)):
        assert pairs["HOST"] == "mymachine"
        assert pairs["PROGRAM"] == "su"
        assert pairs["PID"] == str(1000 + number)
        assert pairs["LEGACY_MSGHDR"] == f"su[{1000 + number}]: "
        assert frames[number].decode().endswith("]: " + pairs["MESSAGE"])


def test_what_one_line_could_not_hold_survives(lab: Lab) -> None:
    text = 'two\nlines, a tab\t, a bell\x07, "quotes" and a back\\slash'
    frame = b"<34>1 2026-10-11T22:14:15.003Z mymachine su 230 ID47 - " + text.encode()
    (pairs,) = delivered(lab, [frame])
    assert pairs["MESSAGE"] == text
