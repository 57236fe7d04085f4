from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.wire.headers.structured_data import parse_structured_data
from relay.wire.line_message import LineFormat, tag_of
from relay.wire.parse import parse

FORMAT = LineFormat(pri=133, hostname=b"web-1")


def test_a_line_becomes_a_message() -> None:
    frames = FORMAT.frames([b" one", b"", b"<1>two"], path=b"/var/log/app.log", read_at=0.5)
    header = (
        b"<133>1 1970-01-01T00:00:00.500000+00:00 web-1 app - - "
        b'[syslogrelay@32473 file="/var/log/app.log"] '
    )
    assert frames == [header + b" one", b"", header + b"<1>two"]


def test_a_tag_of_ones_own() -> None:
    own = LineFormat(pri=13, hostname=b"h", tag=b"shop")
    assert parse(own.frames([b"x"], path=b"/a.log", read_at=0.0)[0]).app_name == b"shop"


def test_tags_of_names() -> None:
    names = [b"/var/log/app.log", b"/a/app", b"/a/app.log.1", b"/a/.hidden"]
    assert [tag_of(name) for name in names] == [b"app", b"app", b"app.log", b".hidden"]


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=40))
def test_any_line_of_any_file_is_a_valid_message(name: bytes, line: bytes) -> None:
    (frame,) = FORMAT.frames([line], path=b"/" + name, read_at=1e9)
    message = parse(frame)
    assert (message.version, message.pri, message.hostname) == (1, 133, b"web-1")
    assert message.msg == line.rstrip(b"\n\r\0").removeprefix(b"\xef\xbb\xbf")
    (values,) = parse_structured_data(message.structured_data)["syslogrelay@32473"].values()
    if name.isalnum():
        assert values == [b"/" + name]


def test_a_path_that_is_not_utf_8() -> None:
    (frame,) = FORMAT.frames([b"x"], path=b'/a\xff"]\\', read_at=0.0)
    assert b'file="/a\\\\xff\\"\\]\\\\"]' in frame
