# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""Frames of TCP and RELP, and sizes of payloads, in compiled code.

`relay/codec/reference.py` has the same in Python.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcmp, memcpy, memset

from relay.codec.byte_classes cimport byte, is_digit
from relay.codec.payloads cimport Frames, Piece, Row, look, row_of

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "string.h" nogil:
    void *memmem(const void *text, size_t size, const void *part, size_t part_size)

cdef bytes LF = b"\n"

# Of a number without sign: 2**63 has 19.
cdef enum:
    DIGITS_MAX = 20


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


def total_bytes(payloads) -> int:
    """`relay.codec.reference.total_bytes`."""
    cdef Row row = row_of(payloads)
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t i
    cdef Piece piece
    if row.packed is not None:
        return row.packed.total(0, row.count)
    for i in range(row.count):
        look(row, i, &piece)
        total += piece.size
    return total


def tally(payloads, list severities not None, int default) -> int:
    """`relay.codec.reference.tally`."""
    cdef Row row = row_of(payloads)
    cdef Py_ssize_t[8] counts
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t i
    cdef Piece piece
    if len(severities) != 8:
        raise ValueError(f"{len(severities)} severities, expected 8")
    memset(counts, 0, sizeof(counts))
    for i in range(row.count):
        look(row, i, &piece)
        total += piece.size
        counts[severity_of(<const char *>piece.at, piece.size, default)] += 1
    for i in range(8):
        if counts[i]:
            severities[i] += counts[i]
    return total


cdef inline int severity_of(const char *p, Py_ssize_t size, int default) noexcept nogil:
    cdef Py_ssize_t at = 1
    cdef int pri = 0
    if size < 3 or p[0] != c"<":
        return default
    while at < size and at < 4 and is_digit(p[at]):
        pri = 10 * pri + (p[at] - 0x30)
        at += 1
    return pri & 7 if at > 1 and at < size and p[at] == c">" and pri < 192 else default


def fitting(payloads, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t bytes_max) -> int:
    """`relay.codec.reference.fitting`."""
    cdef Row row = row_of(payloads)
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t i
    cdef Piece piece
    if start < 0:
        raise ValueError(f"a start of {start}")
    for i in range(start, min(stop, row.count)):
        look(row, i, &piece)
        total += piece.size
        if total > bytes_max:
            return i - start
    return max(start, min(stop, row.count)) - start


cdef inline const char *after_pri(const char *p, const char *end) noexcept nogil:
    """Where a PRI of 1 to 3 digits ends; NULL if there is none, or not all of it."""
    cdef const char *start = p + 1
    if p >= end or p[0] != c"<":
        return NULL
    p += 1
    while p < end and is_digit(p[0]) and p - start < 3:
        p += 1
    return p + 1 if p > start and p < end and p[0] == c">" else NULL


cdef inline bint may_begin_frame(const char *start, const char *end) noexcept nogil:
    """Whether another frame may begin behind `start`: a count or LF stands before a ``<``."""
    cdef const char *p = start
    while True:
        p = <const char *>memchr(p, c"<", end - p)
        if p == NULL:
            # Its last bytes may be the first ones of a count with a PRI.
            return end - start >= 2 and end[-1] == c" " and is_digit(end[-2])
        if p > start and p[-1] == c"\n" or p - start >= 2 and p[-1] == c" " and is_digit(p[-2]):
            return True
        p += 1


cdef enum:
    LINE, FRAME, PART, UNUSUAL


cdef int counted_at(
    const char *p, const char *end, Py_ssize_t frame_bytes_max, bint counts,
    const char **body, Py_ssize_t *length,
) noexcept nogil:
    """Whether a count with a PRI begins at `p`, or a line, or a case that is left to Python."""
    cdef const char *pri_end
    cdef const char *start = p
    length[0] = 0
    while p < end and is_digit(p[0]) and p - start < 10:
        length[0] = 10 * length[0] + p[0] - c"0"
        p += 1
    if p == start:
        return LINE
    if p >= end - 1:
        return UNUSUAL
    if p[0] != c" ":
        return LINE
    body[0] = p + 1
    pri_end = after_pri(p + 1, end)
    if pri_end == NULL or start[0] == c"0":
        return UNUSUAL if counts or p[1] == c"<" or start[0] == c"0" else LINE
    if length[0] > frame_bytes_max or length[0] < pri_end - body[0]:
        return UNUSUAL
    if length[0] > end - body[0]:
        return PART
    return UNUSUAL if may_begin_frame(body[0] + 1, body[0] + length[0]) else FRAME


