# cython: language_level=3
"""Headers that nearly all messages have, found octet by octet in compiled code.

The same as the patterns in `usual_headers.py`, or less: a line is taken only if the pattern
takes it too, and is then cut at the same places.  What is not taken here goes to the
pattern.  Nothing is read outside `octets[:size]`.
"""

from libc.string cimport memcmp

ctypedef const unsigned char octet

cdef struct UsualLine:
    # Offsets into the line; an end is the offset after the last octet.
    Py_ssize_t pri_end
    Py_ssize_t stamp
    Py_ssize_t second_end      # of RFC 5424: of the stamp without fraction and offset
    Py_ssize_t fraction_end    # the same as second_end if there is none
    Py_ssize_t stamp_end
    Py_ssize_t addressing      # what names host, program and process, as in the patterns
    Py_ssize_t host            # HOSTNAME; its end is here if there is none, as of what follows
    Py_ssize_t host_end
    Py_ssize_t app             # APP-NAME, or the program
    Py_ssize_t app_end
    Py_ssize_t procid
    Py_ssize_t procid_end      # of RFC 5424: of the addressing without MSGID
    Py_ssize_t addressing_end  # of RFC 5424: with MSGID
    Py_ssize_t data            # of RFC 5424: STRUCTURED-DATA, or the NILVALUE
    Py_ssize_t data_end
    Py_ssize_t msg             # after the byte order mark
    Py_ssize_t end             # without the delimiters after it


cdef inline bint is_digit(octet c) noexcept nogil:
    return c >= 0x30 and c <= 0x39


cdef inline int two_digits(octet *p) noexcept nogil:
    """The number that two octets say, -1 if they are not digits."""
    if not is_digit(p[0]) or not is_digit(p[1]):
        return -1
    return (p[0] - 0x30) * 10 + p[1] - 0x30


cdef inline Py_ssize_t without_delimiters(octet *p, Py_ssize_t size) noexcept nogil:
    """The size of a line without LF, CR and NUL at its end."""
    while size and (p[size - 1] == 0x0A or p[size - 1] == 0x0D or p[size - 1] == 0):
        size -= 1
    return size


cdef inline Py_ssize_t end_of_pri(octet *p, Py_ssize_t size) noexcept nogil:
    """Where a PRI of 0 to 191 in its shortest spelling ends; 0 = there is none."""
    cdef Py_ssize_t at = 1
    cdef int prival = 0
    if size < 3 or p[0] != c"<" or not is_digit(p[1]):
        return 0
    while at < size and at < 4 and is_digit(p[at]):
        prival = prival * 10 + p[at] - 0x30
        at += 1
    if at == size or p[at] != c">" or prival > 191 or (p[1] == c"0" and at > 2):
        return 0
    return at + 1


cdef inline bint is_sure_date(octet *p) noexcept nogil:
    """Whether ten octets are a date that is there in every year from 1 to 9999."""
    cdef int century = two_digits(p)
    cdef int year = two_digits(p + 2)
    cdef int month = two_digits(p + 5)
    cdef int day = two_digits(p + 8)
    if p[4] != c"-" or p[7] != c"-" or century < 0 or year < 0 or century + year == 0:
        return False
    if month < 1 or month > 12 or day < 1:
        return False
    if month == 2:
        return day <= 28
    if month == 4 or month == 6 or month == 9 or month == 11:
        return day <= 30
    return day <= 31


cdef inline bint is_sure_clock(octet *p) noexcept nogil:
    """Whether eight octets are a time of day from 00:00:00 to 23:59:59."""
    cdef int hour = two_digits(p)
    cdef int minute = two_digits(p + 3)
    cdef int second = two_digits(p + 6)
    if p[2] != c":" or p[5] != c":" or hour < 0 or minute < 0 or second < 0:
        return False
    return hour <= 23 and minute <= 59 and second <= 59


cdef inline bint find_stamp(
    octet *p, Py_ssize_t at, Py_ssize_t size, UsualLine *line
) noexcept nogil:
    """Find a stamp of RFC 3339 that any conversion to that would leave alone."""
    line.stamp = at
    if size - at < 20 or not is_sure_date(p + at) or p[at + 10] != c"T":
        return False
    if not is_sure_clock(p + at + 11):
        return False
    at += 19
    line.second_end = at
    if p[at] == c".":
        at += 1
        while at < size and is_digit(p[at]):
            at += 1
        if at == line.second_end + 1:
            return False
    line.fraction_end = at
    if at < size and p[at] == c"Z":
        line.stamp_end = at + 1
        return True
    if size - at < 6 or (p[at] != c"+" and p[at] != c"-") or p[at + 3] != c":":
        return False
    line.stamp_end = at + 6
    return 0 <= two_digits(p + at + 1) <= 23 and 0 <= two_digits(p + at + 4) <= 59


