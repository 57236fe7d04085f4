"""A JSON object to pairs, nested names joined with dots."""

from __future__ import annotations

import msgspec

from relay.model.message import JsonText

__all__ = ["flatten_json"]

_DEPTH_MAX = 32  # what is nested deeper stays text

# Values stay raw until it is known what they are.
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)


def flatten_json(text: bytes) -> dict[str, bytes] | None:
    """Names and values of the JSON object `text`, or None if it is no such object.

    ``{"a":{"b":"1"}}`` and ``{"a.b":"1"}`` are both ``a.b`` = 1; of two the later counts.
    Strings are text in UTF-8; other values stay as they were written, as a `JsonText`.
    Strict (RFC 8259): UTF-8, nothing after the object.
    """
    pairs: dict[str, bytes] = {}
    try:
        text.decode()  # the decoder skips values without looking at their encoding
        _flatten(text, "", 1, pairs)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return pairs


def _flatten(text: bytes | msgspec.Raw, prefix: str, depth: int, pairs: dict[str, bytes]) -> None:
    for name, raw in _members.decode(text).items():
        value = bytes(raw)
        if value[:1] == b'"':
            pairs[prefix + name] = _text_of(value)
        elif value[:1] == b"{" and value[1:-1].strip() and depth < _DEPTH_MAX:
            _flatten(value, f"{prefix}{name}.", depth + 1, pairs)
        else:
            pairs[prefix + name] = JsonText(value)


def _text_of(string: bytes) -> bytes:
    try:
        decoded = _string.decode(string).encode()
    except (msgspec.DecodeError, UnicodeError):  # half a surrogate pair
        return JsonText(string)
    return JsonText(string) if b"\0" in decoded else decoded
