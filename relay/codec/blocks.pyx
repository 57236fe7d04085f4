# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""Blocks put together and taken apart in compiled code; `relay/queue/block.py` defines them."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport UINT32_MAX, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from relay.codec.payloads cimport Piece, Row, look, row_of

cdef enum:
    PREFIX_BYTES = 5  # version and checksum


cdef inline uint32_t number_at(const unsigned char *p) noexcept nogil:
    """The number in four bytes, the least significant first."""
    return p[0] | p[1] << 8 | p[2] << 16 | <uint32_t>p[3] << 24


cdef inline void put_number(unsigned char *to, uint32_t number) noexcept nogil:
    to[0] = number & 0xFF
    to[1] = number >> 8 & 0xFF
    to[2] = number >> 16 & 0xFF
    to[3] = number >> 24


def runs(payloads, Py_ssize_t run_bytes) -> list:
    """`relay.codec.reference.runs`."""
    cdef Row row = row_of(payloads)
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t i
    cdef Piece piece
    cdef list stops = []
    for i in range(row.count):
        look(row, i, &piece)
        total += piece.size
        if total >= run_bytes or i == row.count - 1:
            stops.append(i + 1)
            total = 0
    return stops


def encode_records(int version, bytes header not None, payloads, crc32) -> bytes:
    """`relay.codec.reference.encode_records`.

    Args:
        crc32: Makes the checksum of bytes.
    """
    cdef Row row = row_of(payloads)
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t i
    cdef Piece piece
    for i in range(row.count):
        look(row, i, &piece)
        if piece.size > UINT32_MAX:
            raise ValueError(f"a record of {piece.size} bytes, possible are {UINT32_MAX}")
        total += piece.size
    value = PyBytes_FromStringAndSize(
        NULL, PREFIX_BYTES + PyBytes_GET_SIZE(header) + 4 * row.count + total
    )
    cdef unsigned char *start = <unsigned char *>PyBytes_AS_STRING(value)
    cdef unsigned char *length = start + PREFIX_BYTES
    memcpy(length, PyBytes_AS_STRING(header), PyBytes_GET_SIZE(header))
    length += PyBytes_GET_SIZE(header)
    cdef unsigned char *record = length + 4 * row.count
    for i in range(row.count):
        look(row, i, &piece)
        put_number(length + 4 * i, <uint32_t>piece.size)
        memcpy(record, piece.at, piece.size)
        record += piece.size
    start[0] = version
    put_number(start + 1, crc32(memoryview(value)[PREFIX_BYTES:]))  # no other reference exists yet
    return value


def cut_records(value, Py_ssize_t lengths_at, Py_ssize_t count) -> tuple:
    """The records of a block, and where they end; none if that is not its end.

    Args:
        lengths_at: Offset of their lengths, which are all there.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    try:
        return records_in(<const unsigned char *>view.buf, view.len, lengths_at, count)
    finally:
        PyBuffer_Release(&view)


cdef tuple records_in(
    const unsigned char *p, Py_ssize_t size, Py_ssize_t lengths_at, Py_ssize_t count
):
    cdef Py_ssize_t at, stop, i
    cdef uint32_t length
    cdef list records = []
    if not 0 <= lengths_at <= size or not 1 <= count <= (size - lengths_at) // 4:
        raise ValueError(f"{count} lengths at {lengths_at} are not in {size} bytes")
    at = stop = lengths_at + 4 * count
    for i in range(count):
        stop += number_at(p + lengths_at + 4 * i)
    if stop != size:
        return stop, records
    for i in range(count):
        length = number_at(p + lengths_at + 4 * i)
        records.append(PyBytes_FromStringAndSize(<const char *>p + at, length))
        at += length
    return stop, records


def node_of(key) -> tuple:
    """`relay.codec.node.node_of`.

    What lies around `key` is read: it has to be a key that a cursor of LMDB has given, as a view.
    """
    cdef Py_buffer view
    cdef const unsigned char *at
    cdef uint16_t numbers[4]
    cdef uint64_t page = 0
    PyObject_GetBuffer(key, &view, PyBUF_SIMPLE)
    try:
        at = <const unsigned char *>view.buf
        memcpy(numbers, at - sizeof(numbers), sizeof(numbers))
        if numbers[3] != view.len:
            raise ValueError(f"a key of {view.len} bytes, its node says {numbers[3]}")
        if numbers[2] & 1:
            memcpy(&page, at + view.len, sizeof(page))
    finally:
        PyBuffer_Release(&view)
    return numbers[0] | <uint32_t>numbers[1] << 16, page
