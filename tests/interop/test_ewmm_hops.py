"""EWMM over three hops: what the first relay takes is what the last one has."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from relay.model.message import JsonText, SyslogMessage
from relay.wire.parse import parse
from tests.interop.lab import Lab
from tests.interop.messages import legacy_messages, messages, wait_for
from tests.plain_senders import feed_stream
from tests.processes import free_port

EWMM = {"rewrite": {"mode": "ewmm"}}

# As syslog-ng 4.x sends it: values with types, and tags as an array.
FAR = (
    rb"<165>1 2003-10-11T22:14:15.003+00:00 far @syslog-ng - - "
    rb'[my.app@32473 a.b="1" c="App\"l\]i\\cation"][empty@1] '
    rb'{"weird key":"q\"b\\s\tt","typed":{"n":5,"f":1.10,"t":true,"l":["a","b c"]},'
    rb'"a":{"b":{"d":"v3","c":"v2"}},"PROGRAM":"p","PID":"77","MSGID":"ID47","MESSAGE":"two\nlines",'
    rb'"HOST_FROM":"first","HOST":"origin",".syslogrelay":{"peer":"192.0.2.1"},'
    rb'".dot":{"x@1.2.3":{"y":"z"}},"._TAGS":["mytag","other tag","tag,with comma",".source.far"]}'
)


def after_three_hops(lab: Lab, frames: Sequence[bytes], *, middle: str) -> list[SyslogMessage]:
    """Send `frames` through our relay, `middle` and our relay; return what the last one wrote."""
    first, second, third = free_port(), free_port(), free_port()
    last = {"connect": f"file://{lab.arrived}", **EWMM}
    lab.relay("last", source={"listen": f"tcp://127.0.0.1:{third}"}, destination=last)
    if middle == "syslog-ng":
        lab.syslog_ng(
            f"""
            options {{ frac-digits(3); }};
            source middle {{
              network(ip(127.0.0.1) port({second}) transport(tcp) flags(syslog-protocol));
            }};
            parser p {{ ewmm-parser(); }};
            destination d {{ syslog-ng(server("127.0.0.1") port({third})); }};
            log {{ source(middle); parser(p); destination(d); flags(flow-control); }};
            """,
            tcp=[second],
        )
    else:
        on = {"connect": f"tcp://127.0.0.1:{third}", **EWMM}
        lab.relay("middle", source={"listen": f"tcp://127.0.0.1:{second}"}, destination=on)
    on = {"connect": f"tcp://127.0.0.1:{second}", **EWMM}
    lab.relay("first", source={"listen": f"tcp://127.0.0.1:{first}"}, destination=on)
    feed_stream(first, frames)
    lines = wait_for(lab.arrived, len(frames))
    assert len(lines) == len(frames)
    assert all(b" last @syslog-ng - - " in line for line in lines)
    return [parse(line) for line in lines]


@pytest.mark.parametrize("middle", ["syslog-ng", "ours"])
def test_header_and_text_survive(lab: Lab, middle: str) -> None:
    frames = [*messages(300), *legacy_messages(100)]
    for frame, arrived in zip(frames, after_three_hops(lab, frames, middle=middle), strict=True):
        sent = parse(frame)
        assert arrived.pri == sent.pri
        if sent.version:  # all six digits, although the header of an envelope has three
            assert arrived.timestamp is not None and sent.timestamp is not None
            assert arrived.timestamp == sent.timestamp or sent.timestamp[23:26] == b"000"
        assert arrived[4:10] == sent[4:10]
        pairs = arrived.pairs or {}
        assert pairs.get("LEGACY_MSGHDR") == (sent.pairs or {}).get("LEGACY_MSGHDR")
        assert pairs["HOST_FROM"] == b"127.0.0.1"
        assert set(arrived.tags) == {b".source.first", b".source.middle", b".source.last"}


def test_pairs_survive_syslog_ng(lab: Lab) -> None:
    (arrived,) = after_three_hops(lab, [FAR], middle="syslog-ng")
    sent = parse(FAR)
    assert arrived.timestamp == b"2003-10-11T22:14:15.003+00:00"
    assert (arrived.pri, *arrived[4:8]) == (sent.pri, *sent[4:8])
    assert arrived.msg == b"two\nlines"
    # A dot in the name of a parameter goes over to the SD-ID there.
    assert arrived.structured_data == (
        rb'[my.app@32473.a b="1"][my.app@32473 c="App\"l\]i\\cation"][empty@1]'
    )
    # 3.38 has no types: numbers and lists become text.
    assert arrived.pairs == {
        **(sent.pairs or {}),
        "typed.n": b"5",
        "typed.f": b"1.100000",
        "typed.t": b"true",
        "typed.l": b'a,"b c"',
    }
    assert not any(isinstance(value, JsonText) for value in arrived.pairs.values())
    assert set(arrived.tags) == {*sent.tags, b".source.first", b".source.middle", b".source.last"}


def test_all_of_it_survives_our_own_relays(lab: Lab) -> None:
    (arrived,) = after_three_hops(lab, [FAR], middle="ours")
    sent = parse(FAR)
    hops = (b".source.first", b".source.middle", b".source.last")
    assert arrived._replace(raw=b"") == sent._replace(raw=b"", tags=(*sent.tags, *hops))
    assert {name: type(value) for name, value in (arrived.pairs or {}).items()} == {
        name: type(value) for name, value in (sent.pairs or {}).items()
    }


def test_what_cannot_be_opened_is_not_wrapped(lab: Lab) -> None:
    line = b"<13>1 2003-10-11T22:14:15.003Z h @syslog-ng - - - no JSON"
    first, last = free_port(), free_port()
    to_file = {"connect": f"file://{lab.arrived}", **EWMM}
    lab.relay("last", source={"listen": f"tcp://127.0.0.1:{last}"}, destination=to_file)
    on = {"connect": f"tcp://127.0.0.1:{last}", **EWMM}
    lab.relay("first", source={"listen": f"tcp://127.0.0.1:{first}"}, destination=on)
    feed_stream(first, [line])
    assert wait_for(lab.arrived, 1) == [line]
