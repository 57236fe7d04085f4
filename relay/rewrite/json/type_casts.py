"""Types of values in JSON: ``int`` makes a number of a text, ``list`` an array."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from relay.model.message import JsonText
from relay.rewrite.json.text import json_string
from relay.wire.list_syntax import parse_list

__all__ = ["OnError", "cast", "on_error"]

_DECIMAL = re.compile(rb"[+-]?[0-9]{1,19}")
_HEXADECIMAL = re.compile(rb"[+-]?0[xX][0-9a-fA-F]{1,16}")
_REAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNIX_TIME = re.compile(rb"[+-]?[0-9]{1,19}(?:\.[0-9]{1,9})?(?:[+-][0-9]{2}:[0-9]{2})?")
_REAL_OCTETS_MAX = 400
_LINE_ENDS_TO_SPACE = bytes.maketrans(b"\r\n", b"  ")
_raw = msgspec.json.Decoder(msgspec.Raw)


class OnError(NamedTuple):
    """Handling of a value that does not fit its type."""

    drops_message: bool = False
    drops_property: bool = False
    """If neither, the value stays a string."""
    is_silent: bool = False


def on_error(word: str) -> OnError:
    """The meaning of one of `relay.model.output.ON_ERROR`."""
    return OnError(
        drops_message=word.endswith("drop-message"),
        drops_property=word.endswith("drop-property"),
        is_silent=word.startswith("silently-"),
    )


def _int32(text: bytes) -> JsonText | None:
    return _integer(text, 2**31)


def _int64(text: bytes) -> JsonText | None:
    return _integer(text, 2**63)


def _integer(text: bytes, limit: int) -> JsonText | None:
    if _DECIMAL.fullmatch(text) is not None:
        number = int(text)
    elif _HEXADECIMAL.fullmatch(text) is not None:
        number = int(text, 16)
    else:
        return None
    return JsonText(b"%d" % number) if -limit <= number < limit else None


def _double(text: bytes) -> JsonText | None:
    """A finite number; JSON has no others."""
    if len(text) > _REAL_OCTETS_MAX or _REAL.fullmatch(text) is None:
        return None
    number = float(text)
    return JsonText(repr(number).encode("ascii")) if abs(number) != float("inf") else None


def _boolean(text: bytes) -> JsonText | None:
    if text[:1] in (b"t", b"T", b"1"):
        return JsonText(b"true")
    return JsonText(b"false") if text[:1] in (b"f", b"F", b"0") else None


def _datetime(text: bytes) -> bytes | None:
    """Seconds since 1970, which JSON holds as a string."""
    return text if _UNIX_TIME.fullmatch(text) is not None else None


def _list(text: bytes) -> JsonText:
    return JsonText(b"[%s]" % b",".join([json_string(item) for item in parse_list(text)]))


def _json(text: bytes) -> JsonText | None:
    text = text.strip(b" \t\r\n")
    try:
        _raw.decode(text)
        text.decode()  # the decoder skips values without looking at their encoding
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return JsonText(text.translate(_LINE_ENDS_TO_SPACE))


_CASTS: Mapping[str, Callable[[bytes], bytes | None]] = {
    "string": lambda text: text,
    "int32": _int32,
    **dict.fromkeys(("int", "integer", "int64"), _int64),
    **dict.fromkeys(("float", "double"), _double),
    "boolean": _boolean,
    "datetime": _datetime,
    "list": _list,
    **dict.fromkeys(("json", "literal"), _json),
    "null": lambda text: JsonText(b"null"),
}


def cast(kind: str) -> Callable[[bytes], bytes | None]:
    """The function that makes a value of a type of `relay.model.output.TYPES`; None = no fit."""
    return _CASTS[kind]
