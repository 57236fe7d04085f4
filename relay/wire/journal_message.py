"""Write entries of systemd's journal as messages of RFC 5424.

    PRI        SYSLOG_FACILITY (without: kern from the kernel, else daemon), PRIORITY
               (without: info, as journalctl takes it)
    TIMESTAMP  _SOURCE_REALTIME_TIMESTAMP, else __REALTIME_TIMESTAMP, in UTC
    HOSTNAME   _HOSTNAME
    APP-NAME   SYSLOG_IDENTIFIER, else kernel from the kernel, else _COMM
    PROCID     SYSLOG_PID, else _PID
    MSGID      MESSAGE_ID, where it has no more than the 32 bytes of a MSGID
    SD         one element with the fields that are wanted, by the journal's own names
    MSG        MESSAGE, byte by byte; it may have several lines

The names are those of systemd.journal-fields(7).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from relay.wire.headers.rfc5424 import MSGID_BYTES_MAX, format_header, format_message
from relay.wire.headers.structured_data import escape_value
from relay.wire.journal_export import JournalEntry

# 32473 is the private enterprise number for documentation (RFC 5612): we have none.
SD_ID = b"journald@32473"

HEADER_FIELDS = (
    *("MESSAGE", "PRIORITY", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER", "SYSLOG_PID", "MESSAGE_ID"),
    *("_TRANSPORT", "_HOSTNAME", "_COMM", "_PID", "_SOURCE_REALTIME_TIMESTAMP"),
)
"""The fields that a header needs, beside those that journalctl always gives."""

_FACILITIES = {b"%d" % number: number for number in range(24)}
_SEVERITIES = {b"%d" % number: number for number in range(8)}
_KERN, _DAEMON, _INFO = 0, 3, 6
_VALUE_BYTES_MAX = 1024
_STAMP_DIGITS_MAX = 18
_PLAIN_VALUE = re.compile(rb"[ !#-[^-~]{0,1024}")  # nothing to escape, nothing to cut


def new_journal_format(fields: Sequence[str]) -> Callable[[JournalEntry], bytes]:
    """Make the function that writes an entry as a message.

    It is total; an entry without MESSAGE, or with an empty one, gives no bytes.

    Args:
        fields: Names of the fields that become structured data.
    """
    wanted = [name.encode("ascii") for name in fields]
    stamp = _new_stamp()

    def format_entry(entry: JournalEntry) -> bytes:
        first = dict(reversed(entry.fields))
        message = first.get(b"MESSAGE")
        if not message:
            return b""
        get = first.get
        kernel = get(b"_TRANSPORT") == b"kernel"
        facility = _FACILITIES.get(get(b"SYSLOG_FACILITY", b""), _KERN if kernel else _DAEMON)
        severity = _SEVERITIES.get(get(b"PRIORITY", b""), _INFO)
        msgid = get(b"MESSAGE_ID")
        header = format_header(
            facility * 8 + severity,
            stamp(get(b"_SOURCE_REALTIME_TIMESTAMP")) or stamp(get(b"__REALTIME_TIMESTAMP")),
            get(b"_HOSTNAME"),
            get(b"SYSLOG_IDENTIFIER") or (b"kernel" if kernel else get(b"_COMM")),
            get(b"SYSLOG_PID") or get(b"_PID"),
            msgid if msgid and len(msgid) <= MSGID_BYTES_MAX else None,
            _element(wanted, entry, first),
        )
        return format_message(header, message)

    return format_entry


def _new_stamp() -> Callable[[bytes | None], bytes | None]:
    """Microseconds since 1970-01-01 UTC as a stamp; the last second is kept, being the next."""
    last_seconds, last_text = -1, b""

    def stamp(microseconds: bytes | None) -> bytes | None:
        nonlocal last_seconds, last_text
        if not microseconds or len(microseconds) > _STAMP_DIGITS_MAX or not microseconds.isdigit():
            return None
        seconds, rest = divmod(int(microseconds), 1_000_000)
        if seconds != last_seconds:
            try:
                moment = datetime.fromtimestamp(seconds, UTC)
            except (ValueError, OverflowError, OSError):  # after the year 9999
                return None
            last_seconds, last_text = seconds, moment.isoformat()[:19].encode("ascii")
        return b"%s.%06dZ" % (last_text, rest)

    return stamp


def _element(wanted: list[bytes], entry: JournalEntry, first: dict[bytes, bytes]) -> bytes | None:
    """The SD-ELEMENT (RFC 5424 §6.3), or None if the entry has none of the fields."""
    parts = []
    repeated = len(first) != len(entry.fields)
    for name in wanted:
        if name not in first:
            continue
        values = [first[name]]
        if repeated:  # §6.3.4 lets a parameter be repeated
            values = [value for other, value in entry.fields if other == name]
        parts += [b' %s="%s"' % (name, _param_value(value)) for value in values]
    return b"[%s%s]" % (SD_ID, b"".join(parts)) if parts else None


def _param_value(value: bytes) -> bytes:
    if _PLAIN_VALUE.fullmatch(value):
        return value
    value = value[:_VALUE_BYTES_MAX]
    if not value.isascii():  # §6.3.3 wants UTF-8
        value = value.decode("utf-8", "replace").encode()
    return escape_value(value)
