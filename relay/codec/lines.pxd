# cython: language_level=3

from relay.codec.line cimport Line
from relay.codec.byte_classes cimport byte


cdef class Reader:
    cdef object message_type
    cdef object reference
    cdef tuple names     # `is_hostname` and `is_leading_hostname` of the reference
    cdef void *references  # the same, for code without the GIL
    cdef tuple tags
    cdef int default_pri
    cdef bint expects_host
    cdef bint reads_rfc5424

    cdef int read_line(self, byte *p, Py_ssize_t size, Line *line) except -1 nogil
    cdef int read_from(
        self, byte *p, Py_ssize_t at, Py_ssize_t end, Line *line
    ) except -1 nogil


cdef class Lines:
    cdef readonly object frames
    cdef object owners   # of the bytes: the same frames, immutable
    cdef Reader reader
    cdef Line *rows
    cdef Py_ssize_t count
    cdef list made       # messages made so far
    cdef list recent     # the last word of each column: most lines of a batch share theirs
    cdef list buffers    # copies of lines with new values behind them
    cdef list added      # tuples of tags that steps have added; the first is empty

    cdef int take(self, Lines base) except -1
    cdef int edit(self, Py_ssize_t index, list changes) except -1
    cdef int add_tags(self, Py_ssize_t index, tuple tags, dict known) except -1
    cdef object message_at(self, Py_ssize_t index)
    cdef object value_at(self, Py_ssize_t index, int column)


cdef tuple tags_of(Line *line, tuple tags, list added)
