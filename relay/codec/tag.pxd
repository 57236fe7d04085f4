# cython: language_level=3
"""TAG of RFC 3164, as `relay/wire/headers/tag.py` reads it."""

from relay.codec.byte_classes cimport (
    BRACKETED_BYTE, NAME_BYTE, PID_BYTE, PROGRAM_BYTE, WORD_BYTE, Span, are_all, end_of_run,
    is_alphanumeric, is_at, is_digit, is_letter, is_visible, missing, byte, byte_classes, span,
    starts,
)
from relay.codec.stamps cimport end_of_iso_stamp
from relay.codec.text cimport is_utf8

cdef struct Tag:
    Span program
    Span pid
    Py_ssize_t end    # with the blank that ends it; where it begins = there is none


cdef inline Tag no_tag(Py_ssize_t at) noexcept nogil:
    return Tag(missing(), missing(), at)


cdef inline bint is_plain_program(byte *p, Py_ssize_t size) noexcept nogil:
    return are_all(p, size, PROGRAM_BYTE) and p[0] != c"@"


cdef inline Py_ssize_t end_of_tag(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where a colon and the blank that may follow it end; `at` = there is no colon."""
    if not is_at(p, at, end, c":"):
        return at
    return at + 2 if is_at(p, at + 1, end, c" ") else at + 1


cdef inline Py_ssize_t end_of_name(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where a name that is no JSON and no cookie ends; `at` = there is none."""
    if is_at(p, at, end, c"{") or starts(p, at, end, b"@cee:", 5) or starts(p, at, end, b"@cim:", 5):
        return at
    return end_of_run(p, at, end, NAME_BYTE)


cdef inline bint read_plain_tag(byte *p, Py_ssize_t at, Py_ssize_t end, Tag *tag) noexcept nogil:
    """Read ``PROGRAM[PID]:`` or ``PROGRAM:`` of plain characters."""
    cdef Py_ssize_t stop = at
    if is_at(p, at, end, c"@"):
        return False
    stop = end_of_run(p, at, end, PROGRAM_BYTE)
    if stop == at or stop == end:
        return False
    tag.program = span(at, stop)
    tag.pid = missing()
    if p[stop] == c"[":
        at = stop + 1
        stop = end_of_run(p, at, end, PID_BYTE)
        if stop == at or not is_at(p, stop, end, c"]"):
            return False
        tag.pid = span(at, stop)
        stop += 1
    tag.end = end_of_tag(p, stop, end)
    return tag.end > stop


cdef inline Py_ssize_t end_of_plain_pid(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where bytes other than brackets, colons and blanks end."""
    while at < end and byte_classes[p[at]] & BRACKETED_BYTE and p[at] != c"[" and p[at] != c"]":
        at += 1
    return at


cdef inline bint read_closed_tag(
    byte *p, Py_ssize_t at, Py_ssize_t name_end, Py_ssize_t end, Tag *tag
) noexcept nogil:
    """Read ``NAME[PID]`` with a colon or a blank behind it, or at the end."""
    cdef Py_ssize_t stop = name_end + 1
    if not is_at(p, name_end, end, c"["):
        return False
    while stop < end and is_visible(p[stop]) and p[stop] != c"[" and p[stop] != c"]":
        stop += 1
    if not is_at(p, stop, end, c"]"):
        return False
    tag.program = span(at, name_end)
    tag.pid = span(name_end + 1, stop) if stop > name_end + 1 else missing()
    stop += 1
    tag.end = end_of_tag(p, stop, end)
    if tag.end == stop and is_at(p, stop, end, c" "):
        tag.end = stop + 1
    return tag.end > stop or stop == end


cdef inline bint read_nested_tag(
    byte *p, Py_ssize_t at, Py_ssize_t name_end, Py_ssize_t end, Tag *tag
) noexcept nogil:
    """Read ``NAME[a[b]][PID]:``, or else ``NAME[a[b]]:``."""
    cdef Py_ssize_t run_end = name_end + 1
    cdef Py_ssize_t i, stop
    if not is_at(p, name_end, end, c"["):
        return False
    run_end = end_of_run(p, run_end, end, BRACKETED_BYTE)
    for i in range(run_end - 1, name_end, -1):
        if p[i] != c"]" or not is_at(p, i + 1, run_end, c"["):
            continue
        stop = end_of_plain_pid(p, i + 2, end)
        if stop > i + 2 and is_at(p, stop, end, c"]") and is_at(p, stop + 1, end, c":"):
            tag.program = span(at, i + 1)
            tag.pid = span(i + 2, stop)
            tag.end = end_of_tag(p, stop + 1, end)
            return True
    if p[run_end - 1] != c"]" or not is_at(p, run_end, end, c":"):
        return False
    tag.program = span(at, run_end)
    tag.pid = missing()
    tag.end = end_of_tag(p, run_end, end)
    return True


cdef inline Py_ssize_t end_of_part(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where a word of a name with blanks ends; `at` = there is none."""
    cdef Py_ssize_t stop = at
    cdef unsigned char c
    if at == end or not (is_alphanumeric(p[at]) or p[at] == c"("):
        return at
    while stop < end:
        c = p[stop]
        if not (
            is_alphanumeric(c) or c == c"." or c == c"_" or c == c"(" or c == c")" or c == c"/"
            or c == c"@" or c == c"+" or c == c"&" or c == c"-"
        ):
            break
        stop += 1
    return stop


cdef inline bint read_tag_with_blanks(
    byte *p, Py_ssize_t at, Py_ssize_t end, Tag *tag
) noexcept nogil:
    """Read ``Media Server[12]:``, a name of two to four words."""
    cdef Py_ssize_t stop = end_of_part(p, at, end)
    cdef Py_ssize_t digits, part
    cdef int count = 1
    if stop == at:
        return False
    while count < 4 and is_at(p, stop, end, c" "):
        part = end_of_part(p, stop + 1, end)
        if part == stop + 1:
            return False
        stop = part
        count += 1
    if count == 1 or not is_at(p, stop, end, c"["):
        return False
    digits = stop + 1
    while digits < end and is_digit(p[digits]):
        digits += 1
    if digits == stop + 1 or not is_at(p, digits, end, c"]") or not is_at(p, digits + 1, end, c":"):
        return False
    tag.program = span(at, stop)
    tag.pid = span(stop + 1, digits)
    tag.end = end_of_tag(p, digits + 1, end)
    return True


cdef inline bint is_number(byte *p, Span word) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(word.at, word.end):
        if not is_digit(p[i]) and p[i] != c"." and p[i] != c",":
            return False
    return True


cdef inline Tag read_without_stamp(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """An unknown VERSION, or binary data, as the program."""
    cdef Py_ssize_t stop = at
    if at < end and c"1" <= p[at] <= c"9":
        while stop < end and is_digit(p[stop]) and stop - at < 3:
            stop += 1
        if is_at(p, stop, end, c" ") and end_of_iso_stamp(p, stop + 1, end):
            return Tag(span(at, stop), missing(), stop + 1)
        return no_tag(at)
    while stop < end and p[stop] >= 0x80:
        stop += 1
    if stop == at or not is_at(p, stop, end, c" "):
        return no_tag(at)
    if is_utf8(p + at, p + stop):
        return no_tag(at)
    return Tag(span(at, stop), missing(), stop + 1)


cdef inline bint read_word(byte *p, Py_ssize_t at, Py_ssize_t end, Tag *tag) noexcept nogil:
    """Read ``su text``, behind a host: a word with a letter, and something behind its blank."""
    cdef Py_ssize_t stop = at
    cdef bint has_letter = False
    while stop < end and byte_classes[p[stop]] & WORD_BYTE:
        if is_letter(p[stop]) or p[stop] >= 0x80:
            has_letter = True
        stop += 1
    if not has_letter or not is_at(p, stop, end, c" ") or stop + 1 >= end:
        return False
    tag[0] = Tag(span(at, stop), missing(), stop + 1)
    return True


cdef inline bint read_word_before_tag(
    byte *p, Py_ssize_t at, Py_ssize_t end, Tag *tag
) noexcept nogil:
    """Read a word with a letter where ``TAG:`` or ``TAG[PID]:`` follows."""
    cdef Py_ssize_t stop = at
    cdef Py_ssize_t next_end
    cdef bint has_letter = False
    while stop < end and (
        is_alphanumeric(p[stop]) or p[stop] == c"." or p[stop] == c"_" or p[stop] == c"/"
        or p[stop] == c"-"
    ):
        has_letter = has_letter or is_letter(p[stop])
        stop += 1
    if not has_letter or not is_at(p, stop, end, c" "):
        return False
    next_end = stop + 1
    while next_end < end and p[next_end] != c" " and p[next_end] != c":" and p[next_end] != c"[":
        next_end += 1
    if next_end == stop + 1 or next_end == end:
        return False
    tag[0] = Tag(span(at, stop), missing(), stop + 1)
    if p[next_end] == c"[":
        next_end += 1
        while next_end < end and p[next_end] != c" " and p[next_end] != c"]":
            next_end += 1
        return is_at(p, next_end, end, c"]") and is_at(p, next_end + 1, end, c":")
    return p[next_end] == c":"


cdef inline Tag read_irregular(
    byte *p, Py_ssize_t at, Py_ssize_t end, bint behind_host
) noexcept nogil:
    """A tag behind a stamp that lacks its colon, half its brackets or its program."""
    cdef Tag tag = no_tag(at)
    cdef Py_ssize_t name_end, stop
    if behind_host:
        if read_word(p, at, end, &tag):
            return tag
    elif read_word_before_tag(p, at, end, &tag):
        return tag
    name_end = end_of_name(p, at, end)
    if name_end > at and is_at(p, name_end, end, c"["):
        stop = end_of_plain_pid(p, name_end + 1, end)
        if stop > name_end + 1:
            if is_at(p, stop, end, c":"):
                return Tag(span(at, name_end), span(name_end + 1, stop), end_of_tag(p, stop, end))
            if is_at(p, stop, end, c" "):
                return Tag(span(at, name_end), span(name_end + 1, stop), stop + 1)
    if is_at(p, at, end, c"["):
        stop = at + 1
        while stop < end and is_digit(p[stop]):
            stop += 1
        if stop > at + 1 and is_at(p, stop, end, c"]"):
            if is_at(p, stop + 1, end, c":"):
                return Tag(missing(), span(at + 1, stop), end_of_tag(p, stop + 1, end))
            if is_at(p, stop + 1, end, c" "):
                return Tag(missing(), span(at + 1, stop), stop + 2)
    if is_at(p, at, end, c":") and (at + 1 == end or p[at + 1] == c" "):
        return Tag(missing(), missing(), end_of_tag(p, at, end))
    return no_tag(at)


cdef inline Tag read_tag(
    byte *p, Py_ssize_t at, Py_ssize_t end, bint behind_host, bint has_stamp, bint expects_host
) noexcept nogil:
    """The tag that begins at `at`; arguments as of the reference."""
    cdef Tag tag = no_tag(at)
    cdef Py_ssize_t name_end
    if behind_host and has_stamp and read_plain_tag(p, at, end, &tag):
        return tag
    name_end = end_of_name(p, at, end)
    if name_end > at:
        if read_closed_tag(p, at, name_end, end, &tag):
            return tag
        if not read_nested_tag(p, at, name_end, end, &tag):
            tag = Tag(span(at, name_end), missing(), end_of_tag(p, name_end, end))
            if tag.end == name_end:
                tag.end = at
        elif tag.pid.at >= 0:
            return tag
        if tag.end > at:
            if not (behind_host and has_stamp) and starts(p, tag.program.end + 1, end, b"//", 2):
                return no_tag(at)
            return no_tag(at) if not has_stamp and is_number(p, tag.program) else tag
    if not expects_host and read_tag_with_blanks(p, at, end, &tag):
        return tag
    if not has_stamp:
        return read_without_stamp(p, at, end)
    return read_irregular(p, at, end, behind_host)
