# cython: language_level=3
"""Text, byte by byte: whether it is UTF-8, and how it is written as a JSON string.

Nothing is read outside what the arguments name.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from relay.codec.byte_classes cimport byte

cdef extern from *:
    """
    /* The offset of the first byte with its high bit set; one has it. */
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #define relay_first_mark(marks) (__builtin_clzll(marks) >> 3)
    #else
    #define relay_first_mark(marks) (__builtin_ctzll(marks) >> 3)
    #endif
    """
    int first_mark "relay_first_mark"(uint64_t marks) noexcept nogil


cdef enum:
    WORD_BYTES = 8


cdef inline uint64_t word_at(byte *p) noexcept nogil:
    """Eight bytes."""
    cdef uint64_t word
    memcpy(&word, p, WORD_BYTES)
    return word


cdef inline uint64_t high_bits(uint64_t word) noexcept nogil:
    """The high bit of each byte that is not US-ASCII."""
    return word & 0x8080808080808080u


cdef inline uint64_t escape_marks(uint64_t word) noexcept nogil:
    """The high bit of each byte that a JSON string cannot hold as it is (RFC 8259 §7).

    These are controls, the quote and the backslash.  No sum carries into another byte.
    """
    # A quote with its second bit inverted is 0x20, and a control stays below that.
    cdef uint64_t above = ((word ^ 0x0202020202020202u) & 0x7F7F7F7F7F7F7F7Fu) + (
        0x5F5F5F5F5F5F5F5Fu
    )
    cdef uint64_t other = ((word ^ 0x5C5C5C5C5C5C5C5Cu) & 0x7F7F7F7F7F7F7F7Fu) + (
        0x7F7F7F7F7F7F7F7Fu
    )
    return ~((above & other) | word) & 0x8080808080808080u


cdef inline bint needs_escape(byte c) noexcept nogil:
    return c < 0x20 or c == c'"' or c == c"\\"


cdef inline bint is_tail(byte c) noexcept nogil:
    """UTF8-tail (RFC 3629 §4)."""
    return c & 0xC0 == 0x80


cdef inline Py_ssize_t sequence_size(byte *p, byte *end) noexcept nogil:
    """How many bytes the character at `p`, which is not US-ASCII, has in UTF-8; 0 if it is none.

    RFC 3629 §4: the shortest form, no surrogates, nothing above U+10FFFF.
    """
    cdef unsigned char first = p[0]
    cdef Py_ssize_t size = end - p
    if first < 0xC2 or first > 0xF4 or size < 2 or not is_tail(p[1]):
        return 0
    if first < 0xE0:
        return 2
    if size < 3 or not is_tail(p[2]):
        return 0
    if first < 0xF0:
        if first == 0xE0 and p[1] < 0xA0 or first == 0xED and p[1] > 0x9F:
            return 0
        return 3
    if size < 4 or not is_tail(p[3]):
        return 0
    if first == 0xF0 and p[1] < 0x90 or first == 0xF4 and p[1] > 0x8F:
        return 0
    return 4


cdef inline bint is_utf8(byte *p, byte *end) noexcept nogil:
    """Whether the bytes from `p` up to `end` are UTF-8; `bytes.decode` is the reference."""
    cdef Py_ssize_t size
    while p < end:
        if p[0] >= 0x80:
            size = sequence_size(p, end)
            if size == 0:
                return False
            p += size
            continue
        while end - p >= WORD_BYTES and not high_bits(word_at(p)):
            p += WORD_BYTES
        while p < end and p[0] < 0x80:
            p += 1
    return True


cdef char *put_string(char *to, const unsigned char *text, Py_ssize_t size) noexcept nogil
