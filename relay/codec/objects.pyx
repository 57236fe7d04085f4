# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""Put an app token into the JSON object that a MSG is, in compiled code.

`object_writer` of `relay.rewrite.forms.token` is the reference.  Here it is settled that a MSG is
certainly no object, or certainly one by RFC 8259, and what its members say about tokens.
The reference decides all doubtful cases: syntax errors, half a surrogate pair,
escapes that could spell the name of a member, values that are no plain token, deep nesting.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy

from relay.codec.byte_classes cimport byte, is_digit
from relay.codec.text cimport (
    WORD_BYTES,
    escape_marks,
    first_mark,
    high_bits,
    is_utf8,
    needs_escape,
    word_at,
)

cdef enum:
    LEVELS_MAX = 64        # of objects and arrays, a bit each
    TOKEN_BYTES_MAX = 255
    COOKIE_BYTES = 5

cdef const char *COOKIE = b"@cee:"
cdef const char *BYTE_ORDER_MARK = b"\xef\xbb\xbf"


cdef struct Scan:
    byte *end            # of the object, behind its last brace
    byte *token_key
    Py_ssize_t token_key_size
    uint64_t high         # has a high bit set if anything is not US-ASCII
    bint has_ascii_escape  # in the last string: one that stands for a byte of US-ASCII
    bint has_line_ends    # or tabs between tokens
    bint has_token        # there is a member of that name, with a plain token


