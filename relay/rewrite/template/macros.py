"""Macros: names of message parts in templates and value-pairs.

Hard macros are worked out from a message and are read-only; soft ones are its
name-value pairs.  Names and formats are those of syslog-ng.  Where it has nothing to
say about a message, a macro is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES, JsonText, SyslogMessage
from relay.model.origin import Transport
from relay.model.template import split_template
from relay.rewrite.batch import Batch, Column, MacroContext
from relay.rewrite.fields import PREFIX, elements_of
from relay.rewrite.forms.token import hostname_of
from relay.rewrite.template.time_macros import TIME_MACROS, compile_time_macro
from relay.wire.json.pairs import items_of, text_of
from relay.wire.list_syntax import format_list

ALIASES: Mapping[str, str] = {
    "MSG": "MESSAGE",
    "MSGONLY": "MESSAGE",
    "FULLHOST": "HOST",
    "FULLHOST_FROM": "HOST_FROM",
}
"""Other names of soft macros."""

_Value = TypeVar("_Value")

_FACILITIES = [name.encode("ascii") for name in FACILITY_NAMES]
_SEVERITIES = [name.encode("ascii") for name in SEVERITY_NAMES]
_DELIMITERS = b"\n\r\0"
_LOCAL_ADDRESS = b"127.0.0.1"
# IANA protocol numbers.
_PROTOCOLS = {Transport.TCP: b"6", Transport.UDP: b"17"}


def _each(value: Callable[[SyslogMessage], _Value]) -> Callable[[Batch], list[_Value]]:
    return lambda batch: [value(message) for message in batch.messages]


def _same(value: Callable[[Batch], _Value]) -> Callable[[Batch], list[_Value]]:
    return lambda batch: [value(batch)] * len(batch.messages)


def _facility(message: SyslogMessage) -> bytes:
    number = message.facility
    return _FACILITIES[number] if 0 <= number < len(_FACILITIES) else b"%x" % number


def _severity(message: SyslogMessage) -> bytes:
    number = message.severity
    return _SEVERITIES[number] if 0 <= number < len(_SEVERITIES) else b"%d" % number


def _bsd_tag(message: SyslogMessage) -> bytes:
    return b"%d%s" % (message.severity, chr(ord("A") + message.facility).encode("utf-8", "replace"))


def _tags(batch: Batch) -> list[bytes]:
    own = f".source.{batch.origin.source}".encode()
    only_own = format_list([own])
    return [
        format_list(message.tags if own in message.tags else (*message.tags, own))
        if message.tags
        else only_own
        for message in batch.messages
    ]


def _header(message: SyslogMessage) -> bytes:
    """What stands between host and text in RFC 3164."""
    literal = message.pairs.get("LEGACY_MSGHDR") if message.pairs is not None else None
    if literal:
        return literal
    if not message.app_name:
        return b""
    if message.procid:
        return b"%s[%s]: " % (message.app_name, message.procid)
    return message.app_name + b": "


def _ip_version(batch: Batch) -> bytes:
    host = batch.origin.peer_host
    return b"6" if ":" in host else b"4" if host else b""


def _port(batch: Batch) -> bytes:
    return b"%d" % batch.origin.peer_port if batch.origin.peer_port else b""


def _unique_ids(batch: Batch) -> list[bytes]:
    hostid = batch.context.hostid
    return [b"%08x@%016x" % (hostid, number) for number in batch.receipts]


_HARD: Mapping[str, Column] = {
    "PRI": _each(lambda message: b"%d" % message.pri),
    "FACILITY": _each(_facility),
    "FACILITY_NUM": _each(lambda message: b"%d" % message.facility),
    **dict.fromkeys(("SEVERITY", "LEVEL", "PRIORITY"), _each(_severity)),
    **dict.fromkeys(
        ("SEVERITY_NUM", "LEVEL_NUM", "PRIORITY_NUM"),
        _each(lambda message: b"%d" % message.severity),
    ),
    "TAG": _each(lambda message: b"%02x" % message.pri),
    "BSDTAG": _each(_bsd_tag),
    "TAGS": _tags,
    "SDATA": _each(lambda message: elements_of(message) or b""),
    "MSGHDR": _each(_header),
    "RAWMSG_SIZE": _each(lambda message: b"%d" % len(message.raw)),
    "SEQNUM": lambda batch: batch.sequence_numbers,
    "RCPTID": lambda batch: [b"%d" % number for number in batch.receipts],
    "UNIQID": _unique_ids,
    "HOSTID": _same(lambda batch: b"%08x" % batch.context.hostid),
    "RUNID": _same(lambda batch: b"%d" % batch.context.runid),
    "LOGHOST": _same(lambda batch: batch.context.relay_name),
    # In hundredths of a second.
    "SYSUPTIME": _same(
        lambda batch: b"%d" % ((batch.origin.monotonic_at - batch.context.started_at) * 100)
    ),
    **dict.fromkeys(
        ("SOURCEIP", "PEERIP"),
        _same(lambda batch: batch.origin.peer_host.encode("ascii", "replace") or _LOCAL_ADDRESS),
    ),
    **dict.fromkeys(("SOURCEPORT", "PEERPORT"), _same(_port)),
    "PROTO": _same(lambda batch: _PROTOCOLS.get(batch.origin.transport, b"")),
    "IP_PROTO": _same(_ip_version),
    # Supported by syslog-ng only: the local address that received a message, and
    # contexts of its pattern database.
    **dict.fromkeys(("DESTIP", "DESTPORT", "CONTEXT_ID"), _same(lambda batch: b"")),
}

HARD_MACROS: frozenset[str] = frozenset(_HARD) | TIME_MACROS
"""Macros that are read-only."""


def _pair(message: SyslogMessage, name: str) -> bytes | None:
    return None if message.pairs is None else message.pairs.get(name)


def _hosts(batch: Batch) -> list[bytes | None]:
    sender = batch.sender
    return [hostname_of(message) or sender for message in batch.messages]


def _hosts_from(batch: Batch) -> list[bytes | None]:
    sender = batch.sender
    return [_pair(message, "HOST_FROM") or sender for message in batch.messages]


def _field(name: str, value: Callable[[SyslogMessage], bytes | None]) -> _Values:
    def values(batch: Batch) -> list[bytes | None]:
        return [
            own if (own := value(message)) is not None else _pair(message, name)
            for message in batch.messages
        ]

    return values


_Values = Callable[[Batch], list[bytes | None]]
"""Like a column, with None where a message does not have the name."""

_FIELDS: Mapping[str, _Values] = {
    "HOST": _hosts,
    "HOST_FROM": _hosts_from,
    "PROGRAM": _field("PROGRAM", lambda message: message.app_name),
    "PID": _field("PID", lambda message: message.procid),
    "MSGID": _field("MSGID", lambda message: message.msgid),
    "MESSAGE": lambda batch: [message.msg for message in batch.messages],
    "SOURCE": _same(lambda batch: batch.origin.source.encode()),
}

FIELD_NAMES = tuple(_FIELDS)
"""Soft macros that stand for fields of a message or its origin."""


def check_settable(name: str) -> None:
    """Raise ValueError if `name` is a hard macro."""
    if name in HARD_MACROS:
        raise ValueError(
            f"{name} is a hard macro: it is worked out from the message and cannot be set; "
            "set a name of your own"
        )


def compile_macro(name: str, context: MacroContext) -> Column:
    """The function that writes `name`: a macro, or else a name-value pair.

    What a message does not have is empty.
    """
    hard = _hard(name, context)
    if hard is not None:
        return hard
    values = compile_value(name)
    if name in _FIELDS or name in ALIASES:
        return lambda batch: [value or b"" for value in values(batch)]
    if name.startswith(PREFIX):  # of a repeated parameter the last value
        return lambda batch: [_last(value or b"") for value in values(batch)]
    return lambda batch: [text_of(value) if value else b"" for value in values(batch)]


def _last(value: bytes) -> bytes:
    items = items_of(value) if isinstance(value, JsonText) else None
    return text_of(items[-1]) if items else text_of(value)


def compile_value(name: str) -> _Values:
    """The function that looks up the soft macro `name`; None where it does not exist."""
    name = ALIASES.get(name, name)
    if name in _FIELDS:
        return _FIELDS[name]
    if name.startswith(PREFIX):
        return lambda batch: [elements.get(name) for elements in batch.elements]
    if name == "RAWMSG":
        return lambda batch: [
            raw if (raw := _pair(message, name)) is not None else message.raw.rstrip(_DELIMITERS)
            for message in batch.messages
        ]

    def values(batch: Batch) -> list[bytes | None]:
        default = origin_pairs(batch).get(name)
        return [
            default if (own := _pair(message, name)) is None else own for message in batch.messages
        ]

    return values


def origin_pairs(batch: Batch) -> dict[str, bytes]:
    """Attributes of a sender, by syslog-ng's names."""
    origin = batch.origin
    pairs: dict[str, bytes] = {}
    for name, number in ((".unix.pid", origin.pid), (".unix.uid", origin.uid)):
        if number is not None:
            pairs[name] = b"%d" % number
    if origin.gid is not None:
        pairs[".unix.gid"] = b"%d" % origin.gid
    if origin.tls_identity is not None:
        pairs[".tls.x509_cn"] = origin.tls_identity.encode("utf-8", "replace")
    return pairs


