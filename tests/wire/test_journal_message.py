from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.wire.headers.structured_data import parse_structured_data
from relay.wire.journal_export import JournalEntry
from relay.wire.journal_message import HEADER_FIELDS, new_journal_format
from relay.wire.parse import parse_all

NO_FIELDS = new_journal_format(())
SOME_FIELDS = new_journal_format(("_UID", "_SYSTEMD_UNIT"))

SSHD = {
    "__CURSOR": "s=1;i=2",
    "__REALTIME_TIMESTAMP": "1761000008000123",
    "PRIORITY": "5",
    "SYSLOG_FACILITY": "10",
    "SYSLOG_IDENTIFIER": "sshd",
    "_PID": "412",
    "_HOSTNAME": "web-1",
    "_TRANSPORT": "syslog",
    "MESSAGE": "hello",
}


def entry(without: str = "", **fields: str) -> JournalEntry:
    all_fields = {**SSHD, **fields}
    all_fields.pop(without, None)
    return JournalEntry([(k.encode(), v.encode()) for k, v in all_fields.items()], {})


def test_a_message() -> None:
    assert NO_FIELDS(entry()) == b"<85>1 2025-10-20T22:40:08.000123Z web-1 sshd 412 - - hello"


@pytest.mark.parametrize(
    ("fields", "pri"),
    [
        ({"PRIORITY": "0", "SYSLOG_FACILITY": "0"}, 0),
        ({"PRIORITY": "7", "SYSLOG_FACILITY": "23"}, 191),
        ({"PRIORITY": "8"}, 10 * 8 + 6),
        ({"PRIORITY": "x"}, 10 * 8 + 6),
        ({"without": "PRIORITY"}, 10 * 8 + 6),
        ({"SYSLOG_FACILITY": "24"}, 3 * 8 + 5),
        ({"without": "SYSLOG_FACILITY"}, 3 * 8 + 5),
        ({"without": "SYSLOG_FACILITY", "_TRANSPORT": "kernel"}, 0 * 8 + 5),
        # What programs write to /dev/kmsg has a facility of its own.
        ({"SYSLOG_FACILITY": "3", "_TRANSPORT": "kernel"}, 3 * 8 + 5),
    ],
)
def test_pri(fields: dict[str, str], pri: int) -> None:
    assert NO_FIELDS(entry(**fields)).startswith(b"<%d>1 " % pri)


@pytest.mark.parametrize(
    ("fields", "stamp"),
    [
        ({"_SOURCE_REALTIME_TIMESTAMP": "1761000007999999"}, b"2025-10-20T22:40:07.999999Z"),
        ({"_SOURCE_REALTIME_TIMESTAMP": "soon"}, b"2025-10-20T22:40:08.000123Z"),
        ({"__REALTIME_TIMESTAMP": "0"}, b"1970-01-01T00:00:00.000000Z"),
        ({"__REALTIME_TIMESTAMP": "9" * 18}, b"-"),
        ({"__REALTIME_TIMESTAMP": "9" * 40}, b"-"),
        ({"__REALTIME_TIMESTAMP": "-1"}, b"-"),
        ({"without": "__REALTIME_TIMESTAMP"}, b"-"),
    ],
)
def test_stamp(fields: dict[str, str], stamp: bytes) -> None:
    for _ in range(2):  # the second time, its second is known
        assert NO_FIELDS(entry(**fields)).split(b" ")[1] == stamp


@pytest.mark.parametrize(
    ("fields", "app_name", "procid", "msgid"),
    [
        ({"SYSLOG_PID": "9"}, b"sshd", b"9", b"-"),
        ({"without": "SYSLOG_IDENTIFIER", "_COMM": "sshd: me"}, b"sshd:_me", b"412", b"-"),
        ({"without": "SYSLOG_IDENTIFIER"}, b"-", b"412", b"-"),
        ({"without": "SYSLOG_IDENTIFIER", "_TRANSPORT": "kernel"}, b"kernel", b"412", b"-"),
        ({"without": "_PID"}, b"sshd", b"-", b"-"),
        ({"MESSAGE_ID": "f" * 32}, b"sshd", b"412", b"f" * 32),
        ({"MESSAGE_ID": "f" * 33}, b"sshd", b"412", b"-"),
    ],
)
def test_who(fields: dict[str, str], app_name: bytes, procid: bytes, msgid: bytes) -> None:
    assert NO_FIELDS(entry(**fields)).split(b" ")[3:6] == [app_name, procid, msgid]


def test_structured_data() -> None:
    frame = SOME_FIELDS(entry(_SYSTEMD_UNIT='a"b\\c]d.service', _UID="0", _GID="0"))
    assert b'[journald@32473 _UID="0" _SYSTEMD_UNIT="a\\"b\\\\c\\]d.service"] hello' in frame
    assert SOME_FIELDS(entry()) == NO_FIELDS(entry())


def test_values_are_bounded_utf_8_and_all_there() -> None:
    fields = [(b"MESSAGE", b"m"), (b"_UID", b"\xff\n"), (b"_UID", b"x" * 5000)]
    frame = SOME_FIELDS(JournalEntry(fields, {}))
    assert frame.endswith(b'[journald@32473 _UID="\xef\xbf\xbd#012" _UID="%s"] m' % (b"x" * 1024))


@pytest.mark.parametrize("fields", [{"without": "MESSAGE"}, {"MESSAGE": ""}])
def test_without_message(fields: dict[str, str]) -> None:
    assert SOME_FIELDS(entry(**fields)) == b""


def test_lines_stay() -> None:
    assert NO_FIELDS(entry(MESSAGE="one\n two\n")).endswith(b" - - one\n two\n")


known = st.sampled_from([*(name.encode() for name in HEADER_FIELDS), b"_UID", b"_SYSTEMD_UNIT"])


@given(st.lists(st.tuples(known, st.binary(max_size=20) | st.from_regex(rb"[0-9]{1,20}"))))
def test_every_message_is_one_of_rfc_5424(fields: list[tuple[bytes, bytes]]) -> None:
    frame = SOME_FIELDS(JournalEntry(fields, {}))
    message = dict(reversed(fields)).get(b"MESSAGE")
    if not message:
        assert frame == b""
        return
    (parsed,) = parse_all([frame])
    assert parsed.version == 1
    assert parsed.msg in message  # its end may look like a delimiter, its beginning like a mark
    values = [value for name, value in fields if name == b"_UID" and value.isalnum()]
    found = parse_structured_data(parsed.structured_data).get("journald@32473", {}).get("_UID", [])
    assert [value for value in found if value in values] == values
