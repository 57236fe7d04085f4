# cython: language_level=3
"""Payloads of a batch, and how compiled code looks at any sequence of payloads."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_GET_SIZE
from cpython.sequence cimport PySequence_Fast, PySequence_Fast_GET_ITEM, PySequence_Fast_GET_SIZE

from relay.codec.byte_classes cimport byte


cdef struct Piece:
    byte *at
    Py_ssize_t size


cdef class Memory:
    """Bytes, and where the payloads in them are."""

    cdef char *data
    cdef Piece *pieces
    cdef object owners       # of bytes that are not its own


cdef class Payloads:
    cdef Memory memory
    cdef Piece *pieces       # the first one of this sequence
    cdef Py_ssize_t count

    cdef Payloads part(self, Py_ssize_t start, Py_ssize_t stop)
    cdef Py_ssize_t total(self, Py_ssize_t start, Py_ssize_t stop) noexcept


cdef class Row:
    """Any sequence of payloads."""

    cdef Payloads packed     # None = it is another sequence
    cdef object sequence
    cdef Py_ssize_t count


cdef inline Row row_of(object payloads):
    cdef Row row = Row.__new__(Row)
    if isinstance(payloads, Payloads):
        row.packed = payloads
        row.count = row.packed.count
    else:
        row.sequence = PySequence_Fast(payloads, "payloads are no sequence")
        row.count = PySequence_Fast_GET_SIZE(row.sequence)
    return row


cdef inline int look(Row row, Py_ssize_t index, Piece *piece) except -1:
    """Where a payload is; TypeError if it is not bytes."""
    if row.packed is not None:
        piece[0] = row.packed.pieces[index]
        return 0
    payload = <object>PySequence_Fast_GET_ITEM(row.sequence, index)
    if not PyBytes_Check(payload):
        raise TypeError(f"expected bytes, found {type(payload).__name__}")
    piece.at = <byte *>PyBytes_AS_STRING(payload)
    piece.size = PyBytes_GET_SIZE(payload)
    return 0


cdef class Builder:
    """Payloads while they are written, one behind the other."""

    cdef Memory memory
    cdef Py_ssize_t *ends    # of the payloads so far
    cdef Py_ssize_t count
    cdef Py_ssize_t count_max
    cdef Py_ssize_t used
    cdef Py_ssize_t size

    cdef char *reserve(self, Py_ssize_t room) except NULL nogil
    cdef void add(self, char *end) noexcept nogil
    cdef int append(self, bytes payload) except -1
    cdef Payloads built(self)


cdef class Frames:
    """Frames while they are cut from the chunks of a stream."""

    cdef list owners         # of their bytes
    cdef Piece *pieces
    cdef Py_ssize_t count
    cdef Py_ssize_t size     # of `pieces`

    cdef int add(self, object owner, byte *at, Py_ssize_t size) except -1
    cdef object built(self)
