# cython: language_level=3
"""The parts of a line, as parsing finds them."""

from libc.string cimport memcmp

from relay.codec.byte_classes cimport Span, byte

cdef enum:
    # Bits of `Line.tags`, in the order in which a message has the tags.
    UNEXPECTED_FRAMING_TAG = 1
    INVALID_PRI_TAG = 2
    INVALID_HOSTNAME_TAG = 4
    MISSING_TIMESTAMP_TAG = 8
    MISSING_HOSTNAME_TAG = 16
    MISSING_APP_NAME_TAG = 32
    MISSING_PROCID_TAG = 64
    MISSING_MSGID_TAG = 128
    MISSING_STRUCTURED_DATA_TAG = 256
    INVALID_STRUCTURED_DATA_TAG = 512
    TAGS = 10

cdef struct Line:
    byte *p             # of the frame, or of a copy with new values behind it
    int end              # without the delimiters at its end
    int pri
    int version          # 1 = RFC 5424
    int tags
    int added            # which of `Lines.added` it has beside these
    Span stamp
    Span host
    Span app
    Span procid
    Span msgid
    Span data            # SD-ELEMENTs; missing = the NILVALUE
    Span header          # of RFC 3164: the text between host and MSG
    Span msg
    Span front           # text that belongs before MSG: Cisco's number, or a stamp that is none
    Span sequence        # Cisco's number that is a sequenceId (RFC 5424 §7.3.1)
    char mark            # of Cisco's clock: * or . or 0
    bint has_header      # it was read as RFC 3164, with or without a tag
    bint is_regular      # the header is PROGRAM: or PROGRAM[PID]: of plain characters
    bint is_read         # False: the message that the reference has made says what it is


cdef inline Span *column_of(Line *line, int column) noexcept nogil:
    """HOSTNAME, APP-NAME, PROCID or MSGID, by their numbers from 0."""
    if column == 0:
        return &line.host
    if column == 1:
        return &line.app
    return &line.procid if column == 2 else &line.msgid


cdef inline bint is_envelope(byte *p, Span app) noexcept nogil:
    """Whether the program is that of an envelope of EWMM."""
    return app.at >= 0 and app.end - app.at == 10 and memcmp(p + app.at, b"@syslog-ng", 10) == 0