cdef inline Py_ssize_t end_of_word(
    octet *p, Py_ssize_t at, Py_ssize_t size, Py_ssize_t octets_max
) noexcept nogil:
    """Where a word of 1 to `octets_max` octets without controls ends that a SP follows; 0 = there
    is none."""
    cdef Py_ssize_t stop = min(size, at + octets_max + 1)
    cdef Py_ssize_t end = at
    while end < stop and p[end] > 0x20 and p[end] != 0x7F:
        end += 1
    return end if end < stop and end > at and p[end] == c" " else 0


cdef inline bint may_be_envelope(octet *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Whether the program at `at` may be that of an envelope of EWMM."""
    return size - at >= 10 and memcmp(p + at, b"@syslog-ng", 10) == 0


cdef inline Py_ssize_t end_of_name(octet *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where an SD-NAME of 1 to 255 octets ends, or `at`."""
    cdef Py_ssize_t stop = min(size, at + 255)
    while at < stop and 0x21 <= p[at] <= 0x7E and p[at] != c'"' and p[at] != c"=" and p[at] != c"]":
        at += 1
    return at


cdef inline Py_ssize_t end_of_parameter(octet *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where a SP and a parameter end, 0 if there is none."""
    cdef Py_ssize_t end = end_of_name(p, at + 1, size)
    if end == at + 1 or size - end < 3 or p[end] != c"=" or p[end + 1] != c'"':
        return 0
    end += 2
    while end < size and p[end] != c'"':
        if p[end] == c"]":
            return 0
        end += 2 if p[end] == c"\\" else 1
    return end + 1 if end < size else 0


cdef inline Py_ssize_t end_of_elements(octet *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where one or more SD-ELEMENTs end, or 0."""
    cdef Py_ssize_t end
    while at < size and p[at] == c"[":
        end = end_of_name(p, at + 1, size)
        if end == at + 1:
            return 0
        while end < size and p[end] == c" ":
            end = end_of_parameter(p, end, size)
            if end == 0:
                return 0
        if end == size or p[end] != c"]":
            return 0
        at = end + 1
    return at


cdef inline bint find_rfc5424(octet *p, Py_ssize_t size, UsualLine *line) noexcept nogil:
    """Whether the line is a usual one of RFC 5424, and where its parts are."""
    cdef Py_ssize_t at
    line.end = size = without_delimiters(p, size)
    line.pri_end = at = end_of_pri(p, size)
    if at == 0 or size - at < 2 or p[at] != c"1" or p[at + 1] != c" ":
        return False
    if not find_stamp(p, at + 2, size, line) or line.stamp_end == size:
        return False
    line.addressing = at = line.stamp_end
    if p[at] != c" ":
        return False
    line.host = at + 1
    line.host_end = at = end_of_word(p, at + 1, size, 255)
    if at == 0 or may_be_envelope(p, at + 1, size):
        return False
    line.app = at + 1
    line.app_end = at = end_of_word(p, at + 1, size, 48)
    if at == 0:
        return False
    line.procid = at + 1
    line.procid_end = at = end_of_word(p, at + 1, size, 128)
    if at == 0:
        return False
    line.addressing_end = at = end_of_word(p, at + 1, size, 32)
    if at == 0 or at + 1 == size:
        return False
    line.data = at = at + 1
    line.data_end = at + 1 if p[at] == c"-" else end_of_elements(p, at, size)
    if line.data_end <= at:
        return False
    at = line.data_end
    if at < size:
        if p[at] != c" ":
            return False
        at += 1
    if size - at >= 3 and p[at] == 0xEF and p[at + 1] == 0xBB and p[at + 2] == 0xBF:
        at += 3
    line.msg = at
    return True


cdef inline bint is_month(octet *p) noexcept nogil:
    """Whether three octets are the name of a month as RFC 3164 spells it."""
    cdef const char *months = "JanFebMarAprMayJunJulAugSepOctNovDec"
    cdef int i
    for i in range(0, 36, 3):
        if memcmp(months + i, p, 3) == 0:
            return True
    return False


cdef inline bint is_year(octet *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Whether a word is a year from 1000 to 2999."""
    if size - at < 5 or (p[at] != c"1" and p[at] != c"2") or not is_digit(p[at + 1]):
        return False
    return two_digits(p + at + 2) >= 0 and (p[at + 4] == c" " or p[at + 4] == c"\t")


cdef inline bint find_bsd_stamp(
    octet *p, Py_ssize_t at, Py_ssize_t size, UsualLine *line
) noexcept nogil:
    """Find ``Mmm dd hh:mm:ss`` and the SP behind it, without year and fraction."""
    line.stamp = at
    line.stamp_end = at + 15
    if size - at < 17 or not is_month(p + at) or p[at + 3] != c" " or p[at + 6] != c" ":
        return False
    if not is_digit(p[at + 5]) or not (is_digit(p[at + 4]) or p[at + 4] == c" "):
        return False
    if not is_sure_clock(p + at + 7) or p[at + 15] != c" ":
        return False
    return not is_year(p, at + 16, size)  # which would belong to the stamp


cdef inline bint is_in_hostname(octet c) noexcept nogil:
    """Whether an octet may be in a usual name of a host."""
    return (
        (c >= c"a" and c <= c"z")
        or is_digit(c)
        or c == c"-"
        or c == c"."
        or (c >= c"A" and c <= c"Z")
        or c == c"_"
    )


cdef inline bint is_alphanumeric(octet c) noexcept nogil:
    return (
        (c >= c"a" and c <= c"z") or is_digit(c) or (c >= c"A" and c <= c"Z")
    )


cdef inline bint is_in_process(octet c) noexcept nogil:
    """Whether an octet may be in the usual PID of a tag."""
    return c > 0x20 and c < 0x7F and c != c"]" and c != c":" and c != c"["


cdef inline bint is_in_program(octet c) noexcept nogil:
    """Whether an octet may be in a usual name of a program."""
    return (
        c > 0x20
        and c < 0x7F
        and c != c":"
        and c != c"["
        and c != c"]"
        and c != c'"'
        and c != c"{"
        and c != c"}"
    )


cdef inline Py_ssize_t end_of_program(octet *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where the usual name of a program ends; `at` = there is none."""
    cdef Py_ssize_t end = at
    if at < size and p[at] == c"@":
        return at
    while end < size and is_in_program(p[end]):
        end += 1
    return end


cdef inline bint may_be_zone(octet *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Whether a word may be the name of a zone, which has up to 4 capitals."""
    if end - at > 4:
        return False
    while at < end and c"A" <= p[at] <= c"Z":
        at += 1
    return at == end


cdef inline bint find_rfc3164(
    octet *p, Py_ssize_t size, bint expects_host, UsualLine *line
) noexcept nogil:
    """Whether the line is a usual one of RFC 3164, and where its parts are.

    Without `expects_host` it has to be one that names no host.
    """
    cdef Py_ssize_t at, end
    cdef bint has_host
    line.end = size = without_delimiters(p, size)
    line.pri_end = at = end_of_pri(p, size)
    if at == 0 or not find_bsd_stamp(p, at, size, line):
        return False
    line.addressing = at = line.stamp_end + 1
    end = at
    while end < size and is_in_hostname(p[end]):
        end += 1
    has_host = end > at and end < size and p[end] == c" "
    line.host = line.host_end = at
    if has_host:
        if not expects_host or end - at > 255 or not is_alphanumeric(p[at]):
            return False
        line.host_end = end
        at = end + 1
    end = end_of_program(p, at, size)
    line.app = at
    line.app_end = line.procid = line.procid_end = end
    if end == at or end == size:
        return False
    if p[end] == c"[":
        at = end = end + 1
        while end < size and is_in_process(p[end]):
            end += 1
        if end == at or size - end < 2 or p[end] != c"]" or p[end + 1] != c":":
            return False
        line.procid = at
        line.procid_end = end
        end += 1
    elif p[end] != c":":
        return False
    elif not has_host and (
        (end + 1 < size and p[end + 1] != c" ") or may_be_zone(p, line.app, end)
    ):
        return False  # might be half of an IPv6 address, or belong to the stamp
    end += 1
    if end < size and p[end] == c" ":
        end += 1
    line.addressing_end = line.msg = end
    return True
