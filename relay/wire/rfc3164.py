"""Messages of RFC 3164 and its many dialects: parse them, and write their headers.

Strategy: every line has a reading.  What cannot be a time stamp or a host name is
read as the next part of the header, and what is left is MSG, so nothing is lost:

    [sequence:] [*.]STAMP[:] [HOST] [PROGRAM[[PID]]][:] [MSG]

A host is only expected after a stamp; without one, ``HOST TAG:text`` has HOST for its
program, as syslog-ng reads it (`relay/rewrite/bare.py` knows better for tokens).
"""

from __future__ import annotations

import re

from relay.model.message import DEFAULT_FACILITY, DEFAULT_SEVERITY, SyslogMessage
from relay.wire.rfc5424 import header_field
from relay.wire.timestamp import BSD_STAMP, ISO_STAMP

__all__ = ["format_hostname", "format_tag", "parse_rfc3164"]

_HOSTNAME_OCTETS_MAX = 255
_REPEATED = b"last message repeated"

# Cisco's sequence number; only after a PRI, elsewhere it is text like any other.
_SEQUENCE = re.compile(rb"([0-9]*+): ++")
# The mark before a stamp is Cisco's as well: * = clock not set, . = set but not synchronised
# at the moment.  AIX relays insert "Message forwarded from".
_STAMP = re.compile(
    rb" *+([*.]?)(%s|%s):? *+(?:Message forwarded from ([^ :]+)[ :]*+)?" % (BSD_STAMP, ISO_STAMP)
)
# A host ends at a space.  A colon ends the word before it, and that is then no
# host, unless what has been read may be an IPv6 address.
_HOST = rb"(?:(?:[0-9A-Fa-f]{0,4}:){0,7}[^ \[:]++|(?:[0-9A-Fa-f]{0,4}:){1,7}:)"
_HOST_ONLY = re.compile(_HOST)
_TAG = rb"(([^ \[:]*+)(?:\[(?:([^\] ]*+)\]|([^\] :]*+)))?:? ?)"
_HOST_AND_TAG = re.compile(rb"(?:(%s) ++)?%s" % (_HOST, _TAG))
_TAG_ONLY = re.compile(rb" *+()%s" % _TAG)
_NOT_IN_TAG = bytes.maketrans(b"[]:", b"___")


def parse_rfc3164(
    line: bytes, raw: bytes, pri: tuple[int, int] | None, start: int
) -> SyslogMessage:
    """Parse a legacy message.  Any line is one.

    ``pairs`` gets LEGACY_MSGHDR, the literal text between host and MSG.

    Args:
        line: The frame without the delimiters at its end.
        raw: The frame.
        pri: Facility and severity, or None if `line` has no PRI.
        start: Offset after the PRI.
    """
    structured_data = None
    if pri is not None:
        sequence = _SEQUENCE.match(line, start)
        if sequence is not None:
            structured_data = b'[meta sequenceId="%s"]' % sequence[1]
            start = sequence.end()
    facility, severity = (DEFAULT_FACILITY, DEFAULT_SEVERITY) if pri is None else pri
    timestamp = forwarder = None
    stamp = _STAMP.match(line, start)
    if stamp is not None:
        mark, timestamp, forwarder = stamp.groups()
        start = stamp.end()
        if mark:
            synced = b'[timeQuality isSynced="%d"]' % (mark == b".")
            structured_data = (structured_data or b"") + synced
        if line.startswith(_REPEATED, start):
            return SyslogMessage(
                *(facility, severity, 0, timestamp, forwarder, None, None, None, structured_data),
                line[start:],
                raw,
            )
        header = (_HOST_AND_TAG if forwarder is None else _TAG_ONLY).match(line, start)
    else:
        header = _TAG_ONLY.match(line, start)
    if header is None or len(header[1] or b"") > _HOSTNAME_OCTETS_MAX:
        header = _TAG_ONLY.match(line, start)
    assert header is not None  # _TAG matches anything, even nothing
    hostname, text, app_name, pid, pid_unclosed = header.groups()
    return SyslogMessage(
        facility,
        severity,
        0,
        timestamp,
        hostname or forwarder,
        app_name or None,
        pid or pid_unclosed or None,
        None,
        structured_data,
        line[header.end() :],
        raw,
        {"LEGACY_MSGHDR": text},
    )


def format_hostname(value: bytes) -> bytes:
    """Make a HOSTNAME of `value` that `parse_rfc3164` reads as one, 1 to 255 octets.

    An IPv6 address loses its brackets; a colon or bracket that would end the
    field becomes an underscore, as does an octet that is not PRINTUSASCII.
    """
    hostname = header_field(value, _HOSTNAME_OCTETS_MAX)
    if _HOST_ONLY.fullmatch(hostname) is not None:
        return hostname
    if hostname[:1] == b"[" and _HOST_ONLY.fullmatch(hostname[1:-1]) is not None:
        return hostname[1:-1]
    return hostname.translate(_NOT_IN_TAG)


def format_tag(app_name: bytes | None, procid: bytes | None) -> bytes:
    """Write ``PROGRAM[PID]:``, which `parse_rfc3164` takes apart again.

    Without a program the tag is ``-:``, after the NILVALUE of RFC 5424.  An empty
    tag would make the receiver take the first word of MSG for it, an ``@cee:``
    cookie for instance.
    """
    tag = header_field(app_name, len(app_name or b"")).translate(_NOT_IN_TAG)
    if procid:
        return b"%s[%s]:" % (tag, header_field(procid, len(procid)).translate(_NOT_IN_TAG))
    return tag + b":"
