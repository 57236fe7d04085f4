"""A TCP proxy on loopback for one connection, which keeps what the client sends."""

from __future__ import annotations

import contextlib
import socket
import threading

__all__ = ["RecordingProxy"]

_SECONDS_MAX = 30.0


class RecordingProxy:
    """Passes bytes on between `port` and `target_port`.

    Attributes:
        sent: What the client has sent so far.
    """

    def __init__(self, target_port: int) -> None:
        self.sent = b""
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_SECONDS_MAX)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._target_port), _SECONDS_MAX)
            back = threading.Thread(target=self._pass_on, args=(far, near, False), daemon=True)
            back.start()
            self._pass_on(near, far, True)

    def _pass_on(self, source: socket.socket, target: socket.socket, is_kept: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                if is_kept:
                    self.sent += chunk
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)
