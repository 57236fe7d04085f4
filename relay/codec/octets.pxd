# cython: language_level=3
"""Classes of octets, and where a part of a line lies."""

ctypedef const unsigned char octet

cdef extern from *:
    """
    /* What an octet may be in, as a set of the bits of `OctetClass`; in order of the octets. */
    static const unsigned char relay_octet_classes[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 254, 76, 254, 254, 254, 254, 254, 222, 222, 254, 254, 222, 255, 255, 254,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 136, 222, 222, 126, 222, 254,
    254, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 200, 254, 88, 254, 255,
    254, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 220, 222, 220, 254, 0,
    120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120,
    120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120,
    120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120,
    120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120,
    120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120,
    120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120,
    120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120,
    120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120, 120,
    };
    """
    const unsigned char octet_classes "relay_octet_classes"[256]

cdef enum OctetClass:
    HOST_OCTET = 1       # usual names of hosts: letters, digits and ._-
    PROGRAM_OCTET = 2    # usual names of programs
    PID_OCTET = 4        # usual PIDs
    VISIBLE_OCTET = 8    # neither a control character nor a space
    NAME_OCTET = 16      # names of programs: visible, without ":[ and the quote
    WORD_OCTET = 32      # programs whose colon was left out
    BRACKETED_OCTET = 64 # between the brackets of a nested tag
    SD_NAME_OCTET = 128  # SD-NAME of RFC 5424 §6.3.2


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


cdef inline Py_ssize_t end_of_run(
    octet *p, Py_ssize_t at, Py_ssize_t end, OctetClass kind
) noexcept nogil:
    """Where the octets of a class that begin at `at` end."""
    while at < end and octet_classes[p[at]] & kind:
        at += 1
    return at


cdef inline bint are_all(octet *p, Py_ssize_t size, OctetClass kind) noexcept nogil:
    """Whether there are octets, and all of them are of a class."""
    return size > 0 and end_of_run(p, 0, size, kind) == size
