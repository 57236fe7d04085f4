"""Values of a message by name: header fields, structured data and pairs.

Names are those of syslog-ng's soft macros (HOST, PROGRAM, PID, MSGID, MESSAGE and
their aliases), those of RFC 5424 in lower case (hostname, app_name, procid, msgid,
msg), ``.SDATA.ID.NAME`` for a parameter of the structured data, and anything else
for a pair.  A name has a value or has none; an empty value is a value.

Templates and value-pairs see structured data as pairs: `element_pairs`, and `elements_of` back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter

from relay.model.message import JsonText, SyslogMessage
from relay.rewrite.json.text import json_string
from relay.wire.headers.structured_data import (
    format_structured_data,
    is_structured_data,
    parse_structured_data,
)
from relay.wire.json.pairs import text_of

PREFIX = ".SDATA."


def element_pairs(message: SyslogMessage) -> dict[str, bytes]:
    """The parameters of a message's SD-ELEMENTs by name.

    An element without parameters is a pair of its own with nothing in it.  A
    parameter that is repeated (RFC 5424 §6.3.4) is an array in JSON.
    """
    pairs: dict[str, bytes] = {}
    if message.structured_data is not None:
        for sd_id, parameters in parse_structured_data(message.structured_data).items():
            if not parameters:
                pairs[PREFIX + sd_id] = b""
            for name, values in parameters.items():
                pairs[f"{PREFIX}{sd_id}.{name}"] = array_of(values) if values[1:] else values[0]
    if message.pairs is not None:
        for name, value in message.pairs.items():
            if name.startswith(PREFIX):
                pairs[name] = value
    return pairs


def elements_of(message: SyslogMessage) -> bytes | None:
    """Valid SD-ELEMENTs of a message, or None if it has none.

    Verbatim, unless pairs of the message add to them.
    """
    text = message.structured_data
    if text is not None and not is_structured_data(text):
        text = None
    if message.pairs is not None and any(name.startswith(PREFIX) for name in message.pairs):
        return _with_pairs(text, message.pairs)
    return text


def _with_pairs(text: bytes | None, pairs: dict[str, bytes]) -> bytes:
    elements = parse_structured_data(text)
    for pair, value in pairs.items():
        if not pair.startswith(PREFIX):
            continue
        name = pair[len(PREFIX) :]
        known = [sd_id for sd_id in elements if name == sd_id or name.startswith(sd_id + ".")]
        sd_id = max(known, key=len) if known else name.rpartition(".")[0] or name
        element = elements.setdefault(sd_id, {})
        if len(name) > len(sd_id):
            element[name[len(sd_id) + 1 :]] = [value]
    return format_structured_data(elements)


def array_of(values: Sequence[bytes]) -> JsonText:
    """A JSON array of texts."""
    return JsonText(b"[%s]" % b",".join([json_string(value) for value in values]))


Getter = Callable[[SyslogMessage], bytes | None]
"""The value as text, or None if there is none."""
Setter = Callable[[SyslogMessage, bytes | None], SyslogMessage]
"""The message with another value, or with none."""

_FIELDS = {
    **dict.fromkeys(("HOST", "FULLHOST", "hostname"), "hostname"),
    **dict.fromkeys(("PROGRAM", "app_name"), "app_name"),
    **dict.fromkeys(("PID", "procid"), "procid"),
    **dict.fromkeys(("MSGID", "msgid"), "msgid"),
    **dict.fromkeys(("MESSAGE", "MSG", "MSGONLY", "msg"), "msg"),
}
MACRO_FIELDS: frozenset[str] = frozenset(name for name in _FIELDS if name.isupper())
"""syslog-ng's names of header fields and MSG."""
_NAMES = {
    "hostname": "HOST",
    "app_name": "PROGRAM",
    "procid": "PID",
    "msgid": "MSGID",
    "msg": "MESSAGE",
}
_LEGACY_HEADER = "LEGACY_MSGHDR"  # contains program and pid; stale once they change


def field_of(name: str) -> str | None:
    """The field of `SyslogMessage` called `name`; None = a pair or structured data."""
    return _FIELDS.get(name)


def getter(name: str) -> Getter:
    """Make a function that reads the value of `name`."""
    field = _FIELDS.get(name)
    if field is not None:
        return itemgetter(SyslogMessage._fields.index(field))
    if name.startswith(PREFIX):
        return lambda message: _parameter(message, name)

    def pair(message: SyslogMessage) -> bytes | None:
        value = None if message.pairs is None else message.pairs.get(name)
        return value if value is None else text_of(value)

    return pair


def setter(name: str) -> Setter:
    """Make a function that sets or unsets the value of `name`.

    MESSAGE is never missing: without a value it is empty.
    """
    field = _FIELDS.get(name)
    if field is not None:
        return _SETTERS[field]
    if name.startswith(PREFIX):
        return lambda message, value: _with_parameter(message, name, value)
    return lambda message, value: _with_pair(message, name, value)


def names_of(message: SyslogMessage) -> list[str]:
    """All names that have a value, by syslog-ng's spelling."""
    names = [name for field, name in _NAMES.items() if getattr(message, field) is not None]
    for sd_id, parameters in parse_structured_data(message.structured_data).items():
        names += [f"{PREFIX}{sd_id}.{parameter}" for parameter in parameters]
    return [*names, *(message.pairs or ())]


def _with_pair(message: SyslogMessage, name: str, value: bytes | None) -> SyslogMessage:
    pairs = dict(message.pairs or {})
    if value is None:
        pairs.pop(name, None)
    else:
        pairs[name] = value
    return message._replace(pairs=pairs or None)


def _without_legacy_header(message: SyslogMessage) -> SyslogMessage:
    if message.pairs is None or _LEGACY_HEADER not in message.pairs:
        return message
    return _with_pair(message, _LEGACY_HEADER, None)


_SETTERS: Mapping[str, Setter] = {
    "hostname": lambda message, value: message._replace(hostname=value),
    "app_name": lambda message, value: _without_legacy_header(message)._replace(app_name=value),
    "procid": lambda message, value: _without_legacy_header(message)._replace(procid=value),
    "msgid": lambda message, value: message._replace(msgid=value),
    "msg": lambda message, value: message._replace(msg=value or b""),
}


def _parameter(message: SyslogMessage, name: str) -> bytes | None:
    if message.structured_data is None:
        return None
    found = _place_of(parse_structured_data(message.structured_data), name)
    return found[0][found[1]][-1] if found is not None else None


def _with_parameter(message: SyslogMessage, name: str, value: bytes | None) -> SyslogMessage:
    elements = parse_structured_data(message.structured_data)
    found = _place_of(elements, name)
    if found is not None:
        parameters, key = found
        if value is None:
            del parameters[key]
        else:
            parameters[key] = [value]
    elif value is not None:
        sd_id, _, key = name[len(PREFIX) :].rpartition(".")
        elements.setdefault(sd_id, {})[key] = [value]
    elements = {sd_id: parameters for sd_id, parameters in elements.items() if parameters}
    return message._replace(structured_data=format_structured_data(elements) or None)


def _place_of(
    elements: dict[str, dict[str, list[bytes]]], name: str
) -> tuple[dict[str, list[bytes]], str] | None:
    """The element and the key of a dotted name: both may have dots of their own."""
    path = name[len(PREFIX) :]
    for sd_id, parameters in elements.items():
        if path.startswith(sd_id + ".") and path[len(sd_id) + 1 :] in parameters:
            return parameters, path[len(sd_id) + 1 :]
    return None
