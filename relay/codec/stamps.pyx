# cython: language_level=3
# cython: boundscheck=False
# cython: wraparound=False
# cython: cdivision=True
"""Time stamps by integer arithmetic, to the same bytes as `relay.wire.headers.timestamp`.

Rare stamps are left to the reference: years below 1000 or above 9000, offsets that have seconds
or are a day or more, hours in which the offset of the local zone changes, and texts that are
neither BSD nor ISO stamps.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp

from datetime import UTC, datetime, timedelta

cdef enum:
    YEAR_MIN = 1000
    YEAR_MAX = 9000
    UNSURE = 9999  # no offset, in minutes, that all of an hour has
    FUTURE_SECONDS_MAX = 31 * 86400
    NO_HOUR = -2000000000
    # Up to here, in 2223, a double tells the microseconds of a moment apart.
    RECEIVED_SECONDS_MAX = 8000000000

cdef object UTC_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
cdef object HOUR = timedelta(hours=1)
cdef object TO_LAST_SECOND = timedelta(seconds=3599)

# Reading

cdef inline int two_at(byte *p) noexcept nogil:
    """The number that two digits say."""
    return (p[0] - 0x30) * 10 + p[1] - 0x30


cdef inline int days_in(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef inline int64_t day_number(int year, int month, int day) noexcept nogil:
    """Days since 1970-01-01; `day` may be past either end of the month."""
    cdef int before = year - 1
    cdef int64_t number = 365 * before + before // 4 - before // 100 + before // 400
    number += (367 * month - 362) // 12 + day - 719163
    if month > 2:
        number -= 1 if days_in(year, 2) == 29 else 2
    return number


cdef inline int64_t hour_of(Parts *parts) noexcept nogil:
    """Hours since 1970-01-01 on the clocks that the parts are of."""
    return day_number(parts.year, parts.month, parts.day) * 24 + parts.hour


cdef inline bint read_offset(byte *p, Py_ssize_t at, Py_ssize_t size, Parts *parts) noexcept nogil:
    """Read the rest of a stamp; False if it is neither empty nor an offset."""
    cdef bint after_blank
    cdef int minutes = 0
    parts.has_offset = at < size
    parts.offset = 0
    parts.is_plain_offset = at + 1 == size and p[at] == c"Z"
    if at == size or parts.is_plain_offset:
        return True
    after_blank = p[at] == c" "
    at += after_blank
    if not has_sign(p, at, size):
        if at + 1 == size and p[at] == c"z":
            return True
        return at < size and find_zone(p, at, size, &parts.offset) == size
    if at + 3 < size:
        if end_of_minutes(p, at + 3, size) != size:
            return False
        minutes = two_at(p + size - 2)
    parts.is_plain_offset = (
        not after_blank and size - at == 6 and two_at(p + at + 1) <= 23 and minutes <= 59
    )
    minutes += two_at(p + at + 1) * 60
    parts.offset = -minutes if p[at] == c"-" else minutes
    return True


cdef inline void read_clock(byte *p, Parts *parts) noexcept nogil:
    parts.hour = two_at(p)
    parts.minute = two_at(p + 3)
    parts.second = two_at(p + 6)


cdef inline bint read_iso(byte *p, Py_ssize_t size, Parts *parts) noexcept nogil:
    """Read an ISO stamp; False if it is none."""
    cdef Py_ssize_t at = end_of_iso_local(p, 0, size)
    if at == 0 or not read_offset(p, at, size, parts):
        return False
    parts.year = two_at(p) * 100 + two_at(p + 2)
    parts.month = two_at(p + 5)
    parts.day = two_at(p + 8)
    read_clock(p + 11, parts)
    parts.fraction = p + 20
    parts.digits = at - 20 if at > 20 else 0
    parts.offset_at = at
    parts.stays = (
        parts.is_plain_offset
        and p[10] == c"T"
        and (at == 19 or (parts.digits and p[19] == c"."))
        and parts.year >= 1
        and 1 <= parts.month <= 12
        and 1 <= parts.day <= days_in(parts.year, parts.month)
        and parts.hour <= 23
        and parts.minute <= 59
        and parts.second <= 59
    )
    if not parts.stays:
        if parts.month == 0:
            parts.month = 12
            parts.year -= 1
        parts.year += (parts.month - 1) // 12
        parts.month = (parts.month - 1) % 12 + 1
        if parts.year == 0:
            return False  # which would stand for none
    return True


cdef inline int read_year(byte *p, Py_ssize_t *at, Py_ssize_t size) noexcept nogil:
    """Read a year and the blank behind it; 0 = there is none."""
    cdef byte *year = p + at[0]
    if not has_year(p, at[0], size) or size - at[0] < 5 or year[4] != c" ":
        return 0
    at[0] += 5
    return two_at(year) * 100 + two_at(year + 2)


cdef inline bint read_bsd(byte *p, Py_ssize_t size, Parts *parts) noexcept nogil:
    """Read a BSD stamp; False if it is none."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t clock
    cdef int year = read_year(p, &at, size)
    parts.month = month_at(p, at, size)
    parts.year = year
    parts.stays = False
    if not parts.month or size - at < 4 or p[at + 3] != c" ":
        return False
    at = end_of_day(p, at + 4, size)
    if at == 0:
        return False
    parts.day = p[at - 1] - 0x30
    if is_digit(p[at - 2]):
        parts.day += (p[at - 2] - 0x30) * 10
    at += 1
    year = read_year(p, &at, size)  # the one before the clock counts, then the one after it
    clock = at
    if not has_clock(p, at, size):
        return False
    read_clock(p + at, parts)
    at = end_of_fraction(p, at + 8, size)
    parts.fraction = p + clock + 9
    parts.digits = at - clock - 9 if at > clock + 9 else 0
    if at < size and p[at] == c" " and has_year(p, at + 1, size):
        if year == 0:
            year = two_at(p + at + 1) * 100 + two_at(p + at + 3)
        at += 5
    if year:
        parts.year = year
    return read_offset(p, at, size, parts)


