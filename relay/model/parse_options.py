"""Parse options of a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import tzinfo
from typing import Literal

from relay.model.message import DEFAULT_FACILITY, DEFAULT_SEVERITY


@dataclass(frozen=True)
class ParseOptions:
    """syslog-ng's flags() and options of a source that say how lines are read.

    The defaults are what `relay.wire.parse.read_lines` does.
    """

    mode: Literal["auto", "rfc3164", "rfc5424"] = "auto"
    """auto and rfc5424: RFC 5424, or else RFC 3164.  rfc3164: VERSION is no field."""
    adapters: bool = False
    """Parse formats of certain applications (`relay.wire.adapters.applications`), as
    syslog-ng's default-network-drivers() does on port 514.  In mode auto only."""
    no_parse: bool = False
    """The whole line is MSG, with the default PRI."""
    no_header: bool = False
    """Everything after the PRI is MSG."""
    no_rfc3164_fallback: bool = False
    """Lines that are not RFC 5424 count as unparsable."""
    no_hostname: bool = False
    expect_hostname: bool = True
    """False = `no_hostname`."""
    local_hostname: bool = False
    """Lines that come over unix sockets name their host, as those of the network do."""
    check_hostname: bool = False
    """HOSTNAME of RFC 3164 has only letters, digits and ``-_.:@/``."""
    check_program: bool = False
    """PROGRAM of RFC 3164 has only letters, digits and ``-_./()``, and a letter."""
    bad_hostname: str | None = None
    """Regular expression; words that match are not a HOSTNAME (RFC 3164)."""
    kernel: bool = False
    """Lines without PRI are kern.notice, and kernel messages without stamp get the
    program kernel."""
    default_facility: int = DEFAULT_FACILITY
    """0 to 23, of lines without PRI."""
    default_severity: int = DEFAULT_SEVERITY
    """0 to 7, of lines without PRI."""
    time_zone: tzinfo | None = None
    """Zone of stamps without offset; None = the local one."""
    guess_timezone: bool = False
    """The offset of such stamps is worked out from the receive time where that is plain."""
    keep_timestamp: bool = True
    """False: the stamp is the receive time."""
    keep_hostname: bool = True
    """False: HOSTNAME is the peer's address."""
    chain_hostnames: bool = False
    """HOSTNAME becomes ``HOSTNAME/PEER`` where the two differ, whatever `keep_hostname` says."""
    host_override: bytes | None = None
    program_override: bytes | None = None
    tags: tuple[bytes, ...] = ()
    """Added to each message."""
    parse_tags: Literal["errors", "all", "none"] = "errors"
    """errors: tags say what was wrong.  all: also what was missing though it may be (PRI,
    stamp, host), and which adapter read a message; this is what syslog-ng 4 does."""
    piggyback_errors: bool = False
    """A line that cannot be parsed becomes syslog-ng's error message about it."""
    store_raw: bool = False
    """The line becomes the pair RAWMSG."""
    dont_store_legacy_msghdr: bool = False
    """No pair LEGACY_MSGHDR."""
    no_multi_line: bool = False
    """CR, LF and NUL in MSG become spaces."""
    encoding: str | None = None
    """Character set that the source converts from, to UTF-8 (`utf8_of`); a parser gets UTF-8."""
    keep_line_end: bool = False
    """CR and LF at the end of a frame belong to MSG."""
    assume_utf8: bool = False
    """MSG gets a byte order mark where RFC 5424 is written, whatever is in it."""
    validate_utf8: bool = False
    """Like `assume_utf8`, if MSG is UTF-8."""
    sanitize_utf8: bool = False
    """An MSG that is not UTF-8 is escaped."""
    empty_lines: bool = False
    """Empty lines are messages, but for those before the first that is not empty.  The framing
    sees to it; the parser drops nothing."""
    message_bytes_max: int = 0
    """Lines are cut to this many bytes before parsing; 0 = no limit."""


_NO_FLAGS = ("keep_timestamp", "keep_hostname", "store_raw")  # the last has another name
OPTION_NAMES: Mapping[str, tuple[str, bool | str]] = {
    **{
        option.name.replace("_", "-"): (option.name, True)
        for option in fields(ParseOptions)
        if option.type == "bool"
        and option.name not in ("store_raw", "keep_timestamp", "keep_hostname")
    },
    "syslog-protocol": ("mode", "rfc5424"),
    "rfc3164": ("mode", "rfc3164"),
    "no-piggyback-errors": ("piggyback_errors", False),
    "store-raw-message": ("store_raw", True),
    "store-legacy-msghdr": ("dont_store_legacy_msghdr", False),
}
"""syslog-ng's flags, and a few of our own, to a field and its value."""
