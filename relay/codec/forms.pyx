# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
"""Forms of payloads as programs: a row of pieces that one loop writes for each line.

A piece is a literal, a field, a stamp, a tag, a JSON string or an object.  Decisions before writing, such as
whether a program that is no tag belongs to the text, are its policy.  The writers in Python are the reference; lines that carry a token or that only the
reference can read are written by it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memchr, memcpy

from relay.codec.hostname cimport YES, is_ipv6, is_name, is_plain_hostname
from relay.codec.line cimport Line
from relay.codec.lines cimport Lines, tags_of
from relay.codec.objects cimport ObjectWriter, Text
from relay.codec.payloads cimport Builder, Payloads
from relay.codec.byte_classes cimport (
    PID_BYTE, Span, are_all, bytes_at, is_printusascii, is_uuid, missing, byte, span, starts,
)
from relay.codec.rfc5424 cimport APP_NAME_MAX, HOSTNAME_MAX, MSGID_MAX, PROCID_MAX
from relay.codec.stamps cimport EXACT, FORMS, Stamps
from relay.codec.tag cimport is_plain_program, read_tag
from relay.codec.text cimport put_string


cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    void *memmem(const void *, size_t, const void *, size_t);
    #endif
    """
    void *memmem(const void *text, size_t size, const void *sought, size_t sought_size) nogil


cdef enum Operation:
    LITERAL
    PRI
    STAMP
    HOST             # of RFC 3164: a name that is read as one again
    HOSTNAME         # of RFC 5424
    TAG
    TAG_AND_TEXT     # as they came, where they can be read again
    APP_NAME
    PROCID
    MSGID
    SDATA
    TEXT
    MARKED_TEXT      # with a SP in front of it, and its byte order mark
    OBJECT           # the object that the text is, with a token, or one with the text in it
    MEMBER           # "NAME":"value", of a field that is there
    STRING           # the text as a JSON string
    HEADER_MEMBER    # ,"LEGACY_MSGHDR":"text" of RFC 3164
    SENDER_STRING
    HOST_STRING
    ORIGIN_END       # what the origin adds to an envelope of EWMM, and the exact stamp

cdef enum Policy:
    AS_READ
    NAMES_KEPT       # cee: an irregular tag belongs to the text
    NAMES_LOST       # tag, app-name: so does a program that is no tag
    APP_NAME_ROOM    # rfc5424: so does one that is no APP-NAME
    WHOLE_TAGS       # rfc3164: tags pass as they came

cdef enum Field:
    APP_FIELD
    PROCID_FIELD
    MSGID_FIELD

OPERATIONS = {
    "literal": LITERAL, "pri": PRI, "stamp": STAMP, "host": HOST, "hostname": HOSTNAME,
    "tag": TAG, "tag-and-text": TAG_AND_TEXT, "app-name": APP_NAME, "procid": PROCID,
    "msgid": MSGID, "sdata": SDATA, "text": TEXT, "marked-text": MARKED_TEXT, "object": OBJECT,
    "member": MEMBER, "string": STRING, "header-member": HEADER_MEMBER,
    "sender-string": SENDER_STRING, "host-string": HOST_STRING, "origin-end": ORIGIN_END,
}
POLICIES = {
    "as-read": AS_READ, "names-kept": NAMES_KEPT, "names-lost": NAMES_LOST,
    "app-name-room": APP_NAME_ROOM, "whole-tags": WHOLE_TAGS,
}
FIELDS = {"app-name": APP_FIELD, "procid": PROCID_FIELD, "msgid": MSGID_FIELD}

cdef enum:
    PIECES_MAX = 32
    TOKEN_BYTES_MAX = 255
    ROOM_PER_BYTE = 16     # a JSON string takes six; some bytes are in two fields
    FIXED_ROOM = 2048
    FORM_ROOM = 192        # what a form adds to a line
    BOUND_MAX = 4096        # origins
    STAMP_BYTES_MIN = 19   # of one that has more than milliseconds
    TAGGED_ROOM = 1024      # what tags add to the end of an envelope
    ASKED_ROOM = 64         # what a name may have more than was received


