# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""The payloads of a batch in one piece of memory: a sequence of bytes without an object for each.

A payload becomes an object when it is accessed.  A slice shares the memory, which lives as
long as one of them does.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from relay.codec.byte_classes cimport byte


cdef class Memory:
    def __cinit__(self):
        self.data = NULL
        self.pieces = NULL

    def __dealloc__(self):
        free(self.data)
        PyMem_Free(self.pieces)


cdef class Row:
    pass


cdef class Payloads:
    """A sequence of payloads.  Made by compiled code only; equal to a list of the same payloads."""

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        cdef Py_ssize_t i, start, stop, step
        if isinstance(index, slice):
            start, stop, step = index.indices(self.count)
            if step == 1:
                return self.part(start, max(start, stop))
            return [self[i] for i in range(start, stop, step)]
        if not -self.count <= index < self.count:
            raise IndexError(f"payload {index} of {self.count}")
        i = index
        if i < 0:
            i += self.count
        return PyBytes_FromStringAndSize(<const char *>self.pieces[i].at, self.pieces[i].size)

    # Without it `b"" in payloads`, which each batch asks, would make an object for each payload.
    def __contains__(self, payload):
        cdef Py_ssize_t i, size
        if not isinstance(payload, bytes):
            return False
        size = len(payload)
        for i in range(self.count):
            if self.pieces[i].size == size and (
                memcmp(self.pieces[i].at, <const char *>payload, size) == 0
            ):
                return True
        return False

    def __eq__(self, other):
        if not isinstance(other, (Payloads, list, tuple)):
            return NotImplemented
        return list(self) == list(other)

    __hash__ = None

    def __repr__(self):
        return f"Payloads({list(self)})"

    cdef Payloads part(self, Py_ssize_t start, Py_ssize_t stop):
        cdef Payloads part = Payloads.__new__(Payloads)
        part.memory = self.memory
        part.pieces = self.pieces + start
        part.count = stop - start
        return part

    cdef Py_ssize_t total(self, Py_ssize_t start, Py_ssize_t stop) noexcept:
        cdef Py_ssize_t total = 0
        cdef Py_ssize_t i
        for i in range(start, stop):
            total += self.pieces[i].size
        return total


cdef class Builder:
    def __cinit__(self, Py_ssize_t count_max, Py_ssize_t size):
        self.ends = NULL
        self.memory = Memory()
        self.memory.data = <char *>malloc(max(1, size))
        self.ends = <Py_ssize_t *>PyMem_Malloc(max(1, count_max) * sizeof(Py_ssize_t))
        if self.memory.data == NULL or self.ends == NULL:
            raise MemoryError()
        self.count = self.used = 0
        self.count_max = count_max
        self.size = size

    def __dealloc__(self):
        PyMem_Free(self.ends)

    cdef char *reserve(self, Py_ssize_t room) except NULL nogil:
        """Where the next payload is to be written; there is room for so many bytes."""
        cdef char *data
        cdef Py_ssize_t size
        if self.count == self.count_max:
            with gil:
                raise ValueError(f"more than {self.count_max} payloads")
        if self.size - self.used < room:
            size = max(self.used + room, 2 * self.size)
            data = <char *>realloc(self.memory.data, size)
            if data == NULL:
                with gil:
                    raise MemoryError()
            self.memory.data = data
            self.size = size
        return self.memory.data + self.used

    cdef void add(self, char *end) noexcept nogil:
        """A payload was written where `reserve` said, and ends here."""
        self.used = end - self.memory.data
        self.ends[self.count] = self.used
        self.count += 1

    cdef int append(self, bytes payload) except -1:
        cdef Py_ssize_t size = len(payload)
        cdef char *to = self.reserve(size + 1)
        memcpy(to, <const char *>payload, size)
        self.add(to + size)
        return 0

    cdef Payloads built(self):
        """All payloads; nothing can be added any more."""
        cdef Payloads payloads = Payloads.__new__(Payloads)
        cdef Memory memory = self.memory
        cdef char *data = <char *>realloc(memory.data, max(1, self.used))
        cdef Py_ssize_t start = 0
        cdef Py_ssize_t i
        if data != NULL:
            memory.data = data
        memory.pieces = <Piece *>PyMem_Malloc(max(1, self.count) * sizeof(Piece))
        if memory.pieces == NULL:
            raise MemoryError()
        for i in range(self.count):
            memory.pieces[i].at = <byte *>memory.data + start
            memory.pieces[i].size = self.ends[i] - start
            start = self.ends[i]
        self.memory = None
        payloads.memory = memory
        payloads.pieces = memory.pieces
        payloads.count = self.count
        return payloads


