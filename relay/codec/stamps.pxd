# cython: language_level=3
"""Time stamps, byte by byte: finding their ends, and converting them.

The grammar is that of `relay.wire.headers.timestamp`, whose patterns are the reference.  Nothing is
read outside `p[:size]`.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memcpy

from relay.codec.byte_classes cimport byte, is_digit

cdef enum StampForm:
    RFC3339 = 0  # to_rfc3339
    RFC5424 = 1  # to_rfc5424
    MILLISECONDS = 2  # to_milliseconds
    EXACT = 3  # to_exact
    BSD = 4  # Mmm dd hh:mm:ss in the local zone

cdef enum:
    FORMS = 5
    ROOM = 40  # bytes that a converted stamp may have more than the stamp itself
    STAMP_KEPT = 32
    HOURS_KEPT = 64

cdef struct Known:
    # A stamp of this batch and what it became.
    Py_ssize_t size  # -1 = none
    Py_ssize_t written
    char[STAMP_KEPT] stamp
    char[STAMP_KEPT + ROOM] bytes

cdef struct HourOffset:
    int64_t hour  # since 1970-01-01
    int minutes  # ahead of UTC

cdef struct Parts:
    # The parts of a stamp.
    int year  # 0 = not said
    int month
    int day
    int hour
    int minute
    int second
    byte *fraction  # its first digit
    Py_ssize_t digits
    Py_ssize_t offset_at  # of an ISO stamp: where its offset begins
    bint has_offset
    bint is_plain_offset  # in the form of RFC 3339
    int offset  # minutes ahead of UTC
    bint stays  # valid RFC 3339

cdef extern from *:
    """
    /* Zones by name, the size of the name, and minutes ahead of UTC, as the reference has them. */
    struct relay_zone { const char *name; int size; int minutes; };
    static const struct relay_zone relay_zones[] = {
    {"Z", 1, 0}, {"UTC", 3, 0}, {"GMT", 3, 0}, {"UT", 2, 0}, {"WET", 3, 0}, {"CET", 3, 60},
    {"MEZ", 3, 60}, {"WEST", 4, 60}, {"CEST", 4, 120}, {"MESZ", 4, 120}, {"EET", 3, 120},
    {"SAST", 4, 120}, {"EEST", 4, 180}, {"MSK", 3, 180}, {"HKT", 3, 480}, {"SGT", 3, 480},
    {"AWST", 4, 480}, {"JST", 3, 540}, {"KST", 3, 540}, {"AEST", 4, 600}, {"AEDT", 4, 660},
    {"NZST", 4, 720}, {"NZDT", 4, 780}, {"EDT", 3, -240}, {"EST", 3, -300}, {"CDT", 3, -300},
    {"MDT", 3, -360}, {"MST", 3, -420}, {"PDT", 3, -420}, {"PST", 3, -480},
    };
    static const char relay_months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    /* One comparison for each of the twelve costs a tenth of what it takes to read a line. */
    #define RELAY_MONTH(a, b, c) ((a) << 16 | (b) << 8 | (c))
    static inline int relay_month_of(const unsigned char *p) {
        switch (RELAY_MONTH(p[0], p[1] | 0x20, p[2] | 0x20)) {
        case RELAY_MONTH('J', 'a', 'n'): return 1;
        case RELAY_MONTH('F', 'e', 'b'): return 2;
        case RELAY_MONTH('M', 'a', 'r'): return 3;
        case RELAY_MONTH('A', 'p', 'r'): return 4;
        case RELAY_MONTH('M', 'a', 'y'): return 5;
        case RELAY_MONTH('J', 'u', 'n'): return 6;
        case RELAY_MONTH('J', 'u', 'l'): return 7;
        case RELAY_MONTH('A', 'u', 'g'): return 8;
        case RELAY_MONTH('S', 'e', 'p'): return 9;
        case RELAY_MONTH('O', 'c', 't'): return 10;
        case RELAY_MONTH('N', 'o', 'v'): return 11;
        case RELAY_MONTH('D', 'e', 'c'): return 12;
        default: return 0;
        }
    }
    """
    int month_of "relay_month_of"(const byte *p) noexcept nogil
    const char *MONTHS "relay_months"
    struct Zone "relay_zone":
        const char *name
        int size
        int minutes
    const Zone zones "relay_zones"[30]

cdef enum:
    ZONES = 30


cdef inline bint are_digits(byte *p, Py_ssize_t at, Py_ssize_t size, int count) noexcept nogil:
    """Whether `count` digits stand at `at`."""
    cdef int i
    if size - at < count:
        return False
    for i in range(count):
        if not is_digit(p[at + i]):
            return False
    return True


cdef inline bint has_clock(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Whether ``dd:dd:dd`` stands at `at`, whatever the digits are."""
    cdef uint64_t word  # the pattern is a palindrome, so that the order of bytes is no matter
    if size - at < 8:
        return False
    memcpy(&word, p + at, 8)
    if word & 0xF0F0FFF0F0FFF0F0u != 0x30303A30303A3030u:
        return False
    return (word + 0x0606000606000606u) & 0xF0F0FFF0F0FFF0F0u == 0x30303A30303A3030u


