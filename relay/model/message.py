"""A parsed syslog message (RFC 5424 §6) and the names of its PRI part."""

from __future__ import annotations

from typing import NamedTuple

# RFC 5424 §6.2.1, table 1, in the spelling of syslog-ng (its names for 13 to 15
# differ from rsyslog's only where RFC 5424 leaves the choice).
FACILITY_NAMES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news"),
    *("uucp", "cron", "authpriv", "ftp", "ntp", "security", "console", "solaris-cron"),
    *(f"local{number}" for number in range(8)),
)

# RFC 5424 §6.2.1, table 2.
SEVERITY_NAMES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")

# RFC 3164 §4.3.3: a relay gives PRI 13 to a message that has none.
DEFAULT_FACILITY = 1
DEFAULT_SEVERITY = 5


class JsonText(bytes):
    """Value of a pair that no plain text stands for: its JSON, as it was written.

    A number, true, false, null, an array, an empty object, or a string (with its
    quotes) that holds NUL or half a surrogate pair.  Kept as written, because
    numbers would lose digits on the way through any number type.
    """

    __slots__ = ()


class SyslogMessage(NamedTuple):
    """One message.  Bytes, not text: a relay passes on what it cannot decode.

    A NamedTuple because one is made per message (0.4 µs; a frozen slotted
    dataclass takes 2 µs).  A field that the message does not have is None.
    """

    facility: int
    """0 to 23 (RFC 5424 §6.2.1)."""
    severity: int
    """0 to 7."""
    version: int
    """1 = RFC 5424, 0 = RFC 3164 or less."""
    timestamp: bytes | None
    """As received, in either format."""
    hostname: bytes | None
    app_name: bytes | None
    procid: bytes | None
    msgid: bytes | None
    structured_data: bytes | None
    """All SD-ELEMENTs, verbatim; None for the NILVALUE."""
    msg: bytes
    """MSG without a byte order mark (RFC 5424 §6.4)."""
    raw: bytes
    """The frame that this was parsed from."""
    pairs: dict[str, bytes] | None = None
    """Name-value pairs beyond the header, by syslog-ng's names.  A value that is no
    text is a `JsonText`."""
    tags: tuple[bytes, ...] = ()
    """In the order in which they were added, none twice."""
    app: str = ""
    """Id of the app that its sender was authorised for; empty = none."""
    is_utf8: bool = False
    """MSG is said to be UTF-8, and has the mark of RFC 5424 §6.4 where that is written.  Of
    what came with a mark `raw` says it."""

    @property
    def pri(self) -> int:
        """PRIVAL = facility * 8 + severity."""
        return self.facility * 8 + self.severity
