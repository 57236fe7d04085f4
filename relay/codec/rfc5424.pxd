# cython: language_level=3
"""Headers of RFC 5424, as `relay/wire/headers/rfc5424.py` reads them."""

from relay.codec.line cimport Line
from relay.codec.byte_classes cimport (
    SD_NAME_BYTE, VISIBLE_BYTE, Span, end_of_run, is_at, is_digit, missing, byte, span, starts,
)
from relay.codec.stamps cimport end_of_possible_iso_stamp

cdef enum:
    NAME_BYTES_MAX = 255  # of an SD-NAME; senders exceed the 32 of §6.3.3
    HOSTNAME_MAX = 255     # §6.2.4 to §6.2.7
    APP_NAME_MAX = 48
    PROCID_MAX = 128
    MSGID_MAX = 32


cdef inline Py_ssize_t end_of_sd_name(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where an SD-NAME of 1 to 255 bytes ends, or `at`."""
    cdef Py_ssize_t stop = min(end, at + NAME_BYTES_MAX)
    return end_of_run(p, at, stop, SD_NAME_BYTE)


cdef inline Py_ssize_t end_of_parameter(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where a SP and a parameter end, 0 if there is none."""
    cdef Py_ssize_t stop = end_of_sd_name(p, at + 1, end)
    if stop == at + 1 or end - stop < 3 or p[stop] != c"=" or p[stop + 1] != c'"':
        return 0
    stop += 2
    while stop < end and p[stop] != c'"':
        if p[stop] == c"]":
            return 0
        stop += 2 if p[stop] == c"\\" else 1
    return stop + 1 if stop < end else 0


cdef inline Py_ssize_t end_of_elements(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where one or more SD-ELEMENTs end, 0 if there is none.

    Like the pattern of the reference, it stops before an element that is not in order.
    """
    cdef Py_ssize_t stop, parameter
    cdef Py_ssize_t whole = 0
    while is_at(p, at, end, c"["):
        stop = end_of_sd_name(p, at + 1, end)
        if stop == at + 1:
            break
        while is_at(p, stop, end, c" "):
            parameter = end_of_parameter(p, stop, end)
            if parameter == 0:
                return whole
            stop = parameter
        if not is_at(p, stop, end, c"]"):
            break
        whole = at = stop + 1
    return whole


cdef inline Py_ssize_t read_column(
    byte *p, Py_ssize_t at, Py_ssize_t end, Py_ssize_t bytes_max, Span *column
) noexcept nogil:
    """Read a header field, cut to `bytes_max`, and the SP behind it; 0 = there is none."""
    cdef Py_ssize_t stop = end_of_run(p, at, end, VISIBLE_BYTE)
    if stop == at or not is_at(p, stop, end, c" "):
        return 0
    if stop == at + 1 and p[at] == c"-":
        column[0] = missing()
    else:
        column[0] = span(at, min(stop, at + bytes_max))
    return stop + 1


cdef inline bint read_behind_stamp(
    byte *p, Py_ssize_t at, Py_ssize_t end, Line *line
) noexcept nogil:
    """Read HOSTNAME to MSG."""
    cdef Py_ssize_t stop
    at = read_column(p, at, end, HOSTNAME_MAX, &line.host)
    if at:
        at = read_column(p, at, end, APP_NAME_MAX, &line.app)
    if at:
        at = read_column(p, at, end, PROCID_MAX, &line.procid)
    if at:
        at = read_column(p, at, end, MSGID_MAX, &line.msgid)
    if not at:
        return False
    line.data = missing()
    if at < end:
        stop = at + 1 if p[at] == c"-" else end_of_elements(p, at, end)
        if not stop or (stop < end and p[stop] != c" "):
            return False
        if p[at] != c"-":
            line.data = span(at, stop)
        at = min(end, stop + 1)
    if starts(p, at, end, b"\xef\xbb\xbf", 3):
        at += 3
    line.msg = span(at, end)
    return True


cdef inline bint read_rfc5424(byte *p, Py_ssize_t at, Py_ssize_t end, Line *line) noexcept nogil:
    """Read a line of VERSION 1 from its TIMESTAMP on."""
    cdef Py_ssize_t stop, blank
    line.version = 1
    if is_at(p, at, end, c"-") and is_at(p, at + 1, end, c" "):
        line.stamp = missing()
        return read_behind_stamp(p, at + 2, end, line)
    stop = end_of_possible_iso_stamp(p, at, end)
    if not stop:
        return False
    line.stamp = span(at, stop)
    if is_at(p, stop, end, c" ") and read_behind_stamp(p, stop + 1, end, line):
        return True
    # An apparent offset behind a blank may be the HOSTNAME.
    for blank in range(at + 19, stop):
        if p[blank] == c" ":
            line.stamp = span(at, blank)
            return read_behind_stamp(p, blank + 1, end, line)
    return False


cdef inline Py_ssize_t after_version(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where VERSION 1 and the SP behind it end, 0 if they are not there."""
    while is_at(p, at, end, c"0"):
        at += 1
    return at + 2 if is_at(p, at, end, c"1") and is_at(p, at + 1, end, c" ") else 0


cdef inline Py_ssize_t read_pri(byte *p, Py_ssize_t at, Py_ssize_t end, int *pri) noexcept nogil:
    """Read a PRI of 0 to 191 with any number of zeros in front; 0 = there is none."""
    cdef int value = 0
    if not is_at(p, at, end, c"<"):
        return 0
    at += 1
    while at < end and is_digit(p[at]):
        value = min(1000, value * 10 + p[at] - 0x30)
        at += 1
    if value > 191 or not is_at(p, at, end, c">"):
        return 0
    pri[0] = value
    return at + 1