cdef inline int month_at(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """The month, 1 to 12, whose name of three letters stands at `at`; 0 = none.

    The first letter has to be a capital.
    """
    return month_of(p + at) if size - at >= 3 else 0


cdef inline bint has_year(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Whether a year from 1000 to 2999 stands at `at`; digits may follow."""
    return are_digits(p, at, size, 4) and (p[at] == c"1" or p[at] == c"2")


cdef inline Py_ssize_t end_of_day(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where one or two digits, or a blank and a digit, end that a blank follows; 0 = none."""
    cdef Py_ssize_t end = at + 1
    if size - at < 2 or not (is_digit(p[at]) or p[at] == c" "):
        return 0
    if is_digit(p[end]):
        end += 1
    elif p[at] == c" ":
        return 0
    return end if end < size and p[end] == c" " else 0


cdef inline Py_ssize_t end_of_fraction(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where a point or a comma and any digits end; `at` if there is none."""
    if at < size and (p[at] == c"." or p[at] == c","):
        at += 1
        while at < size and is_digit(p[at]):
            at += 1
    return at


cdef inline bint ends_offset(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Whether an offset that is not in the form of RFC 3339 may end at `at`."""
    return at == size or p[at] == c" " or p[at] == c":" or p[at] == c"\t"


cdef inline bint is_blank(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    return at < size and (p[at] == c" " or p[at] == c"\t")


cdef inline bint has_sign(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Whether a sign and two digits stand at `at`."""
    return at < size and (p[at] == c"+" or p[at] == c"-") and are_digits(p, at + 1, size, 2)


cdef inline Py_ssize_t end_of_minutes(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where the minutes of an offset end, with or without a colon before them; 0 = none."""
    if at < size and p[at] == c":":
        at += 1
    return at + 2 if are_digits(p, at, size, 2) else 0


cdef inline Py_ssize_t end_of_number(
    byte *p, Py_ssize_t at, Py_ssize_t size, bint before_blank
) noexcept nogil:
    """Where ``+hh:mm``, ``+hhmm`` or ``+hh`` ends, with or without a blank before it; 0 = none.

    What follows has to be the end of an offset, or a blank or tab if `before_blank`.
    """
    cdef Py_ssize_t end
    if at < size and p[at] == c" ":
        at += 1
    if not has_sign(p, at, size):
        return 0
    end = end_of_minutes(p, at + 3, size)
    if end and (is_blank(p, end, size) if before_blank else ends_offset(p, end, size)):
        return end
    end = at + 3
    return end if (is_blank(p, end, size) if before_blank else ends_offset(p, end, size)) else 0


cdef inline Py_ssize_t end_of_bsd_clock(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where a clock, any fraction and any offset end; 0 = there is no clock."""
    cdef Py_ssize_t end
    if not has_clock(p, at, size):
        return 0
    at = end_of_fraction(p, at + 8, size)
    if at == size:
        return at
    if p[at] == c"Z":
        return at + 1 if ends_offset(p, at + 1, size) else at
    end = end_of_number(p, at, size, False)
    return end if end else at


cdef inline Py_ssize_t end_of_clock_and_year(
    byte *p, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    """Where a clock, a year and any offset end that a blank or tab follows; 0 = none."""
    cdef Py_ssize_t end
    if not has_clock(p, at, size) or not has_year(p, at + 9, size) or p[at + 8] != c" ":
        return 0
    end = end_of_number(p, at + 13, size, True)
    if end:
        return end
    return at + 13 if is_blank(p, at + 13, size) else 0


cdef inline Py_ssize_t end_of_bsd_stamp(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where a match of `BSD_STAMP` from `at` on ends; 0 = there is none."""
    cdef bint year_first = has_year(p, at, size)
    cdef bint year_before
    cdef Py_ssize_t end
    if year_first:
        at += 5
        if at > size or p[at - 1] != c" ":
            return 0
    if not month_at(p, at, size) or size - at < 4 or p[at + 3] != c" ":
        return 0
    at = end_of_day(p, at + 4, size)
    if at == 0:
        return 0
    at += 1
    if not year_first:
        end = end_of_clock_and_year(p, at, size)
        if end:
            return end
    year_before = not year_first and has_year(p, at, size) and size - at > 4 and p[at + 4] == c" "
    end = end_of_bsd_clock(p, at + 5 if year_before else at, size)
    if end and (year_first or year_before) and not ends_offset(p, end, size):
        return 0
    return end


cdef inline Py_ssize_t end_of_iso_local(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where a date, a clock and any fraction end; 0 = none."""
    if not are_digits(p, at, size, 4) or not has_clock(p, at + 11, size):
        return 0
    if p[at + 4] != c"-" or p[at + 7] != c"-" or not is_digit(p[at + 5]):
        return 0
    if not is_digit(p[at + 6]) or not is_digit(p[at + 8]) or not is_digit(p[at + 9]):
        return 0
    if p[at + 10] != c"T" and p[at + 10] != c" " and p[at + 10] != c"t":
        return 0
    return end_of_fraction(p, at + 19, size)


cdef inline Py_ssize_t end_of_iso_stamp(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where a match of `ISO_STAMP` from `at` on ends; 0 = there is none."""
    cdef Py_ssize_t end
    at = end_of_iso_local(p, at, size)
    if at == 0 or at == size:
        return at
    if p[at] == c"Z" or p[at] == c"z":
        return at + 1
    if has_sign(p, at, size) and size - at >= 6 and p[at + 3] == c":":
        if are_digits(p, at + 4, size, 2):
            return at + 6
    end = end_of_number(p, at, size, False)
    return end if end else at


cdef inline Py_ssize_t end_of_possible_iso_stamp(
    byte *p, Py_ssize_t at, Py_ssize_t size
) noexcept nogil:
    """Where a match of `POSSIBLE_ISO_STAMP` from `at` on ends; 0 = there is none."""
    cdef Py_ssize_t sign, end
    cdef Py_ssize_t local_end = end_of_iso_local(p, at, size)
    if local_end == 0 or (p[at] == p[at + 1] == p[at + 2] == p[at + 3] == c"0"):
        return 0
    if local_end == size:
        return size
    if p[local_end] == c"Z" or p[local_end] == c"z":
        return local_end + 1
    sign = local_end + (p[local_end] == c" ")
    if not has_sign(p, sign, size) or (p[sign + 1] - 0x30) * 10 + p[sign + 2] - 0x30 > 23:
        return local_end
    end = end_of_minutes(p, sign + 3, size)
    if end and p[end - 2] <= c"5" and ends_offset(p, end, size):
        return end
    return sign + 3 if ends_offset(p, sign + 3, size) else local_end


cdef inline Py_ssize_t find_zone(
    byte *p, Py_ssize_t at, Py_ssize_t size, int *minutes
) noexcept nogil:
    """Where the longest name of a zone ends that begins at `at`, and its `minutes`; 0 = none."""
    cdef Py_ssize_t end = 0
    cdef int i
    if at >= size or not c"A" <= p[at] <= c"Z":
        return 0
    for i in range(ZONES):
        if at + zones[i].size > end and at + zones[i].size <= size:
            if memcmp(p + at, zones[i].name, zones[i].size) == 0:
                minutes[0] = zones[i].minutes
                end = at + zones[i].size
    return end


cdef inline Py_ssize_t end_of_zone_name(byte *p, Py_ssize_t at, Py_ssize_t size) noexcept nogil:
    """Where a match of `ZONE_NAME` from `at` on ends, whatever follows; 0 = there is none."""
    cdef int minutes = 0
    return find_zone(p, at, size, &minutes)


@cython.final
cdef class Stamps:
    cdef object zone
    cdef tuple references
    cdef object local_epoch
    cdef double received_at
    cdef int64_t received_second
    cdef bint knows_years  # or the year of a stamp is up to the reference
    cdef int year_max
    cdef Known[FORMS] known
    cdef Known[FORMS] received
    cdef HourOffset[2][HOURS_KEPT] hours  # of hours on the clocks of the zone, and of UTC

    cdef void begin(self, double received_at) noexcept
    cdef void settle(self, double received_at) noexcept
    cdef Py_ssize_t put(
        self, char *to, const unsigned char *stamp, Py_ssize_t size, int form
    ) except -1 nogil
    cdef Py_ssize_t put_parts(
        self, char *to, byte *stamp, Py_ssize_t size, int form, Parts *parts
    ) except -1 nogil
    cdef Py_ssize_t refer(
        self, char *to, byte *stamp, Py_ssize_t size, int form
    ) except -1 nogil
    cdef bint make_moment(self, Parts *parts) except -1 nogil
    cdef bint find_year(self, Parts *parts) except -1 nogil
    cdef int minutes_in(self, int64_t hour, bint of_utc) except -9999 nogil
    cdef int learn(self, HourOffset *kept, int64_t hour, bint of_utc) except -1 nogil
