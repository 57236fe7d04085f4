# cython: language_level=3
"""The rules for a HOSTNAME, as `relay/wire/headers/hostname.py` has it."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy

from relay.codec.byte_classes cimport (
    HOST_BYTE, are_all, is_alphanumeric, is_digit, is_hexadecimal, is_letter, byte,
)

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET6
    int inet_pton(int family, const char *text, void *address)

cdef enum:
    HOSTNAME_BYTES_MAX = 255
    ADDRESS_BYTES_MAX = 45  # of IPv6, the last part as one of IPv4


cdef inline bint is_plain_hostname(byte *p, Py_ssize_t size) noexcept nogil:
    """Whether a name has only letters, digits and ``._-``, 1 to 255 bytes."""
    if size < 1 or size > HOSTNAME_BYTES_MAX or not is_alphanumeric(p[0]):
        return False
    return are_all(p, size, HOST_BYTE)


cdef inline bint is_in_name(byte c) noexcept nogil:
    return (
        is_alphanumeric(c) or c >= 0x80 or c == c"." or c == c"_" or c == c"%" or c == c","
        or c == c"/" or c == c"@" or c == c"+" or c == c"~" or c == c"#" or c == c"-"
    )


cdef enum Answer:
    NO = 0
    YES = 1
    ASK = 2  # the reference


cdef inline bint may_begin_name(byte c) noexcept nogil:
    return is_alphanumeric(c) or c >= 0x80 or c == c"_" or c == c"%" or c == c"-"


cdef inline Answer is_name(byte *p, Py_ssize_t size) noexcept nogil:
    """Whether a word is a name that is no address."""
    cdef bint is_named, is_ascii
    cdef Py_ssize_t i
    if size < 1 or not may_begin_name(p[0]) or (p[0] == c"-" and size > 1):
        return NO
    is_named = p[size - 1] == c"-"
    is_ascii = True
    for i in range(size):
        if not is_in_name(p[i]):
            return NO
        if is_alphanumeric(p[i]) or p[i] == c"_":
            is_named = True
        elif p[i] >= 0x80:
            is_named = True
            is_ascii = False
    if not is_named:
        return NO
    return YES if is_ascii else ASK


cdef inline Answer is_ipv6(byte *p, Py_ssize_t size) noexcept nogil:
    """Whether a word is an address of IPv6, perhaps in brackets; one with a zone is asked about."""
    cdef char[ADDRESS_BYTES_MAX + 1] word
    cdef unsigned char[16] address
    cdef Py_ssize_t i = 0
    if size >= 2 and p[0] == c"[" and p[size - 1] == c"]":
        p += 1
        size -= 2
    while i < size and is_hexadecimal(p[i]):
        i += 1
    if i == size or p[i] != c":":
        return NO
    while i < size and (is_hexadecimal(p[i]) or p[i] == c":" or p[i] == c"."):
        i += 1
    if i < size:
        return ASK if p[i] == c"%" else NO
    if size > ADDRESS_BYTES_MAX:
        return NO
    memcpy(word, p, size)
    word[size] = 0
    return YES if inet_pton(AF_INET6, word, address) == 1 else NO


cdef inline bint is_ipv4(byte *p, Py_ssize_t size) noexcept nogil:
    """Whether a word is an address of IPv4: four numbers without zeros in front."""
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t start
    cdef int part, number
    for part in range(4):
        start = i
        number = 0
        while i < size and is_digit(p[i]) and i - start < 3:
            number = number * 10 + p[i] - 0x30
            i += 1
        if i == start or number > 255 or (p[start] == c"0" and i - start > 1):
            return False
        if part < 3:
            if i == size or p[i] != c".":
                return False
            i += 1
    return i == size


cdef inline bint ask(
    byte *p, Py_ssize_t size, void *references, int which
) except -1 nogil:
    """Ask the reference about a word."""
    with gil:
        return (<tuple>references)[which](PyBytes_FromStringAndSize(<const char *>p, size))


cdef inline bint is_hostname(byte *p, Py_ssize_t size, void *references) except -1 nogil:
    """Whether a word is the name of a host, an address, or the NILVALUE.

    Args:
        references: A tuple of `is_hostname` and `is_leading_hostname` in Python, which judge names
            that are not US-ASCII, and addresses with a zone.
    """
    cdef Answer answer
    if is_plain_hostname(p, size):
        return True
    if size > HOSTNAME_BYTES_MAX:
        return False
    answer = is_name(p, size)
    if answer == NO:
        answer = is_ipv6(p, size)
    if answer != ASK:
        return answer == YES
    return ask(p, size, references, 0)


cdef inline bint is_leading_hostname(byte *p, Py_ssize_t size, void *references) except -1 nogil:
    """Whether a word where no stamp is in front of it is a host: a name with a letter in it, or
    an address."""
    cdef Py_ssize_t i
    cdef Answer answer
    cdef bint has_letter = False
    if size > HOSTNAME_BYTES_MAX or size < 1:
        return False
    if p[0] != c"-":
        for i in range(size):
            if is_letter(p[i]) or p[i] >= 0x80:
                has_letter = True
            elif not (is_digit(p[i]) or p[i] == c"." or p[i] == c"_" or p[i] == c"-"):
                has_letter = False
                break
        if has_letter:
            return is_hostname(p, size, references)
    answer = is_ipv6(p, size)
    if answer == YES:
        return True
    if answer == ASK:
        return ask(p, size, references, 1)
    if size >= 2 and p[0] == c"[" and p[size - 1] == c"]":
        return is_ipv4(p + 1, size - 2)
    return is_ipv4(p, size)
