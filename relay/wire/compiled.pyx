# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""What is done for each message between socket and queue, in compiled code.

Each function has its twin in Python, named in its docstring, and does the same: the same
octets, and what is not worth a special case here is left to the twin.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_Check,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.sequence cimport PySequence_Fast, PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE
from libc.string cimport memchr, memcmp, memcpy

cdef bytes LF = b"\n"

# Of a number without sign: 2**63 has 19.
cdef enum:
    DIGITS_MAX = 20


cdef inline Py_ssize_t size_of(object payload) except -1:
    if not PyBytes_Check(payload):
        raise TypeError(f"expected bytes, found {type(payload).__name__}")
    return PyBytes_GET_SIZE(payload)


cdef inline Py_ssize_t digits_of(Py_ssize_t number) noexcept nogil:
    cdef Py_ssize_t digits = 1
    while number >= 10:
        number //= 10
        digits += 1
    return digits


cdef inline char *put_number(char *to, Py_ssize_t number, Py_ssize_t digits) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(digits):
        to[digits - 1 - i] = <char>(0x30 + number % 10)
        number //= 10
    return to + digits


def octets_of(payloads) -> int:
    """`relay.wire.sizes.plain_octets_of`."""
    cdef object row = PySequence_Fast(payloads, "payloads are no sequence")
    cdef Py_ssize_t octets = 0
    cdef Py_ssize_t i
    for i in range(PySequence_Fast_GET_SIZE(row)):
        octets += size_of(<object>PySequence_Fast_GET_ITEM(row, i))
    return octets


def fitting(payloads, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t octets_max) -> int:
    """`relay.wire.sizes.plain_fitting`."""
    cdef object row = PySequence_Fast(payloads, "payloads are no sequence")
    cdef Py_ssize_t octets = 0
    cdef Py_ssize_t i
    if start < 0:
        raise ValueError(f"a start of {start}")
    for i in range(start, min(stop, PySequence_Fast_GET_SIZE(row))):
        octets += size_of(<object>PySequence_Fast_GET_ITEM(row, i))
        if octets > octets_max:
            return i - start
    return max(0, min(stop, PySequence_Fast_GET_SIZE(row)) - start)


def split_lines(bytes text not None, Py_ssize_t line_bytes_max, bint keep_empty):
    """The lines of `text`, as `NewlineDecoder` cuts them; None if one of them is too long."""
    cdef const char *p = PyBytes_AS_STRING(text)
    cdef const char *end = p + PyBytes_GET_SIZE(text)
    cdef const char *stop
    cdef Py_ssize_t size
    cdef list lines = []
    while True:
        stop = <const char *>memchr(p, c"\n", end - p)
        if stop == NULL:
            stop = end
        size = stop - p
        if size and p[size - 1] == c"\r":
            size -= 1
        if size > line_bytes_max:
            return None
        if size:
            lines.append(PyBytes_FromStringAndSize(p, size))
        elif keep_empty:
            lines.append(LF)
        if stop == end:
            return lines
        p = stop + 1


def encode_syslog(Py_ssize_t first_txnr, payloads) -> bytes:
    """`relay.wire.relp_frame.plain_encode_syslog`."""
    cdef object row = PySequence_Fast(payloads, "payloads are no sequence")
    cdef Py_ssize_t count = PySequence_Fast_GET_SIZE(row)
    cdef Py_ssize_t octets = 0
    cdef Py_ssize_t i, size
    if first_txnr < 0:
        raise ValueError(f"a txnr of {first_txnr}")
    for i in range(count):
        size = size_of(<object>PySequence_Fast_GET_ITEM(row, i))
        octets += digits_of(first_txnr + i) + 8 + digits_of(size) + 1 + size + 1
    frames = PyBytes_FromStringAndSize(NULL, octets)
    cdef char *to = PyBytes_AS_STRING(frames)
    cdef object payload
    for i in range(count):
        payload = <object>PySequence_Fast_GET_ITEM(row, i)
        size = PyBytes_GET_SIZE(payload)
        to = put_number(to, first_txnr + i, digits_of(first_txnr + i))
        memcpy(to, b" syslog ", 8)
        to = put_number(to + 8, size, digits_of(size))
        to[0] = c" "
        memcpy(to + 1, PyBytes_AS_STRING(payload), size)
        to[size + 1] = c"\n"
        to += size + 2
    return frames


def encode_answers(Py_ssize_t first_txnr, Py_ssize_t count) -> bytes:
    """``200 OK`` for consecutive frames that do not wrap."""
    cdef Py_ssize_t octets = 0
    cdef Py_ssize_t i
    if first_txnr < 0 or count < 0:
        raise ValueError(f"{count} answers from {first_txnr} on")
    for i in range(count):
        octets += digits_of(first_txnr + i) + 14
    answers = PyBytes_FromStringAndSize(NULL, octets)
    cdef char *to = PyBytes_AS_STRING(answers)
    for i in range(count):
        to = put_number(to, first_txnr + i, digits_of(first_txnr + i))
        memcpy(to, b" rsp 6 200 OK\n", 14)
        to += 14
    return answers


cdef inline const char *read_number(
    const char *p, const char *end, Py_ssize_t *number
) noexcept nogil:
    """Read 1 to 9 digits and the SP behind them; NULL if they are not there."""
    cdef const char *start = p
    number[0] = 0
    while p < end and c"0" <= p[0] <= c"9" and p - start < 9:
        number[0] = number[0] * 10 + p[0] - c"0"
        p += 1
    return p + 1 if p > start and p < end and p[0] == c" " else NULL


def cut_run(bytes buffer not None, Py_ssize_t first_txnr, Py_ssize_t data_bytes_max):
    """`relay.wire.relp_run.plain_cut_run`."""
    cdef const char *start = PyBytes_AS_STRING(buffer)
    cdef const char *end = start + PyBytes_GET_SIZE(buffer)
    cdef const char *frame = start
    cdef const char *p
    cdef Py_ssize_t txnr = first_txnr
    cdef Py_ssize_t number, size
    cdef list messages = []
    while frame < end:
        p = read_number(frame, end, &number)
        if p == NULL or number != txnr or end - p < 7 or memcmp(p, b"syslog ", 7) != 0:
            break
        p = read_number(p + 7, end, &size)
        if p == NULL or size > data_bytes_max or end - p <= size or p[size] != c"\n":
            break
        messages.append(PyBytes_FromStringAndSize(p, size))
        frame = p + size + 1
        txnr += 1
    return messages, frame - start
