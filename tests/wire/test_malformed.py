from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.malformed import error_text, find_defect


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
