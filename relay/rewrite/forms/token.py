"""Put an app token into messages, in the three forms that Sematext documents.

    cee       <PRI>STAMP HOST PROGRAM[PID]:@cee: {"logsene-app-token": "…", "message": "…"}
    tag       <PRI>STAMP HOST TOKEN:MSG
    app-name  <PRI>1 STAMP HOST TOKEN PROCID MSGID STRUCTURED-DATA MSG

STAMP is RFC 3339 in all of them, HOST is never missing.

Rules that bind this file:

1. A message that already carries a token keeps it, and gets no other one in any place.
   A token is a member of the JSON object that is MSG, if its value is a text that can be
   one; or a TAG or APP-NAME in the form of a token, or one of those that are known.  In a
   header it is no PROGRAM: `cee` moves it into the object.
2. Rewriting what a rewrite has made changes nothing.  Two relays in a row send
   what one would.
3. Nothing in a header but PRINTUSASCII and single spaces.  MSG may hold any byte
   in the tag and app-name forms; framing escapes what its transport cannot carry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import tzinfo

from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.model.token import Token, check_place, has_token_form, is_secret
from relay.rewrite.elements import PREFIX, element_pairs
from relay.rewrite.forms.legacy_header import is_irregular, legacy_header, text_with_tag
from relay.rewrite.json.layout import Layouts, Strings
from relay.rewrite.json.text import (
    COOKIE,
    JsonObject,
    add_members,
    find_object,
    json_string,
    member_cutter,
    text_of_string,
)
from relay.wire.framing.byte_order_mark import BYTE_ORDER_MARK
from relay.wire.headers.hostname import format_hostname
from relay.wire.headers.rfc5424 import format_header, format_message
from relay.wire.headers.tag import format_tag
from relay.wire.headers.timestamp import StampTable, to_rfc3339, to_rfc5424

__all__ = [
    "TOKEN_KEY",
    "IsToken",
    "Programs",
    "Rewrite",
    "app_name",
    "byte_order_mark_of",
    "cee",
    "hostname_of",
    "members_of",
    "object_writer",
    "sender_of",
    "tag",
    "token_test",
]

Rewrite = Callable[[Sequence[SyslogMessage], Origin], list[bytes]]
"""Makes one payload of each message, in the same order.  The origin is that of all."""

IsToken = Callable[[bytes | None], bool]
"""Whether a TAG or APP-NAME is an app token and no name."""

TOKEN_KEY = "logsene-app-token"
"""The member of an object that names an app token."""
_TOKEN_KEY_OCTETS = TOKEN_KEY.encode("ascii")
# What came in an envelope may end with these, and the next hop would strip them.
_DELIMITERS = b"\n\r\0"

_PLAIN_TOKEN = re.compile(rb'"[!#-\[\]-~]{1,255}"')  # as a JSON string without escapes
_without_token = member_cutter(TOKEN_KEY)


def token_test(token: Token, known: Collection[bytes]) -> IsToken:
    """Make a test for tokens in headers: those in the form of one, `token`, and `known` ones."""
    secrets = frozenset((token.reveal(), *known))

    def is_token(name: bytes | None) -> bool:
        return name is not None and (name in secrets or has_token_form(name))

    return is_token


def cee(
    token: Token,
    zone: tzinfo,
    *,
    relay_name: bytes,
    tags: Sequence[str] = (),
    known: Collection[bytes] = (),
    structured_data: bool = False,
) -> Rewrite:
    """Send MSG as a JSON object behind an ``@cee:`` cookie, with `token` in it.

    A MSG that is a JSON object itself, with or without cookie, gets the token as
    one more member and stays as it is.  Of any other MSG one leading space is
    stripped; it separates MSG from the tag.

    Args:
        zone: Local zone for stamps that have no offset.
        relay_name: HOST of messages without one from local senders.
        tags: For the member ``tags``, which a JSON object of its own keeps.
        known: Tokens of apps, which a header may carry whatever their form.
        structured_data: Put STRUCTURED-DATA into the member ``_SDATA`` and MSGID into
            ``msgid``, unless a JSON object of its own has these.
    """
    is_token = token_test(token, known)

    def rewrite(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        stamps = StampTable(to_rfc3339, origin.received_at, zone)
        programs = Programs(sender_of(origin, relay_name))
        objects = _Objects(token, tags, structured_data=structured_data)
        payloads = []
        for message in messages:
            app_name, procid, own = message.app_name, message.procid, None
            if is_token(app_name):
                app_name, procid, own = None, None, app_name
            elif is_irregular(message) and find_object(message.msg) is None:
                app_name, procid = None, None
                message = message._replace(msg=text_with_tag(message))
            payloads.append(
                b"<%d>%s%s%s"
                % (
                    message.facility * 8 + message.severity,
                    stamps[message.timestamp],
                    programs[message.hostname, app_name, procid],
                    objects[own](message),
                )
            )
        return payloads

    return rewrite


class _Objects(dict[bytes | None, Callable[[SyslogMessage], bytes]]):
    """Functions that write objects, by the token that a message carries; None = it has none.

    Make one table per batch, so that it cannot outgrow the batch.
    """

    def __init__(self, token: Token, tags: Sequence[str], *, structured_data: bool) -> None:
        super().__init__()
        self._token = token
        self._tags = tags
        self._structured_data = structured_data

    def __missing__(self, own: bytes | None) -> Callable[[SyslogMessage], bytes]:
        token = self._token if own is None else Token(own)
        members = members_of(token, self._tags)
        own_object = object_writer(token, self._tags)
        further_members = _further_members if self._structured_data else None

        def object_of(message: SyslogMessage) -> bytes:
            msg = message.msg
            written = own_object(msg) if b"{" in msg else None  # fast path
            if written is None:
                if msg[:1] == b" " and not legacy_header(message).endswith(b" "):
                    msg = msg[1:]
                written = b'{%s, "message": %s}' % (members, json_string(msg))
            return written if further_members is None else further_members(written, message)

        self[own] = object_of
        return object_of


def tag(token: Token, zone: tzinfo, *, relay_name: bytes, known: Collection[bytes] = ()) -> Rewrite:
    """Send `token` as the TAG of an RFC 3164 header.  The program name is lost.

    Arguments as for `cee`.

    Raises:
        ValueError: `token` has a character that ends a tag.
    """
    check_place("tag", token)
    secret = token.reveal()
    is_token = token_test(token, known)

    def payload(message: SyslogMessage, start: bytes) -> bytes:
        if _has_token(message):
            own_tag = format_tag(message.app_name, message.procid)
            return b"%s%s%s" % (start, own_tag, message.msg.lstrip(b" "))
        if not is_token(message.app_name):
            return b"%s%s:%s" % (start, secret, _text_of(message))
        msg = message.msg
        if legacy_header(message).endswith(b" "):
            # Parsing took it off.  Left off, each relay would take one more from
            # a text that begins with spaces.
            msg = b" " + msg
        return b"%s%s:%s" % (start, message.app_name, msg)

    def rewrite(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        stamps = StampTable(to_rfc3339, origin.received_at, zone)
        sender = sender_of(origin, relay_name)
        return [
            payload(message, _legacy_start(message, stamps, sender)).rstrip(_DELIMITERS)
            for message in messages
        ]

    return rewrite


def app_name(
    token: Token, zone: tzinfo, *, relay_name: bytes, known: Collection[bytes] = ()
) -> Rewrite:
    """Send RFC 5424 with `token` as the APP-NAME.  The program name is lost.

    Arguments as for `cee`.

    Raises:
        ValueError: `token` is longer than an APP-NAME can be.
    """
    check_place("app-name", token)
    secret = token.reveal()
    is_token = token_test(token, known)

    def payload(message: SyslogMessage, stamp: bytes, sender: bytes) -> bytes:
        if is_token(message.app_name) or _has_token(message):
            name, msg = message.app_name, message.msg
        else:
            name, msg = secret, _text_of(message)
        header = format_header(
            message.pri,
            stamp,
            hostname_of(message) or sender,
            name,
            message.procid,
            message.msgid,
            message.structured_data,
        )
        return format_message(header, byte_order_mark_of(message) + msg.rstrip(_DELIMITERS))

    def rewrite(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        stamps = StampTable(to_rfc5424, origin.received_at, zone)
        sender = sender_of(origin, relay_name)
        return [payload(message, stamps[message.timestamp], sender) for message in messages]

    return rewrite


class Programs(dict[tuple[bytes | None, ...], bytes]):
    """Text between stamp and object, by HOST, PROGRAM and PID; made on first use.

    Messages of a batch often come from a few programs.  Make one table per batch, so that
    it cannot outgrow the batch.
    """

    def __init__(self, sender: bytes) -> None:
        super().__init__()
        self._sender = sender

    def __missing__(self, program: tuple[bytes | None, ...]) -> bytes:
        hostname, app_name, procid = program
        host = format_hostname(_named(hostname) or self._sender)
        text = self[program] = b" %s %s%s " % (host, format_tag(app_name, procid), COOKIE)
        return text


def object_writer(token: Token, tags: Sequence[str] = ()) -> Callable[[bytes], bytes | None]:
    """Make a function that puts `token` into the JSON object that a MSG is; None if it is none.

    An object that names a token stays as it is.  A member of that name with another value
    than a token, such as null or a number, gives way.  Arguments as for `cee`.
    """
    token_member = _member_of(token)
    members = members_of(token, tags)

    def write(msg: bytes) -> bytes | None:
        found = find_object(msg)
        if found is None:
            return None
        text = found.text
        if TOKEN_KEY in found.members:
            if _names_token(found):
                return text
            text = _without_token(text)
        return add_members(text, token_member if "tags" in found.members else members)

    return write


def members_of(token: Token, tags: Sequence[str] = ()) -> bytes:
    """The members that `cee` puts first into an object with neither token nor tags."""
    if not tags:
        return _member_of(token)
    texts = b", ".join([json_string(text.encode()) for text in tags])
    return b'%s, "tags": [%s]' % (_member_of(token), texts)


def _member_of(token: Token) -> bytes:
    return b'"%s": %s' % (_TOKEN_KEY_OCTETS, json_string(token.reveal()))


def sender_of(origin: Origin, relay_name: bytes) -> bytes:
    """HOST of a message that names none: the peer, or this relay for local senders."""
    return origin.peer_host.encode("ascii", "replace") or relay_name


def hostname_of(message: SyslogMessage) -> bytes | None:
    """HOSTNAME, or None if the message has none; a ``-`` says so in RFC 3164, too."""
    return _named(message.hostname)


def _named(hostname: bytes | None) -> bytes | None:
    return None if hostname == b"-" else hostname


def _legacy_start(message: SyslogMessage, stamps: StampTable, sender: bytes) -> bytes:
    """``<PRI>STAMP HOST`` and a space."""
    hostname = format_hostname(hostname_of(message) or sender)
    return b"<%d>%s %s " % (message.pri, stamps[message.timestamp], hostname)


def _has_token(message: SyslogMessage) -> bool:
    """Whether MSG is a JSON object with a token of its own."""
    if _TOKEN_KEY_OCTETS not in message.msg:  # fast path
        return False
    found = find_object(message.msg)
    return found is not None and _names_token(found)


def _names_token(found: JsonObject) -> bool:
    value = bytes(found.members.get(TOKEN_KEY, b""))
    if _PLAIN_TOKEN.fullmatch(value) is not None:  # the common case
        return True
    text = text_of_string(value)
    return text is not None and is_secret(text)


def _further_members(text: bytes, message: SyslogMessage) -> bytes:
    """The object `text` with structured data and MSGID, where it has no such members."""
    members = []
    if message.msgid:
        members.append(("msgid", b'"msgid": ' + json_string(message.msgid)))
    elements = element_pairs(message)
    if elements:  # as the format json has them
        pairs = {f"_SDATA.{name[len(PREFIX) :]}": value for name, value in elements.items()}
        members.append(("_SDATA", Layouts().write(pairs, Strings())[1:-1]))
    if not members:
        return text
    found = find_object(text)
    there = () if found is None else found.members
    new = [member for name, member in members if name not in there]
    return add_members(text, b", ".join(new)) if new else text


def _text_of(message: SyslogMessage) -> bytes:
    """MSG, preceded by a program name that is part of the text.

    Only the colon tells ``su: hello`` from ``hello world`` (RFC 3164 §4.1.3).
    Without one the program may be the first word of the text and is put back.
    """
    header = legacy_header(message)
    is_tag = b":" in header or b"[" in header
    is_plain = b"[" not in (message.app_name or b"") and not is_irregular(message)
    if not header or (is_tag and is_plain):
        return message.msg
    return text_with_tag(message)


def byte_order_mark_of(message: SyslogMessage) -> bytes:
    """The byte order mark that RFC 5424 §6.4 requires, if the message had or needs it."""
    if message.is_utf8:
        return BYTE_ORDER_MARK
    if BYTE_ORDER_MARK not in message.raw or not message.version:
        return b""
    msg = message.msg.rstrip(_DELIMITERS)
    marked = message.raw.rstrip(_DELIMITERS).endswith(BYTE_ORDER_MARK + msg)
    return BYTE_ORDER_MARK if marked else b""
