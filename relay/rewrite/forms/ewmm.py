"""Write messages in syslog-ng's enterprise-wide message model (EWMM).

    <PRI>1 STAMP RELAY @syslog-ng - - STRUCTURED-DATA-or-dash JSON

The header carries priority, stamp and structured data, the JSON object the other
name-value pairs, so that all of them survive any number of hops.  Names are
written in descending order of their bytes, and dots in them make objects:
``a.b=1`` is ``{"a":{"b":"1"}}``.

`relay/wire/ewmm.py` is the other direction, and names the pairs that this relay adds for
what the header has no room for.  A message that came in an envelope gets a new header
and one more tag; HOST_FROM and everything else is still what its first relay said.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from typing import TypeAlias

from relay.model.message import JsonText, SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.forms.token import Writer, hostname_of, sender_of
from relay.rewrite.json.text import json_string
from relay.wire.ewmm import APP_NAME, NAME_TOKEN, PEER_NAME, STAMP_NAME, TAGS_NAME
from relay.wire.headers.rfc5424 import header_field
from relay.wire.headers.structured_data import is_structured_data, without_controls
from relay.wire.headers.timestamp import StampTable, to_exact, to_milliseconds
from relay.wire.list_syntax import format_list

_LEGACY_HEADER = "LEGACY_MSGHDR"
_DELIMITERS = b"\n\r\0"
# Names that the header carries, or that mean something else at the next hop.
_NEVER = re.compile(r"[0-9]|SOURCE\Z|\.SDATA\.|\._TAGS\Z|\Z")
# Names that every receiver has to find where they are.
_NEVER_MOVED = frozenset(
    (
        *("HOST", "HOST_FROM", "MESSAGE", "PROGRAM", "PID", "MSGID", _LEGACY_HEADER),
        *(TAGS_NAME, PEER_NAME, STAMP_NAME),
    )
)
# A stamp; with tags and the first peer if there are any, which is slower.
_SuffixKey: TypeAlias = "bytes | tuple[bytes | None, tuple[bytes, ...], bytes | None] | None"
_EXACT = b"2026-01-01T00:00:00.123456Z"  # any stamp of more than milliseconds
# json-c refuses what is nested deeper than 32.
_NESTED_MAX = 24


def ewmm(relay_name: bytes, zone: tzinfo) -> Writer:
    """Wrap messages in EWMM.  An envelope that could not be opened passes as it is.

    The source's id is added to the tags of a message as ``.source.ID``; process,
    user and group of a local sender become ``.unix.pid``, ``.unix.uid`` and ``.unix.gid``.

    Args:
        relay_name: HOSTNAME of the header, and HOST of messages without one from
            local senders.
        zone: Local zone for stamps that have no offset.
    """
    header = header_of(relay_name)

    def rewrite(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        stamps = StampTable(to_milliseconds, origin.received_at, zone)
        body_of = _bodies(origin, relay_name, StampTable(to_exact, origin.received_at, zone))
        return [
            (_as_received(message) if message.app_name == APP_NAME else None)
            or b"<%d>1 %s %s %s %s"
            % (
                message.pri,
                stamps[message.timestamp],
                header,
                b"-" if message.structured_data is None else _made_safe(message.structured_data),
                body_of(message),
            )
            for message in messages
        ]

    return rewrite


def header_of(relay_name: bytes) -> bytes:
    """HOSTNAME to MSGID in the header of an envelope."""
    return b"%s %s - -" % (header_field(relay_name, 255), APP_NAME)


def _as_received(message: SyslogMessage) -> bytes | None:
    """The message as it came if it is an envelope that could not be opened, or None."""
    envelope = message.raw.rstrip(_DELIMITERS)
    # What an envelope with such a PROGRAM in it contains is no end of the envelope.
    return envelope if envelope.endswith(message.msg) else None


def _made_safe(structured_data: bytes) -> bytes:
    """The SD-ELEMENTs verbatim, on one line; the NILVALUE if they are none."""
    return without_controls(structured_data) if is_structured_data(structured_data) else b"-"


def _bodies(
    origin: Origin, relay_name: bytes, exact: StampTable
) -> Callable[[SyslogMessage], bytes]:
    """How to write the JSON object of a message, given what all of the batch share.

    Nearly all messages have the same few names, so their order is written down
    here, and what they share is made once.  That takes a fifth of the time.
    """
    sender = sender_of(origin, relay_name)
    own = _pairs_of_origin(origin, sender)
    sender_string = json_string(sender)
    after_header = b',"HOST_FROM":%s,"HOST":' % sender_string
    suffixes = _SuffixTable(own, origin.source, exact)

    def body_of(message: SyslogMessage) -> bytes:
        pairs = message.pairs
        legacy_header = host_from = peer = None
        if pairs is not None:
            legacy_header = pairs.get(_LEGACY_HEADER)
            if legacy_header is None or len(pairs) > 1:
                host_from, peer = pairs.get("HOST_FROM"), pairs.get(PEER_NAME)
                if [legacy_header, host_from, peer].count(None) != 3 - len(pairs):
                    return _json_object(_pairs_of_message(message, own, sender, suffixes))
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
                b',"LEGACY_MSGHDR":%s' % _json_value(legacy_header)
                if legacy_header is not None
                else b"",
                after_header
                if host_from is None
                else b',"HOST_FROM":%s,"HOST":' % _json_value(host_from),
                json_string(hostname) if hostname else sender_string,
                suffixes[message.timestamp]
                if peer is None and not message.tags
                else suffixes[message.timestamp, message.tags, peer],
            ]
        )

    return body_of


class _SuffixTable(dict[_SuffixKey, bytes]):
    """The end of a message's object, by its stamp, tags and first peer.  One table a batch."""

    def __init__(self, own: dict[str, bytes], source: str, exact: StampTable) -> None:
        super().__init__()
        self._own = {name: value for name, value in own.items() if name[0] == "."}
        self._own_tag = f".source.{source}".encode()
        self._exact = exact
        # What stands before and behind the exact stamp, by all that it depends on.
        self._parts: dict[object, list[bytes]] = {}

    def __missing__(self, key: _SuffixKey) -> bytes:
        timestamp, tags, peer = key if isinstance(key, tuple) else (key, (), None)
        exact = self._exact[timestamp]
        end = self[key] = (b'"%s"' % exact).join(self.parts(timestamp, tags, peer))
        return end

    def parts(
        self,
        timestamp: bytes | None,
        tags: tuple[bytes, ...] = (),
        peer: bytes | None = None,
    ) -> list[bytes]:
        """What stands before and behind the exact stamp; the whole end if there is none."""
        exact = self._exact[timestamp]
        kind = (tags, peer, exact == b"")
        parts = self._parts.get(kind)
        if parts is None:
            pairs = {**self._own, **self.added(timestamp, tags)}
            if peer is not None:
                pairs[PEER_NAME] = peer
            end = b"," + _json_object(pairs)[1:]
            parts = end.split(b'"%s"' % exact) if exact else [end]
            if len(parts) <= 2:  # only the stamp itself, and no other value, reads like it
                self._parts[kind] = parts
        return parts

    def added(self, timestamp: bytes | None, tags: tuple[bytes, ...]) -> dict[str, bytes]:
        """The pairs of tags, of earlier hops followed by our own, and of an exact stamp."""
        texts = [
            tag.decode(errors="backslashreplace").replace("\0", "\\x00").encode()
            for tag in (*tags, self._own_tag)
            if tag
        ]
        pairs = {TAGS_NAME: format_list(dict.fromkeys(texts))}
        exact = self._exact[timestamp]
        if exact:
            pairs[STAMP_NAME] = exact
        return pairs


