"""Structured data as pairs by syslog-ng's names, ``.SDATA.ID.PARAM``, and back again."""

from __future__ import annotations

from relay.model.message import JsonText, SyslogMessage
from relay.rewrite.json.text import json_string
from relay.wire.headers.structured_data import (
    format_structured_data,
    is_structured_data,
    parse_structured_data,
)

__all__ = ["PREFIX", "element_pairs", "elements_of"]

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
                pairs[f"{PREFIX}{sd_id}.{name}"] = values[0] if len(values) == 1 else _array(values)
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


def _array(values: list[bytes]) -> JsonText:
    return JsonText(b"[%s]" % b",".join([json_string(value) for value in values]))