cdef tuple NO_TAGS = ()


cdef struct Operator:
    int operation
    int argument
    const char *text     # of a literal, or the name of a member
    Py_ssize_t size


cdef struct Ends:
    Text end      # of an envelope, without an exact stamp
    Text before   # and before and behind one
    Text behind

cdef struct Sender:
    # Texts common to the lines of one origin.
    Text host
    Text hostname
    Text string
    Ends ends
    Py_ssize_t room
    void *bound   # the `Bound` of the origin

cdef struct Run:
    Py_ssize_t stop
    Sender *sender

cdef struct View:
    # The parts of a line to be written, by the policy of the form.
    Line *line
    Sender *sender
    Span app
    Span procid
    byte *text
    Py_ssize_t size


cdef class Bound:
    """Texts common to the lines of one origin, as the pieces of a form need them."""

    cdef object origin
    cdef list kept               # the bytes of the sender
    cdef dict of_tags            # the ends of envelopes of lines with tags, by these
    cdef Sender sender


cdef inline Text text_of(bytes data) noexcept:
    return Text(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef inline char *put(char *to, Text text) noexcept nogil:
    memcpy(to, text.at, text.size)
    return to + text.size


cdef inline char *put_span(char *to, byte *p, Span part) noexcept nogil:
    memcpy(to, p + part.at, part.end - part.at)
    return to + (part.end - part.at)


cdef inline char *put_pri(char *to, int pri) noexcept nogil:
    to[0] = c"<"
    to += 1
    if pri >= 100:
        to[0] = c"1"
        to += 1
    if pri >= 10:
        to[0] = <char>(0x30 + pri // 10 % 10)
        to += 1
    to[0] = <char>(0x30 + pri % 10)
    to[1] = c">"
    return to + 2


cdef inline char *put_field(char *to, byte *p, Span part, int bytes_max) noexcept nogil:
    """Write a header field of RFC 5424 §6; nothing becomes the NILVALUE."""
    cdef int i
    if part.at < 0 or part.at == part.end:
        to[0] = c"-"
        return to + 1
    for i in range(part.at, min(part.end, part.at + bytes_max)):
        to[0] = <char>p[i] if is_printusascii(p[i]) else c"_"
        to += 1
    return to


cdef inline char *put_sdata(char *to, byte *p, Span data) noexcept nogil:
    """Write SD-ELEMENTs, control characters as ``#`` and three octal digits."""
    cdef int i
    for i in range(data.at, data.end):
        if p[i] >= 0x20 and p[i] != 0x7F:
            to[0] = <char>p[i]
            to += 1
            continue
        to[0] = c"#"
        to[1] = <char>(0x30 + (p[i] >> 6))
        to[2] = <char>(0x30 + (p[i] >> 3 & 7))
        to[3] = <char>(0x30 + (p[i] & 7))
        to += 4
    return to


cdef inline char *put_cisco(char *to, Line *line) noexcept nogil:
    """Write Cisco's sequence number and the mark of its clock as SD-ELEMENTs."""
    if line.sequence.at >= 0:
        memcpy(to, b'[meta sequenceId="', 18)
        to = put_span(to + 18, line.p, line.sequence)
        memcpy(to, b'"]', 2)
        to += 2
    if line.mark:
        memcpy(to, b'[timeQuality isSynced="', 23)
        to[23] = c"1" if line.mark == c"." else c"0"
        memcpy(to + 24, b'"]', 2)
        to += 26
    return to


cdef inline bint names_host(Line *line) noexcept nogil:
    """Whether a line names its host; the NILVALUE is no name."""
    cdef Span host = line.host
    return host.at >= 0 and host.end > host.at and not (
        host.end == host.at + 1 and line.p[host.at] == c"-"
    )


cdef inline bint is_irregular(View *view) noexcept nogil:
    """Whether ``PROGRAM[PID]`` of plain characters is not all of the text before MSG."""
    cdef Line *line = view.line
    cdef byte *p = line.p
    cdef Py_ssize_t rest = line.header.at
    cdef Py_ssize_t end = line.header.end
    if rest < 0 or rest == end:
        return False
    if line.app.at < 0:
        if line.procid.at >= 0:
            return True
    elif line.app.at != rest:
        return True
    else:
        rest = line.app.end
        if line.procid.at >= 0:
            if line.procid.at != rest + 1 or p[rest] != c"[" or p[line.procid.end] != c"]":
                return True
            rest = line.procid.end + 1
    if rest == end:
        return False
    if p[rest] == c":":
        rest += 1
        return not (rest == end or rest + 1 == end and p[rest] == c" ")
    return not (p[rest] == c" " and rest + 1 == end)


cdef inline bint has_byte(byte *p, Span part, byte first, byte second) noexcept nogil:
    cdef int i
    for i in range(part.at, part.end):
        if p[i] == first or p[i] == second:
            return True
    return False


cdef inline void put_header_in_front(View *view) noexcept nogil:
    """Make the text between host and MSG a part of MSG."""
    view.text = view.line.p + view.line.header.at
    view.size = view.line.msg.end - view.line.header.at


cdef inline bint is_taggable(byte *p, Span app, Span procid) noexcept nogil:
    """Whether ``PROGRAM[PID]:`` is written as it is read."""
    if app.at < 0:
        return procid.at < 0
    if not is_plain_program(p + app.at, app.end - app.at):
        return False
    return procid.at < 0 or are_all(p + procid.at, procid.end - procid.at, PID_BYTE)


cdef inline bint is_tag(View *view) noexcept nogil:
    """Whether a regular tag stands before MSG, with a colon or a bracket."""
    cdef Line *line = view.line
    if not has_byte(line.p, line.header, c":", c"["):
        return False
    if line.app.at >= 0 and has_byte(line.p, line.app, c"[", c"["):
        return False
    return not is_irregular(view)


cdef inline bint is_printable(byte *p, Span part) noexcept nogil:
    cdef int i
    for i in range(part.at, part.end):
        if p[i] < 0x20 or p[i] == 0x7F:
            return False
    return True


cdef class Form:
    """Writes payloads.

    Args:
        pieces: (operation, argument) each: the bytes of a literal, the name and field of a
            member, the `StampForm` of a stamp.
        policy: One of `POLICIES`.
        stamps: Converts stamps.
        bind: Names the sender of an origin: as HOST, as HOSTNAME, and as JSON string.
        ends: What ends the envelopes of an origin, by it and the tags of a line: without an exact
            stamp, before and behind one.
        reference: Writes messages of one origin in Python.
        format_tag, format_host, format_hostname: What the reference makes of unusual names.
        tokens: App tokens that a header may carry.
        token_key: The member of an object that names a token.
        objects: Puts the token into objects; None = the form has no objects.
        before_text: What stands before the text in an object of our own.
    """

    cdef Operator[PIECES_MAX] pieces
    cdef int count
    cdef Policy policy
    cdef list literals          # which keeps them alive
    cdef Stamps stamps
    cdef object bind
    cdef object ends
    cdef object arrival          # of the lines that are written
    cdef Lines lines
    cdef bint has_ends
    cdef object reference
    cdef object format_tag
    cdef object format_host
    cdef object format_hostname
    cdef frozenset tokens
    cdef char[TOKEN_BYTES_MAX + 1] token_sizes
    cdef bint knows_tokens
    cdef bytes token_key
    cdef ObjectWriter objects
    cdef bytes before_text
    cdef Text before            # the bytes of these two
    cdef Text key
    cdef dict bound
    cdef Py_ssize_t room

    def __init__(
        self, pieces, str policy not None, Stamps stamps not None, bind, ends, reference, *,
        format_tag, format_host, format_hostname, tokens=None, bytes token_key not None=b"",
        ObjectWriter objects=None, bytes before_text not None=b"",
    ):
        self.policy = POLICIES[policy]
        self.stamps = stamps
        self.bind = bind
        self.ends = ends
        self.reference = reference
        self.format_tag = format_tag
        self.format_host = format_host
        self.format_hostname = format_hostname
        self.token_key = token_key
        self.objects = objects
        self.before_text = before_text
        self.before = text_of(before_text)
        self.key = text_of(token_key)
        self.bound = {}
        self.room = FIXED_ROOM + len(before_text)
        self.knows_tokens = tokens is not None
        self.tokens = frozenset(tokens or ())
        for size in range(TOKEN_BYTES_MAX + 1):
            self.token_sizes[size] = any(len(token) == size for token in self.tokens)
        self.take_pieces(list(pieces))

    cdef take_pieces(self, list pieces):
        cdef Operator *piece
        if len(pieces) > PIECES_MAX:
            raise ValueError(f"{len(pieces)} pieces, at most {PIECES_MAX}")
        self.count = len(pieces)
        self.literals = []
        self.has_ends = False
        for i, (operation, argument) in enumerate(pieces):
            piece = &self.pieces[i]
            piece.operation = OPERATIONS[operation]
            piece.argument = 0
            text = b""
            if operation == "stamp":
                if not 0 <= argument < FORMS:
                    raise ValueError(f"no form of stamps {argument}")
                piece.argument = argument
            elif operation == "literal":
                text = argument
            elif operation == "object" and self.objects is None:
                raise ValueError("a piece for objects, and nothing that writes them")
            elif operation == "member":
                text, piece.argument = argument[0], FIELDS[argument[1]]
            elif operation == "origin-end":
                self.has_ends = True
            self.literals.append(<bytes?>text)
            piece.text = PyBytes_AS_STRING(<bytes>text)
            piece.size = PyBytes_GET_SIZE(<bytes>text)
            self.room += piece.size + 64

    def write(self, Lines lines not None, indexes, arrival):
        """The payloads of lines, in order.

        Args:
            indexes: Which of them, ascending; None = all.
            arrival: Whose lines they are, and when they came (`relay.model.origin`).

        Raises:
            RuntimeError: It is writing already, in another thread.
        """
        if self.lines is not None:
            raise RuntimeError("a form writes one batch at a time; each thread needs its own form")
        self.arrival = arrival
        self.lines = lines
        try:
            return self.payloads_of(lines, indexes, arrival)
        finally:
            self.arrival = self.lines = None

    cdef Payloads payloads_of(self, Lines lines, indexes, arrival):
        cdef Py_ssize_t room = 0
        cdef Py_ssize_t i
        cdef Rows rows = Rows(lines.count, indexes, arrival.runs)
        cdef list bound = [self.bound_to(origin, rows, i) for i, (_, origin) in enumerate(rows.given)]
        for i in range(lines.count):
            room += lines.rows[i].end
        room += room // 4 + rows.count * FORM_ROOM + self.room
        cdef Builder builder = Builder(rows.count, room)
        self.stamps.begin(arrival.received_at)
        with nogil:
            self.put_all(builder, lines.rows, rows)
        return builder.built()

    cdef int put_all(self, Builder builder, Line *lines, Rows rows) except -1 nogil:
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t run = 0
        cdef Py_ssize_t index
        for at in range(rows.count):
            index = at if rows.indexes == NULL else rows.indexes[at]
            while index >= rows.runs[run].stop:
                run += 1
            self.put_payload(builder, &lines[index], index, rows.runs[run].sender)
        return 0

    cdef Bound bound_to(self, origin, Rows rows, Py_ssize_t run):
        cdef Bound bound
        key = (origin.source, origin.peer_host, origin.pid, origin.uid, origin.gid, origin.hops)
        bound = self.bound.get(key)
        if bound is None:
            if len(self.bound) >= BOUND_MAX:
                self.bound.clear()
            bound = self.bound[key] = self.new_bound(origin)
        rows.runs[run].sender = &bound.sender
        return bound

    cdef Bound new_bound(self, origin):
        cdef Bound bound = Bound()
        bound.origin = origin
        bound.kept = [*self.bind(origin), *self.ends(origin, NO_TAGS)]
        check_bytes(bound.kept)
        host, hostname, string, *ends = bound.kept
        bound.sender.host, bound.sender.hostname = text_of(host), text_of(hostname)
        bound.sender.string = text_of(string)
        bound.sender.ends = ends_from(ends)
        bound.sender.room = TAGGED_ROOM + 2 * sum(map(len, bound.kept))
        bound.sender.bound = <void *>bound
        bound.of_tags = {}
        return bound

    cdef int put_payload(
        self, Builder builder, Line *line, Py_ssize_t index, Sender *sender
    ) except -1 nogil:
        cdef View view
        cdef Ends ends
        cdef char *to
        cdef char *end
        cdef Py_ssize_t room
        if not line.is_read:
            return self.put_reference(builder, index)
        view.line = line
        view.sender = sender
        view.app = line.app
        view.procid = line.procid
        view.text = line.p + line.msg.at
        view.size = line.msg.end - line.msg.at
        room = self.room + sender.room + ROOM_PER_BYTE * <Py_ssize_t>line.end
        if line.added and self.has_ends:
            self.find_ends(&ends, sender, line)
            room += ends.end.size + ends.before.size + ends.behind.size
        to = builder.reserve(room)
        if line.front.at >= 0:  # at the end of the room, behind all that is written
            view.size += line.front.end - line.front.at
            end = to + room - view.size
            view.text = <byte *>end
            end = put_span(end, line.p, line.front)
            put_span(end, line.p, line.msg)
        if not self.settle(&view):
            return self.put_reference(builder, index)
        builder.add(self.written(to, &view))
        return 0

    cdef int put_reference(self, Builder builder, Py_ssize_t index) except -1 with gil:
        """Let the reference write a line."""
        for stop, origin in self.arrival.runs:
            if index < stop:
                break
        origin = origin.received(self.arrival.received_at, self.arrival.monotonic_at)
        (payload,) = self.reference([self.lines.message_at(index)], origin)
        return builder.append(payload)

    cdef bint is_token(self, byte *p, Span word) except -1 nogil:
        cdef int size = word.end - word.at
        if word.at < 0:
            return False
        if is_uuid(p + word.at, size, True):
            return True
        if size > TOKEN_BYTES_MAX or not self.token_sizes[size]:
            return False
        with gil:
            return bytes_at(p, word) in self.tokens

    cdef bint settle(self, View *view) except -1 nogil:
        """Separate program and text; False = left to the reference."""
        cdef Line *line = view.line
        cdef byte *p = line.p
        cdef bint has_header = line.header.at >= 0 and line.header.end > line.header.at
        if self.policy == AS_READ or self.policy == WHOLE_TAGS:
            return True
        if self.knows_tokens and self.is_token(p, line.app):
            return False
        if line.is_regular and self.policy == NAMES_KEPT:
            return True
        if has_header and not line.is_regular and line.app.at >= 0:
            if not is_taggable(p, line.app, line.procid):
                return False
        if self.policy == NAMES_KEPT:
            if is_irregular(view):
                if memchr(view.text, c"{", view.size) != NULL:
                    return False
                put_header_in_front(view)
                view.app = view.procid = missing()
            return True
        if self.policy == NAMES_LOST:
            if memmem(
                view.text, view.size, self.key.at, self.key.size
            ) != NULL:
                return False
            if has_header and not is_tag(view):
                put_header_in_front(view)
            return True
        if has_header and line.app.at >= 0 and line.app.end - line.app.at > APP_NAME_MAX:
            if not has_byte(p, line.header, c":", c"["):
                put_header_in_front(view)
                view.app = missing()
        return True

    cdef char *written(self, char *to, View *view) except NULL nogil:
        cdef int i
        cdef Operator *piece
        cdef Line *line = view.line
        for i in range(self.count):
            piece = &self.pieces[i]
            if piece.operation == LITERAL:
                memcpy(to, piece.text, piece.size)
                to += piece.size
            elif piece.operation == PRI:
                to = put_pri(to, line.pri)
            elif piece.operation == STAMP:
                to += self.stamp(to, line, piece.argument)
            elif piece.operation == TEXT:
                memcpy(to, view.text, view.size)
                to += view.size
            elif piece.operation >= MEMBER:
                to = self.put_json(to, piece, view)
            elif piece.operation == OBJECT:
                to = self.put_object(to, view)
            elif piece.operation == TAG:
                to = self.put_tag(to, view)
            else:
                to = self.put_header(to, piece, view)
        return to

    cdef Py_ssize_t stamp(self, char *to, Line *line, int form) except -1 nogil:
        if line.stamp.at < 0:
            return self.stamps.put(to, NULL, -1, form)
        return self.stamps.put(to, line.p + line.stamp.at, line.stamp.end - line.stamp.at, form)

    cdef char *put_header(self, char *to, Operator *piece, View *view) except NULL nogil:
        """Write a part of the header, or a text with its tag or its mark."""
        cdef Line *line = view.line
        cdef byte *p = line.p
        if piece.operation == HOST:
            return self.put_host(to, line, view.sender)
        if piece.operation == HOSTNAME:
            return self.put_hostname(to, line, view.sender)
        if piece.operation == APP_NAME:
            return put_field(to, p, view.app, APP_NAME_MAX)
        if piece.operation == PROCID:
            return put_field(to, p, line.procid, PROCID_MAX)
        if piece.operation == MSGID:
            return put_field(to, p, line.msgid, MSGID_MAX)
        if piece.operation == SDATA:
            if line.data.at >= 0:
                return put_sdata(to, p, line.data)
            if line.sequence.at >= 0 or line.mark:
                return put_cisco(to, line)
            to[0] = c"-"
            return to + 1
        if piece.operation == TAG_AND_TEXT:
            return self.put_tag_and_text(to, view)
        return put_marked_text(to, view)

    cdef char *put_host(self, char *to, Line *line, Sender *sender) except NULL nogil:
        cdef Span host = line.host
        if not names_host(line):
            return put(to, sender.host)
        if (
            is_plain_hostname(line.p + host.at, host.end - host.at)
            or is_name(line.p + host.at, host.end - host.at) == YES
            or line.p[host.at] != c"[" and is_ipv6(line.p + host.at, host.end - host.at) == YES
        ):
            return put_span(to, line.p, host)
        return self.put_asked(to, HOST, line.p, host, missing())

    cdef char *put_hostname(self, char *to, Line *line, Sender *sender) except NULL nogil:
        cdef Span host = line.host
        cdef int i
        if not names_host(line):
            return put(to, sender.hostname)
        for i in range(host.at, host.end):
            if line.p[i] >= 0x80:
                return self.put_asked(to, HOSTNAME, line.p, host, missing())
        return put_field(to, line.p, host, HOSTNAME_MAX)

    cdef char *put_tag(self, char *to, View *view) except NULL nogil:
        cdef byte *p = view.line.p
        if not view.line.is_regular and not is_taggable(p, view.app, view.procid):
            return self.put_asked(to, TAG, p, view.app, view.procid)
        if view.app.at < 0:
            to[0] = c"-"
            to += 1
        else:
            to = put_span(to, p, view.app)
        if view.procid.at >= 0:
            to[0] = c"["
            to = put_span(to + 1, p, view.procid)
            to[0] = c"]"
            to += 1
        to[0] = c":"
        return to + 1

    cdef char *put_asked(
        self, char *to, Operation what, byte *p, Span first, Span second
    ) except NULL with gil:
        """Write an unusual name as Python formats it."""
        cdef bytes text
        if what == HOST:
            text = self.format_host(bytes_at(p, first))
        elif what == HOSTNAME:
            text = self.format_hostname(bytes_at(p, first))
        else:
            text = self.format_tag(bytes_at(p, first), bytes_at(p, second))
        check_bytes([text])
        if PyBytes_GET_SIZE(text) > (first.end - first.at) + (second.end - second.at) + ASKED_ROOM:
            raise ValueError(f"a name written as {PyBytes_GET_SIZE(text)} bytes, longer than it is")
        return put(to, text_of(text))

    cdef char *put_tag_and_text(self, char *to, View *view) except NULL nogil:
        """Write the tag as it came if it can be, and MSG; without a tag MSG alone if it looks like
        none."""
        cdef Line *line = view.line
        cdef byte *p = line.p
        cdef Py_ssize_t size = line.header.end - line.header.at
        cdef bint has_header = line.header.at >= 0 and size > 0
        cdef bint is_phrase = is_word(p, line.host, b"last", 4) or is_word(
            p, line.host, b"Message", 7
        )
        if not is_phrase and has_header and is_printable(p, line.header) and (
            p[line.header.end - 1] == c" " or not view.size or view.text[0] != c" "
        ):
            to = put_span(to, p, line.header)
        elif not (not is_phrase and line.has_header and not has_header and is_plain(view)):
            if has_header and line.app.at >= 0 and not is_printusascii_part(p, line.app):
                put_header_in_front(view)
                view.app = missing()
            to = self.put_tag(to, view)
            to[0] = c" "
            to += 1
        memcpy(to, view.text, view.size)
        return to + view.size

    cdef char *put_object(self, char *to, View *view) except NULL nogil:
        """Write the object that the text is, or one with the text in it."""
        cdef Py_ssize_t written
        cdef Line *line = view.line
        if memchr(view.text, c"{", view.size) != NULL:
            written = self.objects.put(to, view.text, view.size)
            if written >= 0:
                return to + written
        if view.size and view.text[0] == c" " and not (
            line.header.at >= 0 and line.header.end > line.header.at
            and line.p[line.header.end - 1] == c" "
        ):
            view.text += 1
            view.size -= 1
        to = put(to, self.before)
        to = put_string(to, view.text, view.size)
        to[0] = c"}"
        return to + 1

    cdef char *put_json(self, char *to, Operator *piece, View *view) except NULL nogil:
        """Write a part of the object in an envelope of EWMM."""
        cdef Line *line = view.line
        if piece.operation == STRING:
            return put_string(to, view.text, view.size)
        if piece.operation == MEMBER:
            return self.put_member(to, piece, line)
        if piece.operation == HEADER_MEMBER:
            if not line.has_header:
                return to
            memcpy(to, b',"LEGACY_MSGHDR":', 17)
            return put_string(to + 17, line.p + line.header.at, line.header.end - line.header.at)
        if piece.operation == SENDER_STRING or not names_host(line):
            if piece.operation != ORIGIN_END:
                return put(to, view.sender.string)
        if piece.operation == HOST_STRING:
            return put_string(to, line.p + line.host.at, line.host.end - line.host.at)
        return self.put_origin_end(to, line, view.sender)

    cdef char *put_member(self, char *to, Operator *piece, Line *line) except NULL nogil:
        cdef Span part = line.app
        if piece.argument == PROCID_FIELD:
            part = line.procid
        elif piece.argument == MSGID_FIELD:
            part = line.msgid
        elif part.at < 0 and line.has_header:
            part = span(0, 0)  # there was a place for a program, with nothing in it
        if part.at < 0:
            return to
        memcpy(to, piece.text, piece.size)
        to = put_string(to + piece.size, line.p + part.at, part.end - part.at)
        to[0] = c","
        return to + 1

    cdef char *put_origin_end(self, char *to, Line *line, Sender *sender) except NULL nogil:
        cdef char *start
        cdef Py_ssize_t size
        cdef Ends ends = sender.ends
        if line.tags or line.added:
            self.find_ends(&ends, sender, line)
        if line.stamp.at < 0 or line.stamp.end - line.stamp.at < STAMP_BYTES_MIN:
            return put(to, ends.end)
        start = put(to, ends.before)
        start[0] = c'"'
        size = self.stamp(start + 1, line, EXACT)
        if not size:
            return put(to, ends.end)
        start[size + 1] = c'"'
        return put(start + size + 2, ends.behind)

    cdef int find_ends(self, Ends *ends, Sender *sender, Line *line) except -1 with gil:
        """Find the end of the envelope of a line with tags."""
        cdef Bound bound = <Bound>sender.bound
        tags = None
        key = line.tags
        if line.added:
            key = tags = tags_of(line, self.lines.reader.tags, self.lines.added)
        found = bound.of_tags.get(key)
        if found is None:
            if tags is None:
                tags = tags_of(line, self.lines.reader.tags, self.lines.added)
            found = list(self.ends(bound.origin, tags))
            check_bytes(found)
            known = sender.ends.end.size + sender.ends.before.size + sender.ends.behind.size
            if not line.added and sum(map(len, found)) > known + TAGGED_ROOM:
                raise ValueError(f"the end of an envelope with the tags {tags} is too long")
            bound.of_tags[key] = found
        ends[0] = ends_from(found)
        return 0


cdef class Rows:
    """Which lines are written, and whose they are, for code without the GIL."""

    cdef list given
    cdef Py_ssize_t count
    cdef Py_ssize_t *indexes     # NULL = all
    cdef Run *runs

    def __cinit__(self, Py_ssize_t lines, indexes, runs):
        cdef Py_ssize_t i, last
        cdef list chosen = None if indexes is None else list(indexes)
        self.given = list(runs)
        self.count = lines if chosen is None else len(chosen)
        self.runs = <Run *>PyMem_Malloc(max(1, len(self.given)) * sizeof(Run))
        if chosen is not None:
            self.indexes = <Py_ssize_t *>PyMem_Malloc(max(1, self.count) * sizeof(Py_ssize_t))
        if self.runs == NULL or (chosen is not None and self.indexes == NULL):
            raise MemoryError()
        for i, (stop, _) in enumerate(self.given):
            self.runs[i].stop = stop
        last = self.runs[len(self.given) - 1].stop if self.given else 0
        if last > lines:
            raise ValueError(f"a run to line {last} of {lines}")
        if chosen is None:
            self.count = min(self.count, last)
            return
        for i in range(self.count):
            self.indexes[i] = chosen[i]
            if not 0 <= self.indexes[i] < lines:
                raise IndexError(f"line {self.indexes[i]} of {lines}")
            if i and self.indexes[i] <= self.indexes[i - 1]:
                raise ValueError(f"line {self.indexes[i]} behind line {self.indexes[i - 1]}")
        while self.count and self.indexes[self.count - 1] >= last:
            self.count -= 1

    def __dealloc__(self):
        PyMem_Free(self.indexes)
        PyMem_Free(self.runs)


cdef int check_bytes(list texts) except -1:
    for text in texts:
        if not isinstance(text, bytes):
            raise TypeError(f"expected bytes, found {type(text).__name__}")
    return 0


cdef Ends ends_from(list texts):
    end, before, behind = texts
    return Ends(text_of(end), text_of(before), text_of(behind))


cdef inline bint is_word(byte *p, Span part, const char *text, Py_ssize_t size) noexcept nogil:
    return part.at >= 0 and part.end - part.at == size and starts(p, part.at, part.end, text, size)


cdef inline bint is_printusascii_part(byte *p, Span part) noexcept nogil:
    cdef int i
    for i in range(part.at, part.end):
        if not is_printusascii(p[i]):
            return False
    return True


cdef inline bint is_plain(View *view) noexcept nogil:
    """Whether a line without a tag is read as text again behind a host."""
    if view.line.app.at >= 0 or view.line.procid.at >= 0 or not view.size or view.text[0] == c" ":
        return False
    return read_tag(view.text, 0, view.size, True, True, True).end == 0


cdef inline char *put_marked_text(char *to, View *view) noexcept nogil:
    """Write a SP, the byte order mark that the message had, and the text; nothing of nothing."""
    cdef Line *line = view.line
    cdef byte *mark = line.p + line.msg.at - 3
    cdef bint marked = line.version and line.msg.at >= 3 and line.front.at < 0 and (
        mark[0] == 0xEF and mark[1] == 0xBB and mark[2] == 0xBF
    )
    if not view.size and not marked:
        return to
    to[0] = c" "
    to += 1
    if marked:
        memcpy(to, mark, 3)
        to += 3
    memcpy(to, view.text, view.size)
    return to + view.size
