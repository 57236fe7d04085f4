# cython: language_level=3
"""Classes of octets, and where a part of a line lies."""

ctypedef const unsigned char octet

cdef struct Span:
    # Offsets into the line.  An `at` of -1 = the part is missing.
    int at
    int end


cdef inline Span span(Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    return Span(<int>at, <int>end)


cdef inline Span missing() noexcept nogil:
    return Span(-1, -1)


cdef inline bint is_digit(octet c) noexcept nogil:
    return c"0" <= c <= c"9"


cdef inline bint is_letter(octet c) noexcept nogil:
    return c"a" <= c <= c"z" or c"A" <= c <= c"Z"


cdef inline bint is_alphanumeric(octet c) noexcept nogil:
    return is_letter(c) or is_digit(c)


cdef inline bint is_hexadecimal(octet c) noexcept nogil:
    return is_digit(c) or c"a" <= c <= c"f" or c"A" <= c <= c"F"


cdef inline bint is_visible(octet c) noexcept nogil:
    """Whether an octet is neither a control character nor a space; others than US-ASCII are."""
    return c > 0x20 and c != 0x7F


cdef inline bint is_printusascii(octet c) noexcept nogil:
    """PRINTUSASCII of RFC 5424 §6."""
    return 0x21 <= c <= 0x7E


cdef inline bint starts(
    octet *p, Py_ssize_t at, Py_ssize_t end, const char *text, Py_ssize_t size
) noexcept nogil:
    """Whether `text` stands at `at`."""
    cdef Py_ssize_t i
    if end - at < size:
        return False
    for i in range(size):
        if p[at + i] != <octet>text[i]:
            return False
    return True


cdef inline bint is_at(octet *p, Py_ssize_t at, Py_ssize_t end, char c) noexcept nogil:
    """Whether the octet `c` stands at `at`."""
    return at < end and p[at] == <octet>c


cdef inline Py_ssize_t after_blanks(octet *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where the spaces at `at` end."""
    while at < end and p[at] == c" ":
        at += 1
    return at


cdef inline Py_ssize_t end_of_word(octet *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where what is no space ends; `at` = there is nothing, or no space behind it."""
    cdef Py_ssize_t stop = at
    while stop < end and p[stop] != c" ":
        stop += 1
    return stop if stop < end else at
