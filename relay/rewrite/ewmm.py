"""Write messages in syslog-ng's enterprise-wide message model (EWMM).

    <PRI>1 STAMP RELAY @syslog-ng - - STRUCTURED-DATA-or-dash JSON

The header carries priority, stamp and structured data, the JSON object the other
name-value pairs, so that all of them survive any number of hops.  Names are
written in descending order of their octets, and dots in them make objects:
``a.b=1`` is ``{"a":{"b":"1"}}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import tzinfo

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.json_text import find_object, json_string
from relay.rewrite.token import Rewrite, hostname_of, sender_of
from relay.wire.rfc5424 import format_header, header_field
from relay.wire.structured_data import is_structured_data, without_controls
from relay.wire.timestamp import StampTable, to_milliseconds

__all__ = ["ewmm"]

_APP_NAME = b"@syslog-ng"
_TAGS = "._TAGS"
_LEGACY_HEADER = "LEGACY_MSGHDR"
# Names that the header carries, or that mean something else at the next hop.
_NEVER = re.compile(r"[0-9]|SOURCE\Z|\.SDATA\.|\Z")

# A token of a name.  A dot before one is part of it unless it separates it from
# another token; the numbers of an enterprise id, as in "x@1.2.3", stay together.
_NAME_TOKEN = re.compile(r"\.*(?:@[0-9]+(?:\.[0-9]+)*|[^.])++")
_QUOTED_IN_LIST = re.compile(r"[\s,\"'\\]")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def ewmm(relay_name: bytes, zone: tzinfo) -> Rewrite:
    """Wrap messages in EWMM.  A message that is wrapped already passes as it is.

    The source's id is added to the tags of a message as ``.source.ID``; process,
    user and group of a local sender become ``.unix.pid``, ``.unix.uid`` and ``.unix.gid``.

    Args:
        relay_name: HOSTNAME of the header, and HOST of messages without one from
            local senders.
        zone: Local zone for stamps that have no offset.
    """
    addressing = b"%s %s - -" % (header_field(relay_name, 255), _APP_NAME)

    def rewrite(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        stamps = StampTable(to_milliseconds, origin.received_at, zone)
        sender = sender_of(origin, relay_name)
        body_of = _bodies(_pairs_of(origin, sender), sender)
        return [
            _as_received(message, stamps)
            or b"<%d>1 %s %s %s %s"
            % (
                message.pri,
                stamps[message.timestamp],
                addressing,
                _structured_data_of(message),
                body_of(message),
            )
            for message in messages
        ]

    return rewrite


def _as_received(message: SyslogMessage, stamps: StampTable) -> bytes | None:
    """The message as it came if it is EWMM, or None."""
    if message.app_name != _APP_NAME:
        return None
    found = find_object(message.msg)
    if found is None:
        return None
    envelope = message.raw.rstrip(b"\n\r\0")
    if _CONTROL.search(envelope) is None:
        return envelope
    # Line ends between the tokens of the JSON, or a control character that has
    # no business in the header: written anew, on one line.
    header = format_header(
        message.pri,
        stamps[message.timestamp],
        message.hostname,
        message.app_name,
        message.procid,
        message.msgid,
        message.structured_data,
    )
    return b"%s %s" % (header, found.text)


def _structured_data_of(message: SyslogMessage) -> bytes:
    """The SD-ELEMENTs verbatim, on one line, or the NILVALUE."""
    text = message.structured_data
    return without_controls(text) if text and is_structured_data(text) else b"-"


def _pairs_of(origin: Origin, sender: bytes) -> dict[str, bytes]:
    """What every message of a batch gets from its origin."""
    pairs = {"HOST_FROM": sender, _TAGS: _list_item(f".source.{origin.source}").encode()}
    for name, number in (("pid", origin.pid), ("uid", origin.uid), ("gid", origin.gid)):
        if number is not None:
            pairs[f".unix.{name}"] = b"%d" % number
    return pairs


def _bodies(own: dict[str, bytes], sender: bytes) -> Callable[[SyslogMessage], bytes]:
    """How to write the JSON object of a message, given what all of the batch share.

    Nearly all messages have the same few names, so their order is written down
    here, and the end of the object is made once.  That takes a fifth of the time.
    """
    sender_string = json_string(sender)
    after_host = b',"HOST_FROM":%s,"HOST":' % json_string(own["HOST_FROM"])
    rest = {name: value for name, value in own.items() if name[:1] == "."}
    end = b"," + _json_object(rest)[1:]

    def body_of(message: SyslogMessage) -> bytes:
        pairs = message.pairs
        legacy_header = None
        if pairs is not None:
            legacy_header = pairs.get(_LEGACY_HEADER)
            if legacy_header is None or len(pairs) > 1:
                return _json_object({**own, **_pairs_of_message(message, own, sender)})
        program = message.app_name
        if program is None and legacy_header is not None:
            program = b""
        hostname = hostname_of(message)
        return b"".join(
            [
                b"{",
                b'"PROGRAM":%s,' % json_string(program) if program is not None else b"",
                b'"PID":%s,' % json_string(message.procid) if message.procid is not None else b"",
                b'"MSGID":%s,' % json_string(message.msgid) if message.msgid is not None else b"",
                b'"MESSAGE":',
                json_string(message.msg),
                b',"LEGACY_MSGHDR":%s' % json_string(legacy_header)
                if legacy_header is not None
                else b"",
                after_host,
                json_string(hostname) if hostname else sender_string,
                end,
            ]
        )

    return body_of


def _pairs_of_message(
    message: SyslogMessage, own: dict[str, bytes], sender: bytes
) -> dict[str, bytes]:
    """Names and values of a message; those of its header come before its pairs."""
    pairs = {"HOST": hostname_of(message) or sender, "MESSAGE": message.msg}
    for name, field in (
        ("PROGRAM", message.app_name),
        ("PID", message.procid),
        ("MSGID", message.msgid),
    ):
        if field is not None:
            pairs[name] = field
    for name, value in (message.pairs or {}).items():
        if name == _TAGS:
            pairs[_TAGS] = _joined(value, own[_TAGS])
        elif _NEVER.match(name) is None and name not in own:
            pairs.setdefault(name, value)
    if _LEGACY_HEADER in pairs:
        # There was a place for a program, with nothing in it.
        pairs.setdefault("PROGRAM", b"")
    return pairs


def _json_object(pairs: dict[str, bytes]) -> bytes:
    """Write `pairs` with names in descending order, nested at their dots.

    A name that is also the beginning of another one (``a`` and ``a.b``) becomes a
    member of the object of that name, as syslog-ng has it.
    """
    parts: list[bytes] = []
    opened: list[str] = []  # names of the objects that are open, outermost first
    separator = b"{"
    for name in sorted(pairs, key=_octets, reverse=True):
        tokens = _tokens(name) if "." in name else [name]
        shared = 0
        while shared < min(len(opened), len(tokens)) and opened[shared] == tokens[shared]:
            shared += 1
        if len(opened) > shared:
            parts.append(b"}" * (len(opened) - shared))
            del opened[shared:]
        parts.append(separator)
        for token in tokens[shared:-1]:
            parts.append(b"%s:{" % json_string(_octets(token)))
            opened.append(token)
        parts.append(b"%s:%s" % (json_string(_octets(tokens[-1])), json_string(pairs[name])))
        separator = b","
    parts.append(b"}" * (len(opened) + 1))
    return b"".join(parts)


def _tokens(name: str) -> list[str]:
    tokens: list[str] = []
    start = 0
    while (match := _NAME_TOKEN.match(name, start)) is not None:
        tokens.append(match[0])
        start = match.end() + 1  # after the dot that separates the next one
    return tokens or [name]


def _octets(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _joined(tags: bytes, own: bytes) -> bytes:
    """The tags of earlier hops followed by our own, which are a set."""
    if not tags:
        return own
    if b",%s," % own in b",%s," % tags:
        return tags
    return b"%s,%s" % (tags, own)


def _list_item(text: str) -> str:
    """One item in syslog-ng's list syntax, quoted if need be."""
    if text and _QUOTED_IN_LIST.search(text) is None:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
