# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""Numbers of records in a distributed log, in compiled code.

`relay/wire/record_number.py` has the same in Python, and says what the rule is.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.string cimport memcmp, memcpy

from relay.codec.byte_classes cimport UUID_BYTES, byte, is_digit, is_uuid

ctypedef long long int64

cdef enum:
    DIGITS_MAX = 16  # of 10**15, the highest number
    NUMBER_BYTES_MIN = UUID_BYTES + 4

cdef int64 SEQ_MAX = 1000000000000000
cdef int64 UNKNOWN = -1


cdef inline int64 read_number(byte *p, Py_ssize_t *at, Py_ssize_t end) noexcept nogil:
    """A number without leading zeros, which `at` is moved past; -1 = there is none."""
    cdef Py_ssize_t start = at[0]
    cdef int64 number = 0
    while at[0] < end and at[0] - start <= DIGITS_MAX and is_digit(p[at[0]]):
        number = 10 * number + (p[at[0]] - 0x30)
        at[0] += 1
    if at[0] == start or at[0] - start > DIGITS_MAX or p[start] == c"0" and at[0] - start > 1:
        return -1
    return number


cdef inline bint read_record_number(
    byte *p, Py_ssize_t size, int64 *seq, int64 *prev
) noexcept nogil:
    """Read what follows the lineage; False = the number is malformed."""
    cdef Py_ssize_t at = UUID_BYTES + 1
    if size < NUMBER_BYTES_MIN or p[UUID_BYTES] != c",":
        return False
    seq[0] = read_number(p, &at, size)
    if at >= size or p[at] != c",":
        return False
    at += 1
    prev[0] = read_number(p, &at, size)
    return at == size and 0 <= prev[0] < seq[0] <= SEQ_MAX


cdef inline char *put(char *to, int64 number) noexcept nogil:
    """Write a number that is not negative; returns where it ends."""
    cdef char[24] digits
    cdef int count = 0
    cdef int i
    while True:
        digits[count] = <char>(0x30 + number % 10)
        count += 1
        number //= 10
        if not number:
            break
    for i in range(count):
        to[i] = digits[count - 1 - i]
    return to + count


def format_record_numbers(str lineage not None, seqs, int64 prev) -> list:
    """`relay.wire.record_number.format_record_numbers_in_python`."""
    cdef bytes start = lineage.encode("ascii")
    cdef Py_ssize_t size = PyBytes_GET_SIZE(start)
    cdef char[128] value
    cdef char *end
    cdef int64 seq
    cdef list values = []
    if size > 64 or prev < 0:
        raise ValueError(f"a lineage of {size} bytes, {prev} before its numbers")
    memcpy(value, PyBytes_AS_STRING(start), size)
    value[size] = c","
    for seq in seqs:
        if seq < 0:
            raise ValueError(f"a number of {seq}")
        end = put(value + size + 1, seq)
        end[0] = c","
        end = put(end + 1, prev)
        values.append(PyBytes_FromStringAndSize(value, end - value))
        prev = seq
    return values


def judge_numbers(numbers, dict have not None) -> tuple:
    """`relay.wire.record_number.judge_numbers_in_python`, its result as a tuple."""
    cdef list taken = []
    cdef dict moved = {}
    cdef list unknown = []
    cdef Py_ssize_t index = -1, duplicates = 0, held = 0, first_held = -1, malformed = 0
    cdef int64 seq = 0, prev = 0, last = UNKNOWN
    cdef bint has_moved = False
    cdef bytes lineage_of = None  # the value that `lineage` was read from
    cdef byte *p
    cdef object lineage = None, value, known
    for value in numbers:
        index += 1
        if value is None:
            taken.append(index)
            continue
        if type(value) is not bytes:
            raise TypeError(f"a number that is {type(value).__name__}, expected bytes")
        p = <byte *>PyBytes_AS_STRING(value)
        if not read_record_number(p, PyBytes_GET_SIZE(value), &seq, &prev):
            malformed += 1
            taken.append(index)
            continue
        if lineage_of is None or memcmp(p, PyBytes_AS_STRING(lineage_of), UUID_BYTES) != 0:
            if not is_uuid(p, UUID_BYTES, False):
                malformed += 1
                taken.append(index)
                continue
            if has_moved:
                have[lineage] = moved[lineage] = last
                has_moved = False
            lineage = PyUnicode_DecodeASCII(<const char *>p, UUID_BYTES, NULL)
            lineage_of = value
            known = have.get(lineage)
            last = UNKNOWN if known is None else known
        if last == UNKNOWN:
            unknown.append(lineage)
        elif seq <= last:
            duplicates += 1
            continue
        elif last < prev:
            held += 1
            if first_held < 0:
                first_held = index
            continue
        last = seq
        has_moved = True
        taken.append(index)
    if has_moved:
        have[lineage] = moved[lineage] = last
    return taken, moved, unknown, duplicates, held, first_held, malformed