cdef inline int microseconds_of(Parts *parts) noexcept nogil:
    cdef int number = 0
    cdef int i
    for i in range(6):
        number *= 10
        if i < parts.digits:
            number += parts.fraction[i] - 0x30
    return number


cdef inline bint is_below_milliseconds(Parts *parts, Py_ssize_t digits) noexcept nogil:
    """Whether any of the first `digits` but for three is not 0."""
    cdef Py_ssize_t i
    for i in range(3, min(digits, parts.digits)):
        if parts.fraction[i] != c"0":
            return True
    return False


cdef inline void roll_over(Parts *parts) noexcept nogil:
    """Bring units past their end, and days before the first, into their range."""
    if parts.second > 59:
        parts.minute += parts.second // 60
        parts.second %= 60
    if parts.minute > 59:
        parts.hour += parts.minute // 60
        parts.minute %= 60
    if parts.hour > 23:
        parts.day += parts.hour // 24
        parts.hour %= 24
    while parts.day < 1:
        parts.month -= 1
        if parts.month == 0:
            parts.month = 12
            parts.year -= 1
        parts.day += days_in(parts.year, parts.month)
    while parts.day > 28 and parts.day > days_in(parts.year, parts.month):
        parts.day -= days_in(parts.year, parts.month)
        parts.month += 1
        if parts.month == 13:
            parts.month = 1
            parts.year += 1


cdef inline void shift(Parts *parts, int minutes) noexcept nogil:
    """Move the clock by less than two days."""
    minutes += parts.hour * 60 + parts.minute
    while minutes < 0:
        minutes += 1440
        parts.day -= 1
    parts.hour = minutes // 60
    parts.minute = minutes % 60
    roll_over(parts)


# Writing

