# cython: language_level=3
"""Headers of RFC 5424 that are not in order, as `relay/wire/headers/malformed.py` reads them."""

from libc.string cimport memcmp

from relay.codec.hostname cimport is_hostname
from relay.codec.line cimport (
    INVALID_STRUCTURED_DATA_TAG, MISSING_HOSTNAME_TAG, MISSING_STRUCTURED_DATA_TAG,
    MISSING_TIMESTAMP_TAG, Line, column_of, is_envelope,
)
from relay.codec.byte_classes cimport (
    VISIBLE_BYTE, Span, after_blanks, end_of_run, is_at, is_digit, missing, byte, span, starts,
)
from relay.codec.rfc5424 cimport (
    APP_NAME_MAX, HOSTNAME_MAX, MSGID_MAX, PROCID_MAX, end_of_elements, read_column,
)
from relay.codec.stamps cimport end_of_bsd_stamp, end_of_possible_iso_stamp, end_of_zone_name

cdef enum:
    COLUMNS = 4  # HOSTNAME to MSGID


cdef inline int missing_tag(int column) noexcept nogil:
    return MISSING_HOSTNAME_TAG << column


cdef inline int bytes_max_of(int column) noexcept nogil:
    if column < 2:
        return APP_NAME_MAX if column else HOSTNAME_MAX
    return PROCID_MAX if column == 2 else MSGID_MAX


