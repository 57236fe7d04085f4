"""Find the app token in a message, and remove or redact it.

A token stands in one of three places (those that `relay/rewrite/forms/token.py` writes to):

    a member "logsene-app-token" of the JSON object that is MSG, which *claims* to be one
    the tag of RFC 3164, in ``HOST TOKEN:text`` without PRI and stamp too    ┐ which may as
    APP-NAME of RFC 5424                                                     ┘ well be a name

What is taken out is cut from `raw`, and the rest is parsed again: so the fields are
those of the new `raw` by construction, and whatever is made of either has no token.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from relay.model.message import SyslogMessage
from relay.model.token import has_token_form, is_secret, redacted_secret
from relay.rewrite.forms.legacy_header import has_legacy_header, legacy_header, text_with_tag
from relay.rewrite.json.text import text_cutter
from relay.wire.parse import parse

__all__ = ["Claim", "find_claim", "redacted", "names_of", "parse_rest", "without_name"]

_KEY = "logsene-app-token"
_KEY_OCTETS = _KEY.encode("ascii")
_DELIMITERS = b"\n\r\0"
_NILVALUE = b"-"

# HOST TAG of a line without stamp, with any tag: a token is known when it is seen.
_BARE = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._-]{0,254}+ ++([^ \[:]++)(?:\[[^\] :]*+\])?: ?")

_cut = text_cutter(_KEY)


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
    # The quick way out: the name could only be written otherwise with \\u escapes.
    if _KEY_OCTETS not in raw and b"\\u00" not in raw:
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
    if message.timestamp is None and (text := _text_without_header(message)):
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
        return parse_rest(message, raw[:start] + _NILVALUE + raw[stop:])
    text = _text_without_header(message)
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
    rest = raw[:start] + (_NILVALUE if ends else b"-:") + raw[stop:]
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
    text = _text_without_header(message)
    if text[:1] == b"{":  # nothing but JSON, whose beginning looks like a tag
        yield text
    found = _BARE.match(text) if message.timestamp is None else None
    if found is not None:
        yield text[found.end() :]


def _text_without_header(message: SyslogMessage) -> bytes:
    """The text from the tag to the end."""
    return text_with_tag(message)


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
