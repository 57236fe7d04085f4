# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""Write text as a JSON string in compiled code; `relay.rewrite.json.text.json_string` is the
reference."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcpy

cdef const char *HEX = b"0123456789abcdef"
# How the controls 0x00 to 0x1F are written behind a backslash; u stands for four digits.
cdef const char *LETTERS = b"uuuuuuuubtnufruuuuuuuuuuuuuuuuuu"


def string(bytes text not None):
    """Write `text` as a JSON string with its quotes, in valid UTF-8."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
    cdef char *room = <char *>PyMem_Malloc(6 * size + 2)
    if room == NULL:
        raise MemoryError
    cdef char *end = put_string(room, <byte *>PyBytes_AS_STRING(text), size)
    try:
        return room[: end - room]
    finally:
        PyMem_Free(room)


cdef char *put_string(char *to, const unsigned char *text, Py_ssize_t size) noexcept nogil:
    """Write `text` as a JSON string with its quotes; room for 6 * size + 2 bytes is there.

    Returns where it ends.  UTF-8 stays as it is.  An byte that is not UTF-8, and NUL, becomes
    the four characters ``\\xNN``, whose backslash is written as two.
    """
    cdef unsigned char high = 0
    cdef unsigned char escapes = 0
    cdef Py_ssize_t i
    for i in range(size):  # without a branch, so that the compiler takes many at a time
        high |= text[i]
        escapes |= <unsigned char>(
            <unsigned char>(text[i] - 0x20) > 0xDF
        ) | <unsigned char>(text[i] == c'"') | <unsigned char>(text[i] == c"\\")
    to[0] = c'"'
    to += 1
    if not escapes and (high < 0x80 or is_utf8(text, text + size)):
        memcpy(to, text, size)
        to += size
    else:
        to = put_pieces(to, text, text + size)
    to[0] = c'"'
    return to + 1


cdef inline char *put_pieces(char *to, byte *p, byte *end) noexcept nogil:
    """Write text of which some bytes must be escaped or replaced."""
    cdef uint64_t word
    cdef uint64_t marks
    while p < end:
        if end - p >= WORD_BYTES:
            # Eight are written and those before the first mark count.  There is room for
            # six times as many.
            word = word_at(p)
            memcpy(to, &word, WORD_BYTES)
            marks = escape_marks(word) | high_bits(word)
            if not marks:
                p += WORD_BYTES
                to += WORD_BYTES
                continue
            to += first_mark(marks)
            p += first_mark(marks)
        if p[0] >= 0x80:
            to = put_characters(to, &p, end)
        elif needs_escape(p[0]):
            to = put_escaped(to, p[0])
            p += 1
        else:
            to[0] = <char>p[0]
            to += 1
            p += 1
    return to


cdef inline char *put_characters(char *to, byte **at, byte *end) noexcept nogil:
    """Write all bytes up to the next of US-ASCII, and move `at` behind them."""
    cdef byte *p = at[0]
    cdef Py_ssize_t size
    while p < end and p[0] >= 0x80:
        size = sequence_size(p, end)
        if size == 0:
            to = put_byte(to, p[0])
            p += 1
            continue
        memcpy(to, p, size)
        to += size
        p += size
    at[0] = p
    return to


cdef inline char *put_escaped(char *to, byte c) noexcept nogil:
    """Write a control, the quote or the backslash."""
    if c == 0:
        return put_byte(to, c)
    to[0] = c"\\"
    if c >= 0x20:
        to[1] = <char>c
        return to + 2
    to[1] = LETTERS[c]
    if LETTERS[c] != c"u":
        return to + 2
    to[2] = to[3] = c"0"
    to[4] = HEX[c >> 4]
    to[5] = HEX[c & 15]
    return to + 6


cdef inline char *put_byte(char *to, byte c) noexcept nogil:
    r"""Write the text ``\xNN`` in a JSON string."""
    to[0] = to[1] = c"\\"
    to[2] = c"x"
    to[3] = HEX[c >> 4]
    to[4] = HEX[c & 15]
    return to + 5