def _hard(name: str, context: MacroContext) -> Column | None:
    if name in TIME_MACROS:
        return compile_time_macro(name, context)
    return _HARD.get(name)


Escape = Callable[[bytes], bytes]
"""Escapes a value for its context, such as a path."""


def compile_template(text: str, context: MacroContext, *, escape: Escape | None = None) -> Column:
    """The function that writes `text` for each message of a batch.

    Args:
        escape: Applied to values and defaults, not to the text around them.

    Raises:
        ValueError: Something in `text` is no macro; says what, and at which character.
    """
    parts = [
        _constant(part) if isinstance(part, bytes) else _value(*part, context, escape)
        for part in split_template(text)
    ]
    if len(parts) == 1:
        return parts[0]

    def render(batch: Batch) -> list[bytes]:
        return [b"".join(row) for row in zip(*[part(batch) for part in parts], strict=True)]

    return render


def _constant(text: bytes) -> Column:
    return lambda batch: [text] * len(batch.messages)


def _value(name: str, default: bytes, context: MacroContext, escape: Escape | None) -> Column:
    macro = compile_macro(name, context)
    if escape is None:
        if not default:
            return macro
        return lambda batch: [value or default for value in macro(batch)]
    return lambda batch: [escape(value or default) for value in macro(batch)]
