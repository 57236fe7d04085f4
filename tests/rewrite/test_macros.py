from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import JsonText, SyslogMessage
from relay.model.origin import Origin, Transport
from relay.rewrite.batch import Batch, MacroContext
from relay.rewrite.macros import (
    HARD_MACROS,
    check_settable,
    compile_macro,
    origin_pairs,
)
from relay.wire.parse import parse
from tests.any_messages import LOCAL, NETWORK, SECURE, messages, names, origins

CONTEXT = MacroContext(b"vm", lambda: 1795222405.5, started_at=100.0, hostid=0xCAFE, runid=12)
MODERN = parse(b'<165>1 2003-10-11T22:14:15.003Z h evntslog 77 ID47 [x@1.2 a="b"] text\n')
LEGACY = parse(b"<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed")
BARE = parse(b"<13>1 - - - - - - text")


def value_of(name: str, message: SyslogMessage, origin: Origin = NETWORK) -> bytes:
    context = CONTEXT
    (value,) = compile_macro(name, context)(Batch([message], origin, context))
    return value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PRI", b"165"),
        ("FACILITY", b"local4"),
        ("FACILITY_NUM", b"20"),
        *((name, b"notice") for name in ("SEVERITY", "LEVEL", "PRIORITY")),
        *((name + "_NUM", b"5") for name in ("SEVERITY", "LEVEL", "PRIORITY")),
        ("TAG", b"a5"),
        ("BSDTAG", b"5U"),
        ("TAGS", b".source.in"),
        ("SDATA", b'[x@1.2 a="b"]'),
        (".SDATA.x@1.2.a", b"b"),
        (".SDATA.x@1.2.b", b""),
        *((name, b"h") for name in ("HOST", "FULLHOST")),
        *((name, b"192.0.2.1") for name in ("HOST_FROM", "FULLHOST_FROM", "SOURCEIP", "PEERIP")),
        *((name, b"40000") for name in ("SOURCEPORT", "PEERPORT")),
        ("PROTO", b"17"),
        ("IP_PROTO", b"4"),
        ("PROGRAM", b"evntslog"),
        ("PID", b"77"),
        ("MSGID", b"ID47"),
        *((name, b"text") for name in ("MESSAGE", "MSG", "MSGONLY")),
        ("MSGHDR", b"evntslog[77]: "),
        ("SYSLOGTAG", b"evntslog[77]:"),
        ("LEGACY_MSGHDR", b""),
        ("RAWMSG", MODERN.raw[:-1]),
        ("RAWMSG_SIZE", b"%d" % len(MODERN.raw)),
        ("SOURCE", b"in"),
        ("LOGHOST", b"vm"),
        ("SYSUPTIME", b"550"),
        ("HOSTID", b"0000cafe"),
        ("RUNID", b"12"),
        ("R_UNIXTIME", b"1795222400"),
        ("CONTEXT_ID", b""),
        ("no such pair", b""),
    ],
)
def test_values(name: str, expected: bytes) -> None:
    assert value_of(name, MODERN, NETWORK._replace(monotonic_at=105.5)) == expected


def test_legacy_messages() -> None:
    assert value_of("MSGHDR", LEGACY) == value_of("LEGACY_MSGHDR", LEGACY) == b"su[230]: "
    assert value_of("DATE", LEGACY) == b"Oct 11 22:14:15"
    assert value_of("TAG", parse(b"<9>x")) == b"09"
    assert value_of("BSDTAG", LEGACY) == b"2E"


def test_what_a_message_does_not_have() -> None:
    for name in ("PROGRAM", "PID", "MSGID", "MSGHDR", "SDATA", ".unix.pid", ".tls.x509_cn"):
        assert value_of(name, BARE) == b""
    assert value_of("HOST", BARE) == b"192.0.2.1"
    assert value_of("HOST", BARE._replace(hostname=b"-")) == b"192.0.2.1"
    assert value_of("MSGHDR", BARE._replace(app_name=b"a")) == b"a: "


