from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.wire.parse import DELIMITERS, parse
from relay.wire.usual_headers import USUAL_RFC3164, USUAL_RFC5424, named_by

STAMP = b"2026-11-21T05:00:00.000003Z"


@pytest.mark.parametrize(
    ("line", "addressing", "names", "msg"),
    [
        (
            b'<165>1 %s web-1 app 12 ID47 [a@1 b="c d"] hello' % STAMP,
            b" web-1 app 12",
            (b"web-1", b"app", b"12"),
            b"hello",
        ),
        (b"<0>1 %s h a - - -" % STAMP, b" h a -", (b"h", b"a", None), b""),
        (b"<191>1 %s - - - - - \xef\xbb\xbf  x" % STAMP, b" - - -", (None, None, None), b" x"),
    ],
)
def test_what_a_usual_message_of_rfc5424_is_cut_into(
    line: bytes, addressing: bytes, names: tuple[bytes | None, ...], msg: bytes
) -> None:
    match = USUAL_RFC5424.match(line)
    assert match is not None
    assert match.groups() == (line[: line.index(b"1 2")], STAMP, addressing, msg)
    assert named_by(addressing) == names
    assert USUAL_RFC3164.match(line) is None


@pytest.mark.parametrize(
    ("line", "addressing", "names"),
    [
        (b"<34>Oct 11 22:14:15 vm su[230]: x", b"vm su[230]: ", (b"vm", b"su", b"230")),
        (b"<34>Oct  1 22:14:15 vm su:x", b"vm su:", (b"vm", b"su", None)),
        (b"<34>Oct  1 22:14:15 su: x", b"su: ", (None, b"su", None)),
        (b"<34>2026-10-11 22:14:15,5 su[1]:x", b"su[1]:", (None, b"su", b"1")),
    ],
)
def test_what_a_usual_message_of_rfc3164_is_cut_into(
    line: bytes, addressing: bytes, names: tuple[bytes | None, ...]
) -> None:
    match = USUAL_RFC3164.match(line)
    assert match is not None
    assert (match[1], match[3], match[4]) == (b"<34>", addressing, b"x")
    assert named_by(addressing) == names
    assert USUAL_RFC5424.match(line) is None


@pytest.mark.parametrize(
    "line",
    [
        b"<192>1 %s h a p m - x" % STAMP,
        b"<013>1 %s h a p m - x" % STAMP,
        b"<13>01 %s h a p m - x" % STAMP,
        b"<13>1 - h a p m - x",
        b"<13>1 2026-02-29T05:00:00Z h a p m - x",
        b"<13>1 2026-11-21T05:00:60Z h a p m - x",
        b"<13>1 %s %s a p m - x" % (STAMP, 256 * b"h"),
        b"<13>1 %s h %s p m - x" % (STAMP, 49 * b"a"),
        b"<13>1 %s h a %s m - x" % (STAMP, 129 * b"p"),
        b"<13>1 %s h a p m [a b=c] x" % STAMP,
        b"<13>1 %s h @syslog-ng - - - {}" % STAMP,
        b"<13>Oct 11 22:14:15 h @syslog-ng: {}",
        b"<13>Oct 11 22:14:15 x:y",
        b"<13>hello",
        b"hello",
    ],
)
def test_what_is_unusual_fits_neither(line: bytes) -> None:
    assert USUAL_RFC5424.match(line) is None
    assert USUAL_RFC3164.match(line) is None


NEARLY_USUAL = st.tuples(
    st.sampled_from([b"<13>", b"<0>", b"<191>", b"<192>", b"<013>", b"<>", b""]),
    st.sampled_from([b"1 ", b"01 ", b"2 ", b"", b" "]),
    st.sampled_from(
        [
            *(STAMP, b"Oct 11 22:14:15", b"Oct  1 22:14:15.5", b"2024-02-29T24:00:00+25:00"),
            *(b"2024-02-30T23:59:59+14:00", b"2024-02-28T23:59:59-00:00", b"-", b"0000-01-01"),
            *(b"Oct 11 22:14:15+02", b"Oct 11 2026 22:14:15", b"2024-02-28T23:59:59+0200"),
            *(b"Oct 11 22:14:15 UTC", b"Oct 11 22:14:15 EST", b"2024-02-28T23:59:59 Z"),
        ]
    ),
    st.text("a-@:[] {\x00\xe9syslog-ng", max_size=20).map(str.encode),
    st.lists(
        st.sampled_from(
            [
                *(b" ", b"  ", b"-", b"h", b"app", b"app[1]", b"[x]", b":", b": ", b"fe80::1"),
                *(b'[a b="c"]', b'[a b="', b"\xef\xbb\xbf", b"@syslog-ng", b"\n", b"{", b"\0"),
                *(
                    b"\t",
                    b"UTC",
                    b"h_1 ",
                    b"@cee:",
                    b'"',
                    b"b\xc3\xbcro ",
                    b"%A-1-B: ",
                    b"]",
                    b"\x7f",
                ),
                *(b"a{b}: ", b"-h ", b"UTCX: ", b"x" * 256, b"[7]: ", b"h|i ", b"404: "),
            ]
        ),
        max_size=12,
    ).map(b"".join),
).map(lambda parts: b"%s%s%s %s%s" % parts)


@given(st.one_of(NEARLY_USUAL, st.binary(max_size=40)))
@example(b"<13>Oct 11 22:14:15 h @syslog-ng[1]: {}")
@example(b"<13>1 %s h @syslog-ng[x p m - hello" % STAMP)
def test_a_pattern_finds_what_parsing_finds(frame: bytes) -> None:
    line = frame.rstrip(DELIMITERS)
    message = parse(frame)
    for version, form in ((1, USUAL_RFC5424), (0, USUAL_RFC3164)):
        match = form.match(line)
        if match is None:
            continue
        pri, stamp, addressing, msg = match.groups()
        assert message.version == version
        assert pri == b"<%d>" % message.pri
        assert stamp == message.timestamp
        assert named_by(addressing) == (message.hostname, message.app_name, message.procid)
        assert addressing.startswith(b" ") == (version == 1)
        assert message.msg in (msg, b" " + msg)
        assert not message.tags
