"""App tokens in messages: write, find, cut out and redact them.

The forms are those that Sematext documents:

    cee       <PRI>STAMP HOST PROGRAM[PID]:@cee: {"logsene-app-token": "…", "message": "…"}
    json      <PRI>1 STAMP HOST APP-NAME PROCID MSGID - {"logsene-app-token": "…", "message": "…"}
    tag       <PRI>STAMP HOST TOKEN:MSG
    app-name  <PRI>1 STAMP HOST TOKEN PROCID MSGID STRUCTURED-DATA MSG

STAMP is RFC 3339, HOST is never missing.  `cee`, `json` and `tag` may have other headers.

Rules:

1. A message that carries a token keeps it and gets no second one.  A token is a member of
   the JSON object that is MSG, if its value can be one, or a TAG or APP-NAME that has the
   form of a token or is a known one.  `cee` moves a token from the header into the object.
2. Rewriting is idempotent: two relays in a row send the same as one.
3. A header holds nothing but PRINTUSASCII and single spaces.  In the tag and app-name forms
   MSG may hold any byte; framing escapes those that its transport cannot carry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import tzinfo
from functools import lru_cache
from typing import NamedTuple

from relay.codec import beginning_with
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.model.token import Token, check_place, has_token_form, is_secret, redacted_secret
from relay.rewrite.fields import PREFIX, element_pairs
from relay.rewrite.json.text import (
    COOKIE,
    JsonObject,
    Layouts,
    Strings,
    add_members,
    find_object,
    json_string,
    member_cutter,
    text_cutter,
    text_of_string,
    write_string,
)
from relay.wire.framing.byte_order_mark import BYTE_ORDER_MARK
from relay.wire.headers.hostname import format_hostname
from relay.wire.headers.rfc5424 import format_header, format_message
from relay.wire.headers.tag import format_tag
from relay.wire.headers.timestamp import Convert, StampTable, to_rfc3339, to_rfc5424
from relay.wire.parse import parse

Writer = Callable[[Sequence[SyslogMessage], Origin], list[bytes]]
"""Makes one payload of each message, in the same order.  The origin is that of all."""

IsToken = Callable[[bytes | None], bool]
"""Whether a TAG or APP-NAME is an app token and no name."""

TOKEN_KEY = "logsene-app-token"
"""The member of an object that names an app token."""
_TOKEN_KEY_BYTES = TOKEN_KEY.encode("ascii")
# The text in an envelope may end with these; the next hop would strip them.
_DELIMITERS = b"\n\r\0"

_without_token = member_cutter(TOKEN_KEY)
# Few hosts and programs send most messages.  Names may be as long as a frame, so few are kept.
_host = lru_cache(128)(format_hostname)
_tag = lru_cache(128)(format_tag)


class Header(NamedTuple):
    """What stands before the text of a message with a token."""

    name: str
    """rsyslog (that of its template for Sematext), rfc3164 or rfc5424."""
    convert: Convert
    """Writes stamps."""


RSYSLOG = Header("rsyslog", to_rfc3339)
RFC5424 = Header("rfc5424", to_rfc5424)


def token_test(token: Token, known: Collection[bytes]) -> IsToken:
    """Make a test for tokens in headers: those in the form of one, `token`, and `known` ones."""
    secrets = frozenset((token.reveal(), *known))

    def is_token(name: bytes | None) -> bool:
        return name is not None and (name in secrets or has_token_form(name))

    return is_token


def writer_of(
    convert: Convert,
    zone: tzinfo,
    relay_name: bytes,
    payload: Callable[[SyslogMessage, bytes, bytes], bytes],
) -> Writer:
    """A writer of messages one by one.

    Args:
        convert: Writes their stamps.
        zone: Local zone for stamps that have no offset.
        relay_name: HOST of messages without one from local senders.
        payload: Gets a message, its stamp, and its host, or else its sender.
    """

    def write(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
        stamps = StampTable(convert, origin.received_at, zone)
        sender = sender_of(origin, relay_name)
        return [
            payload(message, stamps[message.timestamp], hostname_of(message) or sender)
            for message in messages
        ]

    return write


def cee(
    token: Token,
    zone: tzinfo,
    *,
    relay_name: bytes,
    known: Collection[bytes] = (),
    structured_data: bool = False,
    header: Header = RSYSLOG,
    cookie: bytes = COOKIE,
) -> Writer:
    """Send MSG as a JSON object behind an ``@cee:`` cookie, with `token` in it.

    A MSG that is a JSON object itself, with or without cookie, gets the token as
    one more member and stays as it is.  Of any other MSG one leading space is
    stripped; it separates MSG from the tag.

    Args:
        zone, relay_name: As for `writer_of`.
        known: Tokens of apps, which a header may carry whatever their form.
        structured_data: Put STRUCTURED-DATA into the member ``_SDATA`` and MSGID into
            ``msgid``, unless a JSON object of its own has these.
        cookie: Empty = there is none, and no STRUCTURED-DATA either.
    """
    is_token = token_test(token, known)
    before_object = _before_object(header.name, cookie)
    write_object, member = object_writer(token), token_member(token)

    def object_of(message: SyslogMessage, own: Token | None) -> bytes:
        msg = message.msg
        written = (write_object if own is None else object_writer(own))(msg)
        if written is None:
            if msg[:1] == b" " and not legacy_header(message).endswith(b" "):
                msg = msg[1:]
            own_member = member if own is None else token_member(own)
            written = b'{%b, "message": %b}' % (own_member, write_string(msg))
        return _with_data(written, message) if structured_data else written

    def payload(message: SyslogMessage, stamp: bytes, host: bytes) -> bytes:
        app_name, procid, own = message.app_name, message.procid, None
        if app_name is not None and is_token(app_name):
            own = Token(app_name)
            app_name = procid = None
        elif is_irregular(message) and find_object(message.msg) is None:
            app_name, procid = None, None
            message = message._replace(msg=text_with_tag(message))
        return before_object(message, stamp, host, app_name, procid) + object_of(message, own)

    return writer_of(header.convert, zone, relay_name, payload)


def _before_object(name: str, cookie: bytes) -> Callable[..., bytes]:
    """What writes all that stands before the object of a message: given that, its stamp, host,
    program and PID."""
    cookie = cookie and cookie + b" "
    if name == "rfc5424":

        def modern(
            message: SyslogMessage, stamp: bytes, host: bytes, app_name: bytes | None, _: object
        ) -> bytes:
            data = message.structured_data if cookie else None
            fields = (app_name, message.procid, message.msgid, data)
            return b"%s %s" % (format_header(message.pri, stamp, host, *fields), cookie)

        return modern
    # Rsyslog's template has no space there; without a cookie the text would be one with the tag.
    between = cookie if name == "rsyslog" and cookie else b" " + cookie

    def legacy(
        message: SyslogMessage,
        stamp: bytes,
        host: bytes,
        app_name: bytes | None,
        procid: bytes | None,
    ) -> bytes:
        return legacy_start(message, stamp, host) + tag_of(app_name, procid) + between

    return legacy


def tag(
    token: Token,
    zone: tzinfo,
    *,
    relay_name: bytes,
    known: Collection[bytes] = (),
    header: Header = RSYSLOG,
) -> Writer:
    """Send `token` as the TAG of an RFC 3164 header.  The program name is lost.

    Arguments as for `cee`.

    Raises:
        ValueError: `token` has a character that ends a tag.
    """
    check_place("tag", token)
    is_token = token_test(token, known)

    def tag_and_text(message: SyslogMessage) -> bytes:
        if has_token(message):
            return format_tag(message.app_name, message.procid) + message.msg.lstrip(b" ")
        if message.app_name is None or not is_token(message.app_name):
            return token.reveal() + b":" + _text_of(message)
        # Parsing took a space off.  Left off, each relay would take one more from
        # a text that begins with spaces.
        between = b": " if legacy_header(message).endswith(b" ") else b":"
        return message.app_name + between + message.msg

    def payload(message: SyslogMessage, stamp: bytes, host: bytes) -> bytes:
        return (legacy_start(message, stamp, host) + tag_and_text(message)).rstrip(_DELIMITERS)

    return writer_of(header.convert, zone, relay_name, payload)


def app_name(
    token: Token, zone: tzinfo, *, relay_name: bytes, known: Collection[bytes] = ()
) -> Writer:
    """Send RFC 5424 with `token` as the APP-NAME.  The program name is lost.

    Arguments as for `cee`.

    Raises:
        ValueError: `token` is longer than an APP-NAME can be.
    """
    check_place("app-name", token)
    is_token = token_test(token, known)

    def payload(message: SyslogMessage, stamp: bytes, host: bytes) -> bytes:
        name, msg = message.app_name, message.msg
        if not is_token(name) and not has_token(message):
            name, msg = token.reveal(), _text_of(message)
        header = format_header(
            message.pri, stamp, host, name, message.procid, message.msgid, message.structured_data
        )
        return format_message(header, byte_order_mark_of(message) + msg.rstrip(_DELIMITERS))

    return writer_of(to_rfc5424, zone, relay_name, payload)


def object_writer(token: Token) -> Callable[[bytes], bytes | None]:
    """Make a function that puts `token` into the JSON object that a MSG is; None if it is none.

    An object that names a token stays as it is.  A member of that name with another value
    than a token, such as null or a number, gives way.
    """
    member = token_member(token)

    def write(msg: bytes) -> bytes | None:
        found = find_object(msg) if b"{" in msg else None  # most messages have no brace
        if found is None:
            return None
        text = found.text
        if TOKEN_KEY in found.members:
            if _names_token(found):
                return text
            text = _without_token(text)
        return add_members(text, member)

    return write


def token_member(token: Token) -> bytes:
    """The member that is put first into an object without a token."""
    return b'"%s": %s' % (_TOKEN_KEY_BYTES, json_string(token.reveal()))


def sender_of(origin: Origin, relay_name: bytes) -> bytes:
    """HOST of a message that names none: the peer, or this relay for local senders."""
    return origin.peer_host.encode("ascii", "replace") or relay_name


def unix_pairs(origin: Origin) -> dict[str, bytes]:
    """The kernel's word on a local sender, by syslog-ng's names."""
    numbers = (("pid", origin.pid), ("uid", origin.uid), ("gid", origin.gid))
    return {f".unix.{name}": b"%d" % number for name, number in numbers if number is not None}


def hostname_of(message: SyslogMessage) -> bytes | None:
    """HOSTNAME, or None if the message has none; a ``-`` says so in RFC 3164, too."""
    return None if message.hostname == b"-" else message.hostname


def legacy_start(message: SyslogMessage, stamp: bytes, host: bytes) -> bytes:
    """``<PRI>STAMP HOST`` and a space."""
    return b"<%d>%s %s " % (message.pri, stamp, _host(host))


def tag_of(app_name: bytes | None, procid: bytes | None) -> bytes:
    """``PROGRAM[PID]:``, as `format_tag` writes it."""
    # A program has many process ids, and a number is written as it is.
    if procid is not None and procid.isdigit():
        return b"%b%b]:" % (_tag(app_name, b"0")[:-3], procid)
    return _tag(app_name, procid)


def has_token(message: SyslogMessage) -> bool:
    """Whether MSG is a JSON object with a token of its own."""
    found = find_object(message.msg) if _TOKEN_KEY_BYTES in message.msg else None
    return found is not None and _names_token(found)


def _names_token(found: JsonObject) -> bool:
    text = text_of_string(bytes(found.members.get(TOKEN_KEY, b"")))
    return text is not None and is_secret(text)


def _with_data(text: bytes, message: SyslogMessage) -> bytes:
    """The object `text` with structured data and MSGID, where it has no such members."""
    members = []
    if message.msgid:
        members.append(("msgid", b'"msgid": ' + json_string(message.msgid)))
    elements = element_pairs(message)
    if elements:  # as the format json has them
        pairs = {f"_SDATA.{name[len(PREFIX) :]}": value for name, value in elements.items()}
        members.append(("_SDATA", Layouts().write(pairs, Strings())[1:-1]))
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
    return message.msg if not header or (is_tag and is_plain) else text_with_tag(message)


def byte_order_mark_of(message: SyslogMessage) -> bytes:
    """The byte order mark that RFC 5424 §6.4 requires, if the message had or needs it."""
    if message.is_utf8:
        return BYTE_ORDER_MARK
    if BYTE_ORDER_MARK not in message.raw or not message.version:
        return b""
    msg = message.msg.rstrip(_DELIMITERS)
    marked = message.raw.rstrip(_DELIMITERS).endswith(BYTE_ORDER_MARK + msg)
    return BYTE_ORDER_MARK if marked else b""


# The text between HOST and MSG in RFC 3164: for nearly all messages ``PROGRAM[PID]: ``, made of two
# fields.  Other texts, such as ``app[12 text`` or a program with blanks in its name, are forwarded
# unchanged; forms without a place for them put them in front of MSG.
_NAME = "LEGACY_MSGHDR"
_ENDS = (b": ", b":", b" ", b"")


def legacy_header(message: SyslogMessage) -> bytes:
    """The literal text between host and MSG; empty if there is none."""
    return b"" if message.pairs is None else message.pairs.get(_NAME, b"")


def has_legacy_header(message: SyslogMessage) -> bool:
    """Whether the message was received as RFC 3164, with or without a tag."""
    return message.pairs is not None and _NAME in message.pairs


def is_irregular(message: SyslogMessage) -> bool:
    """Whether a tag made of program and pid differs from the received text."""
    literal = legacy_header(message)
    if not literal:
        return False
    tag = _tag(message.app_name, message.procid)[:-1] if message.app_name else b""
    if message.procid and not message.app_name:
        return True
    return not literal.startswith(tag) or literal[len(tag) :] not in _ENDS


def text_with_tag(message: SyslogMessage) -> bytes:
    """MSG preceded by all text that was received between HOST and MSG."""
    return legacy_header(message) + message.msg


# A token stands in one of the places that the forms give it: a member of the JSON object that is
# MSG, which *claims* to be one; the tag of RFC 3164 (in ``HOST TOKEN:text`` without PRI and stamp,
# too) and APP-NAME of RFC 5424, which may as well be a name.  A token is cut from `raw`, and the
# rest is parsed again: so the fields are those of the new `raw`, and nothing has the token.

# HOST TAG of a line without stamp, with any tag: a token is known when it is seen.
_BARE = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._-]{0,254}+ ++([^ \[:]++)(?:\[[^\] :]*+\])?: ?")

_cut = text_cutter(TOKEN_KEY)


class Claim(NamedTuple):
    """The token that the JSON of a message names."""

    secrets: tuple[bytes, ...]
    """Its value; more if the name is there several times.  The last one counts."""
    rest: bytes
    """The frame without it."""


def find_claim(message: SyslogMessage) -> Claim | None:
    """The token in the JSON object that MSG is, with or without cookie, or None.

    An object whose end was cut off because the message was too long, or whose text is not
    UTF-8, will do if the token is there.  A value that is no string, or cannot be a token, is
    none.
    """
    raw = message.raw
    # Most messages name none; a name can only be written otherwise with \\u escapes.
    if _TOKEN_KEY_BYTES not in raw and b"\\u00" not in raw:
        return None
    line = raw.rstrip(_DELIMITERS)
    for may_end in _may_be_json(message):
        text = may_end.rstrip(_DELIMITERS)
        found = _cut(text)
        if found is not None and line.endswith(text):
            secrets = tuple(filter(is_secret, found[1]))
            if not secrets:
                continue
            start = len(line) - len(text)
            return Claim(secrets, raw[:start] + found[0] + raw[len(line) :])
    return None


def parse_rest(message: SyslogMessage, rest: bytes) -> SyslogMessage:
    """What `message` is without its token: `rest`, parsed again."""
    line_end = message.msg[len(message.msg.rstrip(_DELIMITERS)) :]  # where it belongs to MSG
    parsed = parse(rest)
    if not line_end or parsed.msg.endswith(line_end):
        return parsed
    return parsed._replace(msg=parsed.msg + line_end)


def names_of(message: SyslogMessage) -> list[bytes]:
    """Candidates for a token: the APP-NAME or tag, without a PID."""
    if message.version:
        start, stop = _app_name_in_raw(message)
        return [message.raw[start:stop]] if stop else []
    names = []
    if message.timestamp is None and (text := text_with_tag(message)):
        found = _BARE.match(text)
        if found is not None:
            names.append(found[1])
    if message.app_name:
        names.append(message.app_name)
    elif has_legacy_header(message) and not legacy_header(message):
        # A tag whose colon was left out is text, but a token is known when it is seen.
        names += message.msg.split(b" ", 1)[:1]
    if message.timestamp is None and message.hostname:
        names.append(message.hostname)
    return [name for name in names if name]


def without_name(message: SyslogMessage, name: bytes) -> SyslogMessage:
    """`message` with ``-`` where `name`, one of its `names_of`, stands; parsed again."""
    raw = message.raw
    if message.version:
        start, stop = _app_name_in_raw(message)
        return parse_rest(message, raw[:start] + b"-" + raw[stop:])
    text = text_with_tag(message)
    start = len(raw.rstrip(_DELIMITERS)) - len(text.rstrip(_DELIMITERS))
    found = _BARE.match(text) if message.timestamp is None else None
    if found is not None and found[1] == name:
        start += found.start(1)
    elif name not in (message.app_name, text[: len(name)]) and message.hostname == name:
        start = raw.find(name)
    stop = start + len(name)
    if raw[start:stop] != name:
        return message
    # Without a colon the dash would be read as the first word of the text.
    ends = raw[stop : stop + 1] in (b":", b"[")
    rest = raw[:start] + (b"-" if ends else b"-:") + raw[stop:]
    return parse_rest(message, rest)


def _app_name_in_raw(message: SyslogMessage) -> tuple[int, int]:
    """Where APP-NAME stands in the frame, as it was sent: parsing cuts it to 48 bytes."""
    raw, at = message.raw, 0
    if not message.app_name:
        return 0, 0
    for field in (message.timestamp, message.hostname):
        if field:
            at = raw.find(field, at) + len(field)
    start = raw.find(b" " + message.app_name, at) + 1
    stop = raw.find(b" ", start)
    return start, len(raw.rstrip(_DELIMITERS)) if stop < 0 else stop


def _may_be_json(message: SyslogMessage) -> Iterator[bytes]:
    """Candidates for the JSON of a message; each ends with the frame."""
    msg = message.msg
    yield msg
    if message.version:
        return
    if message.pairs is None:  # not understood, for example because of two spaces in its header
        yield msg[msg.find(b" {") + 1 :]
        return
    text = text_with_tag(message)
    if text[:1] == b"{":  # nothing but JSON, whose beginning looks like a tag
        yield text
    found = _BARE.match(text) if message.timestamp is None else None
    if found is not None:
        yield text[found.end() :]


# Backslashes: of JSON that is a string in other JSON.
_MEMBER = re.compile(rb'logsene-app-token\\*"\s*+:\s*+\\*"([^"\\]++)')


def redacted(payload: bytes, known: Collection[bytes] = ()) -> bytes:
    """`payload` with at most the first and last four characters of each token.

    Tokens are: every value of a member ``logsene-app-token``, wherever it stands; a tag or
    APP-NAME in the form of a UUID, as Sematext's tokens are; and the secrets in `known`.
    """
    message = parse(payload)
    found = {*known, *_MEMBER.findall(payload)}
    claim = find_claim(message)
    if claim is not None:
        found.update(claim.secrets)
    found.update(name for name in names_of(message) if has_token_form(name))
    for secret in sorted(found, key=len, reverse=True):  # one may be a part of another
        if secret:
            payload = payload.replace(secret, redacted_secret(secret).encode())
    return payload


# A payload whose token is not known yet is queued with a slot for it:
#
#     NUL TOKEN SP key SP offset LF payload
#
# The token belongs at `offset`, a decimal number of bytes, of the payload behind LF.  `key` says
# which of a destination's tokens it is.  A payload of a form with a token begins with ``<``, so
# none looks like this.  The writers write a random placeholder, which
# `with_slots` finds; a message with a token of its own has no placeholder, and is complete.
_NUL = 0
_SLOT = re.compile(rb"\0TOKEN ([!-~]{1,64}) ([0-9]{1,9})\n")


def with_slots(payloads: list[bytes], placeholders: Mapping[bytes, bytes]) -> list[bytes]:
    """`payloads`, with a slot where one of `placeholders` stands in them.

    Args:
        placeholders: What was written in place of a token; the values are the keys of slots,
            1 to 64 printable characters without space.
    """
    for placeholder, key in placeholders.items():
        for index, payload in enumerate(payloads):
            offset = payload.find(placeholder)
            if offset >= 0:
                rest = payload[offset + len(placeholder) :]
                payloads[index] = b"\0TOKEN %b %d\n%b%b" % (key, offset, payload[:offset], rest)
    return payloads


def fill_slots(payloads: Sequence[bytes], token_of: Callable[[bytes], bytes]) -> Sequence[bytes]:
    """`payloads` as they are sent: with a token in every slot.

    Args:
        payloads: None of them empty.
        token_of: The text for the slots with a key; what it raises is passed on.
    """
    slots = beginning_with(payloads, _NUL)
    if not slots:
        return payloads
    filled = list(payloads)
    for index in slots:
        found = _SLOT.match(filled[index])
        if found is not None:
            offset = found.end() + int(found[2])
            payload = filled[index]
            filled[index] = payload[found.end() : offset] + token_of(found[1]) + payload[offset:]
    return filled