cdef inline bint ends_word(byte *p, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    return at == end or p[at] == c" "


cdef inline Py_ssize_t end_with_zone(byte *p, Py_ssize_t stop, Py_ssize_t end) noexcept nogil:
    """Where a stamp that could end at `stop` does, with the name of its zone; 0 = it does not."""
    cdef Py_ssize_t zone
    if not stop:
        return 0
    if is_at(p, stop, end, c" "):
        zone = end_of_zone_name(p, stop + 1, end)
        if zone and ends_word(p, zone, end):
            return zone
    return stop if ends_word(p, stop, end) else 0


cdef inline Py_ssize_t end_of_any_stamp(
    byte *p, Py_ssize_t at, Py_ssize_t end
) noexcept nogil:
    """Where a stamp of either family ends that a SP follows, or nothing; 0 = there is none."""
    cdef Py_ssize_t stop = end_of_possible_iso_stamp(p, at, end)
    cdef Py_ssize_t found, blank
    if not stop:
        return end_with_zone(p, end_of_bsd_stamp(p, at, end), end)
    found = end_with_zone(p, stop, end)
    if found:
        return found
    for blank in range(at + 19, stop):
        if p[blank] == c" ":
            return end_with_zone(p, blank, end)
    return 0


cdef inline bint read_elements(byte *p, Py_ssize_t at, Py_ssize_t end, Line *line) noexcept nogil:
    """Read the NILVALUE or SD-ELEMENTs, and MSG behind their SP; False = they are not there."""
    cdef Py_ssize_t stop
    line.data = missing()
    if is_at(p, at, end, c"-") and ends_word(p, at + 1, end):
        stop = at + 1
    else:
        stop = end_of_elements(p, at, end)
        if not stop or not ends_word(p, stop, end):
            return False
        line.data = span(at, stop)
    line.msg = span(min(end, stop + 1), end)
    return True


cdef inline void clear(Line *line, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Make all behind the stamp MSG, from `at` on."""
    line.host = line.app = line.procid = line.msgid = line.data = missing()
    line.msg = span(at, end)


cdef inline int read_in_place(byte *p, Py_ssize_t at, Py_ssize_t end, Line *line) noexcept nogil:
    """Read a header in which all fields have their place, though one may be empty.

    Returns its tags; -1 = it is another one, of which a part may have been read.
    """
    cdef int tags = 0
    cdef int i
    for i in range(COLUMNS):
        if is_at(p, at, end, c" "):
            column_of(line, i)[0] = missing()
            tags |= missing_tag(i)
            at += 1
            continue
        at = read_column(p, at, end, bytes_max_of(i), column_of(line, i))
        if not at:
            return -1
    return tags if read_elements(p, at, end, line) else -1


cdef inline bint is_no_text(byte c) noexcept nogil:
    """Whether a byte may be in a name; punctuation of texts may not."""
    return not (
        c == c'"' or c"'" <= c <= c")" or c == c"," or c":" <= c <= c"?" or c"[" <= c <= c"]"
        or c == c"`" or c"{" <= c <= c"}"
    )


cdef inline bint is_identifier(byte *p, Span word) noexcept nogil:
    """Whether a word has two bytes or more, all of them capitals, digits or ``_-.``."""
    cdef bint has_capital = False
    cdef int i
    for i in range(word.at, word.end):
        if c"A" <= p[i] <= c"Z":
            has_capital = True
        elif not (is_digit(p[i]) or p[i] == c"_" or p[i] == c"." or p[i] == c"-"):
            return False
    return has_capital and word.end - word.at >= 2


cdef inline bint is_same(byte *p, Span first, Span second) noexcept nogil:
    cdef Py_ssize_t size = first.end - first.at
    return second.at >= 0 and second.end - second.at == size and (
        memcmp(p + first.at, p + second.at, size) == 0
    )


cdef inline bint fits(
    byte *p, Py_ssize_t end, int column, Span word, Span app, void *names
) except -1 nogil:
    """Whether a word looks like what should stand there."""
    cdef Py_ssize_t behind = min(end, word.end + 1)
    cdef int i
    cdef bint has_digit = False
    if word.end - word.at == 1 and p[word.at] == c"-":
        return True
    if column == 0:
        return is_hostname(p + word.at, word.end - word.at, names)
    if word.end - word.at > bytes_max_of(column):
        return False
    for i in range(word.at, word.end):
        if not is_no_text(p[i]):
            return False
        has_digit = has_digit or is_digit(p[i])
    if column == 1:
        return True
    if column == 2:
        return has_digit or (behind < end and (p[behind] == c"-" or p[behind] == c"["))
    return is_identifier(p, word) or is_same(p, word, app)


cdef inline int read_as_they_come(
    byte *p, Py_ssize_t at, Py_ssize_t end, Line *line, void *names
) except -1 nogil:
    """Read fields recognised by their form, up to the first that does not fit; returns its tag."""
    cdef Py_ssize_t stop
    cdef Span word
    cdef int tags = 0
    cdef int i
    clear(line, at, end)
    for i in range(COLUMNS):
        at = after_blanks(p, at, end)
        stop = end_of_run(p, at, end, VISIBLE_BYTE)
        word = span(at, stop)
        if (
            stop == at
            or not ends_word(p, stop, end)
            or (p[at] == c"[" and read_elements(p, at, end, line))
            or not fits(p, end, i, word, line.app, names)
        ):
            tags = missing_tag(i)
            break
        if not (stop == at + 1 and p[at] == c"-"):
            column_of(line, i)[0] = word
        at = min(end, stop + 1)
    if read_elements(p, at, end, line) and (not tags or line.data.at >= 0):
        return tags
    line.data = missing()
    line.msg = span(at, end)
    if tags:
        return tags
    return INVALID_STRUCTURED_DATA_TAG if is_at(p, at, end, c"[") else MISSING_STRUCTURED_DATA_TAG


cdef inline int read_without_stamp(
    byte *p, Py_ssize_t version, Py_ssize_t at, Py_ssize_t end, Line *line, void *names
) except -1 nogil:
    """Read a line whose TIMESTAMP is none: MSG begins with it if all others are in order."""
    cdef Py_ssize_t stop = end_of_run(p, at, end, VISIBLE_BYTE)
    cdef bint is_complete = stop > at and is_at(p, stop, end, c" ") and (
        read_in_place(p, stop + 1, end, line) == 0 and not is_envelope(p, line.app)
    )
    if is_complete and line.host.at >= 0:
        is_complete = is_hostname(p + line.host.at, line.host.end - line.host.at, names)
    line.stamp = missing()
    line.tags |= MISSING_TIMESTAMP_TAG
    if not is_complete:  # VERSION may as well be the first word of a text
        line.version = 0
        clear(line, version, end)
    elif line.msg.at < end:
        line.front = span(at, stop + 1)
    else:
        line.msg = span(at, stop)
    return 0


cdef inline int read_malformed(
    byte *p, Py_ssize_t version, Py_ssize_t at, Py_ssize_t end, Line *line, void *names
) except -1 nogil:
    """Read a line of VERSION 1 that is not in order.

    Args:
        version: Where VERSION begins.
        at: The offset after VERSION and its SP.
    """
    cdef int tags
    cdef Py_ssize_t stamp = after_blanks(p, at, end)
    cdef Py_ssize_t stop
    if is_at(p, stamp, end, c"-") and ends_word(p, stamp + 1, end):
        line.stamp = missing()
        stop = stamp + 1
    else:
        stop = end_of_any_stamp(p, stamp, end)
        if not stop:
            return read_without_stamp(p, version, at, end, line, names)
        line.stamp = span(stamp, stop)
    if stop == end:
        clear(line, end, end)
        tags = MISSING_HOSTNAME_TAG
    else:
        tags = read_in_place(p, stop + 1, end, line)
        if tags < 0:
            tags = read_as_they_come(p, stop + 1, end, line, names)
    line.tags |= tags
    if starts(p, line.msg.at, end, b"\xef\xbb\xbf", 3):
        line.msg.at += 3
    return 0
