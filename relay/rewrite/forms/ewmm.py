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
from collections.abc import Sequence
from datetime import tzinfo

from relay.model.hops import NO_HOP, OwnHop
from relay.model.message import JsonText, SyslogMessage
from relay.model.origin import Origin
from relay.rewrite.forms.token import Writer, hostname_of, sender_of, unix_pairs
from relay.rewrite.json.text import Layout, Layouts, Strings, json_string
from relay.wire.ewmm import APP_NAME, NAME_TOKEN, PEER_NAME, STAMP_NAME, TAGS_NAME
from relay.wire.headers.rfc5424 import header_field
from relay.wire.headers.structured_data import is_structured_data, without_controls
from relay.wire.headers.timestamp import StampTable, to_exact, to_milliseconds
from relay.wire.hops import HOPS_NAME
from relay.wire.list_syntax import format_list

_LEGACY_HEADER = "LEGACY_MSGHDR"
_DELIMITERS = b"\n\r\0"
# Names that the header carries, or that mean something else at the next hop.
_NEVER = re.compile(r"[0-9]|SOURCE\Z|\.SDATA\.|\._TAGS\Z|\.syslogrelay\.hops\Z|\Z")
# Names that every receiver has to find where they are.
_NEVER_MOVED = frozenset(
    (
        *("HOST", "HOST_FROM", "MESSAGE", "PROGRAM", "PID", "MSGID", _LEGACY_HEADER),
        *(TAGS_NAME, PEER_NAME, STAMP_NAME, HOPS_NAME),
    )
)
# json-c refuses what is nested deeper than 32.
_NESTED_MAX = 24