cdef class ObjectWriter:
    """Writes objects with an app token.

    Args:
        token_key: The name of the member with the token, printable US-ASCII without quote,
            slash and backslash.
        member: The member that an object without a token gets.
        reference: Makes the same of a MSG: the object, or None if it is none.

    Raises:
        ValueError: `token_key` has other characters.
    """

    def __init__(self, bytes token_key not None, bytes member not None, reference):
        if not token_key or any([c < 0x20 or c > 0x7E or c in b'"/\\' for c in token_key]):
            raise ValueError("the name of the token's member is no plain text")
        self.token_key = token_key
        self.member = member
        self.reference = reference
        self.key = Text(PyBytes_AS_STRING(token_key), PyBytes_GET_SIZE(token_key))
        self.added = Text(PyBytes_AS_STRING(member), PyBytes_GET_SIZE(member))

    def write(self, bytes msg not None):
        """The object that `msg` is, with a token; None if it is no object."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(msg)
        cdef bytes room = PyBytes_FromStringAndSize(
            NULL, size + PyBytes_GET_SIZE(self.member) + MORE_BYTES
        )
        size = self.put(PyBytes_AS_STRING(room), <byte *>PyBytes_AS_STRING(msg), size)
        return None if size == -1 else PyBytes_FromStringAndSize(PyBytes_AS_STRING(room), size)

    cdef Py_ssize_t put(
        self, char *to, const unsigned char *msg, Py_ssize_t size
    ) except -2 nogil:
        """Write the object that `msg` is; returns its size in bytes.

        -1 = `msg` is no object, and nothing is written.  There is room for `size`, the member
        and MORE_BYTES, apart from `msg`.

        Raises:
            ValueError: The reference makes more than there is room for.
        """
        cdef Scan scan
        cdef byte *p = msg
        cdef byte *end = msg + size
        cut_to_object(&p, &end)
        if end - p < 2 or p[0] != c"{" or (end - 1)[0] != c"}":
            return -1
        scan.end = end
        scan.token_key = <byte *>self.key.at
        scan.token_key_size = self.key.size
        scan.high = 0
        scan.has_line_ends = scan.has_token = False
        if not is_object(p, &scan):
            return self.ask(to, msg, size)
        if high_bits(scan.high) and not is_utf8(p, end):
            return -1
        if scan.has_token:
            put_on_one_line(to, p, &scan)
            return end - p
        return put_with_member(to, p, &scan, self.added)

    cdef Py_ssize_t ask(self, char *to, byte *msg, Py_ssize_t size) except -2 with gil:
        """The same as `put`, by the reference."""
        cdef bytes written
        written = self.reference(PyBytes_FromStringAndSize(<const char *>msg, size))
        if written is None:
            return -1
        if PyBytes_GET_SIZE(written) > size + PyBytes_GET_SIZE(self.member) + MORE_BYTES:
            raise ValueError("an object became longer than there is room for")
        memcpy(to, PyBytes_AS_STRING(written), PyBytes_GET_SIZE(written))
        return PyBytes_GET_SIZE(written)


cdef inline bint is_space(byte c) noexcept nogil:
    return c == c" " or c == c"\n" or c == c"\r" or c == c"\t"


cdef inline void cut_to_object(byte **start, byte **stop) noexcept nogil:
    """Leave out the byte order mark, the cookie and the whitespace around the object."""
    cdef byte *p = start[0]
    cdef byte *end = stop[0]
    if end - p >= 3 and memcmp(p, BYTE_ORDER_MARK, 3) == 0:
        p += 3
    while p < end and is_space(p[0]):
        p += 1
    while p < end and is_space((end - 1)[0]):
        end -= 1
    if end - p >= COOKIE_BYTES and memcmp(p, COOKIE, COOKIE_BYTES) == 0:
        p += COOKIE_BYTES
        while p < end and is_space(p[0]):
            p += 1
    start[0] = p
    stop[0] = end


cdef inline void put_on_one_line(char *to, byte *p, Scan *scan) noexcept nogil:
    """Write the rest of an object with its line ends, which are between tokens, as spaces."""
    cdef Py_ssize_t size = scan.end - p
    cdef Py_ssize_t i
    memcpy(to, p, size)
    if scan.has_line_ends:
        for i in range(size):  # without a branch, so that the compiler takes many at a time
            to[i] = c" " if <int>(to[i] == c"\n") | <int>(to[i] == c"\r") else to[i]


cdef inline Py_ssize_t put_with_member(
    char *to, byte *p, Scan *scan, Text member
) noexcept nogil:
    """Write an object with `member` first; returns its size."""
    cdef char *start = to
    to[0] = c"{"
    memcpy(to + 1, member.at, member.size)
    to += member.size + 1
    p = after_space(p + 1, scan)
    if scan.end - p > 1:
        to[0] = c","
        to[1] = c" "
        to += 2
    put_on_one_line(to, p, scan)
    return to + (scan.end - p) - start


# The last byte of the object is a brace.  It is no part of a number and no space, and
# ends no string, so that one more byte can be read behind these without a look at the end.


cdef inline bint is_object(byte *p, Scan *scan) noexcept nogil:
    """Whether an object begins at `p` and ends where the bytes end, certainly (RFC 8259).

    Whether the strings are UTF-8 is not looked at.
    """
    cdef uint64_t objects = 0  # which of the levels are objects; the lowest bit is the innermost
    cdef int levels = 0
    cdef unsigned char first
    while True:  # a value begins at p
        first = p[0]
        if first == c'"':
            p = string_end(p + 1, scan)
        elif first == c"{" or first == c"[":
            if levels == LEVELS_MAX:
                return False
            levels += 1
            objects = objects << 1 | <uint64_t>(first == c"{")
            p = after_space(p + 1, scan)
            if p[0] != first + 2:  # the bracket that closes it
                if first == c"{":
                    p = value_of_member(p, scan, levels == 1)
                    if p == NULL:
                        return False
                continue
        else:
            p = number_end(p) if first == c"-" or is_digit(first) else word_end(p, scan.end)
        while True:  # behind a value
            if p == NULL or p == scan.end:
                return False
            p = after_space(p, scan)
            if p[0] == c",":
                break
            if p[0] != (c"}" if objects & 1 else c"]"):
                return False
            p += 1
            levels -= 1
            objects >>= 1
            if levels == 0:
                return p == scan.end
        p = after_space(p + 1, scan)
        if objects & 1:
            p = value_of_member(p, scan, levels == 1)
            if p == NULL:
                return False


cdef inline byte *after_space(byte *p, Scan *scan) noexcept nogil:
    """Behind the whitespace at `p`, if there is any."""
    while is_space(p[0]):
        if p[0] != c" ":
            scan.has_line_ends = True
        p += 1
    return p


cdef inline byte *value_of_member(byte *p, Scan *scan, bint is_top) noexcept nogil:
    """Where the value of the member at `p` begins; NULL = that is not certain.

    A token is noted if the object is not in another one.
    """
    cdef byte *name = p + 1
    cdef Py_ssize_t size
    if p[0] != c'"':
        return NULL
    scan.has_ascii_escape = False
    p = string_end(name, scan)
    if p == NULL:
        return NULL
    size = p - name - 1
    p = after_space(p, scan)
    if p[0] != c":":
        return NULL
    p = after_space(p + 1, scan)
    if is_top and not is_noted(scan, name, size, p):
        return NULL
    return p


cdef inline bint is_noted(Scan *scan, byte *name, Py_ssize_t size, byte *value) noexcept nogil:
    """Note what a member is; False = that is not certain."""
    if scan.has_ascii_escape:  # others cannot stand for a character of the name
        return False
    if size == scan.token_key_size and memcmp(name, scan.token_key, size) == 0:
        if scan.has_token or not is_plain_token(value, scan.end):
            return False
        scan.has_token = True
    return True


cdef inline bint is_plain_token(byte *p, byte *end) noexcept nogil:
    """Whether a string of printable US-ASCII, no spaces, no escapes, begins at `p`."""
    cdef Py_ssize_t size = 0
    if p[0] != c'"':
        return False
    p += 1
    while size <= TOKEN_BYTES_MAX and p + size < end and p[size] != c'"':
        if p[size] <= 0x20 or p[size] > 0x7E or p[size] == c"\\":
            return False
        size += 1
    return 1 <= size <= TOKEN_BYTES_MAX


cdef inline byte *string_end(byte *p, Scan *scan) noexcept nogil:
    """Behind the quote that ends the string whose text begins at `p`; NULL = not certain."""
    cdef uint64_t word
    cdef uint64_t marks
    while True:
        if scan.end - p >= WORD_BYTES:
            word = word_at(p)
            scan.high |= word
            marks = escape_marks(word)
            if not marks:
                p += WORD_BYTES
                continue
            p += first_mark(marks)
        elif p == scan.end:
            return NULL
        elif not needs_escape(p[0]):
            scan.high |= p[0]
            p += 1
            continue
        if p[0] == c'"':
            return p + 1
        if p[0] != c"\\":
            return NULL
        p = after_escape(p, scan)
        if p == NULL:
            return NULL


cdef inline byte *after_escape(byte *p, Scan *scan) noexcept nogil:
    """Behind the escape at `p`; NULL = it is none, or half a surrogate pair."""
    cdef int code
    cdef unsigned char letter
    if scan.end - p < 2:
        return NULL
    letter = p[1]
    if letter != c"u":
        if (
            letter == c'"' or letter == c"\\" or letter == c"n" or letter == c"t"
            or letter == c"/" or letter == c"r" or letter == c"b" or letter == c"f"
        ):
            return p + 2
        return NULL
    if scan.end - p < 6:
        return NULL
    code = code_unit(p + 2)
    if code < 0x80:
        if code < 0:
            return NULL
        scan.has_ascii_escape = True
    if code & 0xF800 != 0xD800:
        return p + 6
    if code > 0xDBFF or scan.end - p < 12 or p[6] != c"\\" or p[7] != c"u":
        return NULL
    code = code_unit(p + 8)
    return p + 12 if 0xDC00 <= code <= 0xDFFF else NULL


cdef inline int code_unit(byte *p) noexcept nogil:
    """The number that four hexadecimal digits stand for; -1 if they are not."""
    cdef int code = 0
    cdef int i
    cdef unsigned char letter
    for i in range(4):
        letter = p[i] | 0x20
        if is_digit(p[i]):
            code = code << 4 | p[i] - c"0"
        elif c"a" <= letter <= c"f":
            code = code << 4 | letter - c"a" + 10
        else:
            return -1
    return code


cdef inline byte *number_end(byte *p) noexcept nogil:
    """Behind the number at `p` (RFC 8259 §6); NULL = it is none."""
    if p[0] == c"-":
        p += 1
    if p[0] == c"0":
        p += 1
    else:
        p = after_digits(p)
        if p == NULL:
            return NULL
    if p[0] == c".":
        p = after_digits(p + 1)
        if p == NULL:
            return NULL
    if p[0] == c"e" or p[0] == c"E":
        p += 1
        if p[0] == c"+" or p[0] == c"-":
            p += 1
        p = after_digits(p)
    return p


cdef inline byte *after_digits(byte *p) noexcept nogil:
    """Behind one digit or more; NULL = there is none."""
    if not is_digit(p[0]):
        return NULL
    while is_digit(p[0]):
        p += 1
    return p


cdef inline byte *word_end(byte *p, byte *end) noexcept nogil:
    """Behind ``true``, ``false`` or ``null``; NULL = it is none of them."""
    if end - p >= 4 and (memcmp(p, b"true", 4) == 0 or memcmp(p, b"null", 4) == 0):
        return p + 4
    if end - p >= 5 and memcmp(p, b"false", 5) == 0:
        return p + 5
    return NULL
