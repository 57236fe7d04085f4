from __future__ import annotations

import pytest

from relay.wire.parse import parse
from relay.wire.parse_tags import is_parse_failure


@pytest.mark.parametrize(
    ("line", "tag"),
    [
        (b"<999>x", b"syslog.invalid_pri"),
        (b"<13>1 x h a p m", b"syslog.rfc5424_missing_timestamp"),
        (b"<13>1 -  a p 1 - x", b"syslog.rfc5424_missing_hostname"),
        (b"<13>1 - h", b"syslog.rfc5424_missing_app_name"),
        (b"<13>1 - h a", b"syslog.rfc5424_missing_procid"),
        (b"<13>1 - h a text", b"syslog.rfc5424_missing_procid"),
        (b"<13>1 - h a 1", b"syslog.rfc5424_missing_msgid"),
        (b"<13>1 - h a 1 text", b"syslog.rfc5424_missing_msgid"),
        (b"<13>1 - h a 1 ID", b"syslog.rfc5424_missing_sdata"),
        (b"<13>1 - h a 1 ID text", b"syslog.rfc5424_missing_sdata"),
        (b"<13>1 - h a - - [] x", b"syslog.rfc5424_invalid_sdata"),
    ],
)
def test_a_failure_has_the_tag_of_what_failed(line: bytes, tag: bytes) -> None:
    message = parse(line)
    assert message.tags == (tag,)
    assert line.endswith(message.msg)
    assert is_parse_failure(message)


@pytest.mark.parametrize(
    "line", [b"", b"hello", b"<13>1 - - - - - -", b"20 <13>hello", b"<13>Oct 11 22:14:15 h a: x"]
)
def test_anything_else_is_no_failure(line: bytes) -> None:
    assert not is_parse_failure(parse(line))
