# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""The lines of a batch: where their parts are, found once; messages and columns on demand.

`relay/wire/parse.py` is the reference: both read every line in the same way.  Only
envelopes of EWMM are left to it; their messages are kept beside the offsets of the others.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcmp, memcpy, memset

from relay.codec.line cimport (
    INVALID_PRI_TAG, TAGS, UNEXPECTED_FRAMING_TAG, Line, column_of, is_envelope,
)
from relay.codec.malformed cimport read_malformed
from relay.codec.byte_classes cimport Span, bytes_at, is_at, is_digit, missing, byte, span, starts
from relay.codec.payloads cimport Payloads, Piece, Row, look, row_of
from relay.codec.rfc3164 cimport read_rfc3164
from relay.codec.rfc5424 cimport after_version, read_pri, read_rfc5424

cdef object new_tuple = tuple.__new__  # what a NamedTuple's own constructor calls in the end
cdef tuple NOTHING = ()

cdef enum:
    # Offsets have 31 bits; an edit adds a copy of the header and the new values to a line.
    LINE_BYTES_MAX = 536870912
    COUNT_DIGITS_MAX = 10
    DEFAULT_PRI = 13  # RFC 3164 §4.3.3


cdef inline Py_ssize_t after_count(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Where a byte count before a PRI ends, 0 if there is none."""
    cdef Py_ssize_t start = at
    cdef Py_ssize_t stop
    while at < end and is_digit(p[at]):
        at += 1
    if at == start or at - start > COUNT_DIGITS_MAX or not is_at(p, at, end, c" "):
        return 0
    stop = at + 2
    if not is_at(p, at + 1, end, c"<"):
        return 0
    while stop < end and is_digit(p[stop]):
        stop += 1
    return at + 1 if is_at(p, stop, end, c">") else 0


cdef class Reader:
    """Reads lines of one dialect.

    Args:
        message_type: `SyslogMessage`.
        reference: Makes a message of a frame in Python.
        is_hostname, is_bare_hostname: What Python has to say of words that are not US-ASCII, and
            of addresses.
        tags: A tuple of tags for each bit of `Line.tags`.
        default_pri: 0 to 191, of lines without PRI.
        expects_host: Lines of RFC 3164 name their host.
        reads_rfc5424: False = VERSION is no field.
    """

    def __init__(
        self, message_type, reference, *, is_hostname, is_bare_hostname, tuple tags,
        int default_pri, bint expects_host, bint reads_rfc5424,
    ):
        if len(tags) != TAGS or not 0 <= default_pri <= 191:
            raise ValueError(f"{len(tags)} tags, a PRI of {default_pri}")
        self.message_type = message_type
        self.reference = reference
        self.names = (is_hostname, is_bare_hostname)
        self.references = <void *>self.names
        self.tags = tags
        self.default_pri = default_pri
        self.expects_host = expects_host
        self.reads_rfc5424 = reads_rfc5424

    def read(self, frames not None):
        """The `Lines` of frames, which are bytes."""
        return Lines(self, frames)

    cdef int read_line(self, byte *p, Py_ssize_t size, Line *line) except -1 nogil:
        memset(line, 0, sizeof(Line))
        if p == NULL:
            return 0
        while size and (p[size - 1] == 0x0A or p[size - 1] == 0x0D or p[size - 1] == 0):
            size -= 1
        line.p = p
        line.stamp = line.host = line.app = line.procid = line.msgid = line.data = missing()
        line.header = line.front = line.sequence = missing()
        line.end = <int>size
        line.is_read = True
        self.read_from(p, 0, size, line)
        if is_envelope(p, line.app):
            line.is_read = False
        return 0

    cdef int read_from(
        self, byte *p, Py_ssize_t at, Py_ssize_t end, Line *line
    ) except -1 nogil:
        """Read a line from `at` on, where a mark or a byte count may have stood before."""
        cdef Py_ssize_t behind, version
        if not is_at(p, at, end, c"<"):
            if at == 0 and starts(p, at, end, b"\xef\xbb\xbf<", 4):
                return self.read_from(p, 3, end, line)
            behind = after_count(p, at, end) if at == 0 else 0
            if behind:
                line.tags |= UNEXPECTED_FRAMING_TAG
                return self.read_from(p, behind, end, line)
            line.pri = self.default_pri
            return read_rfc3164(p, at, end, False, self.expects_host, line, self.references)
        behind = read_pri(p, at, end, &line.pri)
        if not behind:
            line.pri = DEFAULT_PRI
            line.tags |= INVALID_PRI_TAG
            line.msg = span(at, end)
            return 0
        version = after_version(p, behind, end) if self.reads_rfc5424 else 0
        if not version:
            return read_rfc3164(p, behind, end, True, self.expects_host, line, self.references)
        if read_rfc5424(p, version, end, line):
            return 0
        return read_malformed(p, behind, version, end, line, self.references)


cdef enum Column:
    # As fields of a message are numbered.
    FACILITY = 0
    SEVERITY = 1
    VERSION = 2
    HOSTNAME = 4
    APP_NAME = 5
    PROCID = 6
    MSGID = 7
    STRUCTURED_DATA = 8
    MSG = 9
    TAGS_COLUMN = 12
    APP = 13
    LEGACY_HEADER = 14
    COLUMNS_KEPT = 15

cdef dict COLUMNS = {
    "facility": FACILITY, "severity": SEVERITY, "version": VERSION, "hostname": HOSTNAME,
    "app_name": APP_NAME, "procid": PROCID, "msgid": MSGID, "structured_data": STRUCTURED_DATA,
    "msg": MSG, "tags": TAGS_COLUMN, "app": APP,
}


cdef dict EDITABLE = {
    name: COLUMNS[name] for name in ("hostname", "app_name", "procid", "msgid", "msg")
}


cdef int number_of(str name) except -1:
    """The `Column` of that name."""
    if name not in COLUMNS:
        raise ValueError(f"no column {name}")
    return COLUMNS[name]


cdef inline bytes word_at(bytes last, byte *p, Span part):
    """The bytes of a part: the object `last` if it has the same ones; None if it is missing."""
    if (
        last is not None
        and part.at >= 0
        and PyBytes_GET_SIZE(last) == part.end - part.at
        and memcmp(PyBytes_AS_STRING(last), p + part.at, part.end - part.at) == 0
    ):
        return last
    return bytes_at(p, part)


cdef object data_of(Line *line):
    """STRUCTURED-DATA as received, or Cisco's number and mark as SD-ELEMENTs."""
    if line.data.at >= 0:
        return bytes_at(line.p, line.data)
    if line.sequence.at < 0 and not line.mark:
        return None
    data = b""
    if line.sequence.at >= 0:
        data = b'[meta sequenceId="%b"]' % bytes_at(line.p, line.sequence)
    if line.mark:
        data += b'[timeQuality isSynced="%d"]' % (line.mark == c".")
    return data


cdef inline bytes msg_of(Line *line):
    msg = bytes_at(line.p, line.msg)
    return bytes_at(line.p, line.front) + msg if line.front.at >= 0 else msg


cdef inline bytes word_of(Line *line, int column, list recent):
    """A word of the header, the same object as the last time if it is the same."""
    cdef bytes word = word_at(<bytes>recent[column], line.p, column_of(line, column - HOSTNAME)[0])
    recent[column] = word
    return word


cdef inline void move(Span *part, Span within, Py_ssize_t by) noexcept nogil:
    if part.at >= within.at and part.end <= within.end:
        part[0] = span(part.at + by, part.end + by)


cdef bytes before_msg(Line *line, bytes frame, bytes msg, Py_ssize_t at):
    """The bytes to put before a new MSG at `at`: the header of RFC 3164, which is moved
    there, or else the byte order mark if the frame ends with it and the same text."""
    cdef Span header = line.header
    if header.at >= 0:
        text = bytes_at(line.p, header)
        move(&line.app, header, at - header.at)
        move(&line.procid, header, at - header.at)
        move(&line.header, header, at - header.at)
        return text
    marked = line.version and frame.rstrip(b"\n\r\0").endswith(b"\xef\xbb\xbf" + msg)
    return b"\xef\xbb\xbf" if marked else b"   "


cdef class Lines:
    """The lines of the frames of one batch."""

    def __cinit__(self, Reader reader not None, frames not None, Lines base=None):
        cdef Py_ssize_t i
        cdef Piece piece
        # A copy of a list: its owner could remove a frame whose bytes are in use.
        cdef Row row = row_of(frames if isinstance(frames, Payloads) else tuple(frames))
        self.count = row.count
        self.rows = <Line *>PyMem_Malloc(max(1, self.count) * sizeof(Line))
        if self.rows == NULL:
            raise MemoryError()
        self.frames = frames
        self.owners = row.sequence if row.packed is None else row.packed
        self.reader = reader
        self.made = None
        self.recent = [None] * COLUMNS_KEPT
        self.added = [NOTHING]
        self.buffers = None
        if base is not None:
            self.take(base)
            return
        for i in range(self.count):
            look(row, i, &piece)
            self.rows[i].p = NULL
            if piece.size <= LINE_BYTES_MAX:
                self.rows[i].p = piece.at
                self.rows[i].end = <int>piece.size
        with nogil:  # the frames are ours alone
            for i in range(self.count):
                reader.read_line(self.rows[i].p, self.rows[i].end, &self.rows[i])

    def __dealloc__(self):
        PyMem_Free(self.rows)

    cdef int take(self, Lines base) except -1:
        """Become a copy of `base`, which has the same frames."""
        if base.count != self.count:
            raise ValueError(f"{base.count} lines of {self.count} frames")
        memcpy(self.rows, base.rows, self.count * sizeof(Line))
        self.made = None if base.made is None else list(base.made)
        self.buffers = [None] * self.count if base.buffers is None else list(base.buffers)
        self.added = list(base.added)
        return 0

    def __len__(self):
        return self.count

    def edited(self, indexes, dict values not None, tuple tags not None, change):
        """Lines like these, of which those at `indexes` (None = all) have other values and tags.

        Args:
            values: By field, None for no value; of hostname, app_name, procid, msgid and msg.
            tags: To be added, but for those that are there.
            change: Does the same to the message of a line that is left to the reference.
        """
        cdef Py_ssize_t i
        cdef dict known = {}
        cdef list changes = []
        for name, value in values.items():
            if name not in EDITABLE:
                raise ValueError(f"no column to edit, {name}")
            changes.append((EDITABLE[name], None if value is None else <bytes?>value))
        cdef Lines lines = Lines(self.reader, self.owners, self)
        lines.frames = self.frames
        for i in range(self.count) if indexes is None else indexes:
            if not 0 <= i < self.count:
                raise IndexError(f"line {i} of {self.count}")
            if not lines.rows[i].is_read or lines.rows[i].end > LINE_BYTES_MAX:
                message = change(self.message_at(i))
                lines.rows[i].is_read = False
            else:
                message = None
                if changes:
                    lines.edit(i, changes)
                if tags:
                    lines.add_tags(i, tags, known)
            if lines.made is None:
                lines.made = [None] * self.count
            lines.made[i] = message
        return lines

    cdef int edit(self, Py_ssize_t index, list changes) except -1:
        """Write new values behind the bytes of a line, where its other parts stay."""
        cdef Line *line = &self.rows[index]
        cdef Span *part
        cdef int column
        cdef bytes value, before
        cdef Py_ssize_t end = line.end
        cdef list parts = [PyBytes_FromStringAndSize(<const char *>line.p, end)]
        for column, value in changes:
            if column == MSG:
                before = before_msg(line, self.owners[index], value or b"", end)
                parts += (before, value or b"")
                end += len(before)
                line.front = missing()
                line.msg = span(end, end + len(value or b""))
                end = line.msg.end
                continue
            part = column_of(line, column - HOSTNAME)
            if value is None and part.at < 0:
                continue
            if column == APP_NAME or column == PROCID:
                line.has_header = line.is_regular = False  # the header says what they were
                line.header = missing()
            part[0] = missing()
            if value is not None:
                parts.append(value)
                part[0] = span(end, end + len(value))
                end = part.end
        buffer = b"".join(parts)
        self.buffers[index] = buffer
        line.p = <byte *>PyBytes_AS_STRING(buffer)
        line.end = <int>end
        return 0

    cdef int add_tags(self, Py_ssize_t index, tuple tags, dict known) except -1:
        """Add tags; `known` has what became of those of other lines."""
        cdef Line *line = &self.rows[index]
        key = (line.tags, line.added)
        added = known.get(key)
        if added is None:
            present = tags_of(line, self.reader.tags, self.added)
            new = tuple([tag for tag in tags if tag not in present])
            added = line.added
            if new:
                self.added.append(<tuple>self.added[added] + new)
                added = len(self.added) - 1
            known[key] = added
        line.added = added
        return 0

    def message(self, Py_ssize_t index):
        """The message of one line."""
        return self.message_at(index)

    def messages(self, indexes=None) -> list:
        """The messages of all lines, or of those at `indexes`."""
        return [self.message_at(i) for i in (range(self.count) if indexes is None else indexes)]

    def column(self, str name not None, indexes=None) -> list:
        """The field `name` of all lines, or of those at `indexes`."""
        cdef int column = number_of(name)
        return [
            self.value_at(i, column) for i in (range(self.count) if indexes is None else indexes)
        ]

    def where(self, str name not None, frozenset values not None, indexes=None) -> list:
        """The indexes of all lines, or of those at `indexes`, whose field `name` has one of
        `values`."""
        cdef int column = number_of(name)
        return [
            i for i in (range(self.count) if indexes is None else indexes)
            if self.value_at(i, column) in values
        ]

    cdef object value_at(self, Py_ssize_t index, int column):
        cdef Line *line = &self.rows[index]
        if not 0 <= index < self.count or not line.is_read:
            return self.message_at(index)[column]
        if column == SEVERITY:
            return line.pri & 7
        if column == FACILITY:
            return line.pri >> 3
        if column == VERSION:
            return line.version
        if column == STRUCTURED_DATA:
            return data_of(line)
        if column == MSG:
            return msg_of(line)
        if column == TAGS_COLUMN:
            return tags_of(line, self.reader.tags, self.added)
        if column == APP:
            return ""
        return word_of(line, column, self.recent)

    def odd(self) -> list:
        """The indexes of lines that have tags, or may have some."""
        return [
            i for i in range(self.count)
            if self.rows[i].tags or self.rows[i].added or not self.rows[i].is_read
        ]

    def unread(self) -> list:
        """The indexes of lines that are left to the reference."""
        return [i for i in range(self.count) if not self.rows[i].is_read]

    cdef object message_at(self, Py_ssize_t index):
        cdef Line *line = &self.rows[index]
        if not 0 <= index < self.count:
            raise IndexError(f"line {index} of {self.count}")
        if self.made is None:
            self.made = [None] * self.count
        message = self.made[index]
        if message is None:
            if not line.is_read:
                message = self.reader.reference(self.owners[index])
            else:
                message = new_tuple(
                    self.reader.message_type,
                    fields_of(line, self.owners[index], self.recent, self.reader.tags, self.added),
                )
            self.made[index] = message
        return message


cdef tuple tags_of(Line *line, tuple tags, list added):
    """The tags that the bits of a line stand for, and those that steps have added."""
    cdef int bit
    cdef tuple found = NOTHING
    if line.tags:
        for bit in range(TAGS):
            if line.tags >> bit & 1:
                found += <tuple>tags[bit]
    return found + <tuple>added[line.added] if line.added else found


cdef tuple fields_of(Line *line, frame, list recent, tuple tags, list added):
    """The fields of a `SyslogMessage`."""
    cdef byte *p = line.p
    pairs = None
    if line.has_header:
        recent[LEGACY_HEADER] = word_at(<bytes>recent[LEGACY_HEADER], p, line.header)
        pairs = {"LEGACY_MSGHDR": recent[LEGACY_HEADER]}
    return (
        line.pri >> 3, line.pri & 7, line.version,
        bytes_at(p, line.stamp),
        word_of(line, HOSTNAME, recent), word_of(line, APP_NAME, recent),
        word_of(line, PROCID, recent), word_of(line, MSGID, recent),
        data_of(line), msg_of(line), frame, pairs,
        tags_of(line, tags, added), "", False,
    )
