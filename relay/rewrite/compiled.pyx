# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""The rewrites of `straight.py` and `straight_ewmm.py` in compiled code, for usual frames.

Strategy: what the messages of a batch share (tables, halves of objects) is made in Python,
once each; here is only what has to be done for every message.  A payload is a row of pieces, of
which most lie in the frame already, so that it is written in one go.  Frames that this code
does not take are left alone, as everywhere on the straight way: their payloads are empty
and their indexes are said.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcmp, memcpy

from relay.wire.usual_lines cimport UsualLine, find_rfc3164, find_rfc5424, octet

cdef bytes NOTHING = b""
cdef octet *NO_FRACTION = b".000"


cdef struct Piece:
    octet *at
    Py_ssize_t size
    bint is_string       # to be written as a JSON string
    Py_ssize_t escapes   # how many of its octets need a backslash then


cdef inline Piece piece(octet *at, Py_ssize_t size) noexcept nogil:
    return Piece(at, size, False, 0)


cdef inline Piece piece_of(bytes text) noexcept:
    return piece(<octet *>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef inline bytes octets_of(octet *at, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char *>at, size)


cdef inline bint make_string(Piece *text) noexcept nogil:
    """Prepare a piece to be written as a JSON string; False if it is not printable US-ASCII."""
    cdef octet *p = text.at
    cdef Py_ssize_t size = text.size
    cdef Py_ssize_t i
    cdef unsigned char others = 0
    cdef unsigned char escapes = 0
    for i in range(size):  # without a branch, so that the compiler takes many at a time
        others |= <unsigned char>(<unsigned char>(p[i] - 0x20) > 0x5E)
        escapes |= <unsigned char>(p[i] == c'"') | <unsigned char>(p[i] == c"\\")
    if others:
        return False
    text.is_string = True
    if escapes:
        for i in range(size):
            text.escapes += p[i] == c'"' or p[i] == c"\\"
    return True


cdef inline char *put_string(char *to, Piece *text) noexcept nogil:
    """Write printable US-ASCII as a JSON string (RFC 8259 §7)."""
    cdef Py_ssize_t i
    to[0] = c'"'
    to += 1
    if not text.escapes:
        memcpy(to, text.at, text.size)
        to += text.size
    else:
        for i in range(text.size):
            if text.at[i] == c'"' or text.at[i] == c"\\":
                to[0] = c"\\"
                to += 1
            to[0] = <char>text.at[i]
            to += 1
    to[0] = c'"'
    return to + 1


cdef bytes joined(Piece *pieces, Py_ssize_t count):
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t i
    for i in range(count):
        size += pieces[i].size + (pieces[i].escapes + 2 if pieces[i].is_string else 0)
    payload = PyBytes_FromStringAndSize(NULL, size)
    cdef char *to = PyBytes_AS_STRING(payload)
    for i in range(count):
        if pieces[i].is_string:
            to = put_string(to, &pieces[i])
        else:
            memcpy(to, pieces[i].at, pieces[i].size)
            to += pieces[i].size
    return payload


cdef class LastOf:
    """A table that has at hand what it was asked for last; its keys are octets."""

    cdef object table
    cdef bytes key
    cdef object value

    def __init__(self, table):
        self.table = table
        self.key = None

    cdef inline object get(self, octet *at, Py_ssize_t size):
        if (
            self.key is None
            or PyBytes_GET_SIZE(self.key) != size
            or memcmp(PyBytes_AS_STRING(self.key), at, size) != 0
        ):
            key = octets_of(at, size)
            self.value = self.table[key]
            self.key = key
        return self.value


def write_cee(
    list frames,
    bint expects_host,
    starts,
    stamps,
    string,
    own_object,
    Py_ssize_t before_text_bytes,
):
    """The payloads of usual frames, and the indexes of the others.

    Args:
        expects_host: Lines of RFC 3164 name their host.
        starts: What stands between stamp and text, by addressing; None = leave the frame alone.
        stamps: Stamps in RFC 3339, by those of RFC 3164.
        string: Makes a JSON string of any text.
        own_object: Makes an object of a MSG that is one itself, None of others; asked if
            there is a brace in MSG.
        before_text_bytes: How much of each start belongs to the object that a text gets.
    """
    cdef Cee form = Cee()
    form.expects_host = expects_host
    form.starts = LastOf(starts)
    form.stamps = LastOf(stamps)
    form.string = string
    form.own_object = own_object
    form.before_text_bytes = before_text_bytes
    return written(frames, form)


def write_ewmm(list frames, bint expects_host, bytes header, halves, ends, stamps, parts, string):
    """The envelopes of usual frames, and the indexes of the others.

    Args:
        expects_host: Lines of RFC 3164 name their host.
        header: HOSTNAME to MSGID of the envelope.
        halves: What stands before and behind MSG, by addressing.
        ends: What stands behind that; by stamp of RFC 3164, and by None.
        stamps: Stamps with milliseconds, by those of RFC 3164.
        parts: Says what stands before and behind an exact stamp in the end of an object that
            has one; called once a batch, with such a stamp.
        string: Makes a JSON string of any text.
    """
    cdef Ewmm form = Ewmm()
    form.expects_host = expects_host
    form.header = b" %b " % header
    form.halves = LastOf(halves)
    form.ends = LastOf(ends)
    form.stamps = LastOf(stamps)
    form.end = ends[None]
    form.parts = parts
    form.before = form.behind = None
    form.string = string
    return written(frames, form)


cdef written(list frames, Form form):
    cdef list payloads = [NOTHING] * len(frames)
    cdef list left = []
    cdef Py_ssize_t i
    cdef bytes frame
    cdef bytes payload
    for i in range(len(payloads)):
        frame = frames[i]
        payload = None if frame is None else form.payload_of(frame)
        if payload is None:
            left.append(i)
        else:
            payloads[i] = payload
    return payloads, left


cdef class Form:
    """How payloads are written."""

    cdef object string
    cdef bint expects_host

    cdef bytes payload_of(self, bytes frame):
        """The payload of a frame; None if it is left alone."""
        cdef UsualLine line
        cdef octet *p = <octet *>PyBytes_AS_STRING(frame)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
        if find_rfc5424(p, size, &line):
            return self.modern(p, &line)
        if find_rfc3164(p, size, self.expects_host, &line):
            return self.legacy(p, &line)
        return None

    cdef bytes modern(self, octet *p, UsualLine *line):
        """The payload of a message of RFC 5424."""
        raise NotImplementedError

    cdef bytes legacy(self, octet *p, UsualLine *line):
        """The payload of a message of RFC 3164."""
        raise NotImplementedError

    cdef bytes with_text(self, Piece *pieces, Py_ssize_t count, Py_ssize_t index):
        """`pieces` joined, the one at `index` as a JSON string."""
        cdef bytes text
        if not make_string(&pieces[index]):
            text = self.string(octets_of(pieces[index].at, pieces[index].size))
            pieces[index] = piece_of(text)
            return joined(pieces, count)
        return joined(pieces, count)


cdef class Cee(Form):
    cdef LastOf starts
    cdef LastOf stamps
    cdef object own_object
    cdef Py_ssize_t before_text_bytes

    cdef bytes modern(self, octet *p, UsualLine *line):
        if line.msg < line.end and p[line.msg] == c" ":
            line.msg += 1
        cdef bytes start = self.starts.get(p + line.addressing, line.procid_end - line.addressing)
        return self.payload(p, line, piece(p + line.stamp, line.stamp_end - line.stamp), start)

    cdef bytes legacy(self, octet *p, UsualLine *line):
        cdef bytes start = self.starts.get(
            p + line.addressing, line.addressing_end - line.addressing
        )
        cdef bytes stamp = self.stamps.get(p + line.stamp, line.stamp_end - line.stamp)
        return self.payload(p, line, piece_of(stamp), start)

    cdef bytes payload(self, octet *p, UsualLine *line, Piece stamp, bytes start):
        cdef Piece[5] pieces
        cdef bytes written
        if start is None:
            return None
        pieces[0] = piece(p, line.pri_end)
        pieces[1] = stamp
        pieces[2] = piece_of(start)
        pieces[3] = piece(p + line.msg, line.end - line.msg)
        pieces[4] = piece(b"}", 1)
        if memchr(pieces[3].at, c"{", pieces[3].size) != NULL:
            written = self.own_object(octets_of(pieces[3].at, pieces[3].size))
            if written is not None:
                pieces[2].size = max(0, pieces[2].size - self.before_text_bytes)
                pieces[3] = piece_of(written)
                return joined(pieces, 4)
        return self.with_text(pieces, 5, 3)


cdef class Ewmm(Form):
    cdef bytes header
    cdef LastOf halves
    cdef LastOf ends
    cdef LastOf stamps
    cdef bytes end
    cdef object parts
    cdef bytes before
    cdef bytes behind

    cdef bytes modern(self, octet *p, UsualLine *line):
        cdef Piece[13] pieces
        cdef bytes start, middle
        cdef Py_ssize_t digits = max(0, line.fraction_end - line.second_end - 1)
        cdef Py_ssize_t i
        for i in range(line.data, line.data_end):
            if p[i] < 0x20 or p[i] == 0x7F:
                return None
        start, middle = self.halves.get(
            p + line.addressing, line.addressing_end - line.addressing
        )
        pieces[0] = piece(p, line.stamp)  # <PRI>1 and a SP
        pieces[0].size += line.second_end - line.stamp
        pieces[1] = piece(p + line.second_end, min(4, digits + 1) if digits else 0)
        pieces[2] = piece(NO_FRACTION + pieces[1].size, 4 - pieces[1].size)
        pieces[3] = piece(p + line.fraction_end, line.stamp_end - line.fraction_end)
        if p[line.fraction_end] == c"Z" or is_unknown_offset(p + line.fraction_end):
            pieces[3] = piece(b"+00:00", 6)
        pieces[4] = piece_of(self.header)
        pieces[5] = piece(p + line.data, line.data_end - line.data)
        pieces[6] = piece(b" ", 1)
        pieces[7] = piece_of(start)
        pieces[8] = piece(p + line.msg, line.end - line.msg)
        pieces[9] = piece_of(middle)
        pieces[10] = piece_of(self.end)
        if not has_more_than_milliseconds(p, line):
            return self.with_text(pieces, 11, 8)
        self.put_exact(&pieces[10], p + line.stamp, line.stamp_end - line.stamp)
        return self.with_text(pieces, 13, 8)

    cdef put_exact(self, Piece *pieces, octet *stamp, Py_ssize_t size):
        """Make three pieces, the end of an object with a stamp that is exact."""
        if self.before is None:
            self.before, self.behind = self.parts(octets_of(stamp, size))
        pieces[0] = piece_of(self.before)
        pieces[1] = piece(stamp, size)
        pieces[1].is_string = True
        pieces[2] = piece_of(self.behind)

    cdef bytes legacy(self, octet *p, UsualLine *line):
        cdef Piece[9] pieces
        cdef bytes start, middle
        cdef Py_ssize_t size = line.stamp_end - line.stamp
        start, middle = self.halves.get(
            p + line.addressing, line.addressing_end - line.addressing
        )
        cdef bytes stamp = self.stamps.get(p + line.stamp, size)
        cdef bytes end = self.ends.get(p + line.stamp, size)
        pieces[0] = piece(p, line.pri_end)
        pieces[1] = piece(b"1 ", 2)
        pieces[2] = piece_of(stamp)
        pieces[3] = piece_of(self.header)
        pieces[4] = piece(b"- ", 2)
        pieces[5] = piece_of(start)
        pieces[6] = piece(p + line.msg, line.end - line.msg)
        pieces[7] = piece_of(middle)
        pieces[8] = piece_of(end)
        return self.with_text(pieces, 9, 6)


cdef inline bint is_unknown_offset(octet *p) noexcept nogil:
    """Whether an offset is ``-00:00`` (RFC 3339 §4.3)."""
    return p[0] == c"-" and memcmp(p, b"-00:00", 6) == 0


cdef inline bint has_more_than_milliseconds(octet *p, UsualLine *line) noexcept nogil:
    """Whether a stamp has other digits than 0 after its milliseconds."""
    cdef Py_ssize_t i
    for i in range(line.second_end + 4, line.fraction_end):
        if p[i] != c"0":
            return True
    return False
