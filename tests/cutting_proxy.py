"""A TCP proxy on loopback that cuts its connections after a random number of octets."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading

from tests.processes import free_port

__all__ = ["CuttingProxy"]

_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class CuttingProxy:
    """Passes octets on between `port` and `target_port`, for a while.

    Each connection may carry a number of octets, both ways together, that is drawn
    when it comes in; then both of its ends are closed, with the octets of the last
    chunk up to there passed on.  Half of the cuts are resets.

    Args:
        octets_max: The largest such number; None = nothing is ever cut.

    Attributes:
        cuts: Connections that were cut.
    """

    def __init__(self, target_port: int, *, seed: int, octets_max: int | None) -> None:
        self.port = free_port()
        self.cuts = 0
        self._target_port = target_port
        self._random = random.Random(seed)
        self._octets_max = octets_max
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
            if self._octets_max is not None and self._cutting:
                size = int(self._octets_max ** self._random.random())
            _Carried(self, near, far, size, resets=self._random.random() < 0.5)


class _Carried:
    """One connection, with a thread for each direction."""

    def __init__(
        self,
        proxy: CuttingProxy,
        near: socket.socket,
        far: socket.socket,
        octets_left: int | None,
        *,
        resets: bool,
    ) -> None:
        self._proxy = proxy
        self._ends = (near, far)
        self._left = octets_left
        self._resets = resets
        self._lock = threading.Lock()
        self._closed = False
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                allowed = self._allowed(len(chunk))
                target.sendall(chunk[:allowed])
                if allowed < len(chunk):
                    self._proxy.cuts += 1
                    break
        self._close()

    def _allowed(self, size: int) -> int:
        with self._lock:
            if self._left is None:
                return size
            allowed = min(size, self._left)
            self._left -= allowed
            return allowed

    def _close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for end in self._ends:
            with contextlib.suppress(OSError):
                if self._resets and self._left == 0:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                end.shutdown(socket.SHUT_RDWR)
            end.close()