def test_local_and_secure_senders() -> None:
    assert value_of("HOST", BARE, LOCAL) == value_of("HOST_FROM", BARE, LOCAL) == b"vm"
    assert value_of("SOURCEIP", BARE, LOCAL) == b"127.0.0.1"
    assert [value_of(name, BARE, LOCAL) for name in ("SOURCEPORT", "PROTO", "IP_PROTO")] == [
        b""
    ] * 3
    assert value_of(".unix.uid", BARE, LOCAL) == b"2"
    assert value_of("IP_PROTO", BARE, SECURE) == b"6"
    assert value_of(".tls.x509_cn", BARE, SECURE) == "Müller, web-1".encode()
    assert origin_pairs(Batch([], LOCAL, CONTEXT)) == {
        ".unix.pid": b"1",
        ".unix.uid": b"2",
        ".unix.gid": b"3",
    }


def test_pairs() -> None:
    pairs = {
        "HOST_FROM": b"first",
        "PROGRAM": b"p",
        "RAWMSG": b"raw",
        ".unix.pid": b"9",
        "custom": JsonText(b"1"),
        ".SDATA.x@1.2.a": b"c",
        "MESSAGE": b"other",
    }
    message = BARE._replace(pairs=pairs)
    expected = {**pairs, "MESSAGE": b"text"}
    assert {name: value_of(name, message, LOCAL) for name in pairs} == expected
    assert value_of("SDATA", message) == b'[x@1.2 a="c"]'


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ((b"mytag", b"other tag"), b'mytag,"other tag",.source.in'),
        ((b".source.in", b"a"), b".source.in,a"),
    ],
)
def test_tags(tags: tuple[bytes, ...], expected: bytes) -> None:
    assert value_of("TAGS", BARE._replace(tags=tags)) == expected


def test_an_unknown_facility_is_hexadecimal() -> None:
    assert value_of("FACILITY", BARE._replace(facility=124)) == b"7c"


def test_numbers_are_the_same_wherever_they_stand() -> None:
    context = MacroContext(b"vm", lambda: 0.0, hostid=1)
    batch = Batch([BARE, BARE], NETWORK, context)
    for name, expected in (
        ("SEQNUM", [b"1", b"2"]),
        ("RCPTID", [b"1", b"2"]),
        ("UNIQID", [b"00000001@0000000000000001", b"00000001@0000000000000002"]),
        ("SEQNUM", [b"1", b"2"]),
    ):
        assert compile_macro(name, context)(batch) == expected
    assert compile_macro("SEQNUM", context)(Batch([BARE], NETWORK, context)) == [b"3"]


def test_hard_macros_cannot_be_set() -> None:
    for name in ("PRI", "ISODATE", "R_YEAR", "SOURCEIP", "TAGS", "SDATA"):
        with pytest.raises(ValueError, match=f"^{name} is a hard macro: .* cannot be set"):
            check_settable(name)
    for name in ("HOST", "MESSAGE", "MSG", "SOURCE", "LEGACY_MSGHDR", ".SDATA.a.b", "custom"):
        check_settable(name)


@given(
    st.lists(messages, max_size=3),
    origins,
    st.sampled_from(sorted(HARD_MACROS)) | st.sampled_from(["HOST", "MSG", "RAWMSG"]) | names,
)
def test_every_macro_has_a_value_for_every_message(
    batch: list[SyslogMessage], origin: Origin, name: str
) -> None:
    values = compile_macro(name, CONTEXT)(Batch(batch, origin, CONTEXT))
    assert len(values) == len(batch)
    assert all(isinstance(value, bytes) for value in values)


def test_a_repeated_parameter_is_its_last_value_and_json_is_text() -> None:
    message = parse(b'<13>1 - h a - - [x@1.2 a="1" a="2"] m')._replace(
        pairs={"n": JsonText(b"1.50"), "none": JsonText(b"null"), "list": JsonText(b'["a","b"]')}
    )
    context = MacroContext(relay_name=b"r", now=lambda: 0.0)
    batch = Batch([message], Origin("in", Transport.TCP), context)
    names = (".SDATA.x@1.2.a", "n", "none", "list")
    values = [compile_macro(name, context)(batch) for name in names]
    assert values == [[b"2"], [b"1.50"], [b""], [b"a,b"]]