cdef enum:
    FRAMES_AT_FIRST = 64
    FEW = 16  # frames that are not worth that their chunk is kept


cdef class Frames:
    """A list of frames that does not copy those that lie in a chunk."""

    def __cinit__(self):
        self.pieces = NULL
        self.owners = []
        self.count = self.size = 0

    def __dealloc__(self):
        PyMem_Free(self.pieces)

    def __len__(self):
        return self.count

    def append(self, bytes frame not None):
        self.add(frame, <byte *><const char *>frame, len(frame))

    def __iadd__(self, frames):
        for frame in frames:
            self.append(frame)
        return self

    cdef int add(self, object owner, byte *at, Py_ssize_t size) except -1:
        """Add the bytes at `at`, which `owner` keeps."""
        cdef Piece *pieces
        cdef Py_ssize_t more
        if self.count == self.size:
            more = max(FRAMES_AT_FIRST, 2 * self.size)
            pieces = <Piece *>PyMem_Realloc(self.pieces, more * sizeof(Piece))
            if pieces == NULL:
                raise MemoryError()
            self.pieces = pieces
            self.size = more
        if not self.owners or self.owners[len(self.owners) - 1] is not owner:
            self.owners.append(owner)
        self.pieces[self.count] = Piece(at, size)
        self.count += 1
        return 0

    cdef object built(self):
        cdef Payloads payloads
        cdef Memory memory
        cdef Py_ssize_t i
        if self.count < FEW:
            return [
                PyBytes_FromStringAndSize(<const char *>self.pieces[i].at, self.pieces[i].size)
                for i in range(self.count)
            ]
        memory = Memory()
        memory.pieces = self.pieces
        memory.owners = self.owners
        payloads = Payloads.__new__(Payloads)
        payloads.memory = memory
        payloads.pieces = self.pieces
        payloads.count = self.count
        self.pieces = NULL
        self.owners = []
        self.count = self.size = 0
        return payloads


def new_frames():
    """`relay.codec.reference.new_frames`."""
    return Frames()


def built(Frames frames not None):
    """`relay.codec.reference.built`."""
    return frames.built()


def joined(runs):
    """`relay.codec.reference.joined`: the payloads of all runs as one sequence.

    Their bytes stay where they are.
    """
    cdef list rows = list(runs)
    cdef Payloads run
    cdef Payloads whole
    cdef Memory memory
    cdef Py_ssize_t count = 0
    if len(rows) == 1:
        return rows[0]
    for row in rows:
        if not isinstance(row, Payloads):
            return [payload for row in rows for payload in row]
        run = row
        count += run.count
    memory = Memory()
    memory.pieces = <Piece *>PyMem_Malloc(max(1, count) * sizeof(Piece))
    if memory.pieces == NULL:
        raise MemoryError()
    memory.owners = [(<Payloads>row).memory for row in rows]
    whole = Payloads.__new__(Payloads)
    whole.memory = memory
    whole.pieces = memory.pieces
    whole.count = count
    count = 0
    for run in rows:
        memcpy(memory.pieces + count, run.pieces, run.count * sizeof(Piece))
        count += run.count
    return whole


def packed(payloads):
    """A sequence of bytes as `Payloads`."""
    cdef Builder builder = Builder(len(payloads), sum(map(len, payloads)) + len(payloads))
    for payload in payloads:
        builder.append(payload)
    return builder.built()
