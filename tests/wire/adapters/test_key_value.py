from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.adapters.key_value import (
    key_values,
    read_checkpoint,
    read_fortigate,
    read_iptables,
    read_sudo,
    read_websense,
)
from relay.wire.headers.timestamp import to_datetime
from relay.wire.parse import parse


def test_values_may_be_quoted_empty_or_missing() -> None:
    text = b'a=1, b="x y=z \\"q\\"" stray c= d=http://h/?e=f g="open'
    assert key_values(text, ".p.") == {
        ".p.a": b"1,",
        ".p.b": b'x y=z "q"',
        ".p.c": b"",
        ".p.d": b"http://h/?e=f",
        ".p.g": b"",
    }


def test_there_is_an_end_to_pairs() -> None:
    assert len(key_values(b" ".join(b"k%d=v" % n for n in range(5000)), "")) == 1000


def test_fortigate() -> None:
    line = b'<189>date=2021-01-15 time=12:58:59 devname="FORTI_111" app="udp/4" srcport=45295'
    message = read_fortigate(line, line, (23, 5), 5)
    assert (message.timestamp, message.hostname) == (b"2021-01-15 12:58:59", b"FORTI_111")
    assert (message.app_name, message.msg) == (None, line[5:])
    assert message.pairs is not None
    assert message.pairs[".fortigate.srcport"] == b"45295"
    assert message.pairs[".app.name"] == b"fortigate"
    without = read_fortigate(b"date=x", b"date=x", (23, 5), 0)
    assert (without.timestamp, without.hostname) == (None, None)


@pytest.mark.parametrize(
    ("tz", "instant"),
    [
        (b'tz="+0200"', b"2026-10-11T20:14:15+00:00"),
        (b'tz="-0730"', b"2026-10-12T05:44:15+00:00"),
        (b"tz=+05:30", b"2026-10-11T16:44:15+00:00"),
        *((text, b"2026-10-11T13:14:15+00:00") for text in (b"", b'tz=""', b'tz="Tokyo"')),
        *((text, b"2026-10-11T13:14:15+00:00") for text in (b'tz="+2500"', b'tz="+0199"')),
    ],
)
def test_the_zone_of_a_fortigate(tz: bytes, instant: bytes) -> None:
    line = b'<189>date=2026-10-11 time=22:14:15 %s devname="FGT60E"' % tz
    message = read_fortigate(line, line, (23, 5), 5)
    zone = timezone(timedelta(hours=9))  # that of the source
    assert message.hostname == b"FGT60E"
    assert message.timestamp is not None
    assert to_datetime(message.timestamp, 1_800_000_000.0, zone) == datetime.fromisoformat(
        instant.decode()
    )


def test_checkpoint_in_its_syslog_format() -> None:
    for stamp in (b"2018-03-21 17:25:25", b"2018-03-21T17:25:25Z"):
        line = b'<134>1 %s mds CheckPoint 13752 - [action:"Up;date"; flags:"1";]' % stamp
        message = read_checkpoint(line, line)
        assert message is not None
        assert message[:8] == (1, 5, 0, stamp, b"mds", b"CheckPoint", b"13752", None)
        assert message.msg == b'[action:"Up;date"; flags:"1";]'
        assert message.pairs == {
            ".checkpoint.action": b"Up;date",
            ".checkpoint.flags": b"1",
            ".app.name": b"checkpoint",
        }


def test_checkpoint_in_its_splunk_format() -> None:
    line = b"time=15|hostname=r80|product=Firewall|cn=a\\=b,c|e=|"
    message = read_checkpoint(line, line)
    assert message is not None
    assert message.msg == line
    assert message.pairs is not None
    assert message.pairs[".checkpoint.cn"] == b"a=b,c"
    assert message.pairs[".checkpoint.e"] == b""
    assert read_checkpoint(b"time=15 to go", b"") is None


def test_websense() -> None:
    line = b"<159>Dec 19 10:48:57 EST 10.203.28.21 vendor=Websense user=- severity=1"
    message = read_websense(line, line, (19, 7))
    assert message is not None
    assert message[:7] == (
        *(19, 7, 0, b"Dec 19 10:48:57"),
        *(b"10.203.28.21", b"Websense", None),
    )
    assert (message.msg, message.raw) == (b"vendor=Websense user=- severity=1", line)
    assert message.pairs is not None
    assert message.pairs[".websense.user"] == b"-"
    assert read_websense(b"<13>hello vendor=Websense", b"", (1, 5)) is None


def test_iptables() -> None:
    line = b"<4>Oct 11 22:14:15 fw kernel: [UFW] IN=eth0 OUT= PROTO=TCP SYN URGP=0"
    assert read_iptables(parse(line)) == {
        ".iptables.IN": b"eth0",
        ".iptables.OUT": b"",
        ".iptables.PROTO": b"TCP",
        ".iptables.URGP": b"0",
    }
    assert read_iptables(parse(line.replace(b"<4>", b"<13>"))) is None
    assert read_iptables(parse(line.replace(b"PROTO", b"X"))) is None


pieces = st.sampled_from([b"a=", b'"', b"\\", b" ", b"x", b"|", b"=", b":", b";", b"\xff"])


@given(st.lists(pieces).map(b"".join))
def test_any_text_has_pairs(text: bytes) -> None:
    for value in key_values(text, ".").values():
        assert len(value) <= len(text)
    read_fortigate(text, text, (1, 5), 0)
    read_checkpoint(b"time=1|hostname=h|product=" + text, text)


def test_a_command_has_all_the_rest() -> None:
    msg = b"   alice : TTY=pts/0 ; PWD=/home/a=b ; USER=root ; COMMAND=/bin/sh -c a ; B=c"
    assert read_sudo(msg) == {
        ".sudo.SUBJECT": b"alice",
        ".sudo.TTY": b"pts/0",
        ".sudo.PWD": b"/home/a=b",
        ".sudo.USER": b"root",
        ".sudo.COMMAND": b"/bin/sh -c a ; B=c",
    }


def test_words_between_are_passed_over() -> None:
    msg = b"alice : 3 incorrect password attempts ; TTY=pts/0 ; USER=root ; COMMAND=/bin/ls"
    pairs = read_sudo(msg)
    assert pairs is not None
    assert list(pairs) == [".sudo.SUBJECT", ".sudo.TTY", ".sudo.USER", ".sudo.COMMAND"]


def test_other_messages_have_no_pairs() -> None:
    assert read_sudo(b"pam_unix(sudo:session): session opened for user root") is None
    assert read_sudo(b"") is None
