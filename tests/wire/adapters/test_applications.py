from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import JsonText, SyslogMessage
from relay.wire.adapters.applications import adapt, app_tag
from relay.wire.parse import Dialect, parse, parse_as

START = b"<13>Oct 11 22:14:15 h a: "


def read(line: bytes) -> SyslogMessage:
    return parse_as(Dialect(adapt=adapt), line, line)


@pytest.mark.parametrize(
    ("line", "app"),
    [
        (b"<189>foo: %SYS-5-X: text", b"cisco"),
        (b"foo: %SYS-5-X: text", b"cisco"),
        (b"<189>date=2021-01-15 time=12:58:59 devname=x", b"fortigate"),
        (b"<134>1 2018-03-21 17:25:25 mds CheckPoint 13752 - [a:b; c:d]", b"checkpoint"),
        (b"time=15|hostname=r80|product=Firewall|", b"checkpoint"),
        (b"<159>Dec 19 10:48:57 EST 10.1.1.1 vendor=Websense user=-", b"websense"),
        (b"<159>Dec 19 10:48:57 10.1.1.1 vendor=Websense user=-", b"websense"),
        (b"<189>Jun 14 11:57:27 PM.685 UTC: %SYS-5-X: y", b"cisco"),
        (b"<189>Oct 11 22:14:15 sw1 29: Oct 11 22:14:14.123: %SYS-5-X: y", b"cisco"),
        (b"<189>Oct 11 22:14:15 fw1 : %ASA-5-X: y", b"cisco"),
        (b'<134>{"_insertion_epoch_timestamp": 1, "a": {"b": null}}', b"netskope"),
        (START + b'@cee: {"a":{"b":"x"},"c":1.50}', b"cee"),
        (START + b'@cim:{"a":"x"}', b"cim"),
        (b"<4>Oct 11 22:14:15 fw kernel: IN=eth0 PROTO=TCP", b"iptables"),
        (b"<86>Oct 11 22:14:15 h sudo: alice : TTY=pts/0 ; USER=root", b"sudo"),
        (b'<14>1 - - RT_FLOW - X [junos@2636.1.1.1.2.129 reason="TCP FIN"] x', b"junos"),
    ],
)
def test_each_application(line: bytes, app: bytes) -> None:
    message = read(line)
    assert message.pairs is not None
    assert message.pairs[".app.name"] == app
    assert app_tag(message) == (b".app." + app,)
    assert (message.raw, message.tags) == (line, ())
    if app != b"junos":
        assert [name for name in message.pairs if name.startswith(f".{app.decode()}.")]


def test_cee_leaves_msg_as_it_is() -> None:
    message = read(START + b'@cee: {"a":{"b":"x"},"c":1.50}')
    assert message.msg == b'@cee: {"a":{"b":"x"},"c":1.50}'
    assert message.pairs == {
        "LEGACY_MSGHDR": b"a: ",
        ".cee.a.b": b"x",
        ".cee.c": b"1.50",
        ".app.name": b"cee",
    }
    assert isinstance(message.pairs[".cee.c"], JsonText)


def test_netskope_has_no_pri() -> None:
    message = read(b'<134>{"_insertion_epoch_timestamp": 1}')
    assert (message.pri, message.msg) == (13, b'{"_insertion_epoch_timestamp": 1}')


@pytest.mark.parametrize(
    "line",
    [
        b"<999>foo: %SYS-5-X: text",
        b"<999>date=2021-01-15",
        b"<999>Dec 19 10:48:57 EST 10.1.1.1 vendor=Websense user=-",
        b'<134>{"a": 1}',
        b'<134>{"_insertion_epoch_timestamp": 1} x',
        b"time=1",
        b"<13>Oct 11 22:14:15 h a: x: %d",
        START + b"@cee: {not json}",
        START + b"@someone",
        b"<86>Oct 11 22:14:15 h sudo: hello",
        b"<4>Oct 11 22:14:15 fw kernel: hello",
        b"<12>Oct 11 22:14:15 h 1,2,3",
        b'<14>1 - - RT_FLOW - X [junos@2636.1.1.1.2.129 a="b"] x',
        b"<13>1 2018-03-21 17:25:25 h a - - x",
        b"<13>1 - h a - - - foo: %SYS-5-X: text",
    ],
)
def test_what_only_looks_like_one_is_left_alone(line: bytes) -> None:
    assert read(line) == parse(line)
    assert app_tag(read(line)) == ()


PIECES = [
    *(b"<189>", b"1 ", b"date=", b"time=", b"{", b'"_insertion_epoch_timestamp":', b"1", b"}"),
    *(b": %SYS-5-X: ", b"vendor=Websense ", b" CheckPoint ", b"hostname=h|product=", b"|", b"|"),
    *(b"Oct 11 22:14:15 h ", b"sudo: ", b"kernel: ", b"PROTO=", b"a: ", b"1,", b"@cee:", b'"'),
    *(b"[junos@2636.1.1.1.2.129 reason=", b"COMMAND=", b";", b"\n", b"\0", b"\xff", b"\\"),
]


@given(st.one_of(st.binary(), st.lists(st.sampled_from(PIECES)).map(b"".join)))
def test_any_line_is_a_message(line: bytes) -> None:
    message = read(line)
    assert message.raw == line
    assert 0 <= message.pri <= 191
    for field in message[3:9]:
        assert field != b""
