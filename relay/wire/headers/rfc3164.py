"""Messages of RFC 3164 and its many dialects: parse them, and write their headers.

Strategy: every line has a reading.  What cannot be a time stamp, a host name or a tag is
not forced to be one: it is left in MSG, so nothing is lost.

    [sequence:] [*.]STAMP[:] [HOST] [PROGRAM[[PID]]][:] [MSG]
    HOST PROGRAM[[PID]]: MSG            without PRI and stamp, as text comes from netcat
    PROGRAM[[PID]]: MSG                 without a stamp

Behind a stamp and a host a word without a colon is a program (``host su text``), because
many senders leave the colon out.  Where there is no stamp it is text, and so is what begins
with a brace, a quote or an ``@cee:`` cookie (`relay/wire/headers/tag.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from relay.model.message import SyslogMessage
from relay.wire.headers.hostname import (
    HOSTNAME_BYTES_MAX,
    is_address,
    is_hostname,
    without_brackets,
)
from relay.wire.headers.tag import NO_TAG, Tag, is_object, read_tag
from relay.wire.headers.timestamp import BSD_STAMP, ISO_STAMP, ZONE_NAME, has_offset
from relay.wire.parse_tags import INVALID_HOSTNAME

_REPEATED = b"last message repeated"
_SEQUENCE_MAX = 2**31 - 1  # RFC 5424 §7.3.1

_STAMP_TEXT = rb"%s|%s" % (BSD_STAMP, ISO_STAMP)
_STAMP = re.compile(rb" *+(%s)" % _STAMP_TEXT)
# AIX relays insert "Message forwarded from".
_AFTER_STAMP = re.compile(rb":?[ \t]*+(?:Message forwarded from ([^ :]+)[ :]*+)?")
_ZONE = re.compile(rb" %s(?=[ :]|\Z)" % ZONE_NAME)
# Cisco's sequence number, which stands before a stamp, perhaps with the name of the device
# between, or before %%FACILITY-SEVERITY-MNEMONIC; NX-OS leaves the number out and the colon
# in.  The mark of its clock: * = not set, . = set but not synchronised at the moment.
_SEQUENCE = re.compile(
    rb"([0-9]*+): ++(?:(?=%%[A-Z][A-Z0-9_\-]*-[0-7]-)|(?=(?:[^ :%%*.][^ :%%]*+: ++)?[*.]?(?:%s)))"
    % _STAMP_TEXT
)
_MARK = re.compile(rb" *+([*.])(?=%s)" % _STAMP_TEXT)
_BLANKS = re.compile(rb" *+")
_WORD = re.compile(rb"([^ ]++) ++")
# A letter, so that no number is taken for a host.
_HAS_LETTER = re.compile(rb"[A-Za-z\x80-\xff]")
_BARE_HOST = re.compile(rb"(?!-)[0-9A-Za-z._\-\x80-\xff]++")
# With a PRI, which comes from a program, a line without stamp has a host only if its tag is a
# token, or stands where one was, or if a cookie follows.
_TOKEN_OR_COOKIE = re.compile(
    rb"(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|-):|[^ :\[]++(?:\[[^\] :]*+\])?: ?@cee:"
)
_AcceptsHost = Callable[[bytes], bool]


def parse_rfc3164(
    line: bytes,
    raw: bytes,
    pri: tuple[int, int],
    start: int,
    accepts_host: _AcceptsHost | None = None,
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
    structured_data, number, at = _cisco_attributes(line, start)
    found = _STAMP.match(line, at)
    timestamp = hostname = None
    tags: tuple[bytes, ...] = ()
    if found is None:
        hostname, at, tag = _without_stamp(line, at, not start, expects_host)
        if number:
            tag = NO_TAG
    else:
        at = _end_of_stamp(line, found, expects_host)
        timestamp = line[found.start(1) : at]
        after = _AFTER_STAMP.match(line, at)
        assert after is not None  # it matches anything, even nothing
        hostname, at = after[1], after.end()
        if number:  # no sequenceId of RFC 5424: it stays in front of the text
            tag = NO_TAG
        elif line.startswith(_REPEATED, at):
            untagged = (timestamp, hostname, None, None, None, structured_data)
            return SyslogMessage(*pri, 0, *untagged, line[at:], raw)
        else:
            if expects_host and hostname is None:
                hostname, at, tags = _host(line, at, accepts_host)
            behind_host = hostname is not None
            tag = read_tag(
                line, at, behind_host=behind_host, has_stamp=True, expects_host=expects_host
            )
    if hostname is not None:
        hostname = without_brackets(hostname)
    text = line[at : at + tag.size]
    msg = number + line[at + tag.size :]
    columns = (timestamp, hostname, tag.program, tag.pid, None, structured_data)
    return SyslogMessage(*pri, 0, *columns, msg, raw, {"LEGACY_MSGHDR": text}, tags)


def _end_of_stamp(line: bytes, stamp: re.Match[bytes], expects_host: bool) -> int:
    """Where a stamp ends, with the name of a zone that may follow it.

    A word that looks like a zone is not a host if a colon, or another host and a tag, follows.
    """
    at = stamp.end()
    zone = _ZONE.match(line, at)
    if zone is None or has_offset(stamp[1]):
        return at
    end = zone.end()
    if line[end : end + 1] != b" ":
        return end
    if not expects_host:
        return end
    word = _WORD.match(line, end + 1)
    if word is None or not is_hostname(word[1]):
        return at
    tag = read_tag(line, word.end(), behind_host=True, has_stamp=True, expects_host=True)
    behind = word.end()
    is_sure = line[behind : behind + 1] in (b"{", b"[", b"@")
    text = line[behind : behind + tag.size]
    return end if is_sure or b":" in text or b"[" in text else at


def _host(
    line: bytes, at: int, accepts_host: _AcceptsHost | None
) -> tuple[bytes | None, int, tuple[bytes, ...]]:
    """The host behind a stamp, the offset after it, and tags for its defects."""
    word = _WORD.match(line, at)
    if word is None:
        return None, at, ()
    if len(word[1]) > HOSTNAME_BYTES_MAX:
        has_colon = b":" in word[1] or b"[" in word[1]
        return None, at, () if has_colon else INVALID_HOSTNAME
    if not is_hostname(word[1]):
        return None, at, ()
    if accepts_host is not None and not accepts_host(word[1]):
        return None, at, INVALID_HOSTNAME
    return word[1], word.end(), ()


def _without_stamp(
    line: bytes, start: int, is_bare: bool, expects_host: bool
) -> tuple[bytes | None, int, Tag]:
    """HOST of ``HOST TAG:`` or ``HOST {"an": "object"}``, where TAG or MSG begins, and TAG.

    Args:
        is_bare: There is no PRI.
    """
    blanks = _BLANKS.match(line, start)
    assert blanks is not None  # it matches anything, even nothing
    at = blanks.end()
    word = _WORD.match(line, at) if expects_host else None
    if word is not None and is_leading_hostname(word[1]):
        end = word.end()
        if is_object(line, end):
            return word[1], end, NO_TAG
        if is_bare or _TOKEN_OR_COOKIE.match(line, end) is not None:
            tag = read_tag(line, end, has_stamp=False)
            if b":" in line[end : end + tag.size]:
                return word[1], end, tag
    tag = read_tag(line, at, behind_host=False, has_stamp=False, expects_host=expects_host)
    return None, at if tag.size else start, tag


def is_leading_hostname(word: bytes) -> bool:
    """Whether a word that no stamp precedes is a host: a name with a letter, or an address."""
    if len(word) > HOSTNAME_BYTES_MAX:
        return False
    if _BARE_HOST.fullmatch(word) is not None and _HAS_LETTER.search(word) is not None:
        return is_hostname(word)
    return is_address(without_brackets(word))


def _cisco_attributes(line: bytes, start: int) -> tuple[bytes | None, bytes, int]:
    """The sequence number and clock mark that Cisco writes before a stamp.

    Returns:
        Sequence number and clock mark as SD-ELEMENTs (RFC 5424 §7); the number with its colon
        if it cannot be a sequenceId; and where the rest begins.
    """
    if line[start : start + 1] >= b";":  # neither a digit nor a mark nor a blank
        return None, b"", start
    elements = number = b""
    sequence = _SEQUENCE.match(line, start)
    if sequence is not None:
        digits = sequence[1]
        if digits and digits[:1] != b"0" and len(digits) <= 10 and int(digits) <= _SEQUENCE_MAX:
            elements = b'[meta sequenceId="%s"]' % digits
        elif digits:
            number = sequence[0]
        start = sequence.end()
    mark = _MARK.match(line, start)
    if mark is not None:
        elements += b'[timeQuality isSynced="%d"]' % (mark[1] == b".")
        start = mark.end()
    return elements or None, number, start
