"""Applications that log ``key=value``: Fortigate, Check Point, Websense, iptables, sudo."""

from __future__ import annotations

import re

from relay.model.message import DEFAULT_FACILITY, DEFAULT_SEVERITY, SyslogMessage
from relay.wire.headers.rfc3164 import parse_rfc3164
from relay.wire.headers.timestamp import ISO_STAMP, POSSIBLE_ISO_STAMP

_PAIRS_MAX = 1000

_KEY = rb"([0-9A-Za-z_.\-]{1,100}+)"
_QUOTED = rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
# key=value, separated by blanks and commas.
_PLAIN = re.compile(
    rb"(?:(?<=[ \t,])|\A)%s=(?:%s|([^ \t,\"][^ \t]*+)?)" % (_KEY, _QUOTED), re.DOTALL
)
# key:"value"; of Check Point's syslog format, and its Splunk format key=value|.
_COLONS = re.compile(rb"(?:(?<=[ \t;\[])|\A)%s:(?:%s|([^;\]\"]*+))" % (_KEY, _QUOTED), re.DOTALL)
_BARS = re.compile(rb"(?:(?<=\|)|\A)%s=()([^|\\]*+(?:\\.[^|\\]*+)*+)" % _KEY, re.DOTALL)
_ESCAPED = re.compile(rb'\\(["\\=])')

_DATE_AND_TIME = re.compile(ISO_STAMP)
_WITH_ZONE = re.compile(POSSIBLE_ISO_STAMP)
_OFFSET = re.compile(rb"[+-][0-9]{2}:?[0-9]{2}")
_CHECKPOINT = re.compile(
    rb"<[0-9]{1,3}>1 ([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][^ ]++) "
    rb"([^ ]++) (CheckPoint) ([^ ]++) ([^ ]++) "
)
_CHECKPOINT_BARS = re.compile(rb"time=[0-9]++\|hostname=([^|]++)\|product=")
_WEBSENSE = re.compile(
    rb"(<[0-9]{1,3}>[A-Z][a-z]{2} [0-9 ][0-9] [0-9:]{8})(?: [A-Z]{3,4})?( .*?)(?=vendor=Websense)",
    re.DOTALL,
)


def key_values(text: bytes, prefix: str, pattern: re.Pattern[bytes] = _PLAIN) -> dict[str, bytes]:
    """The pairs of `text`, at most 1000; the last of equal names counts.

    A value in quotes may hold anything; ``\\"`` and ``\\\\`` in it are unescaped.
    """
    pairs: dict[str, bytes] = {}
    for match in pattern.finditer(text):
        key, quoted, plain = match.groups()
        value = plain or quoted or b""
        pairs[prefix + key.decode("ascii")] = (
            _ESCAPED.sub(rb"\1", value) if b"\\" in value else value
        )
        if len(pairs) >= _PAIRS_MAX:
            break
    return pairs


def read_fortigate(line: bytes, raw: bytes, pri: tuple[int, int], start: int) -> SyslogMessage:
    """``<PRI>date=2021-01-15 time=12:58:59 devname="..." ...``

    HOSTNAME is devname.  The stamp has the offset that ``tz`` gives, as in ``tz="+0200"``; it is
    in the zone of the source without one, as always in syslog-ng, which does not look at ``tz``.

    Args:
        start: Offset of ``date=``.
    """
    text = line[start:]
    pairs = key_values(text, ".fortigate.")
    stamp = b"%s %s" % (pairs.get(".fortigate.date", b""), pairs.get(".fortigate.time", b""))
    zoned = stamp + offset if _OFFSET.fullmatch(offset := pairs.get(".fortigate.tz", b"")) else b""
    if _WITH_ZONE.fullmatch(zoned) is not None:
        stamp = zoned
    timestamp = stamp if _DATE_AND_TIME.fullmatch(stamp) is not None else None
    hostname = pairs.get(".fortigate.devname") or None
    pairs[".app.name"] = b"fortigate"
    return SyslogMessage(*(*pri, 0, timestamp, hostname, None, None, None, None, text, raw, pairs))


def read_checkpoint(line: bytes, raw: bytes) -> SyslogMessage | None:
    """Check Point's Log Exporter, whose syslog format is nearly RFC 5424, or its Splunk format.

    PRI 13, whatever the line says: syslog-ng has it so.
    """
    pri = (DEFAULT_FACILITY, DEFAULT_SEVERITY)
    match = _CHECKPOINT.match(line)
    if match is not None:
        msg = line[match.end() :]
        stamp, *columns = match.groups()
        hostname, app_name, procid, msgid = (None if c == b"-" else c for c in columns)
        pairs = {**key_values(msg, ".checkpoint.", _COLONS), ".app.name": b"checkpoint"}
        return SyslogMessage(
            *(*pri, 0, stamp, hostname, app_name, procid, msgid, None, msg, raw, pairs)
        )
    match = _CHECKPOINT_BARS.match(line)
    if match is None:
        return None
    pairs = {**key_values(line, ".checkpoint.", _BARS), ".app.name": b"checkpoint"}
    return SyslogMessage(*(*pri, 0, None, None, None, None, None, None, line, raw, pairs))


def read_websense(line: bytes, raw: bytes, pri: tuple[int, int]) -> SyslogMessage | None:
    """RFC 3164 with the name of a zone after the stamp and no program, which is Websense."""
    match = _WEBSENSE.match(line)
    if match is None:
        return None
    text = b"%s%sWebsense: %s" % (match[1], match[2], line[match.end() :])
    message = parse_rfc3164(text, raw, pri, text.index(b">") + 1)
    pairs = {**key_values(message.msg, ".websense."), ".app.name": b"websense"}
    return message._replace(pairs={**(message.pairs or {}), **pairs})


def read_iptables(message: SyslogMessage) -> dict[str, bytes] | None:
    """The pairs of a packet that the kernel logs, or None if `message` is about none."""
    if message.facility or b"PROTO=" not in message.msg:
        return None
    return key_values(message.msg, ".iptables.")


_SUBJECT = re.compile(rb"\s*+([^\s;]++)")
# COMMAND comes last and may hold the separator.
_PAIR = re.compile(rb"(?:(?<=;)|(?<=:)) ?([A-Z_]{1,32}+)=((?:(?<=COMMAND=).*+)|[^;]*+)", re.DOTALL)


def read_sudo(msg: bytes) -> dict[str, bytes] | None:
    """The pairs of MSG, or None if there are none.

    sudo logs ``alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/bin/ls -l``.
    """
    subject = _SUBJECT.match(msg)
    pairs = {".sudo." + name.decode("ascii"): value.strip() for name, value in _PAIR.findall(msg)}
    if subject is None or not pairs:
        return None
    return {".sudo.SUBJECT": subject[1], **pairs}
