"""A TCP proxy on loopback that cuts its connections after a random number of bytes."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading

from tests.processes import free_port

__all__ = ["CuttingProxy"]

LATE_SECONDS = 0.1  # more than the senders of the tests take to connect again
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class CuttingProxy:
    """Passes bytes on between `port` and `target_port`, for a while.

    Each connection may carry a number of bytes, both ways together, that is drawn
    when it comes in; then both of its ends are closed, with the bytes of the last
    chunk up to there passed on.  A third of the cuts are resets.  In another third, the
    server does not notice for a while, and then gets the rest of that chunk, late.

    Args:
        bytes_max: The largest such number; None = nothing is ever cut.

    Attributes:
        cuts: Connections that were cut.
    """

    def __init__(self, target_port: int, *, seed: int, bytes_max: int | None) -> None:
        self.port = free_port()
        self.cuts = 0
        self._target_port = target_port
        self._random = random.Random(seed)
        self._bytes_max = bytes_max
        self._cutting = True
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True, name=f"proxy-{self.port}").start()

    def stop_cutting(self) -> None:
        """Connections made from now on are left alone."""
        self._cutting = False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target_port), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            # Small numbers often: the opening and the first answers are worth cutting.
            size = None
            if self._bytes_max is not None and self._cutting:
                size = int(self._bytes_max ** self._random.random())
            _Carried(self, near, far, size, self._random.choice(("end", "reset", "late")))


class _Carried:
    """One connection, with a thread for each direction."""

    def __init__(
        self,
        proxy: CuttingProxy,
        near: socket.socket,
        far: socket.socket,
        bytes_left: int | None,
        how: str,
    ) -> None:
        self._proxy = proxy
        self._near, self._far = near, far
        self._left = bytes_left
        self._how = how
        self._lock = threading.Lock()
        self._closed = False
        self._lingers = False
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                allowed = self._allowed(len(chunk))
                target.sendall(chunk[:allowed])
                if allowed < len(chunk):
                    self._proxy.cuts += 1
                    if self._how == "late":
                        self._linger(chunk[allowed:] if target is self._far else b"")
                    break
        self._close()

    def _linger(self, rest: bytes) -> None:
        """End the client's side only; the server hears the rest when it has come again."""
        with self._lock:  # the other direction ends now, and must not close the server's side
            self._lingers = True
        with contextlib.suppress(OSError):
            self._near.shutdown(socket.SHUT_RDWR)
        threading.Event().wait(LATE_SECONDS)
        with self._lock:
            self._lingers = False
        self._far.sendall(rest)

    def _allowed(self, size: int) -> int:
        with self._lock:
            if self._left is None:
                return size
            allowed = min(size, self._left)
            self._left -= allowed
            return allowed

    def _close(self) -> None:
        with self._lock:
            if self._closed or self._lingers:
                return
            self._closed = True
        for end in (self._near, self._far):
            with contextlib.suppress(OSError):
                if self._how == "reset" and self._left == 0:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                end.shutdown(socket.SHUT_RDWR)
            end.close()