def ewmm(relay_name: bytes, zone: tzinfo, hop: OwnHop = NO_HOP) -> Writer:
    """Wrap messages in EWMM.  An envelope that could not be opened passes as it is.

    The source's id is added to the tags of a message as ``.source.ID``; process,
    user and group of a local sender become ``.unix.pid``, ``.unix.uid`` and ``.unix.gid``.

    Args:
        relay_name: HOSTNAME of the header, and HOST of messages without one from
            local senders.
        zone: Local zone for stamps that have no offset.
        hop: The last of the hops of each message.
    """
    header = header_of(relay_name)

    def write(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        stamps = StampTable(to_milliseconds, origin.received_at, zone)
        exact = StampTable(to_exact, origin.received_at, zone)
        sender = sender_of(origin, relay_name)
        own, local, strings = _pairs_of_origin(origin, sender, hop), unix_pairs(origin), Strings()
        tags = _TagLists(origin)

        def pairs_of(message: SyslogMessage) -> dict[str, bytes]:
            pairs = _pairs_of_message(message, own, sender)
            pairs[TAGS_NAME] = tags[message.tags]
            if stamp := exact[message.timestamp]:
                pairs[STAMP_NAME] = stamp
            pairs.update(local)
            return pairs

        return [
            (_as_received(message) if message.app_name == APP_NAME else None)
            or b"<%d>1 %s %s %s %s"
            % (
                message.pri,
                stamps[message.timestamp],
                header,
                b"-" if message.structured_data is None else _made_safe(message.structured_data),
                _objects.write(pairs_of(message), strings),
            )
            for message in messages
        ]

    return write


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


def suffixes_of_origin(
    hop: OwnHop, origin: Origin, sender: bytes, tags: tuple[bytes, ...]
) -> tuple[bytes, bytes, bytes]:
    """The suffixes of the envelopes of an origin: without an exact stamp, before and behind one."""
    own = _pairs_of_origin(origin, sender, hop) | unix_pairs(origin)
    pairs = {name: value for name, value in own.items() if name[0] == "."}
    pairs[TAGS_NAME] = _TagLists(origin)[tags]
    end = b"," + _objects.write(pairs, Strings())[1:]
    # No JSON has a NUL in it: it marks the place of the stamp.
    pairs[STAMP_NAME] = JsonText(b"\0")
    marked = b"," + _objects.write(pairs, Strings())[1:]
    before, _, behind = marked.partition(b"\0")
    return end, before, behind


class _TagLists(dict[tuple[bytes, ...], bytes]):
    """The written tags of one batch, of earlier hops followed by the source's own."""

    def __init__(self, origin: Origin) -> None:
        super().__init__()
        self._own = f".source.{origin.source}".encode()

    def __missing__(self, tags: tuple[bytes, ...]) -> bytes:
        texts = [
            tag.decode(errors="backslashreplace").replace("\0", "\\x00").encode()
            for tag in (*tags, self._own)
            if tag
        ]
        written = self[tags] = format_list(dict.fromkeys(texts))
        return written


def _pairs_of_origin(origin: Origin, sender: bytes, hop: OwnHop) -> dict[str, bytes]:
    """Pairs that every message of a batch gets from its origin, unless it has them."""
    pairs = {"HOST_FROM": sender}
    if _is_on_the_network(origin.peer_host):
        pairs[PEER_NAME] = origin.peer_host.encode("ascii", "replace")
    if hops := hop.after(origin.hops):
        pairs[HOPS_NAME] = hops
    return pairs


def _is_on_the_network(peer_host: str) -> bool:
    """Whether this is an address that means the same host elsewhere."""
    try:
        address = ipaddress.ip_address(peer_host)
    except ValueError:
        return False
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _pairs_of_message(
    message: SyslogMessage, own: dict[str, bytes], sender: bytes
) -> dict[str, bytes]:
    """Names and values of a message; those of its header come before its pairs, and these before
    `own` ones of its last hop."""
    pairs = own.copy()
    if message.pairs:
        pairs.update(pair for pair in message.pairs.items() if _NEVER.match(pair[0]) is None)
    pairs["HOST"] = hostname_of(message) or sender
    pairs["MESSAGE"] = message.msg
    if message.app_name is not None:
        pairs["PROGRAM"] = message.app_name
    if message.procid is not None:
        pairs["PID"] = message.procid
    if message.msgid is not None:
        pairs["MSGID"] = message.msgid
    if _LEGACY_HEADER in pairs:
        # There was a place for a program, with nothing in it.
        pairs.setdefault("PROGRAM", b"")
    return pairs


def _layout(names: tuple[str, ...]) -> Layout:
    """Names in descending order, nested at their dots.

    A name that is also the beginning of another one (``a`` and ``a.b``) becomes a
    member of the object of that name, as syslog-ng has it.  Where that would happen to
    MESSAGE and the like, or write a name twice in one object, so that receivers lose one
    of them, no name is nested.
    """
    order = sorted(range(len(names)), key=lambda index: _encoded(names[index]), reverse=True)
    ordered = [names[index] for index in order]
    pattern = _nested(ordered)
    if pattern is None:
        pattern = b"{%s}" % b",".join([_key(name) + b"%s" for name in ordered])
    return pattern, tuple(order)


def _nested(names: Sequence[str]) -> bytes | None:
    """The pattern with nested names, or None if a name would be in an object twice."""
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
            parts.append(_key(token) + b"{")
            opened.append(token)
            if (path := tuple(opened)) in written:
                return None
            written.add(path)
        if (path := (*opened, tokens[-1])) in written:
            return None
        if len(path) > len(tokens) and name in _NEVER_MOVED:
            return None
        written.add(path)
        parts.append(_key(tokens[-1]) + b"%s")
        separator = b","
    parts.append(b"}" * (len(opened) + 1))
    return b"".join(parts)


def _key(name: str) -> bytes:
    return json_string(_encoded(name)).replace(b"%", b"%%") + b":"


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


def _encoded(name: str) -> bytes:
    """`name` as it is written, so that the order is the same at the next hop."""
    try:
        text = name.encode()
    except UnicodeEncodeError:
        text = name.encode(errors="surrogateescape").decode(errors="backslashreplace").encode()
    return text.replace(b"\0", b"\\x00")


_objects = Layouts(_layout)
