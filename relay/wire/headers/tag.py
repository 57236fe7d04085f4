"""TAG of RFC 3164 §4.1.3, which senders write in many ways: find it, and write it.

    PROGRAM: text      PROGRAM[PID]: text      PROGRAM text      [PID] text

RFC 3164 wants 32 alphanumeric characters.  Taken is what names a program in the field; what
begins with a brace, a quote or a cookie, or has control characters in it, is text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from relay.wire.headers.rfc5424 import header_field
from relay.wire.headers.timestamp import ISO_STAMP

_NAME = rb'(?!\{|@c(?:ee|im):)[^\x00- "\[:\x7f]++'
_PID = rb"[^\x00- \[\]\x7f]"
_IN_BRACKETS = rb"\[[^\x00- :\x7f]*\]"

_CLOSED = re.compile(rb"(%s)\[(%s*+)\](?:: ?| |\Z)" % (_NAME, _PID))
# As in ``sssd[be[EXAMPLE.ORG]][123]: text``.
_NESTED = re.compile(rb"(%s%s)\[([^\x00- :\[\]\x7f]++)\]: ?" % (_NAME, _IN_BRACKETS))
_NESTED_ONLY = re.compile(rb"(%s%s): ?" % (_NAME, _IN_BRACKETS))
_NAMED = re.compile(rb"(%s): ?" % _NAME)
_NUMBER = re.compile(rb"[0-9.,]++")
_UNCLOSED = re.compile(rb"(%s)\[([^\x00- :\[\]\x7f]++)(?:: ?| )" % _NAME)
_PID_ONLY = re.compile(rb"\[([0-9]++)\](?:: ?| )")
_EMPTY = re.compile(rb":(?: |\Z)")
# A program whose colon was left out.  Behind a host that may be nearly any word.  Where there
# is none, a first word is text, unless a tag follows it: then it names whatever was before that.
_WORD = re.compile(
    rb"(?=[^ ]*?[A-Za-z\x80-\xff])([!#-'*+\-./0-9=?@A-Z\\^-z~\x80-\xff]++) (?=.)", re.DOTALL
)
_WORD_BEFORE_TAG = re.compile(
    rb"(?=[^ ]*?[A-Za-z])([0-9A-Za-z._/\-]++) (?=[^ :\[]++(?:\[[^ \]]*+\])?:)"
)
# Names with blanks in them come from local programs: ``Media Server[12]: text``.
_PART = rb"[0-9A-Za-z(][0-9A-Za-z._()/@+&\-]*+"
_WITH_BLANKS = re.compile(rb"(%s(?: %s){1,3})\[([0-9]++)\]: ?" % (_PART, _PART))
# An unknown VERSION; syslog-ng takes it for the program.
_VERSION = re.compile(rb"([1-9][0-9]{0,2}) (?=%s)" % ISO_STAMP)
# Binary data; syslog-ng takes it for the program.
_BINARY = re.compile(rb"([\x80-\xff]++) ")
_OBJECT = re.compile(rb'@c(?:ee|im): *+\{|\{[ \t\r\n]*+["}]')
_NOT_IN_TAG = bytes.maketrans(b'[]:"', b"____")


class Tag(NamedTuple):
    """Program and process that wrote a text."""

    program: bytes | None
    pid: bytes | None
    size: int
    """Bytes of the tag in the line, with the blank that ends it; 0 = there is none."""


NO_TAG = Tag(None, None, 0)


def read_tag(
    line: bytes,
    at: int,
    *,
    behind_host: bool = True,
    has_stamp: bool = True,
    expects_host: bool = True,
) -> Tag:
    """The tag that begins at `at`.

    Args:
        behind_host: A host stands before it.
        has_stamp: A stamp stands before it.  Without one a tag needs a colon or a
            bracket.
        expects_host: Lines of this kind name their host; False = blanks may be in a name.
    """
    found = _CLOSED.match(line, at) or _NESTED.match(line, at)
    if found is not None:
        return Tag(found[1], found[2] or None, found.end() - at)
    found = _NESTED_ONLY.match(line, at) or _NAMED.match(line, at)
    if found is not None:
        if not (behind_host and has_stamp) and line.startswith(b"//", found.end(1) + 1):
            return NO_TAG  # the scheme of a URL
        if not has_stamp and _NUMBER.fullmatch(found[1]) is not None:
            return NO_TAG
        return Tag(found[1], None, found.end() - at)
    if not expects_host:
        found = _WITH_BLANKS.match(line, at)
        if found is not None:
            return Tag(found[1], found[2], found.end() - at)
    if not has_stamp:
        found = _VERSION.match(line, at)
        if found is None:
            found = _BINARY.match(line, at)
            if found is None or _is_text(found[1]):
                return NO_TAG
        return Tag(found[1], None, found.end() - at)
    return _irregular(line, at, behind_host)


def _irregular(line: bytes, at: int, behind_host: bool) -> Tag:
    """A tag behind a stamp that lacks its colon, half its brackets or its program."""
    found = (_WORD if behind_host else _WORD_BEFORE_TAG).match(line, at)
    if found is not None:
        return Tag(found[1], None, found.end() - at)
    found = _UNCLOSED.match(line, at)
    if found is not None:
        return Tag(found[1], found[2], found.end() - at)
    found = _PID_ONLY.match(line, at)
    if found is not None:
        return Tag(None, found[1], found.end() - at)
    found = _EMPTY.match(line, at)
    return NO_TAG if found is None else Tag(None, None, found.end() - at)


def is_object(line: bytes, at: int) -> bool:
    """Whether a cookie and JSON, or a likely JSON object, begin at `at`."""
    found = _OBJECT.match(line, at)
    if found is None:
        return False
    return line[at : at + 1] == b"@" or line.rstrip(b" \t").endswith(b"}")


def format_tag(app_name: bytes | None, procid: bytes | None) -> bytes:
    """Write ``PROGRAM[PID]:``, which `read_tag` takes apart again.

    What would not be read as it is becomes an underscore.  Without a program the tag is
    ``-:``, after the NILVALUE of RFC 5424.  An empty tag would make the receiver take the
    first word of MSG for it, an ``@cee:`` cookie for instance.
    """
    tag = b"%s[%s]:" % (app_name or b"-", procid) if procid else b"%s:" % (app_name or b"-")
    if _is_read_back(tag, app_name, procid):
        return tag
    program = header_field(app_name, len(app_name or b"")).translate(_NOT_IN_TAG)
    if program[:1] in (b"{", b"@"):
        program = b"_" + program[1:]
    if procid:
        return b"%s[%s]:" % (program, header_field(procid, len(procid)).translate(_NOT_IN_TAG))
    return program + b":"


def _is_read_back(tag: bytes, app_name: bytes | None, procid: bytes | None) -> bool:
    is_text = _is_text(tag) and tag.decode().isprintable()
    return is_text and read_tag(tag, 0) == Tag(app_name, procid or None, len(tag))


def _is_text(word: bytes) -> bool:
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return True
