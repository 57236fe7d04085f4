"""Tags for the defects of a line, with the names of syslog-ng 4.

Three of them are our own: `MISSING_TIMESTAMP_5424`, `INVALID_VERSION` and the tags of
adapters.  A tag stands in a tuple of its own, so that a message gets it without a copy.
"""

from __future__ import annotations

from relay.model.message import SyslogMessage

Tags = tuple[bytes, ...]

# A header that ends too early.  MSG begins with the first part that was not understood; without
# PRI or TIMESTAMP, it is the whole line or everything after the PRI.
INVALID_PRI: Tags = (b"syslog.invalid_pri",)
INVALID_VERSION: Tags = (b"syslog.rfc5424_invalid_version",)
MISSING_TIMESTAMP_5424: Tags = (b"syslog.rfc5424_missing_timestamp",)
MISSING_HOSTNAME: Tags = (b"syslog.rfc5424_missing_hostname",)
MISSING_APP_NAME: Tags = (b"syslog.rfc5424_missing_app_name",)
MISSING_PROCID: Tags = (b"syslog.rfc5424_missing_procid",)
MISSING_MSGID: Tags = (b"syslog.rfc5424_missing_msgid",)
MISSING_STRUCTURED_DATA: Tags = (b"syslog.rfc5424_missing_sdata",)
INVALID_STRUCTURED_DATA: Tags = (b"syslog.rfc5424_invalid_sdata",)

# A part of it is not what it should be.
UNEXPECTED_FRAMING: Tags = (b"syslog.unexpected_framing",)
INVALID_HOSTNAME: Tags = (b"syslog.invalid_hostname",)
INVALID_PROGRAM: Tags = (b"syslog.rfc3164_invalid_program",)
SANITIZED: Tags = (b"message.utf8_sanitized",)

# It does without a part, as many senders do.
MISSING_PRI: Tags = (b"syslog.missing_pri",)
MISSING_TIMESTAMP: Tags = (b"syslog.missing_timestamp",)
MISSING_HEADER: Tags = (b"syslog.rfc3164_missing_header",)

BY_BIT: tuple[Tags, ...] = (
    UNEXPECTED_FRAMING,
    INVALID_PRI,
    INVALID_HOSTNAME,
    MISSING_TIMESTAMP_5424,
    MISSING_HOSTNAME,
    MISSING_APP_NAME,
    MISSING_PROCID,
    MISSING_MSGID,
    MISSING_STRUCTURED_DATA,
    INVALID_STRUCTURED_DATA,
)
"""Those of a line that compiled code reads (`relay/codec/line.pxd`), in their order."""

_FAILURES = {tags[0] for tags in (INVALID_PRI, INVALID_VERSION, *BY_BIT[3:])}


def is_parse_failure(message: SyslogMessage) -> bool:
    """Whether the line, or a part of its header, became MSG because it could not be parsed.

    It goes by the tags, so it knows nothing of messages parsed with `parse_tags` "none".
    """
    return bool(message.tags) and not _FAILURES.isdisjoint(message.tags)


def failure_tag(message: SyslogMessage) -> str:
    """The first tag of `message` that says why it could not be parsed; empty = it could."""
    return next((tag.decode() for tag in message.tags if tag in _FAILURES), "")
