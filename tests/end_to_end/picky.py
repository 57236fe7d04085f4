"""A RELP server that refuses some messages, on blocking sockets."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress

__all__ = ["PickyUpstream"]

_COMMAND = re.compile(rb"\n*(\d{1,9}) ([a-z]{1,32}) (\d{1,9})(?: |(?=\n))")


class PickyUpstream:
    """Takes RELP sessions, several at a time; answers 500 to messages with `poison` in them.

    As a context manager it listens; `taken` has what was answered with 200.
    """

    def __init__(self, port: int, poison: bytes) -> None:
        self.poison = poison
        self.taken: list[bytes] = []
        self._port = port

    def __enter__(self) -> PickyUpstream:
        self._listening = socket.create_server(("127.0.0.1", self._port))
        self._sessions: dict[socket.socket, threading.Thread] = {}
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shut_down(self._listening)
        self._accepting.join(20)
        self._listening.close()
        for session, thread in self._sessions.items():
            self._shut_down(session)
            thread.join(20)

    @staticmethod
    def _shut_down(open_socket: socket.socket) -> None:
        with suppress(OSError):  # it is closed
            open_socket.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # until it is shut down
            while True:
                session, _ = self._listening.accept()
                self._sessions[session] = threading.Thread(target=self._serve, args=[session])
                self._sessions[session].start()

    def _serve(self, session: socket.socket) -> None:
        with session, suppress(OSError):
            session.settimeout(20)
            self._answer(session)

    def _answer(self, session: socket.socket) -> None:
        buffer = b""
        while chunk := session.recv(65536):
            buffer += chunk
            while (found := _COMMAND.match(buffer)) is not None:
                stop = found.end() + int(found[3])
                if len(buffer) <= stop:
                    break
                data, buffer = buffer[found.end() : stop], buffer[stop + 1 :]
                session.sendall(self._response(found[1], found[2], data))

    def _response(self, txnr: bytes, command: bytes, data: bytes) -> bytes:
        text = b"200 OK"
        if command == b"open":
            text += b"\nrelp_version=0\nrelp_software=picky\ncommands=syslog"
        elif command == b"syslog" and self.poison in data:
            text = b"500 poison"
        elif command == b"syslog":
            self.taken.append(data)
        return b"%s rsp %d %s\n" % (txnr, len(text), text)
