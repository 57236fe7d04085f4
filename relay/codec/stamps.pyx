# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""Time stamps by integer arithmetic, to the same octets as `relay.wire.timestamp`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE


def ends_of(bytes line not None, Py_ssize_t at) -> tuple:
    """Where a BSD, ISO and possible ISO stamp and a name of a zone end that begin at `at`.

    0 stands for one that does not.
    """
    cdef octet *p = <octet *>PyBytes_AS_STRING(line)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(line)
    if not 0 <= at <= size:
        raise ValueError(f"{at} in {size} octets")
    return (
        end_of_bsd_stamp(p, at, size),
        end_of_iso_stamp(p, at, size),
        end_of_possible_iso_stamp(p, at, size),
        end_of_zone_name(p, at, size),
    )
