"""A UDP proxy on loopback that loses, duplicates and reorders datagrams."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Sequence

__all__ = ["APPLICATION_DATA", "LossyProxy", "Treatment"]

APPLICATION_DATA = 23
"""First byte of a datagram of DTLS that carries messages."""

Treatment = Callable[[int, bytes], Sequence[bytes]]
"""Given the number of a datagram in its direction, from 0 on, and the datagram: what is sent."""


class LossyProxy:
    """Passes datagrams on between its `port` and `target_port`; each client has its own way back.

    Args:
        treat: For both directions; called in one thread.
    """

    def __init__(self, target_port: int, treat: Treatment) -> None:
        self._target = ("127.0.0.1", target_port)
        self._treat = treat
        self._near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._near.bind(("127.0.0.1", 0))
        self.port: int = self._near.getsockname()[1]
        self._far: dict[object, socket.socket] = {}
        self._counts = {True: 0, False: 0}
        self._wake, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True, name="lossy proxy")
        self._thread.start()

    def close(self) -> None:
        self._stop.close()
        self._thread.join(5)
        for each in (self._near, self._wake, *self._far.values()):
            each.close()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._wake, self._near, *self._far.values()], [], [])
            if self._wake in ready:
                return
            for sock in ready:
                with contextlib.suppress(OSError):  # the other end is not there
                    self._pass_on(sock)

    def _pass_on(self, sock: socket.socket) -> None:
        datagram, sender = sock.recvfrom(65535)
        is_near = sock is self._near
        number = self._counts[is_near]
        self._counts[is_near] += 1
        if is_near and sender not in self._far:
            far = self._far[sender] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            far.connect(self._target)
        for each in self._treat(number, datagram):
            if is_near:
                self._far[sender].send(each)
            else:
                client = next(key for key, far in self._far.items() if far is sock)
                self._near.sendto(each, client)  # type: ignore[arg-type]
