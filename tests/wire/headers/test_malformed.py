from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.headers.malformed import error_text, find_defect
from relay.wire.headers.timestamp import to_datetime
from relay.wire.parse import parse


def told(line: bytes) -> bytes:
    return error_text(line, find_defect(line, line.index(b" ") + 1).offset)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"<13>1 x h a p m - x", b"<13>1>@< x h a p m - x"),
        (b"<13>1 - host", b"<13>1 - >@<host"),
        (b"<13>1 - host ap", b"<13>1 - host a>@<p"),
        (b"<13>1 - h a p m text", b"<13>1 - h a p m >@<text"),
        (b"<13>1 - h a p m [x] [", b"<13>1 - h a p m [x]>@< ["),
        (b'<13>1 - h a p m [x y="1"][y z=1] m', b'<13>1 - h a p m [x y="1"][y>@< z=1] m'),
    ],
)
def test_the_marker_is_before_the_defect(line: bytes, expected: bytes) -> None:
    assert told(line) == b"Error processing log message: " + expected


def test_without_an_offset_there_is_no_marker() -> None:
    assert error_text(b"< 13>", 0) == b"Error processing log message: < 13>"


pieces = st.sampled_from([b" ", b"-", b"[", b"]", b'a="', b'"', b"h", b"\\", b"2003-10-11"])


@given(st.lists(pieces, max_size=20).map(b"".join))
def test_there_is_a_defect_in_anything(rest: bytes) -> None:
    line = b"<13>1 " + rest
    defect = find_defect(line, 6)
    assert defect.tags
    assert 0 <= defect.offset <= len(line)
    assert error_text(line, defect.offset).replace(b">@<", b"") == error_text(line, 0)


STAMP = b"2026-10-11T22:14:15.123+02:00"
NO_SDATA = b"syslog.rfc5424_missing_sdata"
Columns = tuple[bytes | None, bytes | None, bytes | None, bytes | None, bytes | None]


@pytest.mark.parametrize(
    ("rest", "columns", "msg", "tags"),
    [
        (b"h", (b"h", None, None, None, None), b"", [b"syslog.rfc5424_missing_app_name"]),
        (b"h ", (b"h", None, None, None, None), b"", [b"syslog.rfc5424_missing_app_name"]),
        (b"- a", (None, b"a", None, None, None), b"", [b"syslog.rfc5424_missing_procid"]),
        (b"h a 7", (b"h", b"a", b"7", None, None), b"", [b"syslog.rfc5424_missing_msgid"]),
        (b"h a 7 ID", (b"h", b"a", b"7", b"ID", None), b"", [NO_SDATA]),
        (b"h a - - t x", (b"h", b"a", None, None, None), b"t x", [NO_SDATA]),
        (b'h a - - m = {"a":1}', (b"h", b"a", None, None, None), b'm = {"a":1}', [NO_SDATA]),
        (b"h a web.1 - t x", (b"h", b"a", b"web.1", None, None), b"t x", [NO_SDATA]),
        (b"h a router - at=info", (b"h", b"a", b"router", None, None), b"at=info", [NO_SDATA]),
        (b"h a 7 ID47 t x", (b"h", b"a", b"7", b"ID47", None), b"t x", [NO_SDATA]),
        (b"h a 7 a t x", (b"h", b"a", b"7", b"a", None), b"t x", [NO_SDATA]),  # as of Docker
        (b"h a 7 t x", (b"h", b"a", b"7", None, None), b"t x", [b"syslog.rfc5424_missing_msgid"]),
        (b"h a t x", (b"h", b"a", None, None, None), b"t x", [b"syslog.rfc5424_missing_procid"]),
        (
            b'h a 7 [x@1 b="c"] t',
            (b"h", b"a", b"7", None, b'[x@1 b="c"]'),
            b"t",
            [b"syslog.rfc5424_missing_msgid"],
        ),
        (
            b'h a [x@1 b="c"] t',
            (b"h", b"a", None, None, b'[x@1 b="c"]'),
            b"t",
            [b"syslog.rfc5424_missing_procid"],
        ),
        (
            b"h a 7 ID [O@6876 sub=Vim opID=x] t",
            (b"h", b"a", b"7", b"ID", None),
            b"[O@6876 sub=Vim opID=x] t",
            [b"syslog.rfc5424_invalid_sdata"],
        ),
        (
            b'h a 7 ID [a b="1"][c d=1] t',
            (b"h", b"a", b"7", b"ID", None),
            b'[a b="1"][c d=1] t',
            [b"syslog.rfc5424_invalid_sdata"],
        ),
        (
            b"h  7 ID - t",
            (b"h", None, b"7", b"ID", None),
            b"t",
            [b"syslog.rfc5424_missing_app_name"],
        ),
        (b" h  a 7  ID -  t", (b"h", b"a", b"7", b"ID", None), b" t", []),
        *(
            (
                b"h " + text,
                (b"h", None, None, None, None),
                text,
                [b"syslog.rfc5424_missing_app_name"],
            )
            for text in (
                *(
                    b"LEEF:2.0|V|P|1|E|^|src=1",
                    b"CEF:0|V|P|1|100|a b|3|src=1",
                    b"app: t",
                    b"app[7]: t",
                ),
                *(
                    b"a" * 49 + b" t",
                    b"app, and t",
                    b"(a) b",
                    b": %ASA-3-710003: t",
                    b'{"a": 1}',
                    b'@cee: {"a": 1}',
                    b"a\tb c",
                    b'"t"',
                    b"k=v l=w",
                ),
            )
        ),
        (
            b"CEF:0|V|P|1 x",
            (None, None, None, None, None),
            b"CEF:0|V|P|1 x",
            [b"syslog.rfc5424_missing_hostname"],
        ),
        (
            b"h\tx a 7 ID - t",
            (None, None, None, None, None),
            b"h\tx a 7 ID - t",
            [b"syslog.rfc5424_missing_hostname"],
        ),
        (b"h a - - \xef\xbb\xbft", (b"h", b"a", None, None, None), b"t", [NO_SDATA]),
    ],
)
def test_a_field_that_is_wrong_costs_none_before_it(
    rest: bytes, columns: Columns, msg: bytes, tags: list[bytes]
) -> None:
    message = parse(b"<134>1 %s %s" % (STAMP, rest))
    assert (message.pri, message.version, message.timestamp) == (134, 1, STAMP)
    assert message[4:9] == columns
    assert (message.msg, list(message.tags)) == (msg, tags)
    nil = parse(b"<134>1 - " + rest)
    assert nil[4:9] == columns
    assert (nil.timestamp, nil.msg, nil.tags) == (None, msg, message.tags)


