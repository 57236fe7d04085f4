# cython: language_level=3
"""Lines of RFC 3164 and its dialects, as `relay/wire/headers/rfc3164.py` reads them."""

from relay.codec.hostname cimport HOSTNAME_BYTES_MAX, is_leading_hostname, is_hostname
from relay.codec.line cimport INVALID_HOSTNAME_TAG, Line
from relay.codec.byte_classes cimport (
    UUID_BYTES, Span, after_blanks, end_of_word, is_at, is_digit, is_uuid, missing, byte, span,
    starts,
)
from relay.codec.stamps cimport end_of_bsd_stamp, end_of_iso_stamp, end_of_zone_name
from relay.codec.tag cimport Tag, no_tag, read_tag, read_plain_tag

cdef enum:
    SEQUENCE_DIGITS_MAX = 10
    SEQUENCE_MAX = 2147483647  # RFC 5424 §7.3.1


cdef inline Py_ssize_t end_of_stamp(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where a stamp of either family ends, 0 if there is none."""
    if at >= end:
        return 0
    return end_of_iso_stamp(p, at, end) if is_digit(p[at]) and is_at(p, at + 4, end, c"-") else (
        end_of_bsd_stamp(p, at, end)
    )


cdef inline bint may_begin_stamp(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether a stamp begins at `at`, or behind the mark of a clock there."""
    if end_of_stamp(p, at, end):
        return True
    return at < end and (p[at] == c"*" or p[at] == c".") and end_of_stamp(p, at + 1, end) != 0


cdef inline bint is_mnemonic(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether Cisco's ``%FACILITY-SEVERITY-`` begins at `at`."""
    if not is_at(p, at, end, c"%") or at + 1 >= end or not c"A" <= p[at + 1] <= c"Z":
        return False
    at += 2
    while at < end and (
        c"A" <= p[at] <= c"Z" or is_digit(p[at]) or p[at] == c"_" or p[at] == c"-"
    ):
        if p[at] == c"-" and end - at >= 3 and c"0" <= p[at + 1] <= c"7" and p[at + 2] == c"-":
            return True
        at += 1
    return False


cdef inline Py_ssize_t end_of_sequence(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where Cisco's sequence number, its colon and the blanks behind it end; 0 = there is none."""
    cdef Py_ssize_t stop, name
    while at < end and is_digit(p[at]):
        at += 1
    if not is_at(p, at, end, c":") or not is_at(p, at + 1, end, c" "):
        return 0
    stop = after_blanks(p, at + 1, end)
    if is_mnemonic(p, stop, end):
        return stop
    name = stop
    if name < end and p[name] != c"*" and p[name] != c".":
        while name < end and p[name] != c" " and p[name] != c":" and p[name] != c"%":
            name += 1
        if name > stop and is_at(p, name, end, c":") and is_at(p, name + 1, end, c" "):
            if may_begin_stamp(p, after_blanks(p, name + 1, end), end):
                return stop
    return stop if may_begin_stamp(p, stop, end) else 0


cdef inline Py_ssize_t read_cisco(byte *p, Py_ssize_t at, Py_ssize_t end, Line *line) noexcept nogil:
    """Read what Cisco writes before a stamp; returns where the rest begins."""
    cdef Py_ssize_t stop, digits
    cdef long long number = 0
    line.front = line.sequence = missing()
    line.mark = 0
    if at < end and p[at] >= c";":  # neither a digit nor a mark nor a blank
        return at
    stop = end_of_sequence(p, at, end)
    if stop:
        digits = at
        while is_digit(p[digits]):
            if digits - at < SEQUENCE_DIGITS_MAX:
                number = number * 10 + p[digits] - 0x30
            digits += 1
        if digits - at > SEQUENCE_DIGITS_MAX or p[at] == c"0" or number > SEQUENCE_MAX:
            line.front = span(at, stop)
        elif digits > at:
            line.sequence = span(at, digits)
        at = stop
    stop = after_blanks(p, at, end)
    if stop < end and (p[stop] == c"*" or p[stop] == c".") and end_of_stamp(p, stop + 1, end):
        line.mark = <char>p[stop]
        at = stop + 1
    return at


cdef inline bint has_offset(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether a stamp says how far from UTC it is."""
    cdef Py_ssize_t i
    if p[end - 1] == c"Z" or p[end - 1] == c"z":
        return True
    for i in range(at + 10, end):
        if p[i] == c"+" or p[i] == c"-":
            return True
    return False


cdef inline Py_ssize_t end_of_zone(
    byte *p, Py_ssize_t at, Py_ssize_t stop, Py_ssize_t end, bint expects_host, void *names
) except -1 nogil:
    """Where the stamp from `at` to `stop` ends with the name of a zone that may follow it."""
    cdef Py_ssize_t zone_end, word_end, behind, i
    cdef Tag tag
    if not is_at(p, stop, end, c" "):
        return stop
    zone_end = end_of_zone_name(p, stop + 1, end)
    if not zone_end or has_offset(p, at, stop):
        return stop
    if zone_end < end and p[zone_end] != c" " and p[zone_end] != c":":
        return stop
    if not is_at(p, zone_end, end, c" ") or not expects_host:
        return zone_end
    word_end = end_of_word(p, zone_end + 1, end)
    if word_end == zone_end + 1:
        return stop
    if not is_hostname(p + zone_end + 1, word_end - zone_end - 1, names):
        return stop
    behind = after_blanks(p, word_end, end)
    if behind < end and (p[behind] == c"{" or p[behind] == c"[" or p[behind] == c"@"):
        return zone_end
    tag = read_tag(p, behind, end, True, True, True)
    for i in range(behind, tag.end):
        if p[i] == c":" or p[i] == c"[":
            return zone_end
    return stop


cdef inline Py_ssize_t read_host(
    byte *p, Py_ssize_t at, Py_ssize_t end, Line *line, void *names
) except -1 nogil:
    """Read the host behind a stamp; returns the offset after it."""
    cdef Py_ssize_t stop = end_of_word(p, at, end)
    cdef Py_ssize_t i
    if stop == at:
        return at
    if stop - at > HOSTNAME_BYTES_MAX:
        for i in range(at, stop):
            if p[i] == c":" or p[i] == c"[":
                return at
        line.tags |= INVALID_HOSTNAME_TAG
        return at
    if not is_hostname(p + at, stop - at, names):
        return at
    line.host = span(at, stop)
    return after_blanks(p, stop, end)


cdef inline Py_ssize_t read_forwarder(
    byte *p, Py_ssize_t at, Py_ssize_t end, Line *line
) noexcept nogil:
    """Skip separators after a stamp, and read AIX's note of the sender."""
    cdef Py_ssize_t stop
    if is_at(p, at, end, c":"):
        at += 1
    while at < end and (p[at] == c" " or p[at] == c"\t"):
        at += 1
    if starts(p, at, end, b"Message forwarded from ", 23):
        stop = at + 23
        while stop < end and p[stop] != c" " and p[stop] != c":":
            stop += 1
        if stop > at + 23:
            line.host = span(at + 23, stop)
            at = stop
            while at < end and (p[at] == c" " or p[at] == c":"):
                at += 1
    return at


cdef inline bint is_object(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether a cookie and JSON begin at `at`, or what looks like a JSON object."""
    cdef Py_ssize_t stop
    if is_at(p, at, end, c"@"):
        if not starts(p, at, end, b"@cee:", 5) and not starts(p, at, end, b"@cim:", 5):
            return False
        return is_at(p, after_blanks(p, at + 5, end), end, c"{")
    if not is_at(p, at, end, c"{"):
        return False
    stop = at + 1
    while stop < end and (
        p[stop] == c" " or p[stop] == c"\t" or p[stop] == c"\r" or p[stop] == c"\n"
    ):
        stop += 1
    if not is_at(p, stop, end, c'"') and not is_at(p, stop, end, c"}"):
        return False
    while end > at and (p[end - 1] == c" " or p[end - 1] == c"\t"):
        end -= 1
    return p[end - 1] == c"}"


cdef inline bint is_token_or_cookie(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether a tag that is a token, or stands for one, begins at `at`, or one before a cookie."""
    cdef Py_ssize_t stop
    if is_at(p, at, end, c"-") and is_at(p, at + 1, end, c":"):
        return True
    if end - at > UUID_BYTES and p[at + UUID_BYTES] == c":" and is_uuid(p + at, UUID_BYTES, False):
        return True
    stop = at
    while stop < end and p[stop] != c" " and p[stop] != c":" and p[stop] != c"[":
        stop += 1
    if stop == at:
        return False
    if is_at(p, stop, end, c"["):
        stop += 1
        while stop < end and p[stop] != c"]" and p[stop] != c" " and p[stop] != c":":
            stop += 1
        if not is_at(p, stop, end, c"]"):
            return False
        stop += 1
    if not is_at(p, stop, end, c":"):
        return False
    stop += 1
    if is_at(p, stop, end, c" "):
        stop += 1
    return starts(p, stop, end, b"@cee:", 5)


cdef inline int read_line_without_stamp(
    byte *p, Py_ssize_t start, Py_ssize_t end, bint has_pri, bint expects_host, Line *line,
    Tag *tag, void *names
) except -1 nogil:
    """Read ``HOST TAG:`` or ``HOST {"an": "object"}`` where there is no stamp.

    The header of the tag begins at `line.header.at`, or MSG where there is none.
    """
    cdef Py_ssize_t at = after_blanks(p, start, end)
    cdef Py_ssize_t stop, i
    stop = end_of_word(p, at, end) if expects_host else at
    if stop > at and is_leading_hostname(p + at, stop - at, names):
        i = after_blanks(p, stop, end)
        line.header.at = <int>i
        if is_object(p, i, end):
            line.host = span(at, stop)
            tag[0] = no_tag(i)
            return 0
        if not has_pri or is_token_or_cookie(p, i, end):
            tag[0] = read_tag(p, i, end, True, False, True)
            for i in range(i, tag.end):
                if p[i] == c":":
                    line.host = span(at, stop)
                    return 0
    tag[0] = read_tag(p, at, end, False, False, expects_host)
    if tag.end <= at:
        tag[0] = no_tag(start)
        at = start
    line.header.at = <int>at
    return 0


cdef inline void strip_brackets(byte *p, Span *host) noexcept nogil:
    """An address in brackets loses them."""
    if host.at >= 0 and host.end - host.at >= 2 and p[host.at] == c"[" and p[host.end - 1] == c"]":
        host.at += 1
        host.end -= 1


cdef inline int read_rfc3164(
    byte *p, Py_ssize_t start, Py_ssize_t end, bint has_pri, bint expects_host, Line *line,
    void *names,
) except -1 nogil:
    """Read a legacy line behind its PRI.  Any line is one."""
    cdef Py_ssize_t at = read_cisco(p, start, end, line)
    cdef Py_ssize_t stamp_at = after_blanks(p, at, end)
    cdef Py_ssize_t stop = end_of_stamp(p, stamp_at, end)
    cdef bint has_front = line.front.at >= 0
    cdef Tag tag = no_tag(at)
    line.has_header = True
    if not stop:
        read_line_without_stamp(p, at, end, has_pri, expects_host, line, &tag, names)
        at = line.header.at
        if has_front:
            tag = no_tag(at)
    else:
        stop = end_of_zone(p, stamp_at, stop, end, expects_host, names)
        line.stamp = span(stamp_at, stop)
        at = read_forwarder(p, stop, end, line)
        if has_front:  # no sequenceId of RFC 5424: it stays in front of the text
            tag = no_tag(at)
        elif starts(p, at, end, b"last message repeated", 21):
            line.has_header = False
            line.msg = span(at, end)
            return 0
        else:
            if expects_host and line.host.at < 0:
                at = read_host(p, at, end, line, names)
            if line.host.at >= 0 and read_plain_tag(p, at, end, &tag):
                line.is_regular = True
            else:
                tag = read_tag(p, at, end, line.host.at >= 0, True, expects_host)
    strip_brackets(p, &line.host)
    line.app = tag.program
    line.procid = tag.pid
    line.header = span(at, tag.end)
    line.msg = span(tag.end, end)
    return 0
