"""A small RELP client on a blocking socket that knows which messages were answered."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable

__all__ = ["RelpSender"]

_OFFERS = b"relp_version=0\nrelp_software=relp_sender\ncommands=syslog"
_RESPONSE = re.compile(rb"(\d{1,9}) ([a-z]{1,32}) (\d{1,9})(?: |(?=\n))")


class RelpSender:
    """One RELP session.  As a context manager it closes the socket, and only that.

    Args:
        address: Local address; empty = the kernel chooses.
        tls: Encrypts the session; None = nobody does.

    Attributes:
        answered: Messages answered with 200, in the order of the answers.
        unanswered: Messages sent but not answered yet, by transaction number.
    """

    def __init__(
        self,
        port: int,
        *,
        seconds_max: float = 20.0,
        window: int = 128,
        address: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answered: list[bytes] = []
        self.unanswered: dict[int, bytes] = {}
        self._window, self._txnr, self._buffer = window, 0, b""
        self._socket = socket.create_connection(
            ("127.0.0.1", port), timeout=seconds_max, source_address=(address, 0)
        )
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self.local_port: int = self._socket.getsockname()[1]
        self._command(b"open", _OFFERS)
        opened = self._read_frame()
        assert opened[:2] == (1, b"rsp") and opened[2].startswith(b"200 "), opened

    def __enter__(self) -> RelpSender:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, messages: Iterable[bytes]) -> None:
        """Send `messages`; raises OSError when the peer is gone (see `unanswered`)."""
        for message in messages:
            while len(self.unanswered) >= self._window:
                self._take_answer()
            self.unanswered[self._txnr + 1] = message
            self._command(b"syslog", message)

    def wait_answered(self) -> None:
        while self.unanswered:
            self._take_answer()

    def wait_for(self, count: int) -> None:
        """Wait until `count` messages are answered, and no longer."""
        while len(self.answered) < count:
            self._take_answer()

    def close(self) -> None:
        """Say `close` and wait until the peer has agreed."""
        self.wait_answered()
        self._command(b"close", b"")
        assert self._read_answer()[:2] == (self._txnr, b"rsp")
        self._socket.close()

    def _command(self, command: bytes, data: bytes) -> None:
        self._txnr += 1
        tail = b" " + data if data else b""
        self._socket.sendall(b"%d %s %d%s\n" % (self._txnr, command, len(data), tail))

    def _take_answer(self) -> None:
        txnr, command, data = self._read_answer()
        assert command == b"rsp" and data.startswith(b"200"), (command, data)
        self.answered.append(self.unanswered.pop(txnr))

    def _read_answer(self) -> tuple[int, bytes, bytes]:
        frame = self._read_frame()
        if frame[1] == b"serverclose":
            raise ConnectionError("the server closes the session")
        return frame

    def _read_frame(self) -> tuple[int, bytes, bytes]:
        while True:
            header = _RESPONSE.match(self._buffer)
            end = header.end() + int(header[3]) if header else 0
            if header and len(self._buffer) > end:
                data, self._buffer = self._buffer[header.end() : end], self._buffer[end + 1 :]
                return int(header[1]), header[2], data
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("the server has closed the connection")
            self._buffer += chunk
