"""Messages of Protocol Buffers, read by a table of their fields, and the few that are written."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from typing import TypeAlias

Schema: TypeAlias = "Mapping[str, Mapping[int, tuple[str, str]]]"
"""Of each message: by number the name and the kind of a field.  A kind is text, hex, base64, bool,
int, unsigned, double or the name of a message; one that ends with ``*`` may be repeated."""

DEPTH_MAX = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BITS_MAX = 63


class MessageReader:
    """Reads messages by name, as their JSON would have them; unknown fields are left out.

    Args:
        messages_max: In one, all levels together: an empty one has two bytes and takes 100.
    """

    def __init__(self, schema: Schema, *, messages_max: int) -> None:
        self._schema = schema
        self._left = messages_max

    def read(self, data: bytes, message: str, depth: int = DEPTH_MAX) -> dict[str, object]:
        """The fields of a message.

        Raises:
            ValueError: It is malformed, deeper than `depth`, or has too many messages.
        """
        self._left -= 1
        if depth == 0 or self._left < 0:
            raise ValueError("too many messages, or nested too deep; send smaller batches")
        found: dict[str, object] = {}
        for number, value in _fields(data):
            name, kind = self._schema[message].get(number, ("", ""))
            if not name:
                continue
            of_list, kind = kind.endswith("*"), kind.removesuffix("*")
            if kind in self._schema:
                read: object = self.read(_data(value), kind, depth - 1)
            else:
                read = _value(value, kind)
            if of_list:
                items = found.setdefault(name, [])
                assert isinstance(items, list)
                items.append(read)
            else:
                found[name] = read
        return found


def write_fields(*fields: tuple[int, int | bytes]) -> bytes:
    """A message with these fields: numbers as varint, at least 0, and bytes."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(_varint(number << 3 | _VARINT) + _varint(value))
        else:
            parts.append(_varint(number << 3 | _BYTES) + _varint(len(value)) + value)
    return b"".join(parts)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at, end = 0, len(data)
    while at < end:
        key, at = _read_varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {at}")
        field = data[at : at + size]
        at += size
        if at > end:
            raise ValueError(f"field {number} ends behind the message")
        yield number, field if kind == _BYTES else int.from_bytes(field, "little")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for bits in range(0, _VARINT_BITS_MAX + 1, 7):
        if at >= len(data):
            raise ValueError("a number ends behind the message")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << bits
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise ValueError(f"a number of more than 64 bits at byte {at}")


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _data(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message or text is due")
    return value


def _value(value: int | bytes, kind: str) -> object:
    if kind in ("text", "hex", "base64"):
        data = _data(value)
        if kind == "text":
            return data.decode(errors="replace")
        return data.hex() if kind == "hex" else base64.b64encode(data).decode()
    if isinstance(value, bytes):
        raise ValueError("text where a number is due")
    if kind == "bool":
        return bool(value)
    if kind == "double":
        return struct.unpack("<d", value.to_bytes(8, "little"))[0]
    return value - 2**64 if kind == "int" and value >= 2**63 else value
