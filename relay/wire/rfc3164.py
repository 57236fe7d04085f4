"""Messages of RFC 3164 and its many dialects: parse them, and write their headers.

Strategy: every line has a reading.  What cannot be a time stamp or a host name is
read as the next part of the header, and what is left is MSG, so nothing is lost:

    [sequence:] [*.]STAMP[:] [HOST] [PROGRAM[[PID]]][:] [MSG]

A host is only expected after a stamp; without one, ``HOST TAG:text`` has HOST for its
program, as syslog-ng reads it (`relay/rewrite/bare.py` knows better for tokens).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from relay.model.message import SyslogMessage
from relay.wire.parse_tags import INVALID_HOSTNAME
from relay.wire.rfc5424 import PRIVAL, header_field
from relay.wire.timestamp import BSD_STAMP, ISO_STAMP

__all__ = [
    "HOST_AND_PROGRAM",
    "PROGRAM_ONLY",
    "format_hostname",
    "format_tag",
    "parse_rfc3164",
    "parse_usual_rfc3164",
]

_HOSTNAME_OCTETS_MAX = 255
_REPEATED = b"last message repeated"

# What a NamedTuple's own constructor does, without a call of Python code in between.
_new = tuple.__new__

_STAMP_TEXT = rb"%s|%s" % (BSD_STAMP, ISO_STAMP)
# Cisco's sequence number and the mark of its clock: * = not set, . = set but not synchronised
# at the moment.  Without a PRI and a stamp they are text like any other.
_SEQUENCE = re.compile(rb"([0-9]*+): ++")
_MARK = re.compile(rb" *+([*.])")
_CISCO_STAMP = re.compile(rb"(?:[0-9]*+: ++)? *+[*.]?(?:%s)" % _STAMP_TEXT)
# AIX relays insert "Message forwarded from".
_STAMP = re.compile(rb" *+(%s):? *+(?:Message forwarded from ([^ :]+)[ :]*+)?" % _STAMP_TEXT)
# A host ends at a space.  A colon ends the word before it, and that is then no
# host, unless what has been read may be an IPv6 address.
_HOST = rb"(?:(?:[0-9A-Fa-f]{0,4}:){0,7}[^ \[:]++|(?:[0-9A-Fa-f]{0,4}:){1,7}:)"
_HOST_ONLY = re.compile(_HOST)
# A colon ends a PID unless the bracket is closed; after no program it always does,
# as in syslog-ng, which knows no [2001:db8::1].
_TAG = rb"((?:([^ \[:]++)(?:\[(?:([^\] ]*+)\]|([^\] :]*+)))?|(?:\[([^\] :]*+)\]?)?):? ?)"
_HOST_AND_TAG = re.compile(rb"(?:(%s) ++)?%s" % (_HOST, _TAG))
_TAG_ONLY = re.compile(rb" *+()%s" % _TAG)
# What nearly all lines are, in one: <PRI>STAMP [HOST ]PROGRAM[PID]: MSG.  Without a host and
# without a blank after the colon, the word might be half an IPv6 address.
_USUAL = re.compile(
    rb"<([0-9]{1,3})>((?>%s)) (?:([^ \[:]{1,%d}+) )?"
    rb"(([^ \[:]++)(?:\[([^\] :]++)\]:|:(?(3)|(?= |\Z))) ?)" % (_STAMP_TEXT, _HOSTNAME_OCTETS_MAX)
)
# The same from HOST to MSG, without groups; a grammar of the program goes in front of it.
HOST_AND_PROGRAM = rb"[^ \[:]{1,%d}+ %%s[^ \[:]++(?:\[[^\] :]++\])?: ?" % _HOSTNAME_OCTETS_MAX
PROGRAM_ONLY = rb"%s[^ \[:]++(?:\[[^\] :]++\]:|:(?= |\Z)) ?"
_NOT_IN_TAG = bytes.maketrans(b"[]:", b"___")


def parse_usual_rfc3164(line: bytes, raw: bytes) -> SyslogMessage | None:
    """What `parse_rfc3164` returns for lines of the usual form, in half the time.

    None for all others, which may still be RFC 3164.  Arguments as for `parse_rfc3164`.
    """
    match = _USUAL.match(line)
    if match is None:
        return None
    prival, timestamp, hostname, text, app_name, procid = match.groups()
    pri = PRIVAL.get(prival)
    if pri is None:
        return None
    # fmt: off
    return _new(SyslogMessage, (
        pri[0], pri[1], 0, timestamp, hostname, app_name, procid, None, None,
        line[match.end():], raw, {"LEGACY_MSGHDR": text}, (), "", False,
    ))
    # fmt: on


def parse_rfc3164(
    line: bytes,
    raw: bytes,
    pri: tuple[int, int],
    start: int,
    accepts_host: Callable[[bytes], bool] | None = None,
    expects_host: bool = True,
) -> SyslogMessage:
    """Parse a legacy message.  Any line is one.

    ``pairs`` gets LEGACY_MSGHDR, the literal text between host and MSG.

    Args:
        line: The frame without the delimiters at its end.
        raw: The frame.
        pri: Facility and severity.
        start: Offset after the PRI; 0 = there is none.
        accepts_host: Whether a word that could be a host is one; None = it always is.
        expects_host: False = no word is.
    """
    structured_data = timestamp = forwarder = header = None
    stamp = _STAMP.match(line, start)
    if stamp is None and line[start : start + 1] < b";":  # a digit, a mark or a blank
        structured_data, start = _cisco_attributes(line, start)
        if structured_data is not None:
            stamp = _STAMP.match(line, start)
    tags: tuple[bytes, ...] = ()
    if stamp is not None:
        timestamp, forwarder = stamp.groups()
        start = stamp.end()
        if line.startswith(_REPEATED, start):
            return SyslogMessage(
                *(*pri, 0, timestamp, forwarder, None, None, None, structured_data),
                line[start:],
                raw,
            )
        if expects_host and forwarder is None:
            header = _HOST_AND_TAG.match(line, start)
            word = header[1] if header is not None else None
            if word and not _is_host(word, accepts_host):
                header, tags = None, INVALID_HOSTNAME
    if header is None:
        header = _TAG_ONLY.match(line, start)
    assert header is not None  # _TAG matches anything, even nothing
    hostname, text, app_name, pid, pid_unclosed, pid_only = header.groups()
    hostname = hostname or forwarder
    procid = pid or pid_unclosed or pid_only or None
    # fmt: off
    return _new(SyslogMessage, (
        pri[0], pri[1], 0, timestamp, hostname, app_name, procid, None, structured_data,
        line[header.end():], raw, {"LEGACY_MSGHDR": text}, tags, "", False,
    ))
    # fmt: on


def _is_host(word: bytes, accepts_host: Callable[[bytes], bool] | None) -> bool:
    return len(word) <= _HOSTNAME_OCTETS_MAX and (accepts_host is None or accepts_host(word))


def _cisco_attributes(line: bytes, start: int) -> tuple[bytes | None, int]:
    """Sequence number and clock mark as SD-ELEMENTs (RFC 5424 §7), and where they end."""
    if not start and _CISCO_STAMP.match(line) is None:
        return None, start
    elements = b""
    sequence = _SEQUENCE.match(line, start)
    if sequence is not None:
        elements = b'[meta sequenceId="%s"]' % sequence[1]
        start = sequence.end()
    mark = _MARK.match(line, start)
    if mark is not None:
        elements += b'[timeQuality isSynced="%d"]' % (mark[1] == b".")
        start = mark.end()
    return elements or None, start


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