def suffixes_of_origin(
    origin: Origin, sender: bytes, tags: tuple[bytes, ...]
) -> tuple[bytes, bytes, bytes]:
    """The suffixes of the envelopes of an origin: without an exact stamp, before and behind one."""
    suffixes = _SuffixTable(
        _pairs_of_origin(origin, sender), origin.source, StampTable(to_exact, 0.0, UTC)
    )
    before, behind = suffixes.parts(_EXACT, tags)
    (end,) = suffixes.parts(None, tags)
    return end, before, behind


def _pairs_of_origin(origin: Origin, sender: bytes) -> dict[str, bytes]:
    """What every message of a batch gets from its origin."""
    pairs = {"HOST_FROM": sender}
    if _is_on_the_network(origin.peer_host):
        pairs[PEER_NAME] = origin.peer_host.encode("ascii", "replace")
    for name, number in (("pid", origin.pid), ("uid", origin.uid), ("gid", origin.gid)):
        if number is not None:
            pairs[f".unix.{name}"] = b"%d" % number
    return pairs


def _is_on_the_network(peer_host: str) -> bool:
    """Whether this is an address that means the same host elsewhere."""
    try:
        address = ipaddress.ip_address(peer_host)
    except ValueError:
        return False
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _pairs_of_message(
    message: SyslogMessage, own: dict[str, bytes], sender: bytes, suffixes: _SuffixTable
) -> dict[str, bytes]:
    """Names and values of a message; those of its header come before its pairs.

    Its pairs come before what is known of its last hop, but the kernel's word on a local
    sender before all.
    """
    pairs = {name: value for name, value in own.items() if name[:6] != ".unix."}
    for name, value in (message.pairs or {}).items():
        if _NEVER.match(name) is None:
            pairs[name] = value
    pairs["HOST"] = hostname_of(message) or sender
    pairs["MESSAGE"] = message.msg
    for name, field in (
        ("PROGRAM", message.app_name),
        ("PID", message.procid),
        ("MSGID", message.msgid),
    ):
        if field is not None:
            pairs[name] = field
    pairs.update(suffixes.added(message.timestamp, message.tags))
    pairs.update((name, value) for name, value in own.items() if name[:6] == ".unix.")
    if _LEGACY_HEADER in pairs:
        # There was a place for a program, with nothing in it.
        pairs.setdefault("PROGRAM", b"")
    return pairs


