# cython: language_level=3
"""JSON objects that MSGs are, and how an app token is put into them."""

from relay.codec.byte_classes cimport byte

cdef enum:
    MORE_BYTES = 64  # the room that an object needs beyond that of its MSG and its new member


cdef struct Text:
    char *at
    Py_ssize_t size


cdef class ObjectWriter:
    cdef bytes token_key
    cdef bytes member
    cdef object reference
    cdef Text key            # the bytes of the first two
    cdef Text added

    cdef Py_ssize_t put(
        self, char *to, const unsigned char *msg, Py_ssize_t size
    ) except -2 nogil
    cdef Py_ssize_t ask(self, char *to, byte *msg, Py_ssize_t size) except -2 nogil
