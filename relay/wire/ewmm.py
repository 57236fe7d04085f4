"""Open messages in syslog-ng's enterprise-wide message model (EWMM).

    <PRI>1 STAMP RELAY @syslog-ng - - STRUCTURED-DATA-or-dash JSON

`relay/rewrite/forms/ewmm.py` writes them.  Accepted is more than any syslog-ng writes: an outer
header of RFC 3164, structured data in the header and in the JSON, tags as list or array,
values with types, names nested or with dots, and all that json-c takes for JSON.

What the JSON says wins over the header; a name that it does not have stays as the header
has it.  Three names are this relay's own and carry what the header has no room for:

    .syslogrelay.timestamp    the stamp with all digits of its fraction
    .syslogrelay.peer         address of the first network peer
    .syslogrelay.hops         relays that it has passed (`relay/wire/hops.py`); no pair of a message
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from relay.model.message import JsonText, SyslogMessage
from relay.wire.headers.structured_data import format_structured_data, parse_structured_data
from relay.wire.headers.timestamp import is_same_millisecond
from relay.wire.hops import HOPS_NAME
from relay.wire.json.pairs import Path, items_of, members_of, text_of
from relay.wire.list_syntax import parse_list

APP_NAME = b"@syslog-ng"
"""APP-NAME of an envelope."""
STAMP_NAME = ".syslogrelay.timestamp"
PEER_NAME = ".syslogrelay.peer"
TAGS_NAME = "._TAGS"

# A token of a name.  A dot before one is part of it unless it separates it from
# another token; the numbers of an enterprise id, as in "x@1.2.3", stay together.
NAME_TOKEN = re.compile(r"\.*(?:@[0-9]+(?:\.[0-9]+)*|[^.])++")

_FIELDS = {
    **dict.fromkeys(("MESSAGE", "MSG", "MSGONLY"), "msg"),
    **dict.fromkeys(("HOST", "FULLHOST"), "hostname"),
    "PROGRAM": "app_name",
    "PID": "procid",
    "MSGID": "msgid",
}
# Names of which there is another spelling, or that are text whatever their type was.
_TEXT_PAIRS = {
    "HOST_FROM": "HOST_FROM",
    "FULLHOST_FROM": "HOST_FROM",
    **{name: name for name in ("LEGACY_MSGHDR", PEER_NAME, STAMP_NAME)},
}
# Pairs of the envelope, not of the message in it.
_ENVELOPE_PAIRS = ("LEGACY_MSGHDR", "RAWMSG")
_STRUCTURED_DATA = ".SDATA"
# syslog-ng has names 1 to 255 for the parts of a match; items of an array get them.
_MATCHES_MAX = 255


def decode_ewmm(message: SyslogMessage) -> SyslogMessage:
    """The message in an envelope; other messages are returned unchanged.

    An envelope has `APP_NAME`, and MSG begins with a JSON object.  If that is an
    array instead, its items become the pairs "1", "2" …, and the array stays MSG.  `raw`
    is the envelope in any case.  Never raises.
    """
    if message.app_name != APP_NAME:
        return message
    members = members_of(message.msg)
    if members is not None:
        return _opened(message, members)
    items = items_of(message.msg)
    if items is None:
        return message
    pairs = _pairs_of_envelope(message)
    pairs.update((str(number), item) for number, item in enumerate(items[:_MATCHES_MAX], start=1))
    return message._replace(app_name=None, pairs=pairs or None)


def _opened(message: SyslogMessage, members: Sequence[tuple[Path, bytes]]) -> SyslogMessage:
    fields: dict[str, bytes] = {}
    pairs = _pairs_of_envelope(message)
    tags: list[bytes] = []
    parameters: list[tuple[list[str], bytes]] = []
    for path, value in members:
        name = path[0] if len(path) == 1 else ".".join(path)
        field = _FIELDS.get(name)
        if field is not None:
            fields[field] = value if type(value) is bytes else text_of(value)
        elif name in _TEXT_PAIRS:
            pairs[_TEXT_PAIRS[name]] = text_of(value)
        elif name == HOPS_NAME:
            pass  # read from the frame, before it is parsed
        elif name == TAGS_NAME:
            tags = _tags_of(value)
        elif name.startswith(_STRUCTURED_DATA):
            tokens = _tokens_below(path)
            if tokens:
                parameters.append((tokens, text_of(value)))
            else:
                pairs[name] = value
        elif name:
            pairs[name] = value
    timestamp = message.timestamp
    stamp = pairs.get(STAMP_NAME)
    if stamp is not None and timestamp is not None and is_same_millisecond(stamp, timestamp):
        timestamp = pairs.pop(STAMP_NAME)
    structured_data = message.structured_data
    if parameters:
        structured_data = _merged(structured_data, parameters)
    return SyslogMessage(  # in half the time of _replace
        message.facility,
        message.severity,
        message.version,
        timestamp,
        fields.get("hostname", message.hostname) or None,
        fields.get("app_name") or None,
        fields.get("procid", message.procid) or None,
        fields.get("msgid", message.msgid) or None,
        structured_data,
        fields.get("msg", message.msg),
        message.raw,
        pairs or None,
        tuple(dict.fromkeys((*message.tags, *tags))),
        message.app,
    )


def _pairs_of_envelope(message: SyslogMessage) -> dict[str, bytes]:
    pairs = message.pairs or {}
    return {name: value for name, value in pairs.items() if name not in _ENVELOPE_PAIRS}


def _tags_of(value: bytes) -> list[bytes]:
    items = items_of(value) if isinstance(value, JsonText) and value[:1] == b"[" else None
    tags = parse_list(text_of(value)) if items is None else map(text_of, items)
    return [tag for tag in tags if tag]


def _tokens_below(path: Path) -> list[str]:
    """The tokens of a name below ``.SDATA``, or none if it is another name.

    Objects tell them apart; where there are only dots, they do.
    """
    if path[0] == _STRUCTURED_DATA:
        below = list(path[1:])
    elif path[0].startswith(_STRUCTURED_DATA + "."):
        below = [path[0].removeprefix(_STRUCTURED_DATA + "."), *path[1:]]
    else:
        return []
    if len(below) == 1:
        below = [token.removeprefix(".") for token in NAME_TOKEN.findall(below[0])]
    return below if all(below) else []


def _merged(header: bytes | None, parameters: Sequence[tuple[list[str], bytes]]) -> bytes:
    """The elements of `header` with `parameters`, which replace those of the same name."""
    elements = parse_structured_data(header)
    known = set(elements)
    for tokens, value in parameters:
        split = _id_length(tokens, known)
        element = elements.setdefault(".".join(tokens[:split]), {})
        if split < len(tokens):
            element[".".join(tokens[split:])] = [value]
    return format_structured_data(elements)


def _id_length(tokens: Sequence[str], known: Collection[str]) -> int:
    """How many of `tokens` make the SD-ID.

    One, if there are two.  Of more, those that are the SD-ID of an element in the
    header; else those up to the enterprise number, as in ``my.app@32473``; else one.
    """
    if len(tokens) <= 2:
        return 1
    for length in range(len(tokens) - 1, 0, -1):
        if ".".join(tokens[:length]) in known:
            return length
    numbered = (length for length, token in enumerate(tokens[:-1], start=1) if "@" in token)
    return next(numbered, 1)