cdef inline char *put_two(char *to, int number) noexcept nogil:
    to[0] = <char>(0x30 + number // 10)
    to[1] = <char>(0x30 + number % 10)
    return to + 2


cdef inline char *put_clock(char *to, Parts *parts) noexcept nogil:
    put_two(to, parts.hour)
    put_two(to + 3, parts.minute)
    put_two(to + 6, parts.second)
    to[2] = to[5] = c":"
    return to + 8


cdef inline char *put_second(char *to, Parts *parts) noexcept nogil:
    """Write ``yyyy-mm-ddThh:mm:ss``."""
    put_two(to, parts.year // 100)
    put_two(to + 2, parts.year % 100)
    put_two(to + 5, parts.month)
    put_two(to + 8, parts.day)
    to[4] = to[7] = c"-"
    to[10] = c"T"
    return put_clock(to + 11, parts)


cdef inline char *put_fraction(char *to, Parts *parts, int form) noexcept nogil:
    """Write up to six digits with their point, or three of `MILLISECONDS`."""
    cdef Py_ssize_t digits = 3 if form == MILLISECONDS else min(parts.digits, 6)
    cdef Py_ssize_t i
    if digits == 0:
        return to
    to[0] = c"."
    for i in range(digits):
        to[i + 1] = <char>parts.fraction[i] if i < parts.digits else c"0"
    return to + digits + 1


cdef inline char *put_offset(char *to, int minutes) noexcept nogil:
    to[0] = c"-" if minutes < 0 else c"+"
    if minutes < 0:
        minutes = -minutes
    put_two(to + 1, minutes // 60)
    to[3] = c":"
    return put_two(to + 4, minutes % 60)


cdef inline char *put_bsd(char *to, Parts *parts) noexcept nogil:
    """Write ``Mmm dd hh:mm:ss``."""
    memcpy(to, MONTHS + 3 * (parts.month - 1), 3)
    put_two(to + 4, parts.day)
    if parts.day < 10:
        to[4] = c" "
    to[3] = to[6] = c" "
    return put_clock(to + 7, parts)


cdef inline Py_ssize_t put_as_it_is(
    char *to, byte *stamp, Py_ssize_t size, int form, Parts *parts
) noexcept nogil:
    """Write a valid stamp of RFC 3339, with fewer digits or another offset if `form` says so."""
    cdef Py_ssize_t rest = size - parts.offset_at
    if form == MILLISECONDS:
        memcpy(to, stamp, 19)
        put_fraction(to + 19, parts, form)
        if parts.offset == 0:
            memcpy(to + 23, b"+00:00", 6)
        else:
            memcpy(to + 23, stamp + parts.offset_at, 6)
        return 29
    if form == RFC5424 and parts.digits > 6:
        memcpy(to, stamp, 26)
        memcpy(to + 26, stamp + parts.offset_at, rest)
        return 26 + rest
    if form == EXACT and not is_below_milliseconds(parts, parts.digits):
        return 0
    memcpy(to, stamp, size)
    return size


cdef int minutes_of(object offset) except -9999:
    if offset is None or offset.microseconds or offset.seconds % 60:
        return UNSURE
    return offset.days * 1440 + offset.seconds // 60


@cython.final
cdef class Stamps:
    """Converts the stamps of batches.

    Args:
        zone: Local zone for stamps that have no offset.
        references: `to_rfc3339`, `to_rfc5424`, `to_milliseconds` and `to_exact`, in the order of
            `StampForm`, and what writes BSD stamps, if that is asked for.  They are called once
            in a batch for the receive time, and for rare stamps.
    """

    def __init__(self, zone, references):
        cdef int i
        self.zone = zone
        self.references = tuple(references)
        if not 0 < len(self.references) <= FORMS:
            raise ValueError(f"{len(self.references)} references")
        self.local_epoch = datetime(1970, 1, 1, tzinfo=zone)
        for i in range(HOURS_KEPT):
            self.hours[0][i].hour = self.hours[1][i].hour = NO_HOUR
        self.settle(0.0)

    cdef void begin(self, double received_at) noexcept:
        """Begin a batch that came at `received_at`, in seconds since 1970-01-01 UTC."""
        if received_at != self.received_at:
            self.settle(received_at)

    cdef void settle(self, double received_at) noexcept:
        cdef int i
        self.received_at = received_at
        for i in range(FORMS):
            self.known[i].size = -1
            self.received[i].size = -1
        self.knows_years = 0 <= received_at <= RECEIVED_SECONDS_MAX
        if self.knows_years:
            self.received_second = <int64_t>received_at
            # The year after that of the receive time in any zone, or one more: the mean year
            # of 31556952 seconds is never six days from the calendar.
            self.year_max = 1971 + (self.received_second + 6 * 86400) // 31556952

    cdef Py_ssize_t put(
        self, char *to, const unsigned char *stamp, Py_ssize_t size, int form
    ) except -1 nogil:
        """Write the converted stamp to `to`; returns the bytes written, 0 is possible for `EXACT`.

        Args:
            to: Has room for `ROOM` bytes and those of the stamp.
            size: -1 = there is no stamp: the receive time.
            form: A `StampForm` that has a reference.
        """
        cdef Parts parts
        cdef Known *known = &self.known[form]
        cdef Py_ssize_t written
        if size < 0:
            known = &self.received[form]
            if known.size < 0:
                known.written = self.refer(known.bytes, stamp, size, form)
                known.size = 0
        elif size > 4 and stamp[4] == c"-":
            if not read_iso(stamp, size, &parts):
                return self.refer(to, stamp, size, form)
            if parts.stays and form != BSD:
                return put_as_it_is(to, stamp, size, form, &parts)
            return self.put_parts(to, stamp, size, form, &parts)
        elif size != known.size or memcmp(stamp, known.stamp, size) != 0:
            if not read_bsd(stamp, size, &parts):
                return self.refer(to, stamp, size, form)
            if size > STAMP_KEPT:
                return self.put_parts(to, stamp, size, form, &parts)
            known.size = -1
            known.written = self.put_parts(known.bytes, stamp, size, form, &parts)
            memcpy(known.stamp, stamp, size)
            known.size = size
        memcpy(to, known.bytes, known.written)
        return known.written

    cdef Py_ssize_t put_parts(
        self, char *to, byte *stamp, Py_ssize_t size, int form, Parts *parts
    ) except -1 nogil:
        """Write the moment that `parts` mean."""
        cdef char *end
        cdef int minutes
        if form == EXACT and not is_below_milliseconds(parts, parts.digits):
            return 0
        if not self.make_moment(parts):
            return self.refer(to, stamp, size, form)
        if form == EXACT and not is_below_milliseconds(parts, 6):
            return 0
        if form != BSD:
            end = put_fraction(put_second(to, parts), parts, form)
            return put_offset(end, parts.offset) - to
        if parts.has_offset:
            shift(parts, -parts.offset)
            minutes = self.minutes_in(hour_of(parts), True)
            if minutes == UNSURE:
                return self.refer(to, stamp, size, form)
            shift(parts, minutes)
        return put_bsd(to, parts) - to

    cdef Py_ssize_t refer(
        self, char *to, byte *stamp, Py_ssize_t size, int form
    ) except -1 with gil:
        """Let the reference write a stamp."""
        cdef bytes text = None
        cdef bytes written
        if not 0 <= form < len(self.references):
            raise ValueError(f"no reference of form {form}")
        if size >= 0:
            text = PyBytes_FromStringAndSize(<const char *>stamp, size)
        written = self.references[form](text, self.received_at, self.zone)
        if written is None or PyBytes_GET_SIZE(written) > max(size, 0) + ROOM:
            raise ValueError(f"a stamp converted to {written}")
        memcpy(to, PyBytes_AS_STRING(written), PyBytes_GET_SIZE(written))
        return PyBytes_GET_SIZE(written)

    cdef bint make_moment(self, Parts *parts) except -1 nogil:
        """Find year and offset, and roll over; False if that is up to the reference."""
        if not -1440 < parts.offset < 1440 or (parts.year == 0 and not self.find_year(parts)):
            return False
        if not YEAR_MIN <= parts.year <= YEAR_MAX:
            return False
        roll_over(parts)
        if not parts.has_offset:
            parts.offset = self.minutes_in(hour_of(parts), False)
        return parts.offset != UNSURE

    cdef bint find_year(self, Parts *parts) except -1 nogil:
        """The latest year in which the moment is at most 31 days after the receive time."""
        cdef int64_t latest = self.received_second + FUTURE_SECONDS_MAX
        cdef int64_t moment, hour
        cdef int minutes = parts.offset
        if not self.knows_years:
            return False
        parts.year = self.year_max
        while True:
            hour = hour_of(parts) + (parts.minute * 60 + parts.second) // 3600
            moment = hour_of(parts) * 3600 + parts.minute * 60 + parts.second
            if not parts.has_offset and moment - 86400 <= latest + 1:
                minutes = self.minutes_in(hour, False)
                if minutes == UNSURE:
                    return False
            moment -= minutes * 60
            if moment < latest - 1:
                return True
            if moment <= latest + 1:  # as the reference rounds it
                moment = moment * 1000000 + microseconds_of(parts)
                if <double>moment / 1e6 - self.received_at <= FUTURE_SECONDS_MAX:
                    return True
            parts.year -= 1

    cdef int minutes_in(self, int64_t hour, bint of_utc) except -9999 nogil:
        """Minutes that the zone is ahead of UTC in an hour of its own clocks or of UTC, or
        `UNSURE`."""
        cdef HourOffset *kept = &self.hours[of_utc][<size_t>hour % HOURS_KEPT]
        if kept.hour != hour:
            self.learn(kept, hour, of_utc)
        return kept.minutes

    cdef int learn(self, HourOffset *kept, int64_t hour, bint of_utc) except -1 with gil:
        kept.hour = NO_HOUR
        first = (UTC_EPOCH if of_utc else self.local_epoch) + hour * HOUR
        last = first + TO_LAST_SECOND
        if of_utc:
            first, last = first.astimezone(self.zone), last.astimezone(self.zone)
        kept.minutes = minutes_of(first.utcoffset())
        if kept.minutes != minutes_of(last.utcoffset()):
            kept.minutes = UNSURE
        kept.hour = hour
        return 0

    def convert(self, bytes stamp, double received_at, int form) -> bytes:
        """The text that `put` writes for `stamp` in a batch received at `received_at`."""
        cdef Py_ssize_t size = -1 if stamp is None else PyBytes_GET_SIZE(stamp)
        cdef byte *data = NULL if stamp is None else <byte *>PyBytes_AS_STRING(stamp)
        cdef bytes room = PyBytes_FromStringAndSize(NULL, max(size, 0) + ROOM)
        if not 0 <= form < len(self.references):
            raise ValueError(f"no reference of form {form}")
        self.begin(received_at)
        return room[: self.put(PyBytes_AS_STRING(room), data, size, form)]


def ends_of(bytes line not None, Py_ssize_t at) -> tuple:
    """Where a BSD, ISO and possible ISO stamp and a name of a zone end that begin at `at`.

    0 stands for one that does not.
    """
    cdef byte *p = <byte *>PyBytes_AS_STRING(line)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(line)
    if not 0 <= at <= size:
        raise ValueError(f"{at} in {size} bytes")
    return (
        end_of_bsd_stamp(p, at, size),
        end_of_iso_stamp(p, at, size),
        end_of_possible_iso_stamp(p, at, size),
        end_of_zone_name(p, at, size),
    )