@pytest.mark.parametrize(
    ("stamp", "instant"),
    [
        (b"2026-10-11T22:14:15+0200", "2026-10-11T22:14:15+02:00"),
        (b"2026-10-11T22:14:15+02", "2026-10-11T22:14:15+02:00"),
        (b"2026-10-11T22:14:15 -0530", "2026-10-11T22:14:15-05:30"),
        (b"2026-10-11 22:14:15.5", "2026-10-11T22:14:15.500000+00:00"),
        (b"2026-10-11t22:14:15z", "2026-10-11T22:14:15+00:00"),
        (b"Oct 11 22:14:15", "2026-10-11T22:14:15+00:00"),
        (b"Oct 11 2026 22:14:15", "2026-10-11T22:14:15+00:00"),
        (b"Oct 11 22:14:15 CEST", "2026-10-11T22:14:15+02:00"),
    ],
)
@pytest.mark.parametrize("rest", [b"h a 7 ID - t", b"h a 7 ID t"])
def test_a_stamp_may_have_any_spelling(stamp: bytes, instant: str, rest: bytes) -> None:
    message = parse(b"<134>1 %s %s" % (stamp, rest))
    assert to_datetime(message.timestamp, 1795222400.0, UTC).isoformat() == instant
    assert message[4:8] == (b"h", b"a", b"7", b"ID")
    assert message.msg == b"t"


@pytest.mark.parametrize(
    "stamp",
    [
        *(b"2026-10-11T22:14:15+25:00", b"2026-10-11T22:14:15-2400", b"2026-10-11T22:14:15+99"),
        *(b"2026-10-11T22:14:15+02:60", b"0000-10-11T22:14:15Z"),
    ],
)
@pytest.mark.parametrize("structured_data", [b"-", b'[x@1 a="b"]'])
def test_a_stamp_that_is_no_instant_stays_in_the_text(stamp: bytes, structured_data: bytes) -> None:
    message = parse(b"<134>1 %s h a 7 ID %s t" % (stamp, structured_data))
    assert message.timestamp is None
    assert message[4:8] == (b"h", b"a", b"7", b"ID")
    assert message.msg == stamp + b" t"
    assert message.tags == (b"syslog.rfc5424_missing_timestamp",)


@pytest.mark.parametrize(
    "rest", [b"error occurred", b"x", b"2026 h a - - t", b"BAD h\tx a - - - t", b""]
)
def test_where_nothing_was_understood_all_of_it_is_text(rest: bytes) -> None:
    message = parse(b"<134>1 " + rest)
    assert (message.version, message.hostname, message.msg) == (0, None, b"1 " + rest)
    assert message.tags == (b"syslog.rfc5424_missing_timestamp",)
