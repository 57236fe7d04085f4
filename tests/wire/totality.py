"""What of a line is in no field of the message made of it."""

from __future__ import annotations

import re
from collections import Counter

from relay.model.message import SyslogMessage

__all__ = ["lost_bytes"]

_START = re.compile(rb"(?:(?:[0-9]{1,10} +(?=<[0-9]*>))*<[0-9]*>)?(?:0*1 )?")
_NUMBER = re.compile(rb"[0-9]*: +")
_FORWARDED = b"Message forwarded from"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Blanks between fields, what ends a stamp or a host, brackets of addresses, NILVALUEs, clock marks.
_SEPARATORS = b" \t:[]-*."


def lost_bytes(message: SyslogMessage) -> bytes:
    """Bytes of the frame that are neither in a field nor a part of a header that was understood.

    The order of bytes is not looked at.
    """
    line = message.raw.rstrip(b"\n\r\0")
    kept = [
        *(message.timestamp, message.hostname, message.procid, message.msgid),
        *(message.structured_data if message.version else None, message.msg),
    ]
    start = _START.match(line)
    if start is not None and line != message.msg:
        line = line[start.end() :] if message.version else _without_pri(line, message.msg)
    if not message.version and message.structured_data:  # a sequence number, a clock mark
        number = _NUMBER.match(line.lstrip(b" "))
        line = line.lstrip(b" ")[number.end() :] if number is not None else line
    if message.pairs is not None:
        kept.append(message.pairs.get("LEGACY_MSGHDR"))
        kept[2] = None  # which has the process too
        line = line.replace(_FORWARDED, b"", 1) if message.hostname else line
    else:
        kept.append(message.app_name)
    if not message.pairs and _FORWARDED in line:  # a repeated message
        line = line.replace(_FORWARDED, b"", 1)
    found = Counter(line.replace(_BYTE_ORDER_MARK, b"", 1) if message.version else line)
    found.subtract(b"".join([field or b"" for field in kept]))
    return bytes(
        byte
        for byte, count in found.items()
        for _ in range(max(0, count))
        if byte not in _SEPARATORS
    )


def _without_pri(line: bytes, msg: bytes) -> bytes:
    pri = re.match(rb"(?:[0-9]{1,10} +(?=<[0-9]*>))*<[0-9]*>", line)
    return line if pri is None or line == msg else line[pri.end() :]
