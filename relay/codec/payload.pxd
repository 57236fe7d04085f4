# cython: language_level=3
"""What all compiled modules do with a payload."""

from cpython.bytes cimport PyBytes_Check, PyBytes_GET_SIZE


cdef inline Py_ssize_t size_of(object payload) except -1:
    """Its octets; TypeError if it is not bytes."""
    if not PyBytes_Check(payload):
        raise TypeError(f"expected bytes, found {type(payload).__name__}")
    return PyBytes_GET_SIZE(payload)