def cut_frames(
    bytes data not None, Py_ssize_t start, Py_ssize_t frame_bytes_max, bint keep_empty,
    bint glued, bint counts, Frames frames not None,
) -> tuple:
    """Add the usual frames of `data` from `start` on, as `AutoDecoder` takes them one by one.

    Rare frames are left.

    Args:
        glued: No line has come since the last counted frame, or since the stream's start.
        counts: A counted frame has come.

    Returns:
        Where the first frame that is left begins; what `glued` and `counts` are there; what
        alone is missing of it: so many bytes with those that are there, or, if less than 0,
        the end of a line.
    """
    cdef const char *first = PyBytes_AS_STRING(data)
    cdef const char *end = first + PyBytes_GET_SIZE(data)
    cdef const char *p = first + start
    cdef const char *body = NULL
    cdef const char *stop
    cdef Py_ssize_t size = 0
    cdef int kind
    if not 0 <= start <= PyBytes_GET_SIZE(data) or frame_bytes_max < 1:
        raise ValueError(f"a start of {start} in {len(data)} bytes, at most {frame_bytes_max}")
    cdef bint has_nul = memchr(p, 0, end - p) != NULL
    while True:
        while glued and p < end and (p[0] == c"\n" or p[0] == c"\r" or p[0] == 0):
            p += 1
        if p == end:
            return p - first, glued, counts, 0
        kind = counted_at(p, end, frame_bytes_max, counts, &body, &size)
        if kind == FRAME:
            frames.add(data, <byte *>body, size)
            glued = counts = True
            p = body + size
            continue
        if kind != LINE:
            return p - first, glued, counts, (body - p + size if kind == PART else 0)
        stop = <const char *>memchr(p, c"\n", end - p)
        if has_nul and memchr(p, 0, (end if stop == NULL else stop) - p) != NULL:
            return p - first, glued, counts, 0
        size = (end if stop == NULL else stop) - p
        if counts and (glued and after_pri(p, end) == NULL or may_begin_frame(p, p + size)):
            return p - first, glued, counts, 0
        if stop == NULL:
            return p - first, glued, counts, (-1 if size - 1 <= frame_bytes_max else 0)
        if size and p[size - 1] == c"\r":
            size -= 1
        if size > frame_bytes_max:
            return p - first, glued, counts, 0
        if size:
            frames.add(data, <byte *>p, size)
        elif keep_empty:
            frames.append(LF)
        glued = False
        p = stop + 1


def cut_slots(buffer, Py_ssize_t slot_bytes, list sizes) -> list:
    """`relay.codec.reference.cut_slots`."""
    cdef Py_buffer found
    PyObject_GetBuffer(buffer, &found, PyBUF_SIMPLE)
    try:
        return slots_of(<const char *>found.buf, found.len, slot_bytes, sizes)
    finally:
        PyBuffer_Release(&found)


cdef list slots_of(const char *p, Py_ssize_t total, Py_ssize_t slot_bytes, list sizes):
    cdef Py_ssize_t i, size
    cdef list frames = []
    if slot_bytes < 1 or total // slot_bytes < len(sizes):
        raise ValueError(f"{len(sizes)} slots of {slot_bytes} in {total} bytes")
    for i in range(len(sizes)):
        size = sizes[i]
        if not 0 <= size <= slot_bytes:
            raise ValueError(f"{size} bytes in a slot of {slot_bytes}")
        frames.append(PyBytes_FromStringAndSize(p + i * slot_bytes, size))
    return frames


def encode_syslog(Py_ssize_t first_txnr, payloads) -> bytes:
    """`relay.codec.reference.encode_syslog`."""
    cdef Row row = row_of(payloads)
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t i
    cdef Piece piece
    if not 0 <= first_txnr <= PY_SSIZE_T_MAX - row.count:
        raise ValueError(f"{row.count} payloads from txnr {first_txnr} on")
    for i in range(row.count):
        look(row, i, &piece)
        total += digits_of(first_txnr + i) + 8 + digits_of(piece.size) + 1 + piece.size + 1
    frames = PyBytes_FromStringAndSize(NULL, total)
    cdef char *to = PyBytes_AS_STRING(frames)
    for i in range(row.count):
        look(row, i, &piece)
        to = put_number(to, first_txnr + i, digits_of(first_txnr + i))
        memcpy(to, b" syslog ", 8)
        to = put_number(to + 8, piece.size, digits_of(piece.size))
        to[0] = c" "
        memcpy(to + 1, piece.at, piece.size)
        to[piece.size + 1] = c"\n"
        to += piece.size + 2
    return frames


def encode_consecutive_answers(Py_ssize_t first_txnr, Py_ssize_t count) -> bytes:
    """``200 OK`` for consecutive frames that do not wrap."""
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t i
    if first_txnr < 0 or not 0 <= count <= PY_SSIZE_T_MAX - first_txnr:
        raise ValueError(f"{count} answers from {first_txnr} on")
    for i in range(count):
        total += digits_of(first_txnr + i) + 14
    answers = PyBytes_FromStringAndSize(NULL, total)
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
    """`relay.codec.reference.cut_run`."""
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


def beginning_with(payloads, int byte) -> list:
    """`relay.codec.reference.beginning_with`."""
    cdef Row row = row_of(payloads)
    cdef Py_ssize_t i
    cdef Piece piece
    cdef list found = []
    for i in range(row.count):
        look(row, i, &piece)
        if piece.size and piece.at[0] == byte:
            found.append(i)
    return found


def containing(payloads, bytes part not None) -> list:
    """`relay.codec.reference.containing`."""
    cdef Row row = row_of(payloads)
    cdef const char *sought = PyBytes_AS_STRING(part)
    cdef size_t size = PyBytes_GET_SIZE(part)
    cdef Py_ssize_t i
    cdef Piece piece
    cdef list found = []
    for i in range(row.count):
        look(row, i, &piece)
        if memmem(piece.at, piece.size, sought, size) != NULL:
            found.append(i)
    return found
