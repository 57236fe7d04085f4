# cython: language_level=3
"""Classes of bytes, and where a part of a line lies."""

from cpython.bytes cimport PyBytes_FromStringAndSize

ctypedef const unsigned char byte

cdef extern from *:
    """
    /* What a byte may be in, as a set of the bits of `ByteClass`; in order of the bytes. */
    static const unsigned char relay_byte_classes[256] = {
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
    const unsigned char byte_classes "relay_byte_classes"[256]

cdef enum ByteClass:
    HOST_BYTE = 1       # usual names of hosts: letters, digits and ._-
    PROGRAM_BYTE = 2    # usual names of programs
    PID_BYTE = 4        # usual PIDs
    VISIBLE_BYTE = 8    # neither a control character nor a space
    NAME_BYTE = 16      # names of programs: visible, without ":[ and the quote
    WORD_BYTE = 32      # programs whose colon was left out
    BRACKETED_BYTE = 64 # between the brackets of a nested tag
    SD_NAME_BYTE = 128  # SD-NAME of RFC 5424 §6.3.2


cdef enum:
    UUID_BYTES = 36


cdef struct Span:
    # Offsets into the line.  An `at` of -1 = the part is missing.
    int at
    int end


cdef inline Span span(Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    return Span(<int>at, <int>end)


cdef inline Span missing() noexcept nogil:
    return Span(-1, -1)


cdef inline bytes bytes_at(byte *p, Span part):
    """The bytes of a part, None if it is missing."""
    if part.at < 0:
        return None
    return PyBytes_FromStringAndSize(<const char *>p + part.at, part.end - part.at)


cdef inline bint is_digit(byte c) noexcept nogil:
    return c"0" <= c <= c"9"


cdef inline bint is_letter(byte c) noexcept nogil:
    return c"a" <= c <= c"z" or c"A" <= c <= c"Z"


cdef inline bint is_alphanumeric(byte c) noexcept nogil:
    return is_letter(c) or is_digit(c)


cdef inline bint is_hexadecimal(byte c) noexcept nogil:
    return is_digit(c) or c"a" <= c <= c"f" or c"A" <= c <= c"F"


cdef inline bint is_uuid(byte *p, Py_ssize_t size, bint any_case) noexcept nogil:
    """Whether bytes are a UUID (RFC 9562 §4), its letters in lower case or in any."""
    cdef Py_ssize_t i
    if size != UUID_BYTES:
        return False
    for i in range(UUID_BYTES):
        if i == 8 or i == 13 or i == 18 or i == 23:
            if p[i] != c"-":
                return False
        elif not is_hexadecimal(p[i]) or (c"A" <= p[i] <= c"F" and not any_case):
            return False
    return True


cdef inline bint is_visible(byte c) noexcept nogil:
    """Whether a byte is neither a control character nor a space; others than US-ASCII are."""
    return c > 0x20 and c != 0x7F


cdef inline bint is_printusascii(byte c) noexcept nogil:
    """PRINTUSASCII of RFC 5424 §6."""
    return 0x21 <= c <= 0x7E


cdef inline bint starts(
    byte *p, Py_ssize_t at, Py_ssize_t end, const char *text, Py_ssize_t size
) noexcept nogil:
    """Whether `text` stands at `at`."""
    cdef Py_ssize_t i
    if end - at < size:
        return False
    for i in range(size):
        if p[at + i] != <byte>text[i]:
            return False
    return True


cdef inline bint is_at(byte *p, Py_ssize_t at, Py_ssize_t end, char c) noexcept nogil:
    """Whether the byte `c` stands at `at`."""
    return at < end and p[at] == <byte>c


cdef inline Py_ssize_t after_blanks(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where the spaces at `at` end."""
    while at < end and p[at] == c" ":
        at += 1
    return at


cdef inline Py_ssize_t end_of_word(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where a word ends that a space follows; `at` = there is none."""
    cdef Py_ssize_t stop = at
    while stop < end and p[stop] != c" ":
        stop += 1
    return stop if stop < end else at


cdef inline Py_ssize_t end_of_run(
    byte *p, Py_ssize_t at, Py_ssize_t end, ByteClass kind
) noexcept nogil:
    """Where the bytes of a class that begin at `at` end."""
    while at < end and byte_classes[p[at]] & kind:
        at += 1
    return at


cdef inline bint are_all(byte *p, Py_ssize_t size, ByteClass kind) noexcept nogil:
    """Whether there are bytes, and all of them are of a class."""
    return size > 0 and end_of_run(p, 0, size, kind) == size
