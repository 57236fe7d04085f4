"""The PROXY protocol, versions 1 and 2: the peer behind a proxy.

    version 1   ``PROXY TCP4 SRC DST SPORT DPORT CR LF``, or TCP6, or UNKNOWN; at most
                107 bytes
    version 2   12 bytes of signature, version and command, family, length, addresses,
                then TLVs, which are skipped

A header without an address (UNKNOWN, LOCAL, unix sockets) is valid: the connection is the
proxy's own.  Like all decoders here, this one never raises on input and takes chunks of any
size.
"""

from __future__ import annotations

import ipaddress
import re
import struct

from relay.model.errors import FramingError

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_ADDRESSES = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH")}

_WORD = b"PROXY "
_LINE_BYTES_MAX = 107
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|(TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+)"
    rb" ([0-9]{1,5}) ([0-9]{1,5}))\r\n"
)


class ProxyHeaderDecoder:
    """Reads the header at the beginning of a stream.

    Attributes:
        error: Why the header is invalid; further input is ignored.
        complete: The header is over.
        peer: Address and port of the peer behind the proxy; None = the proxy itself.
    """

    def __init__(self) -> None:
        self.error: FramingError | None = None
        self.complete = False
        self.peer: tuple[str, int] | None = None
        self._buffer = bytearray()  # at most a header of 64 KiB and a chunk
        self._wanted_bytes = 1

    @property
    def received(self) -> bytes:
        """The bytes of a header that is not complete."""
        return bytes(self._buffer)

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes of the stream; return those that follow the header."""
        if self.error is not None:
            return b""
        if self.complete:
            return chunk
        self._buffer += chunk
        if len(self._buffer) < self._wanted_bytes:
            return b""
        start = bytes(self._buffer[: len(_SIGNATURE)])
        if start and _SIGNATURE.startswith(start):
            return self._feed_version_2()
        if start and _WORD.startswith(start[: len(_WORD)]):
            return self._feed_version_1()
        if start:
            self._fail(f"expected a PROXY header, found {bytes(self._buffer[:20])!r}")
        return b""

    def _feed_version_1(self) -> bytes:
        end = self._buffer.find(b"\n", 0, _LINE_BYTES_MAX) + 1
        if not end:
            if len(self._buffer) >= _LINE_BYTES_MAX:
                self._fail(f"a PROXY header without an end: {bytes(self._buffer[:40])!r}")
            return b""
        line = bytes(self._buffer[:end])
        found = _LINE.fullmatch(line)
        if found is None or (found[1] and not self._name(found)):
            self._fail(f"an invalid PROXY header: {line[:60]!r}")
            return b""
        return self._end(end)

    def _name(self, found: re.Match[bytes]) -> bool:
        """Read the peer of a version 1 line; False if the line is invalid."""
        new = ipaddress.IPv4Address if found[1] == b"TCP4" else ipaddress.IPv6Address
        try:
            source, _ = new(found[2].decode()), new(found[3].decode())
        except ValueError:
            return False
        self.peer = (str(source), int(found[4]))
        return int(found[4]) <= 65535 and int(found[5]) <= 65535

    def _feed_version_2(self) -> bytes:
        if len(self._buffer) < _FIXED.size:
            self._wanted_bytes = 1
            return b""
        _, command, family, length = _FIXED.unpack_from(self._buffer)
        if command not in (_LOCAL, _PROXY):
            self._fail(f"a PROXY header of version and command 0x{command:02x}")
            return b""
        addresses = _ADDRESSES.get(family) if command == _PROXY else None
        if addresses is not None and length < addresses.size:
            self._fail(f"a PROXY header with {length} bytes of addresses")
            return b""
        end = _FIXED.size + length
        if len(self._buffer) < end:
            self._wanted_bytes = end
            return b""
        if addresses is not None:
            source, _, port, _ = addresses.unpack_from(self._buffer, _FIXED.size)
            self.peer = (str(ipaddress.ip_address(bytes(source))), port)
        return self._end(end)

    def _end(self, end: int) -> bytes:
        rest = bytes(self._buffer[end:])
        self._buffer.clear()
        self.complete = True
        return rest

    def _fail(self, reason: str) -> None:
        self.error = FramingError(reason)
        self.peer = None
        self._buffer.clear()