def _json_object(pairs: dict[str, bytes]) -> bytes:
    """Write `pairs` with names in descending order, nested at their dots.

    A name that is also the beginning of another one (``a`` and ``a.b``) becomes a
    member of the object of that name, as syslog-ng has it.  Where that would happen to
    MESSAGE and the like, or write a name twice in one object, so that receivers lose one
    of them, no name is nested.
    """
    names = sorted(pairs, key=_octets, reverse=True)
    nested = _nested(names, pairs)
    if nested is not None:
        return nested
    members = [b"%s:%s" % (json_string(_octets(name)), _json_value(pairs[name])) for name in names]
    return b"{%s}" % b",".join(members)


def _nested(names: Sequence[str], pairs: dict[str, bytes]) -> bytes | None:
    """The object with nested names, or None if a name would be in an object twice."""
    parts: list[bytes] = []
    opened: list[str] = []  # names of the objects that are open, outermost first
    written: set[tuple[str, ...]] = set()
    separator = b"{"
    for name in names:
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
            if (path := tuple(opened)) in written:
                return None
            written.add(path)
        if (path := (*opened, tokens[-1])) in written:
            return None
        if len(path) > len(tokens) and name in _NEVER_MOVED:
            return None
        written.add(path)
        parts.append(b"%s:%s" % (json_string(_octets(tokens[-1])), _json_value(pairs[name])))
        separator = b","
    parts.append(b"}" * (len(opened) + 1))
    return b"".join(parts)


def _tokens(name: str) -> list[str]:
    if "." not in name[1:]:
        return [name]
    tokens: list[str] = []
    start = 0
    while (match := NAME_TOKEN.match(name, start)) is not None:
        if len(tokens) == _NESTED_MAX:
            return [*tokens, name[start:]]
        tokens.append(match[0])
        start = match.end() + 1  # after the dot that separates the next one
    return tokens or [name]


def _json_value(value: bytes) -> bytes:
    return value if isinstance(value, JsonText) else json_string(value)


def _octets(name: str) -> bytes:
    """`name` as it is written, so that the order is the same at the next hop."""
    try:
        octets = name.encode()
    except UnicodeEncodeError:
        octets = name.encode(errors="surrogateescape").decode(errors="backslashreplace").encode()
    return octets.replace(b"\0", b"\\x00") if b"\0" in octets else octets
