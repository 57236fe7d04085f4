"""Messages and origins of all kinds, for tests that something holds for every message."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from relay.model.message import JsonText, SyslogMessage
from relay.model.origin import Origin, Transport
from relay.wire.parse import parse

NETWORK = Origin("in", Transport.UDP, "192.0.2.1", 40000, received_at=1795222400.25)
LOCAL = Origin("in", Transport.UNIX, pid=1, uid=2, gid=3, received_at=1795222400.25)
SECURE = Origin(
    "in", Transport.TCP, "2001:db8::1", 6514, "Müller, web-1", received_at=1795222400.25
)

PIECES = [
    *(b"<13>", b"<34>", b"<999>", b"1 ", b"- ", b"Oct 11 22:14:15 ", b"2003-10-11T22:14:15Z "),
    *(b" ", b":", b"[", b"]", b'"', b"-", b"host ", b"app", b'[a b="c"] ', b"\n", b"\t", b"\r"),
    *(b"@cee:", b'{"a":1}', b"%s", b"$", b"\xff", b"\0", b"\xef\xbb\xbf", b"12: *"),
    *(b"last message repeated", b"Message forwarded from ", b"2003-10-11T22:14:60.1234567+23:59 "),
]
frames = st.one_of(st.binary(), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
nearly_usual = st.tuples(
    st.sampled_from([b"<13>", b"<0>", b"<191>", b"<192>", b"<013>", b"<>", b""]),
    st.sampled_from([b"1 ", b"01 ", b"2 ", b"", b" "]),
    st.sampled_from(
        [
            *(
                b"2026-11-21T05:00:00.000003Z",
                b"Oct 11 22:14:15",
                b"Oct  1 22:14:15.5",
                b"2024-02-29T24:00:00+25:00",
            ),
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
names = st.one_of(
    st.text(min_size=1, max_size=12),
    st.text(alphabet=".@a1%", min_size=1, max_size=12),
    st.sampled_from([".SDATA.a.b", ".SDATA.x@1.2.c.d", "RAWMSG", "PROGRAM", "HOST_FROM", "PRI"]),
)
json_texts = st.sampled_from([b"1", b"1e400", b"null", b'["a",1]', b"{}", b'"\\u0000"']).map(
    JsonText
)
pairs = st.dictionaries(names, st.binary(max_size=20) | json_texts, max_size=4)
fields = st.none() | st.binary(max_size=60) | st.sampled_from([b"-", b"app", b"a b", b"::1"])
stamps = st.none() | st.sampled_from(
    [
        *(b"Oct 11 22:14:15", b"2003-10-11T22:14:15.1234567Z", b"2003-02-30 24:00:60,5+24:00"),
        *(b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:60-23:59", b"", b"12:00:00.123"),
    ]
)
elements = st.sampled_from(
    [None, b'[a b="\n"]', b'[a b="1" b="2"][c]', b'[meta sequenceId="7"]', b'[x@1.2 c="\\]"]', b"?"]
)
messages = st.one_of(
    frames.map(parse),
    st.builds(
        SyslogMessage,
        facility=st.integers(0, 127),
        severity=st.integers(0, 7),
        version=st.integers(0, 1),
        timestamp=stamps,
        hostname=fields,
        app_name=fields,
        procid=fields,
        msgid=fields,
        structured_data=elements,
        msg=frames.map(lambda frame: frame.rstrip(b"\r\n\0")),
        raw=frames,
        pairs=st.none() | pairs | st.just({"LEGACY_MSGHDR": b"x: "}),
        tags=st.lists(st.binary(max_size=8), unique=True, max_size=3).map(tuple),
    ),
)
origins = st.sampled_from([NETWORK, LOCAL, SECURE])


def many_examples(count: int) -> settings:
    """`count` examples, and in `make test-unit` those of its profile."""
    quick = settings.get_profile("quick").max_examples
    return settings(max_examples=quick if settings.default.max_examples == quick else count)
