"""Formats of certain applications, taken apart as on port 514 of syslog-ng's default drivers.

Some write what is no syslog, or hardly, and are read from the line; others are found in
the parsed message.  Either way the message gets the application's pairs and the pair
``.app.name``.  What only looks like one of them is left as it is.

Strategy: an ordinary message must pay next to nothing, so `adapt` first looks at what
syslog has made of the line: a message with stamp, host and an ordinary program is none
of the first kind, and its program and the first byte of MSG tell the second.
"""

from __future__ import annotations

import re

from relay.model.message import SyslogMessage
from relay.wire.adapters.cisco import read_cisco
from relay.wire.adapters.key_value import (
    read_checkpoint,
    read_fortigate,
    read_iptables,
    read_sudo,
    read_websense,
)
from relay.wire.adapters.panos import read_panos
from relay.wire.headers.rfc5424 import PRIVAL
from relay.wire.headers.structured_data import parse_structured_data
from relay.wire.json.pairs import flatten_json
from relay.wire.parse_tags import Tags

_START = re.compile(rb"<([0-9]{1,3})>")
_STARTS = re.compile(rb"<([0-9]{1,3})>(date=|\{|1 (?=[0-9]))|(time=)[0-9]")
_PROGRAMS = frozenset((b"sudo", b"kernel", b"vendor=Websense"))
_JUNOS = b"junos@2636.1.1.1.2.129"
_NOBODY = (1, 5)  # what syslog-ng gives messages that it takes no PRI from


def adapt(line: bytes, message: SyslogMessage, default_pri: tuple[int, int]) -> SyslogMessage:
    """`message` as the application has it that wrote it, or `message`.

    Args:
        line: The frame without the delimiters at its end.
        message: What syslog makes of it.
        default_pri: Facility and severity of lines without PRI.
    """
    _, _, version, timestamp, hostname, app_name, _, _, data, msg, raw, _, tags, *_ = message
    if (
        tags
        or (
            version == 0
            and (
                timestamp is None
                or hostname is None
                or app_name is None
                or app_name < b":"  # that is, begins with a digit or %
                or msg[:1] == b"%"
            )
        )
    ):
        found = _read_raw(line, raw, default_pri)
        if found is not None:
            return found
    if msg[:1] == b"@":
        return _with_json(message)
    if app_name in _PROGRAMS:
        return _of_program(line, message)
    if (app_name or msg)[:2] == b"1,":
        return read_panos(message) or message
    if data is not None and _JUNOS in data and _is_junos(data):
        return _with_pairs(message, b"junos", {})
    return message


def _of_program(line: bytes, message: SyslogMessage) -> SyslogMessage:
    if message.app_name == b"sudo":
        return _with_pairs(message, b"sudo", read_sudo(message.msg))
    if message.app_name == b"kernel":
        return _with_pairs(message, b"iptables", read_iptables(message))
    pri = (message.facility, message.severity)
    return read_websense(line, message.raw, pri) or message


def app_tag(message: SyslogMessage) -> Tags:
    """The tag that syslog-ng 4 gives messages of an adapter."""
    name = (message.pairs or {}).get(".app.name")
    return () if name is None else (b".app." + name,)


def _read_raw(line: bytes, raw: bytes, default_pri: tuple[int, int]) -> SyslogMessage | None:
    """Read `line` as one that is no syslog, or hardly."""
    if b": %" in line:
        start = _START.match(line)
        pri = default_pri if start is None else PRIVAL.get(start[1])
        if pri is None:
            return None
        return read_cisco(line, raw, pri, 0 if start is None else start.end())
    start = _STARTS.match(line)
    if start is None:
        if b"vendor=Websense" not in line:
            return None
        start = _START.match(line)
        pri = None if start is None else PRIVAL.get(start[1])
        return None if pri is None else read_websense(line, raw, pri)
    if start[2] == b"{":
        return _read_netskope(line[start.start(2) :], raw)
    if start[2] != b"date=":
        return read_checkpoint(line, raw)
    pri = PRIVAL.get(start[1])
    return None if pri is None else read_fortigate(line, raw, pri, start.start(2))


def _read_netskope(text: bytes, raw: bytes) -> SyslogMessage | None:
    """A JSON object and nothing else, under PRI 13, whatever the line says."""
    looks_right = b'"_insertion_epoch_timestamp"' in text and text.endswith(b"}")
    pairs = flatten_json(text) if looks_right else None
    if pairs is None:
        return None
    pairs = {f".netskope.{name}": value for name, value in pairs.items()}
    pairs[".app.name"] = b"netskope"
    return SyslogMessage(*(*_NOBODY, 0, None, None, None, None, None, None, text, raw, pairs))


def _with_json(message: SyslogMessage) -> SyslogMessage:
    cookie = message.msg[:5]
    if cookie not in (b"@cee:", b"@cim:"):
        return message
    pairs = flatten_json(message.msg[5:].strip(b" \t\r\n"))
    app = cookie[1:4]
    if pairs is None:
        return message
    prefix = f".{app.decode()}."
    return _with_pairs(message, app, {prefix + name: value for name, value in pairs.items()})


def _is_junos(data: bytes) -> bool:
    return bool(parse_structured_data(data).get(_JUNOS.decode(), {}).get("reason"))


def _with_pairs(
    message: SyslogMessage, app: bytes, pairs: dict[str, bytes] | None
) -> SyslogMessage:
    if pairs is None:
        return message
    return message._replace(pairs={**(message.pairs or {}), **pairs, ".app.name": app})
